"""A discriminator that no harmonizer was trained against: it learns from untouched composites and natural photographs alone.

That of a training says little of it: whoever was trained to please it does. This one is the same for all configurations.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from models.discriminator import Discriminator, DiscriminatorConfig
from models.losses import discriminator_loss
from tasks.ablations.plans import CellPlan, with_values
from tasks.checkpoints import load_model, save_model
from tasks.evaluation.methods import Methods
from tasks.evaluation.protocols import Example, read_example
from tasks.index import read_index, read_real_composites
from tasks.loader import Decoded, iter_composite_batches
from tasks.params import Benchmark, Params
from tasks.sample import CompositeBatch
from tasks.seeds import derive_seed, numpy_generator
from tasks.tensors import to_tensor
from tasks.training.batch_changes import mirrored_composites

NATURAL = "natural photographs"
AT_ONCE = 32  # images


def train_judge(plan: CellPlan, params: Params, folder: Path) -> dict[str, float]:
    """Train the discriminator of `plan` on its mined composites, untouched, for its number of steps, and save it; its last accuracies."""
    own = with_values(params, plan.params)
    section = own.train
    torch.set_num_threads(section.threads)
    config = DiscriminatorConfig(section.model.size, section.adversary.width)
    torch.manual_seed(derive_seed(own.seed, "ablations", "judge"))
    judge = Discriminator(config)
    optimizer = torch.optim.Adam(judge.parameters(), lr=section.adversary.lr, betas=(0.5, 0.999))
    accuracies: dict[str, float] = {}

    def mirrored(decoded: Decoded, step: int) -> CompositeBatch:
        return mirrored_composites(decoded, section.model.size, numpy_generator(own.seed, "judge", step))

    with iter_composite_batches(
        own.paths.mined, "train", batch_size=section.data.batch_size, seed=own.seed, num_threads=1, prepare=mirrored
    ) as batches:
        for batch in islice(batches, section.optimizer.steps):
            on_composite, on_natural = judge(batch.composite), judge(batch.natural)
            loss = discriminator_loss(on_composite, on_natural, batch.mask, balanced=section.adversary.balanced)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            told = ((on_composite < 0) * batch.mask).sum() / batch.mask.sum().clamp_min(1.0)
            accuracies = {"accuracy_on_composites": told.item(), "accuracy_on_natural": (on_natural > 0).float().mean().item()}
    save_model(folder, "discriminator", judge, dataclasses.asdict(config), {"steps": section.optimizer.steps, **accuracies})
    return accuracies


def load_judge(folder: Path) -> Discriminator:
    """The discriminator of a folder, in evaluation mode. Raises ValueError as `load_model` does."""
    return load_model(folder, "discriminator", lambda **config: Discriminator(DiscriminatorConfig(**config)))


def judge_composites(params: Params, judge: Discriminator, methods: Methods) -> dict[str, float]:
    """By method: the mean logit inside the mask of the index's real composites; above 0 is natural. Empty if there are none.

    Under `NATURAL` that of the test photographs and their own masks, untouched: what the goal is on the judge's scale.
    """
    means: dict[str, list[float]] = {}
    for examples in _examples(params, read_real_composites(params.paths.index)):
        answers = methods.predict(examples)
        for example, answer in zip(examples, answers, strict=True):
            answer |= {name: baseline(example.composite, example.mask) for name, baseline in methods.baselines.items()}
        for name in answers[0]:
            means.setdefault(name, []).extend(mean_logits(judge, examples, [answer[name] for answer in answers]))
    if means:
        photographs = [{**row, "composite_path": row["image_path"]} for row in read_index(params.paths.index, "photographs", split="test")]
        means[NATURAL] = [
            logit for examples in _examples(params, photographs)
            for logit in mean_logits(judge, examples, [example.composite for example in examples])
        ]
    return {name: float(np.mean(values)) for name, values in means.items()}


def _examples(params: Params, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Example]]:
    """The rows' images at the size of training, some at a time, without those whose masks are empty there."""
    benchmark = Benchmark(source="composites", subset="*", size=params.train.model.size, resize="pillow_bilinear")
    for first in range(0, len(rows), AT_ONCE):
        chunk = rows[first : first + AT_ONCE]
        examples = [read_example(row, benchmark, max_megapixels=params.ingest.max_megapixels) for row in chunk]
        if examples := [example for example in examples if example.num_foreground]:
            yield examples


@torch.inference_mode()
def mean_logits(judge: Discriminator, examples: Sequence[Example], pictures: Sequence[np.ndarray]) -> Float[np.ndarray, " N"]:
    """The mean logit inside each example's mask for the picture in its place."""
    masks = to_tensor(np.stack([example.mask for example in examples]))
    logits = judge(to_tensor(np.stack(pictures)))
    found: np.ndarray = ((logits * masks).sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3))).numpy()
    return found
