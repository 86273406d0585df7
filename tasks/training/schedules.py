"""What a step is, as functions of its number: which stream it belongs to, and its learning rate."""

import math

import torch

from tasks.params import Train
from tasks.seeds import torch_generator


def is_adversarial(section: Train, seed: int, step: int) -> bool:
    """Whether `step` belongs to the adversarial stream, which takes `adversarial_share` of the steps after the supervised warm-up.

    alternation "bernoulli" (the paper's) draws each step; "strict" spaces the adversarial steps evenly.
    """
    done = step - section.supervised_warmup_steps
    if done < 0:
        return False
    if section.alternation == "strict":
        return math.floor((done + 1) * section.adversarial_share) > math.floor(done * section.adversarial_share)
    return torch.rand((), generator=torch_generator(seed, "stream", step)).item() < section.adversarial_share


def plan_steps(section: Train, seed: int) -> list[bool]:
    """`is_adversarial` of every step of the training."""
    return [is_adversarial(section, seed, step) for step in range(section.steps)]


def learning_rate(section: Train, step: int) -> float:
    """Linear warm-up, then a cosine down to `lr_floor` of `lr`."""
    if step < section.warmup_steps:
        return section.lr * (step + 1) / section.warmup_steps
    done = (step - section.warmup_steps) / max(1, section.steps - section.warmup_steps)
    return section.lr * (section.lr_floor + (1 - section.lr_floor) * 0.5 * (1 + math.cos(math.pi * done)))
