"""An edit applied at full resolution, fast: curves as a table per channel, shading computed on the fly, blended by the soft mask.

The same arithmetic as `models.harmonizer.ParametricHarmonizer.render`, its witness: the shading map is the bicubic one itself, not
something near it. 8 and 16 bit. Memory beyond the result is a few rows per thread, whatever the image's size. Edits of a colour matrix,
curves and shading, or some of these in that order, are one pass of a compiled kernel; any other is applied operator by operator.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from attune.operators.color_matrix import IDENTITY, ColorMatrix
from attune.operators.curves import Curves, curve_tables
from attune.operators.operator import EditArrays, Window
from attune.operators.shading import Shading, bicubic_matrix
from attune.render_kernel import COMPILED, render_rows

STRIP_BYTES = 1 << 20  # of float32 that the forms without a kernel work on at once: what a core's cache holds
SERIES = tuple(1.0 / math.factorial(order) for order in range(9))
FUSED = (ColorMatrix, Curves, Shading)  # what the kernel does in one pass, in this order

Levels = UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"]
MaskLevels = UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]
PlateLevels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]  # of any size, whatever the picture's


def render_edit(image: Levels, mask: MaskLevels, edit: EditArrays, *, out: Levels | None = None, num_threads: int = 2) -> Levels:
    """`image` with `edit` applied to its foreground: `c + m * (edited(c) - c)`, rounded to nearest.

    image: sRGB-encoded, uint8 or uint16. mask: uint8 or uint16, its own full scale is foreground; where it is 0 the result is the image bit
    for bit. out: written and returned where given (C-contiguous), which saves a first touch of its memory; it may be the image itself,
    which saves the copying of what the mask excludes.
    Within 0.501 levels of exact arithmetic in 8 bit, 0.51 in 16 bit (behind a colour matrix, where curves are read between levels, as near
    as their bend within one level allows); equal for every number of threads.
    Raises ValueError if the shapes or types do not belong together.
    """
    _check(image, mask, out)
    result = np.empty(image.shape, image.dtype) if out is None else out
    image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
    height, width = mask.shape
    kinds = tuple(type(step) for step in edit.steps)
    is_fused = kinds == tuple(kind for kind in FUSED if kind in kinds)
    strip = max(1, STRIP_BYTES // (12 * width))
    if not is_fused or (not COMPILED and ColorMatrix in kinds):
        rows, work = strip, partial(_apply_strip, image, mask, result, edit)
    elif not COMPILED:
        rows, work = strip, partial(_render_strip, image, mask, result, _Plan.of(edit, mask.shape, image.dtype, mask.dtype))
    else:
        plan = _Plan.of(edit, mask.shape, image.dtype, mask.dtype)
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


@dataclass(frozen=True)
class _Plan:
    """What all rows share."""

    tables: np.ndarray  # (3, levels)
    rows: np.ndarray  # (height, grid): logits at each row and each column of the grid
    steps: np.ndarray  # (width,): how far a pixel lies between two columns of the grid, 0..1
    columns: np.ndarray  # (width, grid): weights of the grid's columns at each pixel, for the OpenCV form
    starts: np.ndarray  # (grid + 2,): where in a row each span between two columns begins; first and last lie beyond the grid
    series: np.ndarray
    numbers: np.ndarray  # darken?, limit, log limit, white, 1 / the mask's full scale, has a matrix?
    matrix: np.ndarray  # (3, 4), its last column in levels

    @staticmethod
    def of(edit: EditArrays, shape: tuple[int, int], dtype: np.dtype, mask_dtype: np.dtype) -> "_Plan":
        height, width = shape
        curves, shading = edit.find(Curves) or Curves.identity(), edit.find(Shading) or Shading.identity()
        matrix = edit.find(ColorMatrix)
        white = int(np.iinfo(dtype).max)
        real = np.float32 if dtype == np.uint8 else np.float64
        grid = shading.logits.shape[1]
        positions = (np.arange(width) + 0.5) * grid / width - 0.5
        spans = np.floor(positions).astype(np.int64)  # -1 .. grid - 1
        darken = shading.mode == "darken"
        log_limit = 0.0 if darken else math.log(shading.limit)
        logits = bicubic_matrix(height, len(shading.logits)) @ shading.logits
        return _Plan(
            tables=curve_tables(curves.values, white + 1).astype(real),
            rows=logits.astype(real),
            steps=(positions - spans).astype(real),
            columns=bicubic_matrix(width, grid).astype(real),
            starts=np.searchsorted(spans, np.arange(-1, grid + 1)),
            series=np.array(SERIES, real),
            numbers=np.array([darken, shading.limit, log_limit, white, 1.0 / np.iinfo(mask_dtype).max, matrix is not None], real),
            matrix=((IDENTITY if matrix is None else matrix.values) * (1, 1, 1, white)).astype(real),
        )

    def for_kernel(self) -> tuple[np.ndarray, ...]:
        return self.tables, self.rows, self.steps, self.starts, self.series, self.numbers, self.matrix


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


def _begin_strip(
    image: np.ndarray, mask: np.ndarray, out: np.ndarray, first: int, last: int
) -> tuple[slice, slice] | None:
    """Put rows `first` to `last` of `image` into `out`; the box of the mask in them, None where it is empty."""
    if not _is_same(out, image):
        out[first:last] = image[first:last]
    left, top, width, height = cv2.boundingRect((mask[first:last] > 0).view(np.uint8))
    return (slice(first + top, first + top + height), slice(left, left + width)) if width else None


# --- Without numba ----------------------------------------------------------------------------------------------------------------------


def _render_strip(  # noqa: PLR0917
    image: np.ndarray, mask: np.ndarray, out: np.ndarray, plan: _Plan, first: int, last: int
) -> None:
    """Rows `first` to `last` of the result by OpenCV and NumPy; the work stays inside the mask's box."""
    box = _begin_strip(image, mask, out, first, last)
    if box is None:
        return
    crop, white = image[box], float(plan.numbers[3])
    # Not NumPy's product: its threads, on top of ours, cost more than they do.
    smooth = cv2.gemm(plan.rows[box[0]], plan.columns[box[1]], 1.0, None, 0.0, flags=cv2.GEMM_2_T)
    if plan.numbers[0]:
        gain = plan.numbers[1] + (1 - plan.numbers[1]) / (1 + cv2.exp(-smooth))
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


# --- Operator by operator -----------------------------------------------------------------------------------------------------------------


def _apply_strip(  # noqa: PLR0917
    image: np.ndarray, mask: np.ndarray, out: np.ndarray, edit: EditArrays, first: int, last: int
) -> None:
    """Rows `first` to `last` of the result, each operator in its turn; the work stays inside the mask's box."""
    box = _begin_strip(image, mask, out, first, last)
    if box is None:
        return
    real, white = np.dtype(np.float32 if image.dtype == np.uint8 else np.float64), float(np.iinfo(image.dtype).max)
    crop, window = image[box].astype(real), Window(mask.shape[0], mask.shape[1], *box)
    pixels = np.asarray(crop / white, real)
    for step in edit.steps:
        pixels = step.apply(pixels, window)
    alpha = np.asarray(mask[box] / float(np.iinfo(mask.dtype).max), real)
    out[box] = np.rint(crop + alpha[..., None] * (pixels * white - crop)).astype(image.dtype)
