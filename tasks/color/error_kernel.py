"""Squared errors of a whole image and inside its mask, exact and fast: one pass over blocks of integers, without the GIL.

The mask is widened to three values per pixel, so that the compiler handles sixteen values at a time instead of a pixel.
"""

import numba
import numpy as np

from attune.foreground import FOREGROUND_LEVEL

_LEVEL = np.uint8(FOREGROUND_LEVEL)  # of the masks' own width, so that the compiler can vectorise
BLOCK = 1024  # px: the sum of one fits 32 bits; one without foreground is summed once, not twice
_OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@numba.njit(**_OPTIONS)
def squared_error_sums(prediction, target, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The sum of squared differences, the same where `mask >= FOREGROUND_LEVEL`, and how many pixels that is; int64.

    prediction, target: uint8 (3 N,), a pixel's values side by side. mask: uint8 (N,).
    """
    wide = np.empty(3 * BLOCK, np.uint8)
    total = inside = count = np.int64(0)
    for start in range(0, mask.shape[0], BLOCK):
        levels = mask[start : start + BLOCK]
        first, second = prediction[3 * start : 3 * (start + BLOCK)], target[3 * start : 3 * (start + BLOCK)]
        covered = _count(levels)
        if covered:
            count += covered
            _widen(levels, wide)
            every, chosen = _two_sums(first, second, wide)
            total += every
            inside += chosen
        else:
            total += _sum(first, second)
    return total, inside, count


# Written with the width of every intermediate result: Numba's own promotion to 64 bits would keep the compiler from vectorising.


@numba.njit(**_OPTIONS)
def _count(levels):  # type: ignore[no-untyped-def]  # pragma: no cover
    count = np.int32(0)
    for x in range(levels.shape[0]):
        count = np.int32(count + np.int32(levels[x] >= _LEVEL))
    return count


@numba.njit(**_OPTIONS)
def _widen(levels, wide):  # type: ignore[no-untyped-def]  # pragma: no cover
    for x in range(levels.shape[0]):
        bits = np.uint8(255) if levels[x] >= _LEVEL else np.uint8(0)
        wide[3 * x] = bits
        wide[3 * x + 1] = bits
        wide[3 * x + 2] = bits


@numba.njit(**_OPTIONS)
def _sum(first, second):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = np.int32(0)
    for j in range(first.shape[0]):
        difference = np.int16(np.int16(first[j]) - np.int16(second[j]))
        total = np.int32(total + np.int32(np.int32(difference) * np.int32(difference)))
    return total


@numba.njit(**_OPTIONS)
def _two_sums(first, second, bits):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = inside = np.int32(0)
    for j in range(first.shape[0]):
        difference = np.int16(np.int16(first[j]) - np.int16(second[j]))
        chosen = np.int16(difference & np.int16(np.int8(bits[j])))
        total = np.int32(total + np.int32(np.int32(difference) * np.int32(difference)))
        inside = np.int32(inside + np.int32(np.int32(chosen) * np.int32(chosen)))
    return total, inside


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
