"""What a report is made of: means per benchmark and method, a row per image, the cases to look at; and the tables as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tasks.evaluation.case_files import Case
from tasks.evaluation.findings import Finding
from tasks.evaluation.measurements import Changed, Scored, Summary
from tasks.evaluation.metrics import METRICS, shown_metrics
from tasks.evaluation.report_audit import Audit


@dataclass(frozen=True)
class Comparison:
    """Ours beside another method on the same images."""

    method: str
    difference: float  # mean over images of our fMSE minus the other's: below 0 is a gain
    low: float  # 95 % interval of that mean, over resampled photographs
    high: float
    p_value: float | None  # of a paired test that there is no difference, corrected for the number of methods; None where none was made
    wins: float  # share of images on which ours is better


@dataclass(frozen=True)
class LeaderboardRow:
    """A method's published means, or one of this run's."""

    method: str
    values: Mapping[str, float]  # by metric, as in `METRICS`; what was not published is left out
    source: str  # where the numbers stand; "this run" for ours
    why_not: str = ""  # why they cannot be compared with this run's; empty where they can
    ours: bool = False  # of this run: the harmonizer, and the methods beside it


@dataclass(frozen=True)
class Leaderboard:
    """Published rows for a benchmark, ours among them."""

    title: str
    note: str  # the protocol that comparable rows share
    metrics: tuple[str, ...]  # the columns, as in `METRICS`
    rows: tuple[LeaderboardRow, ...]


@dataclass(frozen=True)
class BenchmarkReport:
    """What the page shows of one benchmark."""

    name: str
    protocol: str  # one sentence: which data, at which size, resized how
    methods: Mapping[str, Mapping[str, Any]]  # its part of the summary: `HARMONIZED` is ours, any other names may stand beside it
    found: Sequence[Scored]
    cases: Sequence[Case]
    comparisons: Sequence[Comparison] = ()
    leaderboards: Sequence[Leaderboard] = ()


@dataclass(frozen=True)
class RealReport:
    """What the page shows of a benchmark of real composites: nobody knows what they should look like."""

    name: str
    protocol: str
    found: Sequence[Changed]
    cases: Sequence[Case]


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    benchmarks: Sequence[BenchmarkReport]
    audit: Audit
    findings: Mapping[str, Finding]  # by name of the file
    provenance: Mapping[str, Mapping[str, str]]  # by heading: versions, hashes, values
    real: Sequence[RealReport] = ()
    mined: Mapping[str, UInt8[np.ndarray, "H W 3"]] = field(default_factory=dict)  # contact sheets by difficulty


def as_markdown(summary: Summary, protocols: Mapping[str, str]) -> str:
    """The tables as Markdown, and what the numbers mean. protocols: by benchmark, a sentence each."""
    lines = [
        "# Benchmark", "",
        "MSE and fMSE on 0..255, fMSE over the foreground (mask >= 0.5);",
        "PSNR with peak 255; SSIM with an 11 x 11 Gaussian of sigma 1.5; the background counts as it is (flavour `raw`); means over",
        "images, with a 95 % bootstrap interval of the mean fMSE. `improved`: the share of images whose fMSE is lower than the",
        "untouched composite's.", "",
    ]
    _, *others = shown_metrics()  # fMSE has more columns than one
    for name, methods in summary.items():
        composite = methods["composite"]
        skipped = f"; {composite['num_skipped']} skipped, their masks are empty at this size" if composite["num_skipped"] else ""
        lines += [
            f"## {name}", "", f"{composite['num_images']} test pairs{skipped}. {protocols[name]}", "",
            f"| method | fMSE | 95 % | median | of composite's | {' | '.join(METRICS[metric].label for metric in others)} | improved |",
            "|---|" + "---:|" * (len(others) + 5),
        ]
        for method, values in methods.items():
            lines.append(
                f"| {method} | {values['fmse']:.1f} | {values['fmse_low']:.1f} to {values['fmse_high']:.1f} "
                f"| {values['median_fmse']:.1f} | {values['fmse_of_composites']:.3f} | "
                + " | ".join(f"{values[metric]:.{METRICS[metric].digits}f}" for metric in others) + f" | {values['do_no_harm']:.0%} |"
            )
        lines += ["", "fMSE by the foreground's share of the image, in percent:", "", *_bucket_table(methods), ""]
        lines += [f"The untouched composites differ from their targets by an MSE of {composite['bmse']:.2f} in the background.", ""]
    return "\n".join(lines)


def _bucket_table(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    present = methods["composite"]["buckets"]
    heads = [f"{bucket} ({values['num_images']})" for bucket, values in present.items()]
    rows = [
        f"| {method} | " + " | ".join(f"{values['buckets'][bucket]['fmse']:.1f}" for bucket in present) + " |"
        for method, values in methods.items()
    ]
    return ["| method | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads), *rows]
