"""What is done to a batch before a network sees it: another framing, fresh composites by the frozen SycoNet, other recolourings.

Everything is a function of (seed, step), and happens in the reading threads on the CPU; SycoNet alone computes where it lives. Validation
never comes through here.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.harmonizer import blend
from models.lut import apply_lut
from models.syconet import SycoNet
from tasks.framing import draw_frames, resample
from tasks.loader import Decoded
from tasks.params import TrainData
from tasks.sample import CompositeBatch, PairBatch
from tasks.seeds import numpy_generator, torch_generator
from tasks.syconet_files import load_syconet
from tasks.training.fresh_composites import FreshComposites
from tasks.training.variety import draw_variety, vary


class BatchChanges:
    """The changes that `train.data` asks for. With `augmentation: dynamic` it holds the frozen SycoNet."""

    def __init__(
        self, section: TrainData, size: int, *, seed: int, syconet: SycoNet | None = None, fresh: FreshComposites | None = None,
        rank: int = 0,
    ) -> None:
        self.section, self.size, self.seed, self.syconet, self.fresh = section, size, seed, syconet, fresh
        self.own = (rank,) if rank else ()  # further ranks have random numbers of their own

    def pairs(self, decoded: Decoded, step: int) -> PairBatch:
        """The batch of a supervised step at `size`; with a SycoNet twice as long, the second half fresh composites of the first's
        targets.
        """
        section, rng = self.section, numpy_generator(self.seed, "jitter", step, *self.own)
        count = len(decoded.slots)
        frames = draw_frames(count, decoded.side, rng, smallest=section.smallest_crop)
        variety = draw_variety(section, count if self.syconet is None else 2 * count, self.size, rng)
        composite, mask, target = (
            resample(decoded.stacks[field], self.size, frames, decoded.slots, wanted=wanted)
            for field, wanted in (("composite", variety.given[:count]), ("mask", None), ("target", None))
        )
        batch = PairBatch(composite, mask, target)
        if self.syconet is not None:
            batch = with_fresh_composites(batch, self.syconet, torch_generator(self.seed, "syconet", step, *self.own))
        if self.fresh is None:
            return vary(batch, variety)
        rng, ids = numpy_generator(self.seed, "drawn", step, *self.own), np.concatenate([decoded.ids, decoded.ids])
        return vary(batch, variety, partial(self._redraw, ids=ids, rng=rng))

    def _redraw(self, target: np.ndarray, mask: np.ndarray, place: int, *, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.fresh is not None
        return self.fresh.draw(target, mask, int(ids[place]), rng)

    def composites(self, decoded: Decoded, step: int) -> CompositeBatch:
        """The batch of an adversarial step at `size`."""
        return mirrored_composites(decoded, self.size, numpy_generator(self.seed, "jitter", step, *self.own))


def mirrored_composites(decoded: Decoded, size: int, rng: np.random.Generator) -> CompositeBatch:
    """Real composites at `size`, mirrored half the time: their framing stays, so that both classes keep their resampling."""
    frames = draw_frames(len(decoded.slots), decoded.side, rng)
    return CompositeBatch(**{field: resample(stack, size, frames, decoded.slots) for field, stack in decoded.stacks.items()})


@torch.no_grad()
def with_fresh_composites(batch: PairBatch, syconet: SycoNet, generator: torch.Generator) -> PairBatch:
    """`batch`, and after it one more composite of each target: SycoNet's for a random code, at the batch's size.

    Soft edges are blended as shards' copies are; where the mask is 0 the composite is the target bit for bit.
    Source: Niu et al., ICCV 2023 (dynamic augmentation: one synthetic composite per original at each step).
    """
    size, codes = syconet.config.size, torch.randn(len(batch.mask), syconet.config.latent_dim, generator=generator)
    target, mask, codes = (stack.to(syconet.basis.device) for stack in (batch.target, batch.mask, codes))
    luts = syconet.generate(_squash(target, size), _squash(mask, size), codes)
    fresh = blend(apply_lut(target, luts).clamp(0, 1), mask, target).cpu()
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
