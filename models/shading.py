"""Shading: a smooth, low-frequency gain over the foreground."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from models.operators import TorchOperator

ShadingMode = Literal["darken", "symmetric"]

NO_SHADING: dict[ShadingMode, float] = {"darken": 20.0, "symmetric": 0.0}  # the logit whose gain is 1, exactly in float32


@dataclass(frozen=True)
class Shading(TorchOperator):
    """Gains from a grid of logits; see `shading_map`."""

    name: ClassVar[str] = "shading"
    is_pointwise: ClassVar[bool] = False

    grid: int  # cells per side
    mode: ShadingMode
    limit: float

    def __post_init__(self) -> None:
        check_shading_limit(self.mode, self.limit)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.grid, self.grid)

    def identity(self, like: Tensor) -> Float[Tensor, "1 1 g g"]:
        return like.new_full((1, *self.shape), NO_SHADING[self.mode])

    def apply(self, image: Float[Tensor, "B 3 H W"], numbers: Float[Tensor, "B 1 g g"]) -> Float[Tensor, "B 3 H W"]:
        return apply_shading(image, shading_map(numbers, image.shape[-2], image.shape[-1], mode=self.mode, limit=self.limit))

    def settings(self) -> dict[str, Any]:
        return {"mode": self.mode, "limit": self.limit}

    def portable(self, numbers: Float[Tensor, "B 1 g g"]) -> Float[Tensor, "B g g"]:
        return numbers[:, 0]


def shading_map(
    logits: Float[Tensor, "B 1 g g"], height: int, width: int, *, mode: ShadingMode, limit: float
) -> Float[Tensor, "B 1 {height} {width}"]:
    """The gain of every pixel of a `height` x `width` image, from a coarse grid of logits.

    mode "darken" (the paper's): gains in [limit, 1], `limit + (1 - limit) * sigmoid`, with 0 < limit < 1; +4 and more is nearly no change.
    mode "symmetric": gains in [1 / limit, limit], `limit ** tanh`, with limit > 1; logits of 0 are exactly no change.
    Convention: bicubic, cell centres at half pixels (`align_corners=False`), up first and squash after, so that the range holds whatever
    the interpolation overshoots. Raises ValueError if `limit` does not fit `mode`.
    Source: Wang et al., CVPR 2023 ("gain map"); the symmetric range is ours, because a composite may need light as well as shade.
    """
    check_shading_limit(mode, limit)
    with torch.autocast(logits.device.type, enabled=False):
        smooth = _along(logits, height) @ logits @ _along(logits, width).transpose(-1, -2)
    if mode == "darken":
        return limit + (1 - limit) * torch.sigmoid(smooth)
    return torch.exp(torch.tanh(smooth) * math.log(limit))


def _along(logits: Float[Tensor, "B 1 g g"], size: int) -> Float[Tensor, "1 1 {size} g"]:
    """Bicubic interpolation of the grid to `size` places along one axis, as a matrix: two products cost less than looking at each pixel."""
    cells = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device).unsqueeze(0)
    rows: Tensor = interpolate(cells.unsqueeze(3), size=(size, 1), mode="bicubic", align_corners=False)
    return rows.squeeze(3).transpose(1, 2).unsqueeze(0)


def check_shading_limit(mode: str, limit: float) -> None:
    """Raise ValueError unless `mode` is known and `limit` is in its range."""
    if mode not in ("darken", "symmetric"):
        raise ValueError(f"shading is {mode!r}; it must be 'darken' or 'symmetric'")
    if mode == "darken" and not 0 < limit < 1:
        raise ValueError(f"shading_limit is {limit:g}; with shading 'darken' it must be between 0 and 1")
    if mode == "symmetric" and not limit > 1:
        raise ValueError(f"shading_limit is {limit:g}; with shading 'symmetric' it must be more than 1")


def apply_shading(image: Float[Tensor, "B 3 H W"], shading: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 3 H W"]:
    """`image` times its gains, cut to [0, 1]: a gain above 1 saturates as a display does."""
    return (image * shading).clamp(0, 1)
