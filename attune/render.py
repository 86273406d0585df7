"""An edit applied at full resolution, fast: curves as a table per channel, shading computed on the fly, blended by the soft mask.

The same arithmetic as `models.harmonizer.ParametricHarmonizer.render`, its witness: the shading map is the bicubic one itself, not
something near it. 8 and 16 bit. Memory beyond the result is a few rows per thread, whatever the image's size.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from attune.render_kernel import COMPILED, render_rows

CUBIC = -0.75  # torch's bicubic kernel
STRIP_BYTES = 1 << 20  # of float32 that the OpenCV form works on at once: what a core's cache holds
MAX_EXPONENT = 8.0  # of the symmetric range: limits up to 2980
SERIES = tuple(1.0 / math.factorial(order) for order in range(9))

Levels = UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"]
MaskLevels = UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]
ShadingMode = Literal["darken", "symmetric"]


@dataclass(frozen=True)
class EditArrays:
    """An edit of one image, without torch."""

    curves: Float[np.ndarray, "3 K"]  # in [0, 1], at K equally spaced inputs, as `models.curves.apply_curves` takes them
    shading_logits: Float[np.ndarray, "g g"]  # as `models.shading.shading_map` takes them
    shading: ShadingMode
    shading_limit: float

    def __post_init__(self) -> None:
        check_shading_limit(self.shading, self.shading_limit)
        if self.curves.ndim != 2 or self.curves.shape[0] != 3 or self.curves.shape[1] < 2:
            raise ValueError(f"curves have shape {self.curves.shape}; they must be 3 rows of at least 2 knots")
        if not (self.curves.min() >= 0 and self.curves.max() <= 1):
            raise ValueError(f"curves run from {self.curves.min():g} to {self.curves.max():g}; they must stay in [0, 1]")
        if self.shading_logits.ndim != 2 or min(self.shading_logits.shape) < 1:
            raise ValueError(f"shading_logits have shape {self.shading_logits.shape}; they must be a grid")
        if not np.isfinite(self.shading_logits).all():
            raise ValueError("shading_logits are not all finite")
        if self.shading == "symmetric" and math.log(self.shading_limit) > MAX_EXPONENT:
            raise ValueError(f"shading_limit is {self.shading_limit:g}; rendering takes at most {math.exp(MAX_EXPONENT):.0f}")


def check_shading_limit(mode: str, limit: float) -> None:
    """Raise ValueError unless `mode` is known and `limit` is in its range: (0, 1) for "darken", above 1 for "symmetric"."""
    if mode not in ("darken", "symmetric"):
        raise ValueError(f"shading is {mode!r}; it must be 'darken' or 'symmetric'")
    if mode == "darken" and not 0 < limit < 1:
        raise ValueError(f"shading_limit is {limit:g}; with shading 'darken' it must be between 0 and 1")
    if mode == "symmetric" and not limit > 1:
        raise ValueError(f"shading_limit is {limit:g}; with shading 'symmetric' it must be more than 1")


def render_edit(image: Levels, mask: MaskLevels, edit: EditArrays, *, out: Levels | None = None, num_threads: int = 2) -> Levels:
    """`image` with `edit` applied to its foreground: `c + m * (min(curve(c) * gain, white) - c)`, rounded to nearest.

    image: sRGB-encoded, uint8 or uint16. mask: uint8 or uint16, its own full scale is foreground; where it is 0 the result is the image bit
    for bit. out: written and returned where given (C-contiguous), which saves a first touch of its memory; it may be the image itself,
    which saves the copying of what the mask excludes.
    Within 0.501 levels of exact arithmetic in 8 bit, 0.51 in 16 bit; equal for every number of threads.
    Raises ValueError if the shapes or types do not belong together.
    """
    _check(image, mask, out)
    result = np.empty(image.shape, image.dtype) if out is None else out
    image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
    height, width = mask.shape
    plan = _Plan.of(edit, mask.shape, image.dtype, mask.dtype)
    if not COMPILED:
        rows = max(1, STRIP_BYTES // (12 * width))
        work = partial(_render_strip, image, mask, result, plan, edit)
    else:
        rows = -(-height // (4 * max(1, num_threads)))  # more tiles than threads: a mask may lie in one half
        flat = image.reshape(height, -1), mask, result.reshape(height, -1)
        work = partial(render_rows, *flat, *plan.for_kernel(), _is_same(result, image))
    tiles = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    if num_threads <= 1 or len(tiles) == 1:
        for tile in tiles:
            work(*tile)
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            for future in [pool.submit(work, *tile) for tile in tiles]:
                future.result()
    return result


def curve_tables(curves: Float[np.ndarray, "3 K"], levels: int) -> Float[np.ndarray, "3 levels"]:
    """Each curve's value, in levels, for every input level: linear between the knots, exact at every level."""
    inputs, knots = np.linspace(0.0, 1.0, levels), np.linspace(0.0, 1.0, curves.shape[1])
    return np.stack([np.interp(inputs, knots, curve) for curve in curves]) * (levels - 1)


def shading_gains(edit: EditArrays, height: int, width: int) -> Float[np.ndarray, "height width"]:
    """The gain of every pixel of a `height` x `width` image, float64: `models.shading.shading_map` in NumPy."""
    logits = _bicubic_matrix(height, edit.shading_logits.shape[0]) @ edit.shading_logits
    smooth = logits @ _bicubic_matrix(width, edit.shading_logits.shape[1]).T
    if edit.shading == "darken":
        return np.asarray(edit.shading_limit + (1 - edit.shading_limit) * 0.5 * (1 + np.tanh(0.5 * smooth)))
    return np.asarray(np.exp(np.tanh(smooth) * math.log(edit.shading_limit)))


@dataclass(frozen=True)
class _Plan:
    """What all rows share."""

    tables: np.ndarray  # (3, levels)
    rows: np.ndarray  # (height, grid): logits at each row and each column of the grid
    steps: np.ndarray  # (width,): how far a pixel lies between two columns of the grid, 0..1
    columns: np.ndarray  # (width, grid): weights of the grid's columns at each pixel, for the OpenCV form
    starts: np.ndarray  # (grid + 2,): where in a row each span between two columns begins; first and last lie beyond the grid
    series: np.ndarray
    numbers: np.ndarray  # darken?, limit, log limit, white, 1 / the mask's full scale

    @staticmethod
    def of(edit: EditArrays, shape: tuple[int, int], dtype: np.dtype, mask_dtype: np.dtype) -> "_Plan":
        height, width = shape
        white = int(np.iinfo(dtype).max)
        real = np.float32 if dtype == np.uint8 else np.float64
        grid = edit.shading_logits.shape[1]
        positions = (np.arange(width) + 0.5) * grid / width - 0.5
        spans = np.floor(positions).astype(np.int64)  # -1 .. grid - 1
        darken = edit.shading == "darken"
        log_limit = 0.0 if darken else math.log(edit.shading_limit)
        logits = _bicubic_matrix(height, len(edit.shading_logits)) @ edit.shading_logits
        return _Plan(
            tables=curve_tables(edit.curves, white + 1).astype(real),
            rows=logits.astype(real),
            steps=(positions - spans).astype(real),
            columns=_bicubic_matrix(width, grid).astype(real),
            starts=np.searchsorted(spans, np.arange(-1, grid + 1)),
            series=np.array(SERIES, real),
            numbers=np.array([darken, edit.shading_limit, log_limit, white, 1.0 / np.iinfo(mask_dtype).max], real),
        )

    def for_kernel(self) -> tuple[np.ndarray, ...]:
        return self.tables, self.rows, self.steps, self.starts, self.series, self.numbers


def _bicubic_matrix(size: int, grid: int) -> Float[np.ndarray, "size grid"]:
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


def _check(image: np.ndarray, mask: np.ndarray, out: np.ndarray | None) -> None:
    if image.dtype not in (np.uint8, np.uint16) or mask.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"image is {image.dtype} and mask {mask.dtype}; both must be uint8 or uint16")
    if image.shape != (*mask.shape, 3) or mask.size == 0:
        raise ValueError(f"image {image.shape} and mask {mask.shape} do not belong together")
    if out is None:
        return
    if out.shape != image.shape or out.dtype != image.dtype or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}; it must be {image.dtype} {image.shape} and C-contiguous")
    if np.may_share_memory(out, image) and not _is_same(out, image):
        raise ValueError("out overlaps the image; it must be the image itself or have memory of its own")


def _is_same(out: np.ndarray, image: np.ndarray) -> bool:
    """Whether both are one memory, element by element."""
    return bool(out.ctypes.data == image.ctypes.data and out.strides == image.strides)


# --- Without numba ----------------------------------------------------------------------------------------------------------------------


def _render_strip(  # noqa: PLR0917
    image: np.ndarray, mask: np.ndarray, out: np.ndarray, plan: _Plan, edit: EditArrays, first: int, last: int
) -> None:
    """Rows `first` to `last` of the result by OpenCV and NumPy; the work stays inside the mask's box."""
    if not _is_same(out, image):
        out[first:last] = image[first:last]
    left, top, width, height = cv2.boundingRect((mask[first:last] > 0).view(np.uint8))
    if not width:
        return
    box = (slice(first + top, first + top + height), slice(left, left + width))
    crop, white = image[box], float(plan.numbers[3])
    # Not NumPy's product: its threads, on top of ours, cost more than they do.
    smooth = cv2.gemm(plan.rows[box[0]], plan.columns[box[1]], 1.0, None, 0.0, flags=cv2.GEMM_2_T)
    if edit.shading == "darken":
        gain = edit.shading_limit + (1 - edit.shading_limit) / (1 + cv2.exp(-smooth))
    else:
        gain = cv2.exp((1 - 2 / (1 + cv2.exp(2 * smooth))) * plan.numbers[2])  # the tanh, faster than NumPy's
    if crop.dtype == np.uint8:
        toned = cv2.LUT(crop, np.ascontiguousarray(plan.tables.T)[None].reshape(1, 256, 3))
    else:
        toned = np.stack([np.take(table, crop[..., channel]) for channel, table in enumerate(plan.tables)], axis=2)
    real = toned.dtype
    shaded = cv2.multiply(toned, cv2.merge([gain.astype(real, copy=False)] * 3))
    np.minimum(shaded, real.type(white), out=shaded)
    alpha = mask[box].astype(real)
    alpha *= real.type(1 / np.iinfo(mask.dtype).max)
    depth = cv2.CV_32F if real == np.float32 else cv2.CV_64F
    change = cv2.multiply(cv2.subtract(shaded, crop, dtype=depth), cv2.merge([alpha] * 3))
    out[box] = cv2.add(crop, change, dtype=cv2.CV_8U if crop.dtype == np.uint8 else cv2.CV_16U)  # rounds to nearest
