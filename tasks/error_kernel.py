"""Squared errors inside a mask, exact and fast: integers, blocks of pixels, without the GIL.

OpenCV sums whole images as fast as memory allows, and masked ones pixel by pixel; here the mask is widened to three values per pixel
instead, and the compiler does sixteen at a time.
"""

import numba
import numpy as np

BLOCK = 512  # px: a block without foreground is skipped; the sum of one fits 32 bits
_OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@numba.njit(**_OPTIONS)
def squared_error_inside(prediction, target, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The sum of squared differences where `mask >= 128`, and how many pixels that is; int64.

    prediction, target: uint8 (3 N,), a pixel's values side by side. mask: uint8 (N,).
    """
    wide = np.empty(3 * BLOCK, np.uint8)
    total = count = np.int64(0)
    for first in range(0, mask.shape[0], BLOCK):
        levels = mask[first : first + BLOCK]
        inside = _count(levels)
        if inside:
            count += inside
            _widen(levels, wide)
            total += _masked_sum(prediction[3 * first : 3 * (first + BLOCK)], target[3 * first : 3 * (first + BLOCK)], wide)
    return total, count


# Written with the width of every intermediate result: Numba's own promotion to 64 bits would keep the compiler from vectorising.


@numba.njit(**_OPTIONS)
def _count(levels):  # type: ignore[no-untyped-def]  # pragma: no cover
    count = np.int32(0)
    for x in range(levels.shape[0]):
        count = np.int32(count + np.int32(levels[x] >> 7))
    return count


@numba.njit(**_OPTIONS)
def _widen(levels, wide):  # type: ignore[no-untyped-def]  # pragma: no cover
    for x in range(levels.shape[0]):
        bits = np.uint8(255) if levels[x] >= 128 else np.uint8(0)
        wide[3 * x] = bits
        wide[3 * x + 1] = bits
        wide[3 * x + 2] = bits


@numba.njit(**_OPTIONS)
def _masked_sum(first, second, bits):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = np.int32(0)
    for j in range(first.shape[0]):
        difference = np.int16(np.int16(first[j] & bits[j]) - np.int16(second[j] & bits[j]))
        total = np.int32(total + np.int32(np.int32(difference) * np.int32(difference)))
    return total


@numba.njit(**_OPTIONS)
def softly_weighed_error(prediction, target, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The squared difference summed over channels, weighed by the mask's 0..255 levels; float64.

    prediction, target: (H, W, 3), any type. mask: uint8 (H, W).
    """
    total = 0.0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x]:
                pixel = 0.0
                for channel in range(3):
                    difference = np.float64(prediction[y, x, channel]) - np.float64(target[y, x, channel])
                    pixel += difference * difference
                total += mask[y, x] * pixel
    return total
