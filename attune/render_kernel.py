"""The loops of attune/render.py, compiled: float32 for 8 bit, float64 for 16, without the GIL.

A literal would be float64 and drag all else along; so every number comes from an array of the working type.
Between two columns of the coarse grid a row of logits is one cubic polynomial, so that a pixel's logit costs three multiply-adds, and its
gain two short exponential series: all of it in the compiler's vectors. The table look-ups are not, and set the pace.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import numba
except ImportError:
    numba = None

COMPILED = numba is not None  # if not, attune/render.py has an OpenCV form
CHUNK = 512  # px of a row that are worked on at once, or skipped at once


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    if numba is None:
        return function
    compiled: Callable[..., Any] = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})(function)
    return compiled


@_jit
def _power_series(x, series):  # type: ignore[no-untyped-def]  # pragma: no cover
    """exp(x) for |x| <= 0.6."""
    high = series[5] + x * (series[6] + x * (series[7] + x * series[8]))
    return series[0] + x * (series[1] + x * (series[2] + x * (series[3] + x * (series[4] + x * high))))


@_jit
def _row_gains(logits, steps, starts, first, last, series, numbers, gains):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Gains of the pixels `first` to `last` of a row, into gains[0:]."""
    one, half, two = series[0], series[2], series[0] + series[0]
    a = -(half + half * half)  # torch's bicubic kernel: -3/4
    grid = logits.shape[0]
    for span in range(grid + 1):
        begin, end = max(starts[span], first), min(starts[span + 1], last)
        if begin >= end:
            continue
        p0, p1 = logits[max(span - 2, 0)], logits[max(span - 1, 0)]
        p2, p3 = logits[min(span, grid - 1)], logits[min(span + 1, grid - 1)]
        c1 = a * (p0 - p2)
        c2 = -two * a * p0 - (a + two + one) * p1 + (two * a + two + one) * p2 + a * p3
        c3 = a * p0 + (a + two) * p1 - (a + two) * p2 - a * p3
        _cubic(steps[begin:end], p1, c1, c2, c3, gains[begin - first : end - first])
    if numbers[0] > 0:
        _darken(gains[: last - first], series, numbers)
    else:
        _brighten_or_darken(gains[: last - first], series, numbers)


@_jit
def _cubic(steps, c0, c1, c2, c3, result):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    for x in range(result.shape[0]):
        t = steps[x]
        result[x] = c0 + t * (c1 + t * (c2 + t * c3))


@_jit
def _tanh(v, series):  # type: ignore[no-untyped-def]  # pragma: no cover
    """exp(2 v) as the 64th power of a short series, v cut where tanh is 1 anyway."""
    one, half = series[0], series[2]
    two = one + one
    most = (two + one) * (two + one)
    v = most if v > most else v
    v = -most if v < -most else v
    quarter = half * half
    e = _power_series(v * (quarter * quarter * half), series)
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return one - two / (e + one)


@_jit
def _darken(values, series, numbers):  # type: ignore[no-untyped-def]  # pragma: no cover
    one, half, limit = series[0], series[2], numbers[1]
    for x in range(values.shape[0]):
        values[x] = limit + (one - limit) * half * (one + _tanh(values[x] * half, series))


@_jit
def _brighten_or_darken(values, series, numbers):  # type: ignore[no-untyped-def]  # pragma: no cover
    log_limit, half = numbers[2], series[2]
    sixteenth = half * half * half * half
    for x in range(values.shape[0]):
        e = _power_series(_tanh(values[x], series) * log_limit * sixteenth, series)
        e = e * e
        e = e * e
        e = e * e
        values[x] = e * e


@_jit
def render_rows(  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    image, mask, out, tables, rows, steps, starts, series, numbers, matrix, in_place, top, bottom,
):
    """Rows `top` to `bottom` of the result; image and out as (height, 3 * width), the rest as `attune.render` plans it.

    in_place: image and out are one; what the mask excludes is not touched then.
    """
    width = mask.shape[1]
    gains = np.empty(CHUNK, tables.dtype)
    toned, spread, alphas = np.empty(3 * CHUNK, tables.dtype), np.empty(3 * CHUNK, tables.dtype), np.empty(3 * CHUNK, tables.dtype)
    for y in range(top, bottom):
        for first in range(0, width, CHUNK):
            last = min(first + CHUNK, width)
            part = slice(3 * first, 3 * last)
            if _is_empty(mask[y, first:last]):
                if not in_place:
                    out[y, part] = image[y, part]
                continue
            _row_gains(rows[y], steps, starts, first, last, series, numbers, gains)
            _look_up(image[y, part], mask[y, first:last], gains, tables, numbers, toned, spread, alphas)
            if numbers[5] > 0:
                _mix(image[y, part], tables, matrix, numbers, series, toned)
            _blend(image[y, part], toned, spread, alphas, numbers, series, out[y, part])


@_jit
def _is_empty(mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    levels = mask[0]
    for x in range(mask.shape[0]):
        levels |= mask[x]
    return levels == 0


@_jit
def _look_up(image, mask, gains, tables, numbers, toned, spread, alphas):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """The scalar part: table values, and gain and mask spread over three channels."""
    red, green, blue, scale = tables[0], tables[1], tables[2], numbers[4]
    for x in range(mask.shape[0]):
        toned[3 * x] = red[image[3 * x]]
        toned[3 * x + 1] = green[image[3 * x + 1]]
        toned[3 * x + 2] = blue[image[3 * x + 2]]
    for x in range(mask.shape[0]):
        gain = gains[x]
        spread[3 * x] = gain
        spread[3 * x + 1] = gain
        spread[3 * x + 2] = gain
        alpha = mask[x] * scale
        alphas[3 * x] = alpha
        alphas[3 * x + 1] = alpha
        alphas[3 * x + 2] = alpha


@_jit
def _mix(image, tables, matrix, numbers, series, toned):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """What the tables hold for colours that a matrix has mixed, which lie between levels: straight from one level to the next."""
    zero, one, white = series[0] - series[0], series[0], numbers[3]
    for x in range(image.shape[0] // 3):
        red, green, blue = image[3 * x], image[3 * x + 1], image[3 * x + 2]
        for channel in range(3):
            level = matrix[channel, 0] * red + matrix[channel, 1] * green + matrix[channel, 2] * blue + matrix[channel, 3]
            level = min(max(level, zero), white)
            below = min(np.floor(level), white - one)
            place = int(below)
            low = tables[channel, place]
            toned[3 * x + channel] = low + (level - below) * (tables[channel, place + 1] - low)


@_jit
def _blend(image, toned, spread, alphas, numbers, series, out):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    white, half = numbers[3], series[2]
    for j in range(image.shape[0]):
        out[j] = image[j] + (min(toned[j] * spread[j], white) - image[j]) * alphas[j] + half
