"""How a harmonizer does on held-out pairs while it trains: at the training size, never augmented."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.losses import foreground_errors
from tasks.framing import resample
from tasks.loader import read_pairs
from tasks.sample import PairBatch

AT_ONCE = 64  # pairs


def read_validation_pairs(shards: Path, size: int, *, limit: int, device: torch.device) -> PairBatch:
    """At most `limit` original pairs of the validation split of `shards`, at `size`. Raises ValueError if there are none."""
    pairs = read_pairs(shards, "val", limit=limit)
    if not pairs:
        raise ValueError(f"{shards}: no validation pairs; raise ingest.val_share or add photographs")
    fields = ("composite", "mask", "target")
    stacks = (np.stack([getattr(pair, field) for pair in pairs]) for field in fields)
    return PairBatch(*(resample(stack, size).to(device) for stack in stacks))


@torch.no_grad()
def harmonize_pairs(model: nn.Module, pairs: PairBatch) -> Float[Tensor, "B 3 H W"]:
    """What `model`, in evaluation mode meanwhile, makes of each composite."""
    model.eval()
    stacks = zip(pairs.composite.split(AT_ONCE), pairs.mask.split(AT_ONCE), strict=True)
    harmonized = [model(composite, mask).harmonized for composite, mask in stacks]
    model.train()
    return torch.cat(harmonized)


def score(harmonized: Float[Tensor, "B 3 H W"], pairs: PairBatch) -> dict[str, float]:
    """Mean fMSE of `harmonized` and of doing nothing, and the share of the pairs that came out better."""
    after, before = (foreground_errors(image, pairs.target, pairs.mask) for image in (harmonized, pairs.composite))
    return {
        "val_fmse": after.mean().item(),
        "val_composite_fmse": before.mean().item(),
        "val_do_no_harm": (after < before).float().mean().item(),
    }
