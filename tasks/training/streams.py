"""The two streams of a training: pairs for supervised steps, real composites for adversarial ones; each its own loader.

The loaders' threads change batches and bring them to the training device, steps ahead of the step that takes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from tasks.loader import BatchIterator, Decoded, Pool, iter_composite_batches, iter_pair_batches
from tasks.params import Params
from tasks.sample import CompositeBatch, PairBatch
from tasks.shard_samples import read_samples
from tasks.training.batch_changes import BatchChanges
from tasks.training.distributed import ALONE, Ranks

Batch = TypeVar("Batch", PairBatch, CompositeBatch)


@dataclass(frozen=True)
class Streams:
    """Both streams of one rank, open. Close them, or use `with`."""

    pairs: BatchIterator[PairBatch]
    composites: BatchIterator[CompositeBatch]

    @property
    def wait_seconds(self) -> float:
        """How long the steps have waited for data, all in all."""
        return self.pairs.wait_seconds + self.composites.wait_seconds

    def __enter__(self) -> "Streams":
        return self

    def __exit__(self, *_: object) -> None:
        self.pairs.close()
        self.composites.close()


def open_streams(params: Params, changes: BatchChanges, plan: Sequence[bool], *, first_step: int = 0, ranks: Ranks = ALONE) -> Streams:
    """Streams for the steps of `plan` (whether each is adversarial), from `first_step` on.

    Real composites need not be there if no step is adversarial. Raises ValueError as the streams do.
    """
    supervised, adversarial = ([step for step, kind in enumerate(plan) if kind is wanted] for wanted in (False, True))
    pairs = pair_stream(params, changes, supervised, first=sum(step < first_step for step in supervised), ranks=ranks)
    if not adversarial:
        return Streams(pairs, BatchIterator(_no_batch, lambda: None, first_step=0, num_threads=1))
    try:
        first = sum(step < first_step for step in adversarial)
        return Streams(pairs, composite_stream(params, changes, adversarial, first=first, ranks=ranks))
    except BaseException:
        pairs.close()
        raise


def pair_stream(
    params: Params, changes: BatchChanges, steps: Sequence[int], *, first: int = 0, ranks: Ranks = ALONE
) -> BatchIterator[PairBatch]:
    """The changed batches of the supervised `steps`, from the one at place `first` on; `train.data.batch_size` samples over all ranks.

    `train.data.augmentation: static` reads all pairs of the shards; none and dynamic pass over SycoNet's copies.
    Raises ValueError as `iter_pair_batches` does, and naming a stream that has a weight and no samples.
    """
    return iter_pair_batches(
        params.paths.shards, "train", **_shared(params, ranks), first_step=first, num_threads=params.train.threads, pools=_pools(params),
        prepare=_prepared(changes.pairs, steps, ranks.device),
    )


def composite_stream(
    params: Params, changes: BatchChanges, steps: Sequence[int], *, first: int = 0, ranks: Ranks = ALONE
) -> BatchIterator[CompositeBatch]:
    """The changed batches of the adversarial `steps`, as `pair_stream`'s. Raises ValueError as `iter_composite_batches` does."""
    return iter_composite_batches(
        params.paths.mined, "train", **_shared(params, ranks), first_step=first, num_threads=1,
        prepare=_prepared(changes.composites, steps, ranks.device),
    )


def _shared(params: Params, ranks: Ranks) -> dict[str, Any]:
    section = params.train
    return {
        "batch_size": section.data.batch_size // ranks.count, "seed": params.seed, "rank": ranks.rank, "num_ranks": ranks.count,
        "cache_megabytes": params.speed.cache_megabytes // ranks.count,
    }


def _prepared(
    change: Callable[[Decoded, int], Batch], steps: Sequence[int], device: torch.device
) -> Callable[[Decoded, int], Batch]:
    """What is made of the n-th samples of a stream: the batch that the n-th of `steps` wants, on `device`."""

    def prepare(decoded: Decoded, number: int) -> Batch:
        step = steps[number] if number < len(steps) else -1  # read ahead of the end: no step will take it
        return _to_device(change(decoded, step), device)

    return prepare


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return type(batch)(*(tensor.to(device) for tensor in vars(batch).values()))


def _no_batch(step: int) -> CompositeBatch:
    raise ValueError(f"batch {step} of real composites: no step is adversarial")


def _pools(params: Params) -> list[Pool] | None:
    """The pools of pairs that steps draw from; None: all pairs, once an epoch each."""
    section = params.train.data
    weights = section.stream_weights.model_dump()
    if section.augmentation == "static" and not any(weights.values()):
        return None
    kinds = np.array([sample["kind"] for sample in read_samples(params.paths.shards, "train")])
    if not any(weights.values()):
        return [_pool("brought", kinds != "augmented", 1.0, params.paths.shards)]
    return [_pool(kind, kinds == kind, weight, params.paths.shards) for kind, weight in weights.items() if weight > 0]


def _pool(name: str, chosen: "np.ndarray", weight: float, folder: Path) -> Pool:
    if not chosen.any():
        raise ValueError(f"{folder}: no {name} training pairs, which train.data.stream_weights or train.data.augmentation ask for")
    return Pool(name, np.flatnonzero(chosen), weight)
