"""Shading: a smooth, low-frequency gain over the foreground. Its torch form is `models.shading.Shading`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, UInt16

from attune.files import write_bytes
from attune.operators.operator import Operator, Window, is_number, read_numbers
from attune.photo_writing import encode_png16

CUBIC = -0.75  # torch's bicubic kernel
MAX_EXPONENT = 8.0  # of the symmetric range: limits up to 2980
MAX_GRID = 1024
MOST_LOGIT = 30.0
WHITE = 65535
MAP = "shading.png"

ShadingMode = Literal["darken", "symmetric"]


@dataclass(frozen=True)
class Shading(Operator):
    """Logits on a coarse grid, interpolated bicubically and then squashed: to gains in [limit, 1] by "darken", in [1 / limit, limit] by
    "symmetric".
    """

    name: ClassVar[str] = "shading"
    is_pointwise: ClassVar[bool] = False

    logits: Float[np.ndarray, "g g"]
    mode: ShadingMode
    limit: float

    def __post_init__(self) -> None:
        check_shading_limit(self.mode, self.limit)
        if self.logits.ndim != 2 or min(self.logits.shape) < 1:
            raise ValueError(f"shading logits have shape {self.logits.shape}; they must be a grid")
        if not np.isfinite(self.logits).all():
            raise ValueError("shading logits are not all finite")
        if self.mode == "symmetric" and math.log(self.limit) > MAX_EXPONENT:
            raise ValueError(f"shading_limit is {self.limit:g}; rendering takes at most {math.exp(MAX_EXPONENT):.0f}")

    @classmethod
    def identity(cls, grid: int = 1) -> "Shading":
        """Shading that changes nothing."""
        return cls(np.zeros((grid, grid)), "symmetric", 2.0)

    @classmethod
    def from_numbers(cls, numbers: np.ndarray, settings: Mapping[str, Any]) -> "Shading":
        return cls(np.asarray(numbers, np.float64), settings["mode"], float(settings["limit"]))

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str) -> "Shading":
        if set(value) != {"mode", "limit", "logits"}:
            raise ValueError(f"{name}: \"shading\" must hold mode, limit and logits")
        limit, rows = value["limit"], value["logits"]
        if not is_number(limit) or not math.isfinite(limit):
            raise ValueError(f"{name}: shading.limit is {limit!r}; it must be a number")
        if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_GRID:
            raise ValueError(f"{name}: shading.logits must be a list of 1 to {MAX_GRID} rows")
        logits = [read_numbers(row, f"{name}: a row of shading.logits", MAX_GRID) for row in rows]
        if len({len(row) for row in logits}) != 1:
            raise ValueError(f"{name}: the rows of shading.logits differ in length")
        if value["mode"] not in ("darken", "symmetric"):
            raise ValueError(f"shading.mode is {value['mode']!r}; it must be 'darken' or 'symmetric'")
        return cls(np.array(logits), value["mode"], float(limit))

    def to_json(self) -> dict[str, Any]:
        return {"mode": self.mode, "limit": float(self.limit), "logits": self.logits.tolist()}

    def scaled(self, strength: float) -> "Shading":
        """A symmetric gain moves geometrically (`gain ** strength`: half the strength is half the stops), a darkening one by
        `1 - strength * (1 - gain)`.
        """
        if strength == 1:
            return self
        limit = self.limit**strength if self.mode == "symmetric" else 1 - strength * (1 - self.limit)
        if limit == 1:  # strength 0, or as good as
            return Shading(np.zeros_like(self.logits), "symmetric", 2.0)
        if limit <= 0:
            most = 1 / (1 - self.limit)
            raise ValueError(f"shading strength is {strength:g}; with gains down to {self.limit:g} it must be below {most:.3g}")
        return replace(self, limit=limit)

    def apply(self, pixels: Float[np.ndarray, "h w 3"], window: Window) -> Float[np.ndarray, "h w 3"]:
        gains = self.gains(window.height, window.width, window.rows, window.columns)
        return np.asarray(np.minimum(pixels * gains[..., None].astype(pixels.dtype), 1).astype(pixels.dtype))

    def gains(
        self, height: int, width: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Float[np.ndarray, "height width"]:
        """The gain of every pixel of a `height` x `width` image, float64; or of those `rows` and `columns` alone."""
        down, across = (bicubic_matrix(size, grid) for size, grid in zip((height, width), self.logits.shape, strict=True))
        smooth = down[rows] @ self.logits @ across[columns].T
        if self.mode == "darken":
            return np.asarray(self.limit + (1 - self.limit) * 0.5 * (1 + np.tanh(0.5 * smooth)))
        return np.asarray(np.exp(np.tanh(smooth) * math.log(self.limit)))

    def describe(self) -> str:
        gains = self.gains(*self.logits.shape)
        return f"shading multiplies by {gains.min():.2f} to {gains.max():.2f}"

    def carried(self, tone: Float[np.ndarray, "3 N"]) -> "Shading":
        """A gain in sRGB's encoding is a power of it in another: the one that fits at mid grey."""
        middle = float(np.mean([np.interp(0.5, np.linspace(0.0, 1.0, tone.shape[1]), own) for own in tone]))
        power = math.log(0.5) / math.log(middle)
        limit = self.limit**power
        if self.mode == "symmetric":
            return replace(self, limit=limit)
        gains = (self.limit + (1 - self.limit) / (1 + np.exp(-self.logits))) ** power
        share = np.clip((gains - limit) / (1 - limit), 1e-13, 1 - 1e-13)
        return replace(self, limit=limit, logits=np.clip(np.log(share / (1 - share)), -MOST_LOGIT, MOST_LOGIT))

    @property
    def scale(self) -> float:
        """What full scale of the exported picture means: the power of two that no gain exceeds."""
        return 1.0 if self.mode == "darken" else float(2.0 ** np.ceil(np.log2(self.limit)))

    def levels(self, height: int, width: int) -> UInt16[np.ndarray, "height width"]:
        """The gain of every pixel as `gain / scale`, full scale 65535, rounded to nearest."""
        return np.asarray(np.rint(self.gains(height, width) / self.scale * WHITE).astype(np.uint16))

    def export(self, folder: Path, height: int, width: int) -> tuple[dict[str, str], dict[str, Any]]:
        """`shading.png` holds `gain / shading_scale` in 16 bit."""
        write_bytes(folder / MAP, encode_png16(self.levels(height, width)))
        said = f"the shading, 16 bit, {width}x{height}; multiply by it and by {self.scale:g}"
        return {MAP: said}, {"shading_scale": self.scale, "shading_map": MAP}


def check_shading_limit(mode: str, limit: float) -> None:
    """Raise ValueError unless `mode` is known and `limit` is in its range: (0, 1) for "darken", above 1 for "symmetric"."""
    if mode not in ("darken", "symmetric"):
        raise ValueError(f"shading is {mode!r}; it must be 'darken' or 'symmetric'")
    if mode == "darken" and not 0 < limit < 1:
        raise ValueError(f"shading_limit is {limit:g}; with shading 'darken' it must be between 0 and 1")
    if mode == "symmetric" and not limit > 1:
        raise ValueError(f"shading_limit is {limit:g}; with shading 'symmetric' it must be more than 1")


def bicubic_matrix(size: int, grid: int) -> Float[np.ndarray, "size grid"]:
    """Weights of `grid` cells for each of `size` pixels: torch's bicubic interpolation, `align_corners=False`, the border repeated."""
    positions = (np.arange(size) + 0.5) * grid / size - 0.5
    base = np.floor(positions).astype(np.int64)
    t = positions - base
    a = CUBIC
    weights = (
        a * t**3 - 2 * a * t**2 + a * t, (a + 2) * t**3 - (a + 3) * t**2 + 1,
        -(a + 2) * t**3 + (2 * a + 3) * t**2 - a * t, -a * t**3 + a * t**2,
    )
    matrix = np.zeros((size, grid))
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        np.add.at(matrix, (np.arange(size), np.clip(base + offset, 0, grid - 1)), weight)
    return matrix
