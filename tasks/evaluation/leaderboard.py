"""Published results beside ours, and whether they may stand there: numbers of this field differ by conventions that tables do not say.

leaderboard.csv has a row per method and sub-set, with the conventions of the code that made it, empty where nobody knows them:

| column       | says                                                                                                                 |
|--------------|----------------------------------------------------------------------------------------------------------------------|
| `background` | raw: as the method left it; masked: its error set to 0; pasted: the target's own, in what the method was given         |
| `peak`       | of the PSNR: 255, the target's own, or the range of the prediction                                                   |
| `foreground` | of fMSE: hard (mask >= 0.5) or soft (weighed by the mask)                                                            |
| `similarity` | gaussian (11 px, sigma 1.5, range 255) or other                                                                      |
| `resize`     | a name of `protocols.RESIZES`, or none                                                                               |

A number is comparable where ours was measured on the same images, at the same size, by the same convention; a difference in the resizing
filter alone (0.1 to 0.3 dB) is told and let pass.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.evaluation.metrics import METRICS, Flavour
from tasks.params import Benchmark

LEADERBOARD_FILE = Path(__file__).with_name("leaderboard.csv")
ALL = "all"  # the sub-set that is the whole test split
IHARMONY4 = {"HCOCO": 4283, "HAdobe5k": 2160, "HFlickr": 828, "Hday2night": 133}


@dataclass(frozen=True)
class Protocol:
    """What the rows of one table were measured on."""

    title: str
    source: str  # of the index
    size: int | str  # px, square, or native
    num_images: Mapping[str, int]  # by sub-set: the whole test split


PROTOCOLS = {
    "iharmony4": Protocol("iHarmony4 at 256 px", "iharmony4", 256, {**IHARMONY4, ALL: sum(IHARMONY4.values())}),
    "iharmony4_full": Protocol("iHarmony4 at full resolution", "iharmony4", "native", {**IHARMONY4, ALL: sum(IHARMONY4.values())}),
    "hadobe5k_1024": Protocol("HAdobe5k at 1024 px", "iharmony4", 1024, {"HAdobe5k": 2160}),
    "hadobe5k_2048": Protocol("HAdobe5k at 2048 px", "iharmony4", 2048, {"HAdobe5k": 2160}),
    "hadobe5k_full": Protocol("HAdobe5k at full resolution, trained on it alone", "iharmony4", "native", {"HAdobe5k": 2160}),
    "ccharmony": Protocol("ccHarmony at 256 px", "iharmony4", 256, {"ccHarmony": 1180}),
    "realhm": Protocol("RealHM at 256 px", "realhm", 256, {ALL: 216}),
}


@dataclass(frozen=True)
class PublishedRow:
    """One method's published means over one sub-set, and how they were measured."""

    table: str  # a key of `PROTOCOLS`
    subset: str
    method: str
    values: Mapping[str, float]  # of `METRICS`, those that were published
    background: str
    peak: str
    foreground: str
    similarity: str
    resize: str
    source: str  # where the numbers stand
    remark: str


@dataclass(frozen=True)
class Comparability:
    """What of a published row may stand beside ours."""

    flavour: Flavour | None  # which of ours it is to be held against; None where nothing is comparable
    metrics: tuple[str, ...]  # the comparable ones among the published
    reasons: tuple[str, ...]  # why the row, or the metrics left out, are not comparable, and what to bear in mind

    @property
    def comparable(self) -> bool:
        """Whether any number of the row is."""
        return bool(self.metrics)


def read_leaderboard(path: Path = LEADERBOARD_FILE) -> list[PublishedRow]:
    """The rows of the file, in its order. Raises ValueError naming file and line if a table, sub-set or value is none."""
    rows = []
    with open(path, newline="") as handle:
        reader = csv.DictReader(handle)
        published = [name for name in reader.fieldnames or () if name in METRICS]
        for number, line in enumerate(reader, start=2):
            if line["table"] not in PROTOCOLS or line["subset"] not in PROTOCOLS[line["table"]].num_images:
                raise ValueError(f"{path}, line {number}: no table {line['table']!r} with a sub-set {line['subset']!r}")
            try:
                values = {metric: float(line[metric]) for metric in published if line[metric]}
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            rows.append(PublishedRow(values=values, **{name: text for name, text in line.items() if name not in published}))
    return rows


def tables_for(benchmark: Benchmark) -> list[str]:
    """The tables whose images and size are the benchmark's, whole or in part."""
    return [
        name for name, protocol in PROTOCOLS.items()
        if (benchmark.source, benchmark.size) == (protocol.source, protocol.size) and benchmark.subset in ("*", *protocol.num_images)
    ]


def compare_protocols(row: PublishedRow, benchmark: Benchmark, num_images: int) -> Comparability:
    """Whether the published row may stand beside what `benchmark` measured on `num_images` images of the row's sub-set, and why not."""
    protocol, reasons = PROTOCOLS[row.table], []
    if row.table not in tables_for(benchmark):
        reasons.append(f"measured on {protocol.title}")
    elif num_images != protocol.num_images[row.subset]:
        reasons.append(f"measured on {protocol.num_images[row.subset]:,} images, ours on {num_images:,}")
    if row.background == "pasted":
        reasons.append("the method was given the target's own background")
    if not (row.background or row.peak or row.foreground):
        reasons.append("nobody knows how it was measured")
    if reasons:
        return Comparability(None, (), tuple(reasons))
    flavour: Flavour = "masked" if row.background == "masked" else "issam" if "soft" in row.foreground else "raw"
    faults = {metric: fault for metric in row.values if (fault := _fault(metric, row, flavour))}
    metrics = tuple(metric for metric in row.values if metric not in faults)
    notes = [f"{', '.join(m.upper() for m in faults if faults[m] == fault)}: {fault}" for fault in dict.fromkeys(faults.values())]
    if row.resize != benchmark.resize:
        told = f"resized by {row.resize}" if row.resize else "nobody knows how it was resized"
        notes.append(f"{told}, ours by {benchmark.resize}: worth 0.1 to 0.3 dB")
    return Comparability(flavour if metrics else None, metrics, tuple(notes + ([row.remark] if row.remark else [])))


def _fault(metric: str, row: PublishedRow, flavour: Flavour) -> str:
    """Why the row's metric is not that of our flavour; empty if it is."""
    peak = "target" if flavour == "issam" else "255"
    if metric == "fmse":
        wanted = "soft" if flavour == "issam" else "hard"
        return "" if row.foreground == wanted else _other("foreground", row.foreground, wanted)
    if not row.background:
        return "nobody knows what was done with the background"
    if metric == "psnr":
        return "" if row.peak == peak else _other("peak", row.peak, peak)
    if metric in ("ssim", "fssim"):
        return "" if row.similarity == "gaussian" and metric == "ssim" else "another structural similarity, or one that nobody knows"
    return ""


def _other(what: str, theirs: str, ours: str) -> str:
    return f"the {what} is {theirs}, ours {ours}" if theirs else f"nobody knows which {what}"
