"""Windowed structural similarity, every sum that a metric wants from one pass: float64, row by row, without the GIL.

Rows are filtered along x into a ring of eleven, and the ring along y, so that memory grows with the width alone. Only four windowed
quantities are needed, not five: the formula holds the two variances as a sum.
Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", TIP 2004.
"""

import math

import numba
import numpy as np
from jaxtyping import Float, UInt8

from attune.foreground import FOREGROUND_LEVEL

RADIUS = 5  # px: the 11 x 11 window
SIGMA = 1.5  # px
SIDE = 2 * RADIUS + 1
K1, K2 = 0.01, 0.03

_HALF = [math.exp(-0.5 * (step / SIGMA) ** 2) for step in range(RADIUS + 1)]
_W0, _W1, _W2, _W3, _W4, _W5 = (weight / (_HALF[0] + 2 * sum(_HALF[1:])) for weight in _HALF)
_PAD = 3 * RADIUS  # of a row with three values per pixel
_OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}


def similarity_sums(
    prediction: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"],
    target: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"],
    mask: UInt8[np.ndarray, "H W"],
    *,
    data_range: float,
) -> tuple[float, float, float]:
    """Sums of the similarity of every pixel and channel: over the interior, over the foreground, and over all weighted by `mask / 255`.

    The interior leaves out a border of `RADIUS` px. Windows at the border see the image mirrored, its edge repeated: d c b a | a b c d.
    prediction, target: of one dtype. Images smaller than the window: ValueError.
    """
    height, width = mask.shape
    if min(height, width) < SIDE:
        raise ValueError(f"images of {width}x{height} px are smaller than the {SIDE} px window of the structural similarity")
    rows = [np.ascontiguousarray(image).reshape(height, -1) for image in (prediction, target)]
    interior, hard, soft = _sums(*rows, np.ascontiguousarray(mask), (K1 * data_range) ** 2, (K2 * data_range) ** 2)
    return interior, hard, soft / 255.0


@numba.njit(**_OPTIONS)
def _sums(first, second, mask, c1, c2):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, length = first.shape
    padded, ring = np.empty((4, length + 2 * _PAD)), np.empty((SIDE, 4, length))
    windowed, similarity = np.empty((4, length)), np.empty(length)
    interior = hard = soft = 0.0
    for row in range(-RADIUS, height + RADIUS):
        source = -1 - row if row < 0 else (2 * height - 1 - row if row >= height else row)
        _quantities(first[source], second[source], padded)
        last = row + RADIUS
        for which in range(4):
            _along_x(padded[which], ring[last % SIDE, which])
        y = row - RADIUS
        if y < 0:
            continue
        _along_y(ring, last, windowed)
        _similarity(windowed, similarity, c1, c2)
        if RADIUS <= y < height - RADIUS:
            interior += _total(similarity[_PAD : length - _PAD])
        for x in range(mask.shape[1]):
            if mask[y, x]:
                pixel = similarity[3 * x] + similarity[3 * x + 1] + similarity[3 * x + 2]
                soft += mask[y, x] * pixel
                if mask[y, x] >= FOREGROUND_LEVEL:
                    hard += pixel
    return interior, hard, soft


@numba.njit(**_OPTIONS)
def _quantities(first, second, padded):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Rows of a, b, a^2 + b^2 and a b, mirrored at both ends."""
    length = first.shape[0]
    a_row, b_row, squares, products = padded[0], padded[1], padded[2], padded[3]
    for j in range(length):
        a, b = np.float64(first[j]), np.float64(second[j])
        a_row[j + _PAD] = a
        b_row[j + _PAD] = b
        squares[j + _PAD] = a * a + b * b
        products[j + _PAD] = a * b
    for which in range(4):
        for step in range(RADIUS):
            for channel in range(3):
                padded[which, (RADIUS - 1 - step) * 3 + channel] = padded[which, (RADIUS + step) * 3 + channel]
                padded[which, length + _PAD + step * 3 + channel] = padded[which, length + _PAD - (step + 1) * 3 + channel]


@numba.njit(**_OPTIONS)
def _along_x(row, result):  # type: ignore[no-untyped-def]  # pragma: no cover
    for j in range(result.shape[0]):  # written out, so that the compiler vectorises over j
        near = _W0 * row[j + 15] + _W1 * (row[j + 12] + row[j + 18]) + _W2 * (row[j + 9] + row[j + 21])
        far = _W3 * (row[j + 6] + row[j + 24]) + _W4 * (row[j + 3] + row[j + 27]) + _W5 * (row[j] + row[j + 30])
        result[j] = near + far


@numba.njit(**_OPTIONS)
def _along_y(ring, last, windowed):  # type: ignore[no-untyped-def]  # pragma: no cover
    for which in range(4):
        # In two halves: with eleven rows at once the compiler gives up proving that they do not overlap the result.
        _near(
            ring[(last - 5) % SIDE, which], ring[(last - 4) % SIDE, which], ring[(last - 6) % SIDE, which],
            ring[(last - 3) % SIDE, which], ring[(last - 7) % SIDE, which], windowed[which],
        )
        _far(
            ring[(last - 2) % SIDE, which], ring[(last - 8) % SIDE, which], ring[(last - 1) % SIDE, which],
            ring[(last - 9) % SIDE, which], ring[last % SIDE, which], ring[(last - 10) % SIDE, which], windowed[which],
        )


@numba.njit(**_OPTIONS)
def _near(centre, down1, up1, down2, up2, result):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    for j in range(result.shape[0]):
        result[j] = _W0 * centre[j] + _W1 * (down1[j] + up1[j]) + _W2 * (down2[j] + up2[j])


@numba.njit(**_OPTIONS)
def _far(down3, up3, down4, up4, down5, up5, result):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    for j in range(result.shape[0]):
        result[j] += _W3 * (down3[j] + up3[j]) + _W4 * (down4[j] + up4[j]) + _W5 * (down5[j] + up5[j])


@numba.njit(**_OPTIONS)
def _similarity(windowed, result, c1, c2):  # type: ignore[no-untyped-def]  # pragma: no cover
    a_row, b_row, squares, products = windowed[0], windowed[1], windowed[2], windowed[3]
    for j in range(result.shape[0]):
        means = a_row[j] * a_row[j] + b_row[j] * b_row[j]
        product = a_row[j] * b_row[j]
        result[j] = ((2 * product + c1) * (2 * (products[j] - product) + c2)) / ((means + c1) * (squares[j] - means + c2))


@numba.njit(**_OPTIONS)
def _total(row):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = 0.0
    for j in range(row.shape[0]):
        total += row[j]
    return total
