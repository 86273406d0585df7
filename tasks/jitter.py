"""Fresh variety for training batches, on the training device: other recolourings, other framings.

Each supervised step sees a share of its pairs with the foreground recoloured anew from the target, a share that needs no change, and
every batch in another framing. A share of 0 costs nothing.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from tasks.sample import CompositeBatch, PairBatch

LUMA = (0.299, 0.587, 0.114)
MIDDLE = 0.45  # the pivot of contrast: fixed, so that equal pixels change alike whatever else the image holds
REGION_CELLS = 5  # of the noise that bounds an invented region: its features are about a fifth of the image
SMALLEST_REGION, LARGEST_REGION = 0.08, 0.58  # share of the image
REGION_SHARPNESS = 8.0  # slope of its edge, per standard deviation of the noise


@dataclass(frozen=True)
class Tones:
    """Another light and tone per sample, drawn and not yet applied."""

    gamma: Float[Tensor, "B 3 1 1"]
    gain: Float[Tensor, "B 3 1 1"]
    contrast: Float[Tensor, "B 1 1 1"]
    saturation: Float[Tensor, "B 1 1 1"]
    angle: Float[Tensor, "B 1 1 1"]
    slope: Float[Tensor, "B 1 1 1"]  # 0 where there is no gradient

    def __getitem__(self, chosen: Tensor) -> "Tones":
        return Tones(*(values[chosen] for values in vars(self).values()))


def draw_tones(count: int, generator: torch.Generator, *, strength: float = 1.0) -> Tones:
    """Exposure, cast, gamma, contrast and saturation for `count` samples, and a linear gradient for a third of them."""

    def draw(columns: int, scale: float) -> Tensor:
        noise = torch.randn(count, columns, generator=generator) * (scale * strength)
        return noise.clamp(-2.5 * scale, 2.5 * scale).view(count, columns, 1, 1)

    gamma = torch.exp(draw(1, 0.35) + draw(3, 0.11))
    gain = torch.exp(draw(1, 0.18) + draw(3, 0.09))
    contrast, saturation = torch.exp(draw(1, 0.18)), torch.exp(draw(1, 0.25))
    angle, slope, chosen = torch.rand(3, count, 1, 1, 1, generator=generator)
    return Tones(gamma, gain, contrast, saturation, 2 * math.pi * angle, (chosen < 1 / 3) * (0.8 * strength * slope))


def recolor(image: Float[Tensor, "B 3 H W"], generator: torch.Generator, *, strength: float = 1.0) -> Float[Tensor, "B 3 H W"]:
    """`image` under another light and tone per sample: `draw_tones`, applied."""
    return apply_tones(image, draw_tones(len(image), generator, strength=strength))


def apply_tones(image: Float[Tensor, "B 3 H W"], tones: Tones) -> Float[Tensor, "B 3 H W"]:
    """`image` under its `tones`.

    image: sRGB-encoded in [0, 1]; so is the result. At strength 1 the squared difference on 600 photographs has 5/50/95 percentiles of
    112/825/5030 squared grey levels, a little below HFlickr's 229/1091/5399 so that mild composites are learned too. All work is in the
    encoded domain: this is a training augmentation, not a light model.
    """
    gamma, gain, contrast, saturation, angle, slope = (values.to(image.device) for values in vars(tones).values())
    weights = image.new_tensor(LUMA).view(1, 3, 1, 1)
    result = image.clamp_min(1e-4).pow(gamma).mul_(gain)
    result = result.sub_(MIDDLE).mul_(contrast).add_(MIDDLE)
    luma = (result * weights).sum(dim=1, keepdim=True)
    result = result.sub_(luma).mul_(saturation).add_(luma)
    return result.mul_(_gradient(image, angle, slope)).clamp_(0.0, 1.0)


def _gradient(image: Tensor, angle: Tensor, slope: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    rows = torch.linspace(-1, 1, height, device=image.device).view(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width, device=image.device).view(1, 1, 1, width)
    ramp = rows * torch.sin(angle) + columns * torch.cos(angle)
    return torch.exp(ramp * slope)


def recolor_foregrounds(batch: PairBatch, share: float, generator: torch.Generator) -> PairBatch:
    """`batch` with, for about `share` of its samples, the composite replaced by a fresh recolouring of the target inside the mask."""
    if share <= 0.0:
        return batch
    chosen = _choose(batch, share, generator)
    tones = draw_tones(len(batch.mask), generator)
    composite = batch.composite.clone()
    composite[chosen] = _recolored_inside(batch.target, batch.mask, tones, chosen)
    return replace(batch, composite=composite)


def invent_regions(batch: PairBatch, share: float, generator: torch.Generator) -> PairBatch:
    """`batch` with, for about `share` of its samples, another mask: a smooth random region of the target, recoloured.

    Such a region holds the same things inside as outside, so that what is right is plain to see; objects alone leave a model to guess
    what colour each of them had.
    """
    if share <= 0.0:
        return batch
    count = len(batch.mask)
    noise = torch.randn(count, 1, REGION_CELLS, REGION_CELLS, generator=generator)
    covered = SMALLEST_REGION + (LARGEST_REGION - SMALLEST_REGION) * torch.rand(count, generator=generator)
    tones = draw_tones(count, generator)
    chosen = _choose(batch, share, generator)
    mask, composite = batch.mask.clone(), batch.composite.clone()
    mask[chosen] = _regions(noise[chosen], covered[chosen], like=batch.mask)
    composite[chosen] = _recolored_inside(batch.target, mask, tones, chosen)
    return PairBatch(composite=composite, mask=mask, target=batch.target)


def _regions(noise: Float[Tensor, "N 1 c c"], covered: Float[Tensor, " N"], *, like: Tensor) -> Float[Tensor, "N 1 H W"]:
    """Smooth regions that follow `noise` and cover the share `covered` of the image."""
    height, width = like.shape[-2:]
    surface = interpolate(noise.to(like), size=(height, width), mode="bicubic", align_corners=True)
    ranked = surface.flatten(1).sort(dim=1).values
    level = ranked.gather(1, ((1 - covered) * (height * width - 1)).long().to(ranked.device)[:, None]).view(-1, 1, 1, 1)
    return ((surface - level) * REGION_SHARPNESS + 0.5).clamp(0.0, 1.0)


def undo_some(batch: PairBatch, share: float, generator: torch.Generator) -> PairBatch:
    """`batch` with, for about `share` of its samples, the target as composite too: a harmonizer must leave alone what already fits."""
    if share <= 0.0:
        return batch
    chosen = _choose(batch, share, generator)
    composite = batch.composite.clone()
    composite[chosen] = batch.target[chosen]
    return replace(batch, composite=composite)


def _recolored_inside(target: Tensor, mask: Tensor, tones: Tones, chosen: Tensor) -> Tensor:
    """The chosen targets, recoloured inside their masks."""
    targets, masks = target[chosen], mask[chosen]
    return masks * apply_tones(targets, tones[chosen]) + (1 - masks) * targets


def _choose(batch: PairBatch, share: float, generator: torch.Generator) -> Int[Tensor, " N"]:
    """The numbers of about `share` of the samples."""
    return (torch.rand(len(batch.mask), 1, 1, 1, generator=generator) < share).flatten().nonzero().flatten()


def recolor_wholes(batch: PairBatch, strength: float, generator: torch.Generator) -> PairBatch:
    """`batch` with composite and target under one and the same recolouring per sample, as if the photograph had been taken in other light.

    It keeps a model from recognising a photograph and recalling its colours: what stays is the relation of foreground and background.
    """
    if strength <= 0.0:
        return batch
    seed = int(torch.randint(2**62, (), generator=generator))
    tones = draw_tones(len(batch.mask), torch.Generator().manual_seed(seed), strength=strength)
    return PairBatch(composite=apply_tones(batch.composite, tones), mask=batch.mask, target=apply_tones(batch.target, tones))


def reframe_pairs(batch: PairBatch, size: int, generator: torch.Generator, *, smallest: float) -> PairBatch:
    """`batch` at `size`: cut to one random square of at least `smallest` of its side, mirrored half the time. Images must be square."""
    side, top, left, mirror = torch.rand(4, generator=generator).tolist()
    full = batch.mask.shape[-1]
    side = round(full * (smallest + (1 - smallest) * side))
    top, left = int(top * (full - side + 1)), int(left * (full - side + 1))

    def cut(stack: Tensor) -> Tensor:
        part = stack[..., top : top + side, left : left + side]
        return shrink(part.flip(-1) if mirror < 0.5 else part, size)

    return PairBatch(cut(batch.composite), cut(batch.mask), cut(batch.target))


def reframe_composites(batch: CompositeBatch, size: int, generator: torch.Generator) -> CompositeBatch:
    """`batch` at `size`, mirrored half the time: the framing of real composites stays, so that both classes keep their resampling."""
    mirror = torch.rand((), generator=generator).item() < 0.5
    return CompositeBatch(*(shrink(stack.flip(-1) if mirror else stack, size) for stack in vars(batch).values()))


def shrink(stack: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C size size"]:
    """`stack` resampled to `size` square: averages over areas downwards, bilinear upwards."""
    side = stack.shape[-1]
    if stack.shape[-2:] == (size, size):
        return stack
    if side > size:
        return interpolate(stack, size=(size, size), mode="area")
    return interpolate(stack, size=(size, size), mode="bilinear", align_corners=False)
