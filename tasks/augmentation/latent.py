"""What a SycoNet has learned, in numbers: how well it rebuilds composites it never saw, and whether its code and its tables are in use."""

import math

import torch
from torch import Tensor

from models.losses import foreground_errors, kl_per_dimension
from models.syconet import SycoNet
from tasks.augmentation.syconet_training import reconstruct
from tasks.sample import PairBatch
from tasks.seeds import torch_generator

MEASURED_AT_ONCE = 64
ACTIVE_VARIANCE = 0.01  # of a unit's posterior mean over the data: less is a unit that carries nothing (Burda et al., 2016)
LEAST_DIVERSITY = 1.0  # CIEDE2000 between draws: less than the eye sees, so the code is ignored
DEAD_SHARE = 0.1  # of an equal share of the weights: a table with less on average takes part in nothing


@torch.inference_mode()
def measure_latent(model: SycoNet, batch: PairBatch, *, seed: int) -> dict[str, float]:
    """Figures of a whole held-out set, coded by the posterior's mean; `model` in evaluation mode.

    reconstruction_fmse, identity_fmse (the untouched target's) and the ratio between them; active_units and kl (nats) of the posterior;
    lut_usage_entropy (1 if all tables are used alike) and dead_luts, over one random code per pair.
    """
    generator = torch_generator(seed, "syconet", "usage")
    stacks = (stack.split(MEASURED_AT_ONCE) for stack in (batch.composite, batch.mask, batch.target))
    parts = [_measure_part(model, PairBatch(*part), generator) for part in zip(*stacks, strict=True)]
    of = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    identity = max(of["identity"].mean().item(), 1e-6)
    usage = of["weights"].mean(dim=0)
    entropy = -(usage * usage.clamp_min(1e-12).log()).sum().item() / max(math.log(len(usage)), 1e-12)
    return {
        "reconstruction_fmse": round(of["reconstruction"].mean().item(), 3),
        "identity_fmse": round(identity, 3),
        "reconstruction_ratio": round(of["reconstruction"].mean().item() / identity, 4),
        "active_units": float((of["mean"].var(dim=0, correction=0) > ACTIVE_VARIANCE).sum()),
        "kl": round(kl_per_dimension(of["mean"], of["log_variance"]).sum().item(), 3),
        "lut_usage_entropy": round(entropy, 4),
        "dead_luts": float((usage < DEAD_SHARE / len(usage)).sum()),
    }


def has_collapsed(active_units: float, diversity: float) -> bool:
    """Whether the code is without use: no unit of it says anything of the composite, or draws do not differ by what an eye can see."""
    return active_units == 0 or diversity < LEAST_DIVERSITY


def _measure_part(model: SycoNet, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
    posterior = model.encode(batch.target, batch.mask, batch.composite)
    rebuilt = reconstruct(model, batch, posterior.mean).clamp(0, 1)
    code = torch.randn(posterior.mean.shape, generator=generator).to(batch.target)
    return {
        "reconstruction": foreground_errors(rebuilt, batch.composite, batch.mask),
        "identity": foreground_errors(batch.target, batch.composite, batch.mask),
        "weights": model.weigh(batch.target, batch.mask, code), "mean": posterior.mean, "log_variance": posterior.log_variance,
    }
