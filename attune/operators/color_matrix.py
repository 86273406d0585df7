"""A colour matrix before the curves: it mixes channels, which curves cannot. Its torch form is `models.color_matrix.ColorMatrix`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from attune.operators.operator import LUMA, Operator, Window, read_numbers

IDENTITY = np.eye(3, 4)
MAX_ENTRY = 16.0


@dataclass(frozen=True)
class ColorMatrix(Operator):
    """`M @ (red, green, blue) + t`, cut to [0, 1]; rows [M | t], on encoded values. For pixels of another encoding than sRGB the same
    matrix is taken: no matrix does there exactly what it does in sRGB.
    """

    name: ClassVar[str] = "color_matrix"
    is_pointwise: ClassVar[bool] = True

    values: Float[np.ndarray, "3 4"]

    def __post_init__(self) -> None:
        if self.values.shape != (3, 4):
            raise ValueError(f"the colour matrix has shape {self.values.shape}; it must be 3 rows of 4")
        if not np.abs(self.values).max() <= MAX_ENTRY:
            raise ValueError(f"the colour matrix has entries up to {np.abs(self.values).max():g}; at most {MAX_ENTRY:g}")

    @classmethod
    def from_numbers(cls, numbers: np.ndarray, settings: Mapping[str, Any]) -> "ColorMatrix":
        del settings
        return cls(np.asarray(numbers, np.float64))

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str) -> "ColorMatrix":
        rows = value.get("rows")
        if set(value) != {"rows"} or not isinstance(rows, list) or len(rows) != 3:
            raise ValueError(f"{name}: \"color_matrix\" must hold 3 rows")
        numbers = [read_numbers(row, f"{name}: a row of color_matrix", 4) for row in rows]
        if {len(row) for row in numbers} != {4}:
            raise ValueError(f"{name}: rows of color_matrix must have 4 numbers")
        return cls(np.array(numbers))

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.values.tolist()}

    def scaled(self, strength: float) -> "ColorMatrix":
        """Straight from the identity."""
        return self if strength == 1 else ColorMatrix(IDENTITY + strength * (self.values - IDENTITY))

    def apply(self, pixels: Float[np.ndarray, "h w 3"], window: Window) -> Float[np.ndarray, "h w 3"]:
        del window
        mixed = pixels @ self.values[:, :3].T + self.values[:, 3]
        return np.asarray(mixed.clip(0.0, 1.0).astype(pixels.dtype))

    def describe(self) -> str:
        row = self.values[np.unravel_index(np.abs(self.values - IDENTITY).argmax(), (3, 4))[0]]
        return f"colour matrix, largest change in the row {', '.join(f'{entry:+.2f}' for entry in row)}"

    def for_grey(self) -> "ColorMatrix":
        """All rows become the one by which the luma of the result would move."""
        return self if (self.values == self.values[0]).all() else ColorMatrix(np.tile(LUMA @ self.values, (3, 1)))
