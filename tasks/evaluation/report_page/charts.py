"""Charts as inline SVG. Positions are percentages, so a chart stretches to any width while its lines and letters keep their size.

Colours come from the page's style by class ("ours", "composite", "other"): the charts follow the light and the dark scheme. Every text is
escaped. Letters stand outside the plot's area, in a margin that the style leaves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

SMALLEST = 1.0  # squared grey levels: smaller errors are drawn there, a logarithm has no zero
UNIT = 1000  # of the inner coordinates of paths
CHANNELS = ("red", "green", "blue")
MAX_STOPS = 4  # of the histogram: shares below 2 ** -4 and above 2 ** 4 are counted in its outer bars
BINS_PER_STOP = 2
CROWDED = 4  # the largest value over the smallest


@dataclass(frozen=True)
class Scale:
    """An axis: values from `low` to `high` lie at 0 to 100 percent; logarithmic where `log`, and values outside lie at its ends."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, here = (math.log(max(number, self.low)) for number in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value
        )
        return round(100 * min(1.0, max(0.0, (here - low) / (high - low))), 2)

    def ticks(self) -> list[float]:
        """Round numbers on the axis, a handful."""
        if self.log:
            decades = [10.0**power for power in range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)]
            steps = (1, 2, 5) if len(decades) < 4 else (1,)
            return [tick for tick in (step * decade for decade in decades for step in steps) if self.low <= tick <= self.high]
        step = _round_step((self.high - self.low) / 4)
        return [number * step for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Mark:
    """A point of a scatter that has a name, and a place on the page to go to."""

    text: str
    target: str  # an element's id
    x: float
    y: float
    title: str


@dataclass(frozen=True)
class IntervalRow:
    """A line of an interval chart."""

    name: str
    kind: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None
    reference: float | None = None  # where a dashed line crosses it


@dataclass(frozen=True)
class IntervalChart:
    """Dots with intervals on one axis, in named groups."""

    scale: Scale
    unit: str
    metric: str  # decides the digits
    groups: Sequence[tuple[str, Sequence[IntervalRow]]]


def scale_of(values: Sequence[float], *, from_zero: bool = True) -> Scale:
    """A linear axis for `values` with a little room; from 0, if so wanted, where they are all on one side of it."""
    low, high = (min(0.0, *values), max(0.0, *values)) if from_zero else (min(values), max(values))
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    first = low if from_zero and low == 0 else low - room
    last = high if from_zero and low < high == 0 else high + room
    return Scale(first, last)


def interval_chart(
    groups: Sequence[tuple[str, Sequence[IntervalRow]]], *, unit: str, metric: str = "", from_zero: bool = True
) -> IntervalChart:
    """A chart whose axis holds every value and interval; logarithmic if it need not begin at 0 and one value would crowd all others."""
    rows = [row for _, group in groups for row in group]
    values = [value for row in rows for value in (row.value, row.low, row.high, row.reference) if value is not None]
    crowded = not from_zero and min(values) > 0 and max(values) > CROWDED * min(values)
    scale = Scale(min(values) / 1.1, max(values) * 1.1, log=True) if crowded else scale_of(values, from_zero=from_zero)
    return IntervalChart(scale, unit, metric, groups)


def axis(scale: Scale) -> Markup:
    """The labels of a horizontal axis."""
    labels = Markup("").join(
        Markup('<text x="{}%" y="14" class="tick">{}</text>').format(scale(tick), readable(tick)) for tick in scale.ticks()
    )
    return Markup('<svg class="axis" aria-hidden="true">{}</svg>').format(labels)


def interval(scale: Scale, value: float, low: float | None, high: float | None, *, kind: str, reference: float | None) -> Markup:
    """A dot with its interval on one line; `reference` is a dashed line across. kind: the class of its colour."""
    parts = [Markup('<line x1="{0}%" x2="{0}%" y1="0" y2="100%" class="grid"/>').format(scale(tick)) for tick in scale.ticks()]
    if reference is not None:
        parts.append(Markup('<line x1="{0}%" x2="{0}%" y1="0" y2="100%" class="reference"/>').format(scale(reference)))
    if low is not None and high is not None:
        parts.append(Markup('<line x1="{}%" x2="{}%" y1="50%" y2="50%" class="whisker"/>').format(scale(low), scale(high)))
    parts.append(Markup('<circle cx="{}%" cy="50%" r="5"/>').format(scale(value)))
    return Markup('<svg class="track {}" aria-hidden="true">{}</svg>').format(kind, Markup("").join(parts))


def scatter(before: Sequence[float], after: Sequence[float], marks: Sequence[Mark], *, x_title: str, y_title: str) -> Markup:
    """A point per image on logarithmic axes, and the diagonal on which nothing changed; below it the image came out better."""
    scale = _decades([*before, *after])
    better = Markup('<polygon points="0,{0} {0},{0} {0},0" class="better"/>').format(UNIT)
    dots = " ".join(f"M{_inner(scale(x))} {UNIT - _inner(scale(y))}h0" for x, y in zip(before, after, strict=True))
    lines = Markup('<path d="M0 {0}L{0} 0" class="reference"/><path d="{1}" class="points"/>').format(UNIT, dots)
    body = [_stretched([better])]
    for tick in scale.ticks():
        at, text = scale(tick), readable(tick)
        body.append(Markup('<line x1="{0}%" x2="{0}%" y1="0" y2="100%" class="grid"/>').format(at))
        body.append(Markup('<line x1="0" x2="100%" y1="{0}%" y2="{0}%" class="grid"/>').format(100 - at))
        body.append(Markup('<text x="{}%" y="100%" dy="18" class="tick">{}</text>').format(at, text))
        body.append(Markup('<text x="0" y="{}%" dx="-8" dy="4" class="tick end">{}</text>').format(100 - at, text))
    body += [
        _stretched([lines]),
        Markup('<text x="100%" y="100%" dx="-8" dy="-10" class="note end">better than untouched</text>'),
        Markup('<text x="0" y="0" dx="8" dy="18" class="note start">worse</text>'),
        Markup('<text x="50%" y="100%" dy="40" class="title">{}</text>').format(x_title),
        Markup('<text x="0" y="0" dx="-48" dy="-14" class="title start">{}</text>').format(y_title),
    ]
    body += [
        Markup(
            '<a href="#{}" class="mark"><title>{}</title><circle cx="{}%" cy="{}%" r="9"/><text x="{}%" y="{}%" dy="4">{}</text></a>'
        ).format(mark.target, mark.title, scale(mark.x), 100 - scale(mark.y), scale(mark.x), 100 - scale(mark.y), mark.text)
        for mark in marks
    ]
    label = f"Scatter of {len(before)} images: {x_title} across, {y_title} up, both logarithmic."
    return Markup('<svg class="plot square" role="group" aria-label="{}">{}</svg>').format(label, Markup("").join(body))


def histogram(shares: Sequence[float]) -> Markup:
    """How many images have which share of their error left, in half stops; the bars left of 1 are those that came out better."""
    edges = np.arange(-MAX_STOPS, MAX_STOPS + 1e-9, 1 / BINS_PER_STOP)
    stops = np.clip(np.log2(np.maximum(shares, 2.0 ** -(MAX_STOPS + 1))), edges[0], np.nextafter(edges[-1], 0))
    counts = np.histogram(stops, edges)[0]
    scale, top = Scale(float(edges[0]), float(edges[-1])), max(int(counts.max()), 1)
    parts = []
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        height = round(100 * int(count) / top, 2)
        title = f"{int(count)} images: {_power(left)} to {_power(right)} of the error left"
        parts.append(
            Markup('<rect x="{}%" width="{}%" y="{}%" height="{}%" class="bar {}"><title>{}</title></rect>').format(
                scale(left), round(scale(right) - scale(left) - 0.4, 2), round(100 - height, 2), height,
                "ours" if right <= 0 else "other", title,
            )
        )
    parts += [
        Markup('<text x="{}%" y="100%" dy="18" class="tick">{}</text>').format(scale(stop), _power(stop))
        for stop in range(-MAX_STOPS, MAX_STOPS + 1, 2)
    ]
    parts += [
        Markup('<line x1="50%" x2="50%" y1="0" y2="100%" class="reference"/><line x1="0" x2="100%" y1="100%" y2="100%" class="base"/>'),
        Markup('<text x="50%" y="100%" dy="40" class="title">share of the error that is left</text>'),
        Markup('<text x="0" y="0" dx="-48" dy="-14" class="title start">images (tallest bar: {})</text>').format(top),
    ]
    label = f"Histogram of {len(shares)} images by the share of their error that is left."
    return Markup('<svg class="plot" role="img" aria-label="{}">{}</svg>').format(label, Markup("").join(parts))


def tone_curves(curves: Float[np.ndarray, "3 K"]) -> Markup:
    """The three tone curves over the identity; both axes are 8-bit levels."""
    identity = Markup('<path d="M0 {0}L{0} 0" class="reference"/>').format(UNIT)
    lines = [identity]
    for name, curve in zip(CHANNELS, curves, strict=True):
        places = zip(np.linspace(0, UNIT, len(curve)), UNIT * (1 - curve), strict=True)
        points = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
        lines.append(Markup('<polyline points="{}" class="curve {}"/>').format(points, name))
    texts = [
        Markup('<text x="{}%" y="100%" dy="16" class="tick {}">{}</text>').format(at, anchor, text)
        for at, anchor, text in ((0, "start", 0), (100, "end", 255))
    ]
    texts.append(Markup('<text x="50%" y="100%" dy="16" class="tick">level in</text>'))
    texts.append(Markup('<text x="0" y="0" dx="6" dy="14" class="tick start">level out</text>'))
    middle = [round(255 * float(np.interp(0.5, np.linspace(0, 1, len(curve)), curve))) for curve in curves]
    label = "Tone curves: level 128 becomes " + ", ".join(f"{name} {level}" for name, level in zip(CHANNELS, middle, strict=True))
    body = [_stretched(lines), *texts]
    return Markup('<svg class="plot square small" role="img" aria-label="{}">{}</svg>').format(label, Markup("").join(body))


def readable(value: float) -> str:
    """A number as short as its size allows: 12,345 or 3.5 or 0.04."""
    if value == 0 or abs(value) >= 1000 or (abs(value) >= 10 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _stretched(parts: Sequence[Markup]) -> Markup:
    """Paths in inner coordinates, stretched over the whole plot; the style keeps their strokes' widths."""
    return Markup('<svg viewBox="0 0 {0} {0}" preserveAspectRatio="none" width="100%" height="100%">{1}</svg>').format(
        UNIT, Markup("").join(parts)
    )


def _decades(values: Sequence[float]) -> Scale:
    """A logarithmic axis of whole decades around `values`, from `SMALLEST` at the least."""
    low, high = (math.log10(max(number, SMALLEST)) for number in (min(values), max(values)))
    first = math.floor(low)
    return Scale(10.0**first, 10.0 ** max(first + 1, math.ceil(high)), log=True)


def _inner(percent: float) -> int:
    return round(percent * UNIT / 100)


def _power(stops: float) -> str:
    value = 2.0**stops
    return f"{value:.3g}" if value >= 1 else f"1/{1 / value:.3g}"


def _round_step(width: float) -> float:
    """The number of 1, 2, 2.5, 5 times a power of ten next above `width`."""
    unit = 10.0 ** math.floor(math.log10(width))
    return next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= width * (1 - 1e-9))
