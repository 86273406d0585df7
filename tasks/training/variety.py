"""Fresh variety for pairs: foregrounds recoloured anew, invented regions, pairs that need no change, other light for whole photographs,
pictures made worse.

All of it is drawn before a batch is read, so that composites that will be replaced need not be made ready at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch.nn.functional import interpolate

from tasks.params import TrainData
from tasks.sample import PairBatch
from tasks.tones import Tones, apply_tones, draw_tones
from tasks.training.degradation import Degradation, degrade, draw_degradation

Redraw = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # target 3 H W, mask 1 H W, place in the batch -> composite 3 H W

SOFTEST, LEAST_SOFT = 2.0, 0.4  # px, sigma of a softened mask's edge
REGION_CELLS = 5  # of the noise that bounds an invented region: its features are about a fifth of the image
SMALLEST_REGION, LARGEST_REGION = 0.08, 0.58  # share of the image
REGION_SHARPNESS = 8.0  # slope of its edge, per standard deviation of the noise
LEVELS_SIDE = 32  # px: what a level covers is read off a coarse surface, as it is smooth


@dataclass(frozen=True)
class Variety:
    """What becomes of each sample of a batch.

    invented: the mask is a smooth random region. Such a region holds the same things inside as outside, so that what is right is plain to
    see; objects alone leave a model to guess what colour each of them had. untouched: a harmonizer must leave alone what already fits.
    whole: composite and target under one and the same tones, as if the photograph had been taken in other light. It keeps a model from
    recognising a photograph and recalling its colours: what stays is the relation of foreground and background.
    """

    recolored: Bool[np.ndarray, " B"]  # the composite is the target, under `tones` inside the mask
    redrawn: Bool[np.ndarray, " B"]  # the composite is drawn anew from the target
    invented: Bool[np.ndarray, " B"]  # the mask is the next one of `regions`; all of these are recoloured, redrawn or untouched
    untouched: Bool[np.ndarray, " B"]  # the composite is the target
    regions: Float32[np.ndarray, "R 1 size size"]
    softness: Float32[np.ndarray, " B"]  # px, sigma; 0: the mask stays
    tones: Tones
    whole: Tones | None
    wholly: Bool[np.ndarray, " B"]  # those that `whole` is for
    degradation: Degradation  # the same of composite and target

    @property
    def given(self) -> Bool[np.ndarray, " B"]:
        """Whose composites stay."""
        stay: np.ndarray = ~(self.recolored | self.redrawn | self.untouched)
        return stay


def draw_variety(section: TrainData, count: int, size: int, rng: np.random.Generator) -> Variety:
    """What `train.data` asks for, for a batch of `count` at `size`."""
    shares = np.array([section.jitter, section.region_share, section.natural_share])
    jittered, invented, untouched = rng.random((3, count)) < shares[:, None]
    whole = draw_tones(count, rng, strength=section.whole_jitter) if section.whole_jitter > 0 else None
    regions, tones = draw_regions(int(invented.sum()), size, rng), draw_tones(count, rng)
    redrawn, soft, wholly = rng.random((3, count)) < np.array([section.drawn.share, section.soft_share, section.whole_share])[:, None]
    softness = np.where(soft & ~invented, rng.uniform(LEAST_SOFT, SOFTEST, count), 0.0).astype(np.float32)
    return Variety(
        recolored=(jittered | invented) & ~redrawn & ~untouched, redrawn=redrawn & ~untouched, invented=invented, untouched=untouched,
        regions=regions, softness=softness, tones=tones, whole=whole, wholly=wholly,
        degradation=draw_degradation(section.degraded_share, count, rng),
    )


def vary(batch: PairBatch, variety: Variety, redraw: Redraw | None = None) -> PairBatch:
    """`batch` after what was drawn for it; `redraw` makes the composites that are drawn anew. The tensors are written to and given back."""
    composite, mask, target = (stack.numpy() for stack in (batch.composite, batch.mask, batch.target))
    mask[variety.invented] = variety.regions
    for place in np.flatnonzero(variety.softness).tolist():
        mask[place, 0] = cv2.GaussianBlur(mask[place, 0], (0, 0), float(variety.softness[place]))
    apply_tones(target, variety.tones, mask, places=np.flatnonzero(variety.recolored), result=composite)
    for place in np.flatnonzero(variety.redrawn).tolist():
        assert redraw is not None, "train.data.drawn.share is above 0"
        composite[place] = redraw(target[place], mask[place], place)
    composite[variety.untouched] = target[variety.untouched]
    if variety.whole is not None:
        for images in (composite, target):
            apply_tones(images, variety.whole, places=np.flatnonzero(variety.wholly), result=images)
    for images in (composite, target):
        degrade(images, mask, variety.degradation)
    return batch


def draw_regions(count: int, size: int, rng: np.random.Generator) -> Float32[np.ndarray, "count 1 size size"]:
    """Masks of smooth random regions, soft at the edge; each covers a random share of the image."""
    noise = rng.standard_normal((count, 1, REGION_CELLS, REGION_CELLS), dtype=np.float32)
    surfaces, coarse = (_spread(side) @ noise @ _spread(side).T for side in (size, LEVELS_SIDE))
    covered = rng.uniform(SMALLEST_REGION, LARGEST_REGION, count)
    ranked = np.sort(coarse.reshape(count, LEVELS_SIDE**2), axis=1)
    levels = ranked[np.arange(count), ((1 - covered) * (LEVELS_SIDE**2 - 1)).astype(int)].reshape(-1, 1, 1, 1)
    regions: np.ndarray = ((surfaces - levels) * np.float32(REGION_SHARPNESS) + np.float32(0.5)).clip(0.0, 1.0)
    return regions


@lru_cache(maxsize=4)
def _spread(size: int) -> Float32[np.ndarray, "size cells"]:
    """What makes `size` values of a row of cells, bicubically, the outer cells at both ends."""
    cells = torch.eye(REGION_CELLS).view(1, REGION_CELLS, REGION_CELLS, 1)
    return interpolate(cells, size=(size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T.contiguous().numpy()
