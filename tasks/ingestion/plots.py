"""One page of plots of what ingestion found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from attune.files import written_atomically
from tasks.splits import SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {"photographs": "objects", "pairs": "pairs", "retouches": "retouches", "composites": "real composites"}  # by table
# 5th, 50th and 95th percentile of the composites' fMSE in iHarmony4's published test sets, in squared grey levels.
PUBLISHED_FMSE = {"HCOCO": (187, 738, 3183), "HFlickr": (229, 1091, 5399), "HAdobe5k": (177, 1402, 6997)}
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f")  # told apart by colour-blind eyes too
SPLIT_COLORS = dict(zip(SPLITS, ("#9ab8d0", "#e8b76a", "#3a6d92"), strict=True))
OURS, THEIRS, FAINT = "#0072b2", "#555555", "#bbbbbb"
MOST_BARS, LEAST_ROWS = 16, 6
LEAST_SAMPLES = 20  # for a distribution
DPI = 110


@dataclass(frozen=True, eq=False)
class Kind:
    """All rows of one kind and source, by column."""

    source: str
    table: str
    splits: np.ndarray
    labels: np.ndarray  # empty for retouches
    methods: np.ndarray  # of pairs; else empty
    sides: np.ndarray  # px, the longer one
    ratios: Float[np.ndarray, " N"]  # the foreground's share; 0 where no mask was given
    fmse: Float[np.ndarray, " M"]  # of pairs; else empty

    @property
    def name(self) -> str:
        """What the rows are, for people."""
        return KINDS[self.table]


def write_page(
    path: Path, kinds: Sequence[Kind], reasons: Mapping[str, Counter[str]], actions: Mapping[str, Counter[str]]
) -> None:
    """`draw_page` as a PNG; equal counts give equal bytes."""
    with written_atomically(path) as temporary:
        draw_page(kinds, reasons, actions).savefig(temporary, format="png", dpi=DPI, metadata={"Software": ""})


def draw_page(kinds: Sequence[Kind], reasons: Mapping[str, Counter[str]], actions: Mapping[str, Counter[str]]) -> "Figure":
    """Samples by split, labels, sizes, foreground ratios, rejects, and the composites' strength by method and beside iHarmony4's.

    reasons, actions: of the rejects and of the near-duplicates, counted by source.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 16), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12), facecolor="white")
    grid = figure.add_gridspec(4, 2, height_ratios=(1.0, 1.0, 1.0, 1.25))
    total = sum(len(kind.splits) for kind in kinds)
    done = sum(actions.values(), Counter[str]())
    parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(done.items())]
    named = f" ({', '.join(parts)})" if parts else ""
    rejected = sum(map(Counter.total, reasons.values()))
    title = f"What was ingested: {total:,} samples, {rejected:,} rejects, {done.total():,} near-duplicates{named}"
    figure.suptitle(title, fontsize=17, x=0.02, ha="left")
    _draw_splits(figure.add_subplot(grid[0, 0]), kinds)
    _draw_labels(figure.add_subplot(grid[0, 1]), kinds)
    _draw_histogram(figure.add_subplot(grid[1, 0]), kinds, "sides")
    _draw_histogram(figure.add_subplot(grid[1, 1]), kinds, "ratios")
    _draw_rejects(figure.add_subplot(grid[2, 0]), reasons)
    _draw_methods(figure.add_subplot(grid[2, 1]), kinds)
    _draw_strength(figure.add_subplot(grid[3, :]), kinds)
    return figure


def _draw_splits(axes: "Axes", kinds: Sequence[Kind]) -> None:
    names = [f"{kind.source}: {kind.name}" for kind in kinds]
    left = np.zeros(len(kinds))
    for split in SPLITS:
        counts = np.array([np.count_nonzero(kind.splits == split) for kind in kinds])
        axes.barh(names, counts, left=left, color=SPLIT_COLORS[split], label=split, height=0.7)
        left += counts
    for place, kind in enumerate(kinds):
        parts = " / ".join(f"{np.count_nonzero(kind.splits == split):,}" for split in SPLITS)
        axes.text(left[place], place, f"  {parts}", va="center", fontsize=9)
    axes.set_xlim(0, float(left.max(initial=1.0)) * 1.35)
    _from_above(axes, len(kinds))
    axes.legend(ncols=3, loc="lower right", frameon=False, fontsize=9)
    _finish(axes, "Samples: train / val / test", "samples")


def _draw_labels(axes: "Axes", kinds: Sequence[Kind]) -> None:
    found = Counter(str(label) or "(none)" for kind in kinds if kind.table == "photographs" for label in kind.labels.tolist())
    _draw_bars(axes, found, "Labels of objects", "objects")


def _draw_rejects(axes: "Axes", reasons: Mapping[str, Counter[str]]) -> None:
    found = Counter({f"{source}: {reason}": count for source, counts in reasons.items() for reason, count in counts.items()})
    _draw_bars(axes, found, "Rejects by source and reason", "samples")


def _draw_bars(axes: "Axes", found: Counter[str], title: str, unit: str) -> None:
    """The most frequent names as bars, the others as one."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    shown = ordered[:MOST_BARS] if len(ordered) <= MOST_BARS else ordered[:MOST_BARS - 1]
    rest = ordered[len(shown):]
    if rest:
        shown = [*shown, (f"{len(rest)} others", sum(count for _, count in rest))]
    colors = [OURS] * len(shown[:len(ordered) - len(rest)]) + [FAINT] * bool(rest)
    axes.barh([name for name, _ in shown], [count for _, count in shown], color=colors, height=0.7)
    for place, (_, count) in enumerate(shown):
        axes.text(count, place, f" {count:,}", va="center", fontsize=9)
    if shown:
        axes.set_xlim(0, max(count for _, count in shown) * 1.12)
        _from_above(axes, len(shown))
    else:
        _say(axes, "none")
    _finish(axes, title, unit)


def _draw_histogram(axes: "Axes", kinds: Sequence[Kind], column: str) -> None:
    """The distribution of the longer side, or of the foreground's share, one line per source and kind, as shares of its own total."""
    of_sides = column == "sides"
    edges = np.geomspace(32, 8192, 49) if of_sides else np.geomspace(0.002, 1.0, 41)
    drawn = _enough({kind: values[values > 0] for kind in kinds if len(values := getattr(kind, column))})
    for kind, values in drawn.items():
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
        axes.stairs(counts / len(values), edges, color=_color(kind, kinds), linewidth=1.8, label=f"{kind.source}: {kind.name}")
    axes.set_xscale("log")
    marks = (64, 128, 256, 512, 1024, 2048, 4096) if of_sides else (0.01, 0.05, 0.15, 0.30, 0.80)
    axes.set_xticks(marks, [f"{mark:,}" if of_sides else f"{mark:.0%}" for mark in marks])
    axes.set_xticks([], minor=True)
    if not of_sides:
        for low, high in pairwise((0.05, 0.15, 1.0)):
            axes.axvspan(low, high, color="#000000", alpha=0.03 if low < 0.1 else 0.06, linewidth=0)
    if drawn:
        axes.legend(frameon=False, fontsize=9)
    else:
        _say(axes, "none")
    _finish(axes, "Longer side of the image" if of_sides else "Foreground's share (shaded: the field's buckets)",
            "px" if of_sides else "share of the image", "share of samples")


def _draw_methods(axes: "Axes", kinds: Sequence[Kind]) -> None:
    """The span of the composites' fMSE by how they were made."""
    methods = np.concatenate([kind.methods for kind in kinds if len(kind.methods)] or [np.array([])])
    fmse = np.concatenate([kind.fmse for kind in kinds if len(kind.fmse)] or [np.array([])])
    names = sorted(set(methods.tolist()))
    for place, name in enumerate(names):
        own = fmse[methods == name]
        _draw_span(axes, place, np.percentile(own, (5, 50, 95)), OURS)
    axes.set_yticks(range(len(names)), [f"{name} ({np.count_nonzero(methods == name):,})" for name in names])
    _from_above(axes, len(names))
    _log_of_fmse(axes)
    if not names:
        _say(axes, "no pairs")
    _finish(axes, "Composites' fMSE by method: 5th, 50th, 95th percentile", "squared grey levels inside the mask")


def _draw_strength(axes: "Axes", kinds: Sequence[Kind]) -> None:
    """The distribution of the composites' fMSE by source, above the spans of iHarmony4's sub-sets."""
    pairs = [kind for kind in kinds if len(kind.fmse)]
    edges = np.geomspace(20, 30000, 61)
    highest = 0.0
    for kind, fmse in _enough({kind: kind.fmse for kind in pairs}).items():
        counts, _ = np.histogram(np.clip(fmse, edges[0], edges[-1]), bins=edges)
        shares = counts / len(fmse)
        highest = max(highest, float(shares.max()))
        axes.stairs(shares, edges, fill=True, alpha=0.35, color=_color(kind, kinds))
        axes.stairs(shares, edges, color=_color(kind, kinds), linewidth=1.6)
    step = max(highest, 0.02) * 0.1
    spans = [(f"{kind.source}: {len(kind.fmse):,} pairs", np.percentile(kind.fmse, (5, 50, 95)), _color(kind, kinds)) for kind in pairs]
    spans += [(f"iHarmony4 {name}, published", np.array(percentiles, float), THEIRS) for name, percentiles in PUBLISHED_FMSE.items()]
    for place, (name, percentiles, color) in enumerate(spans, start=1):
        _draw_span(axes, -step * place, percentiles, color)
        low, middle, high = percentiles
        axes.text(21, -step * place, name, va="center", fontsize=10, color=color)
        axes.text(29000, -step * place, f"{low:,.0f} / {middle:,.0f} / {high:,.0f}", va="center", ha="right", fontsize=10, color=color)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_ylim(-step * (len(spans) + 0.9), max(highest, 0.02) * 1.08)
    axes.set_yticks([])
    _log_of_fmse(axes)
    axes.set_xlim(20, 30000)
    title = "Strength of the composites beside the field's: fMSE, its 5th / 50th / 95th percentile"
    _finish(axes, title, "squared grey levels inside the mask")


def _enough(found: Mapping[Kind, np.ndarray]) -> dict[Kind, np.ndarray]:
    """Those with samples enough for a distribution; if none has, those that have any: three samples would dwarf ten thousand."""
    enough = {kind: values for kind, values in found.items() if len(values) >= LEAST_SAMPLES}
    return enough or {kind: values for kind, values in found.items() if len(values)}


def _color(kind: Kind, kinds: Sequence[Kind]) -> str:
    """One colour per source and kind, in every plot."""
    return COLORS[list(kinds).index(kind) % len(COLORS)]


def _from_above(axes: "Axes", count: int) -> None:
    """Rows from the top down, none of them thicker than if there were `LEAST_ROWS`."""
    axes.set_ylim(max(count, LEAST_ROWS) - 0.4, -0.6)


def _draw_span(axes: "Axes", at: float, percentiles: np.ndarray, color: str) -> None:
    low, middle, high = (float(value) for value in percentiles)
    axes.plot([low, high], [at, at], color=color, linewidth=3, solid_capstyle="butt")
    axes.plot([middle], [at], "o", color=color, markersize=7, markeredgecolor="white")


def _log_of_fmse(axes: "Axes") -> None:
    axes.set_xscale("log")
    marks = (30, 100, 300, 1000, 3000, 10000)
    axes.set_xticks(marks, [f"{mark:,}" for mark in marks])
    axes.set_xticks([], minor=True)


def _say(axes: "Axes", words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=THEIRS)


def _finish(axes: "Axes", title: str, across: str, up: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)
