"""Estimates over an axis as lines: one panel per group, all panels on the same two axes, and a table of the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tasks.evaluation.findings import Estimate, Finding
from tasks.evaluation.report_page.charts import UNIT, Scale, readable, scale_of
from tasks.evaluation.report_page.formats import KINDS, Head, Line, Table, label_of, number, sentence

MOST_SERIES = 5  # that have a colour and a dash of their own; more share them
DODGE = 0.7  # percent of the width between the dots of neighbouring lines, so that their intervals stay apart


@dataclass(frozen=True)
class LineChart:
    """Panels side by side, the names and classes of the lines in them, and their numbers."""

    panels: Sequence[tuple[str, Markup]]
    key: Sequence[tuple[str, str]]
    table: Table


def line_chart(finding: Finding) -> LineChart:
    """The chart of a finding that has an axis."""
    names = list(dict.fromkeys(estimate.name for estimate in finding.estimates))
    groups = list(dict.fromkeys(estimate.group for estimate in finding.estimates))
    classes = _classes(names)
    bounds = [bound for each in finding.estimates for bound in (each.value, each.low, each.high) if bound is not None]
    places = sorted({each.at for each in finding.estimates if each.at is not None})
    across, up = Scale(places[0] / 1.15, places[-1] * 1.15, log=True), scale_of(bounds, from_zero=False)
    panels = []
    for group in groups:
        members = {name: [each for each in finding.estimates if (each.group, each.name) == (group, name)] for name in names}
        panels.append((group, _panel(members, finding, classes=classes, across=across, up=up, places=places)))
    key = [(label_of(name), classes[name]) for name in names]
    return LineChart(panels, key, _table(finding, names, groups, places))


def _classes(names: Sequence[str]) -> dict[str, str]:
    """A method that has a colour on this page keeps it; the others get one each."""
    others = [name for name in names if name not in KINDS]
    return {name: KINDS[name] if name in KINDS else f"series-{others.index(name) % MOST_SERIES}" for name in names}


def _panel(
    lines: dict[str, list[Estimate]], finding: Finding, *, classes: dict[str, str], across: Scale, up: Scale, places: Sequence[float]
) -> Markup:
    body = []
    for tick in up.ticks():
        at = 100 - up(tick)
        body.append(Markup('<line x1="0" x2="100%" y1="{0}%" y2="{0}%" class="grid"/>').format(at))
        body.append(Markup('<text x="0" y="{}%" dx="-8" dy="4" class="tick end">{}</text>').format(at, readable(tick)))
    body += [
        Markup('<text x="{}%" y="100%" dy="18" class="tick">{}</text>').format(across(place), readable(place)) for place in places
    ]
    body.append(Markup('<text x="50%" y="100%" dy="40" class="title">{}</text>').format(finding.axis))
    for order, (name, estimates) in enumerate(lines.items()):
        shift = DODGE * (order - (len(lines) - 1) / 2)
        body.append(_line(sorted(estimates, key=lambda each: each.at or 0.0), classes[name], across, up, shift))
    said = "; ".join(f"{label_of(name)} " + ", ".join(number(each.value) for each in estimates) for name, estimates in lines.items())
    label = f"{finding.measure} over {finding.axis}: {said}"
    return Markup('<svg class="plot" role="img" aria-label="{}">{}</svg>').format(label, Markup("").join(body))


def _line(estimates: Sequence[Estimate], kind: str, across: Scale, up: Scale, shift: float) -> Markup:
    spots = [(round(across(each.at or 0.0) + shift, 2), 100 - up(each.value), each) for each in estimates]
    points = " ".join(f"{x * UNIT / 100:.0f},{y * UNIT / 100:.0f}" for x, y, _ in spots)
    parts = [Markup(
        '<svg viewBox="0 0 {0} {0}" preserveAspectRatio="none" width="100%" height="100%"><polyline points="{1}" class="curve"/></svg>'
    ).format(UNIT, points)]
    for x, y, each in spots:
        if each.low is not None and each.high is not None:
            ends = 100 - up(each.low), 100 - up(each.high)
            parts.append(Markup('<line x1="{0}%" x2="{0}%" y1="{1}%" y2="{2}%" class="whisker"/>').format(x, *ends))
        parts.append(Markup('<circle cx="{}%" cy="{}%" r="4"/>').format(x, y))
    return Markup('<g class="line {}">{}</g>').format(kind, Markup("").join(parts))


def _table(finding: Finding, names: Sequence[str], groups: Sequence[str], places: Sequence[float]) -> Table:
    found = {(each.group, each.name, each.at): each for each in finding.estimates}
    rows = []
    for group in groups:
        for name in names:
            cells = [_cell(found.get((group, name, place))) for place in places]
            rows.append(Line([f"{group}, {label_of(name)}" if group else label_of(name), *cells]))
    heads = [Head("", number=False), *(Head(readable(place)) for place in places)]
    return Table(f"{sentence(finding.measure)}, by {finding.axis}.", heads, rows)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"
