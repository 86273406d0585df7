"""What is done to a batch before a network sees it: another framing, fresh composites by the frozen SycoNet, other recolourings.

Everything is a function of (seed, step), on the training device. Validation never comes through here.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.harmonizer import blend
from models.lut import apply_lut
from models.syconet import SycoNet
from tasks import jitter
from tasks.params import Train
from tasks.sample import CompositeBatch, PairBatch
from tasks.seeds import torch_generator
from tasks.syconet_files import load_syconet


class BatchChanges:
    """The changes that `train` asks for. With `train.augmentation: dynamic` it holds the frozen SycoNet."""

    def __init__(self, section: Train, seed: int, syconet: SycoNet | None = None, *, rank: int = 0) -> None:
        self.section, self.seed, self.syconet = section, seed, syconet
        self.own = (rank,) if rank else ()  # further ranks have random numbers of their own

    def pairs(self, batch: PairBatch, step: int) -> PairBatch:
        """The batch of a supervised step at `train.size`; with a SycoNet twice as long, the second half fresh composites of the first's
        targets.
        """
        section, generator = self.section, torch_generator(self.seed, "jitter", step, *self.own)
        batch = jitter.reframe_pairs(batch, section.size, generator, smallest=section.smallest_crop)
        if self.syconet is not None:
            batch = with_fresh_composites(batch, self.syconet, torch_generator(self.seed, "syconet", step, *self.own))
        batch = jitter.recolor_foregrounds(batch, section.jitter, generator)
        batch = jitter.invent_regions(batch, section.region_share, generator)
        batch = jitter.undo_some(batch, section.natural_share, generator)
        return jitter.recolor_wholes(batch, section.whole_jitter, generator)

    def composites(self, batch: CompositeBatch, step: int) -> CompositeBatch:
        """The batch of an adversarial step at `train.size`."""
        return jitter.reframe_composites(batch, self.section.size, torch_generator(self.seed, "jitter", step, *self.own))


@torch.no_grad()
def with_fresh_composites(batch: PairBatch, syconet: SycoNet, generator: torch.Generator) -> PairBatch:
    """`batch`, and after it one more composite of each target: SycoNet's for a random code, at the batch's size.

    Soft edges are blended as shards' copies are; where the mask is 0 the composite is the target bit for bit.
    Source: Niu et al., ICCV 2023 (dynamic augmentation: one synthetic composite per original at each step).
    """
    codes = torch.randn(len(batch.mask), syconet.config.latent_dim, generator=generator).to(batch.target)
    luts = syconet.generate(_squash(batch.target, syconet.config.size), _squash(batch.mask, syconet.config.size), codes)
    fresh = blend(apply_lut(batch.target, luts).clamp(0, 1), batch.mask, batch.target)
    return PairBatch(
        composite=torch.cat([batch.composite, fresh]), mask=torch.cat([batch.mask, batch.mask]),
        target=torch.cat([batch.target, batch.target]),
    )


def load_frozen_syconet(folder: Path, device: torch.device) -> SycoNet:
    """The SycoNet of `folder` for evaluation on `device`; nothing learns through it. Raises ValueError naming the file if it is missing."""
    model, _ = load_syconet(folder)
    return model.to(device).requires_grad_(False)


def _squash(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    return interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
