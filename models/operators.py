"""What every operator of an edit is in torch: the shape of its numbers, no change, and what it does to a picture.

Its form for files of any size and depth, with JSON and exports, is of the same name in `attune.operators`.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor


class TorchOperator(ABC):
    """One operator of a harmonizer's edit; its fields are what is fixed of it."""

    name: ClassVar[str]
    is_pointwise: ClassVar[bool] = True  # whether a pixel's result depends on its own colour alone

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the numbers that a network predicts for one picture."""

    @abstractmethod
    def identity(self, like: Tensor) -> Float[Tensor, "1 ..."]:
        """The numbers that change nothing, of `like`'s dtype and device."""

    @abstractmethod
    def apply(self, image: Float[Tensor, "B 3 H W"], numbers: Float[Tensor, "B ..."]) -> Float[Tensor, "B 3 H W"]:
        """`image`, sRGB-encoded in [0, 1], under the numbers of each; in [0, 1] again. Differentiable in both."""

    def settings(self) -> dict[str, Any]:
        """What the other form needs to know beside the numbers, as JSON values."""
        return {}

    def portable(self, numbers: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """The numbers as the other form takes them."""
        return numbers
