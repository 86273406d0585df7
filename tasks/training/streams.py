"""The two streams of a training: pairs for supervised steps, real composites for adversarial ones; each its own loader."""

import numpy as np

from tasks.loader import BatchIterator, Pool, iter_composite_batches, iter_pair_batches
from tasks.params import Params
from tasks.sample import CompositeBatch, PairBatch
from tasks.shard_samples import read_samples


def pair_stream(params: Params, *, first_step: int) -> BatchIterator[PairBatch]:
    """The batches of the supervised steps, from their number `first_step` on.

    `train.augmentation: static` reads all pairs of the shards; none and dynamic pass over SycoNet's copies.
    Raises ValueError as `iter_pair_batches` does, and if nothing but copies is there.
    """
    section = params.train
    return iter_pair_batches(
        params.paths.shards, "train", batch_size=section.batch_size, seed=params.seed, first_step=first_step,
        num_threads=section.threads, cache_megabytes=section.cache_megabytes, pools=_pools(params),
    )


def composite_stream(params: Params, *, first_step: int) -> BatchIterator[CompositeBatch]:
    """The batches of the adversarial steps, from their number `first_step` on. Raises ValueError as `iter_composite_batches` does.

    Where `train.adversarial_share` is 0 nothing is opened: real composites need not be there, and asking for a batch is an error.
    """
    section = params.train
    if section.adversarial_share == 0:
        return BatchIterator(_no_batch, lambda: None, first_step=first_step, num_threads=1)
    return iter_composite_batches(
        params.paths.mined, "train", batch_size=section.batch_size, seed=params.seed, first_step=first_step,
        num_threads=1, cache_megabytes=section.cache_megabytes,
    )


def _no_batch(step: int) -> CompositeBatch:
    raise ValueError(f"step {step}: train.adversarial_share is 0, so no step is adversarial")


def _pools(params: Params) -> list[Pool] | None:
    if params.train.augmentation == "static":
        return None
    samples = read_samples(params.paths.shards, "train")
    ids = [number for number, sample in enumerate(samples) if sample["kind"] != "augmented"]
    return [Pool("brought", np.array(ids), 1.0)]
