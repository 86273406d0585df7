"""What a step is, as functions of its number: which stream it belongs to, and its learning rate."""

import math

import torch

from tasks.params import TrainAdversary, TrainOptimizer
from tasks.seeds import torch_generator


def is_adversarial(section: TrainAdversary, seed: int, step: int) -> bool:
    """Whether `step` belongs to the adversarial stream, which takes `share` of the steps after the supervised warm-up.

    alternation "bernoulli" (the paper's) draws each step; "strict" spaces the adversarial steps evenly.
    """
    done = step - section.supervised_warmup_steps
    if done < 0:
        return False
    if section.alternation == "strict":
        return math.floor((done + 1) * section.share) > math.floor(done * section.share)
    return torch.rand((), generator=torch_generator(seed, "stream", step)).item() < section.share


def plan_steps(section: TrainAdversary, seed: int, num_steps: int) -> list[bool]:
    """`is_adversarial` of every step of a training."""
    return [is_adversarial(section, seed, step) for step in range(num_steps)]


def learning_rate(section: TrainOptimizer, step: int) -> float:
    """Linear warm-up, then a cosine down to `lr_floor` of `lr`."""
    if step < section.warmup_steps:
        return section.lr * (step + 1) / section.warmup_steps
    done = (step - section.warmup_steps) / max(1, section.steps - section.warmup_steps)
    return section.lr * (section.lr_floor + (1 - section.lr_floor) * 0.5 * (1 + math.cos(math.pi * done)))
