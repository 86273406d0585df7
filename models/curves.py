"""Tone curves: one piecewise-linear function per colour channel."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from models.operators import TorchOperator


@dataclass(frozen=True)
class Curves(TorchOperator):
    """A curve of `num_knots` knots for each channel; see `apply_curves`."""

    name: ClassVar[str] = "curves"

    num_knots: int
    half_pixel: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.num_knots)

    def identity(self, like: Tensor) -> Float[Tensor, "1 3 K"]:
        return identity_curves(self.num_knots, like=like)

    def apply(self, image: Float[Tensor, "B 3 H W"], numbers: Float[Tensor, "B 3 K"]) -> Float[Tensor, "B 3 H W"]:
        return apply_curves(image, numbers, half_pixel=self.half_pixel)

    def portable(self, numbers: Float[Tensor, "B 3 K"]) -> Float[Tensor, "B 3 L"]:
        """Curves with knots at half pixels are flat beyond them: twice as many spans, and one, hold the same curve."""
        if not self.half_pixel:
            return numbers
        first, last = numbers[..., :1], numbers[..., -1:]
        between = (numbers[..., 1:] + numbers[..., :-1]) / 2
        return torch.cat([first, torch.stack([numbers[..., :-1], between], dim=-1).flatten(-2), last, last], dim=-1)


def identity_curves(num_knots: int, *, like: Tensor) -> Float[Tensor, "1 3 K"]:
    """The curves that leave an image unchanged, of `like`'s dtype and device."""
    return torch.linspace(0, 1, num_knots, dtype=like.dtype, device=like.device).expand(1, 3, num_knots)


def scaled_cosines(num_knots: int) -> Float[Tensor, "K K"]:
    """The orthogonal cosines over K knots as rows, coarse first, row j scaled by `1 / (1 + j)`: equal steps of the coefficients shift a
    curve before they bend it."""
    knots = (torch.arange(num_knots) + 0.5) / num_knots
    orders = torch.arange(num_knots).unsqueeze(1)
    return torch.cos(math.pi * orders * knots) / (1 + orders)


def apply_curves(image: Float[Tensor, "B 3 H W"], curves: Float[Tensor, "B 3 K"], *, half_pixel: bool = False) -> Float[Tensor, "B 3 H W"]:
    """Pass each channel of `image` through its own tone curve.

    image: sRGB-encoded in [0, 1]; values outside take the end knots'.
    curves: values at K equally spaced inputs, first at 0 and last at 1; `k / (K - 1)` is the identity.
    half_pixel: knot k at `(k + 0.5) / K` instead and flat beyond the end knots, so that no knots give an exact identity: the convention of
    the published PIH checkpoint (grid_sample with `align_corners=False` and border padding), wanted for that file only.
    Differentiable in both arguments; time and memory grow with the pixels, not with K. Raises ValueError if K < 2.
    Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023.
    """
    num_knots = curves.shape[-1]
    if num_knots < 2:
        raise ValueError(f"curves need at least 2 knots, not {num_knots}")
    position = image * num_knots - 0.5 if half_pixel else image * (num_knots - 1)
    position = position.clamp(0, num_knots - 1)
    lower = position.detach().floor().clamp(max=num_knots - 2)
    index = lower.long().flatten(2)
    left, right = curves.gather(2, index), curves.gather(2, index + 1)
    return torch.lerp(left, right, (position - lower).flatten(2).to(curves.dtype)).view_as(image)
