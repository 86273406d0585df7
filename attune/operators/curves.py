"""Tone curves: one piecewise-linear function per colour channel. Their torch form is `models.curves.Curves`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from attune.operators.operator import LUMA, Operator, Window, read_numbers

CHANNELS = ("red", "green", "blue")
CARRIED_KNOTS = 256  # of a curve for another encoding: exact at every 8-bit level


@dataclass(frozen=True)
class Curves(Operator):
    """Values at K equally spaced inputs, the first at 0 and the last at 1; `k / (K - 1)` is the identity."""

    name: ClassVar[str] = "curves"
    is_pointwise: ClassVar[bool] = True

    values: Float[np.ndarray, "3 K"]  # in [0, 1]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[0] != 3 or self.values.shape[1] < 2:
            raise ValueError(f"curves have shape {self.values.shape}; they must be 3 rows of at least 2 knots")
        if not (self.values.min() >= 0 and self.values.max() <= 1):
            raise ValueError(f"curves run from {self.values.min():g} to {self.values.max():g}; they must stay in [0, 1]")

    @classmethod
    def identity(cls, num_knots: int = 2) -> "Curves":
        """Curves that change nothing."""
        return cls(np.tile(np.linspace(0.0, 1.0, num_knots), (3, 1)))

    @classmethod
    def from_numbers(cls, numbers: np.ndarray, settings: Mapping[str, Any]) -> "Curves":
        del settings
        return cls(np.asarray(numbers, np.float64))

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str) -> "Curves":
        if set(value) != set(CHANNELS):
            raise ValueError(f"{name}: \"curves\" must hold {', '.join(CHANNELS)}")
        rows = [read_numbers(value[channel], f"{name}: curves.{channel}") for channel in CHANNELS]
        if len({len(row) for row in rows}) != 1:
            raise ValueError(f"{name}: the curves differ in length")
        return cls(np.array(rows))

    def to_json(self) -> dict[str, Any]:
        return dict(zip(CHANNELS, self.values.tolist(), strict=True))

    def scaled(self, strength: float) -> "Curves":
        """Straight from the identity, cut to [0, 1]."""
        if strength == 1:
            return self
        identity = np.linspace(0.0, 1.0, self.values.shape[1])
        return Curves(np.clip(identity + strength * (self.values - identity), 0.0, 1.0))

    def apply(self, pixels: Float[np.ndarray, "h w 3"], window: Window) -> Float[np.ndarray, "h w 3"]:
        del window
        knots = np.linspace(0.0, 1.0, self.values.shape[1])
        toned = [np.interp(pixels[..., channel], knots, curve) for channel, curve in enumerate(self.values)]
        return np.stack(toned, axis=-1).astype(pixels.dtype)

    def describe(self) -> str:
        moved = self.values - np.linspace(0.0, 1.0, self.values.shape[1])
        return f"curves move levels by {255 * moved.min():+.0f} to {255 * moved.max():+.0f} of 255"

    def for_grey(self) -> "Curves":
        """All channels get the curve by which the luma of the result would move."""
        if (self.values == self.values[0]).all():
            return self  # it does already, and must stay what it is to the last bit
        return Curves(np.tile(LUMA @ self.values, (3, 1)).clip(0.0, 1.0))

    def carried(self, tone: Float[np.ndarray, "3 N"]) -> "Curves":
        inputs, knots = np.linspace(0.0, 1.0, tone.shape[1]), np.linspace(0.0, 1.0, self.values.shape[1])
        at = np.linspace(0.0, 1.0, CARRIED_KNOTS)
        rows = [
            np.interp(np.interp(np.interp(at, inputs, own), knots, curve), own, inputs)
            for curve, own in zip(self.values, tone, strict=True)
        ]
        return Curves(np.stack(rows))


def curve_tables(curves: Float[np.ndarray, "3 K"], levels: int) -> Float[np.ndarray, "3 levels"]:
    """Each curve's value, in levels, for every input level: linear between the knots, exact at every level."""
    inputs, knots = np.linspace(0.0, 1.0, levels), np.linspace(0.0, 1.0, curves.shape[1])
    return np.stack([np.interp(inputs, knots, curve) for curve in curves]) * (levels - 1)
