"""A colour matrix: it mixes channels, which curves per channel cannot, and so brings back a colour that a cast has taken."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from models.operators import TorchOperator


@dataclass(frozen=True)
class ColorMatrix(TorchOperator):
    """Rows [M | t] of a 3 x 4 matrix on encoded values: `M @ (red, green, blue) + t`, cut to [0, 1]."""

    name: ClassVar[str] = "color_matrix"

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, 4)

    def identity(self, like: Tensor) -> Float[Tensor, "1 3 4"]:
        return torch.eye(3, 4, dtype=like.dtype, device=like.device).unsqueeze(0)

    def apply(self, image: Float[Tensor, "B 3 H W"], numbers: Float[Tensor, "B 3 4"]) -> Float[Tensor, "B 3 H W"]:
        mixed = torch.einsum("brc,bchw->brhw", numbers[..., :3], image.to(numbers.dtype)) + numbers[..., 3, None, None]
        return mixed.clamp(0, 1)
