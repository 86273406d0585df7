"""What an evaluation leaves behind: means per benchmark and method, a row per image, tables for plots, the cases to look at, a summary."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from tasks.baselines import BASELINES
from tasks.files import write_bytes, written_atomically
from tasks.metrics import (
    BUCKETS,
    FLAVOURS,
    METRICS,
    Flavour,
    Scores,
    average,
    bootstrap_interval,
    bucket_of,
    do_no_harm_rate,
    medians,
    relative_to,
)
from tasks.render import EditArrays
from tasks.seeds import numpy_generator

HARMONIZED = "harmonized"
METHODS = (*BASELINES, HARMONIZED)
DIGITS = 6  # significant ones in the JSON: enough to compare, few enough to survive another thread count

Summary = dict[str, dict[str, dict[str, Any]]]  # by benchmark, then by method

_name = pa.dictionary(pa.int32(), pa.string())
PER_IMAGE = pa.schema([
    pa.field("benchmark", _name), pa.field("key", pa.string()), pa.field("subset", _name), pa.field("group", pa.string()),
    pa.field("label", _name), pa.field("fg_ratio", pa.float32()), pa.field("bucket", _name),
    pa.field("method", _name), pa.field("flavour", _name), *(pa.field(metric, pa.float64()) for metric in METRICS),
])


@dataclass(frozen=True)
class Scored:
    """Every method's metrics on one test pair."""

    row: Mapping[str, Any]
    scores: Mapping[str, Mapping[Flavour, Scores]]  # by method

    def fmse(self, method: str) -> float:
        """The method's foreground error, raw."""
        return self.scores[method]["raw"].fmse


@dataclass(frozen=True)
class Comparison:
    """Ours beside another method on the same images."""

    method: str
    difference: float  # mean over images of our fMSE minus the other's: below 0 is a gain
    low: float  # 95 % interval of that mean, over resampled images
    high: float
    p_value: float | None  # of a paired test that there is no difference; None where none was made
    wins: float  # share of images on which ours is better


@dataclass(frozen=True)
class LeaderboardRow:
    """A method's published means, or one of this run's."""

    method: str
    values: Mapping[str, float]  # by metric, as in `METRICS`; what was not published is left out
    source: str  # where the numbers stand; "this run" for ours
    why_not: str = ""  # why they cannot be compared with this run's; empty where they can
    ours: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """Published rows for a benchmark, ours among them."""

    title: str
    note: str  # the protocol that comparable rows share
    metrics: tuple[str, ...]  # the columns, as in `METRICS`
    rows: tuple[LeaderboardRow, ...]


@dataclass(frozen=True)
class Case:
    """A test pair to look at: pictures at the file's own aspect, all of one size, and the edit that was predicted."""

    label: str  # what it stands for: "best tenth", ...
    scored: Scored
    composite: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]
    harmonized: UInt8[np.ndarray, "H W 3"]
    target: UInt8[np.ndarray, "H W 3"]
    edit: EditArrays | None  # None where the model is not parametric


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
class Estimate:
    """A measured number with its interval or spread, where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None  # of images, votes or seeds behind it
    group: str = ""  # rows of one group stand together: a data size, a benchmark


@dataclass(frozen=True)
class Finding:
    """One question and its measured answer: an ablation, a claim of a paper, a study, a check without ground truth."""

    title: str
    note: str  # what was done, on which data, what the interval is, and what came out, also if it is a no
    measure: str  # what `value` is, with its unit
    better: Literal["lower", "higher", "neither"]
    estimates: tuple[Estimate, ...]


def summarize(name: str, found: Sequence[Scored], num_pairs: int, seed: int) -> dict[str, dict[str, Any]]:
    """Per method the raw means, by their own names; median, interval, buckets and the other flavours beside them; of `num_pairs` pairs."""
    untouched = average([scored.scores["composite"]["raw"] for scored in found])
    summary = {}
    for method in METHODS:
        raw = [scored.scores[method]["raw"] for scored in found]
        means, fmse = average(raw), [score.fmse for score in raw]
        low, high = bootstrap_interval(fmse, numpy_generator(seed, "evaluate", "bootstrap", name, method))
        values: dict[str, Any] = {
            **means, "num_images": len(raw), "num_skipped": num_pairs - len(raw),
            "median_fmse": medians(raw)["fmse"], "fmse_low": low, "fmse_high": high,
            "fmse_of_composites": relative_to(means, untouched),
            "do_no_harm": do_no_harm_rate(fmse, [scored.fmse("composite") for scored in found]),
            "buckets": _buckets(found, method),
        }
        for flavour in FLAVOURS[1:]:
            values[flavour] = average([scored.scores[method][flavour] for scored in found])
        summary[method] = _rounded(values)
    return summary


def _buckets(found: Sequence[Scored], method: str) -> dict[str, dict[str, float]]:
    """Means of the pairs whose foreground covers that much of the image, at the file's own size; empty buckets are left out."""
    buckets = {}
    for bucket in BUCKETS:
        inside = [scored.scores[method]["raw"] for scored in found if bucket_of(scored.row["fg_ratio"]) == bucket]
        if inside:
            means = average(inside)
            buckets[bucket] = {"num_images": len(inside)} | {metric: means[metric] for metric in ("mse", "fmse", "psnr", "fssim")}
    return buckets


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def write_per_image(path: Path, results: Mapping[str, Sequence[Scored]]) -> None:
    """One Parquet row per test pair, method and flavour, with the schema `PER_IMAGE`."""
    rows = [
        {
            "benchmark": name, **{column: scored.row[column] for column in ("key", "subset", "group", "label", "fg_ratio")},
            "bucket": bucket_of(scored.row["fg_ratio"]), "method": method, "flavour": flavour, **asdict(scores),
        }
        for name, found in results.items() for scored in found for method in METHODS for flavour, scores in scored.scores[method].items()
    ]
    with written_atomically(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=PER_IMAGE), temporary, compression="zstd")


def write_plots(folder: Path, results: Mapping[str, Sequence[Scored]], summary: Summary) -> None:
    """Two tables for `dvc plots`: a point per pair (untouched against harmonized error), a bar per benchmark and method."""
    points = [
        [name, scored.row["key"], f"{scored.fmse('composite'):.2f}", f"{scored.fmse(HARMONIZED):.2f}"]
        for name, found in results.items() for scored in found
    ]
    write_csv(folder / "evaluate_scatter.csv", ["benchmark", "key", "composite_fmse", "harmonized_fmse"], points)
    bars = [
        [name, method, *(f"{values[metric]:.4f}" for metric in ("mse", "fmse", "psnr", "ssim"))]
        for name, methods in summary.items() for method, values in methods.items()
    ]
    write_csv(folder / "evaluate_methods.csv", ["benchmark", "method", "mse", "fmse", "psnr", "ssim"], bars)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file with a header, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())


def chosen_cases(found: Sequence[Scored], num_rows: int, rng: np.random.Generator) -> list[tuple[str, Scored]]:
    """At most `num_rows` pairs to look at, each with what it stands for: drawn from the best, middle and worst tenth, best first.

    The measure is the harmonized image's foreground error as a share of the composite's.
    """
    ranked = sorted(found, key=lambda scored: (scored.fmse(HARMONIZED) / max(scored.fmse("composite"), 1e-9), scored.row["key"]))
    wanted = min(num_rows, len(ranked))
    counts = [wanted // 3 + (part < wanted % 3) for part in (0, 2, 1)]  # what does not divide goes to the best, then to the worst
    tenth = max(*counts, len(ranked) // 10)
    middle = max(0, len(ranked) // 2 - tenth // 2)
    spans = {
        "best tenth": range(tenth), "middle tenth": range(middle, middle + tenth), "worst tenth": range(len(ranked) - tenth, len(ranked))
    }
    cases: list[tuple[str, Scored]] = []
    taken: set[int] = set()
    for (label, span), count in zip(spans.items(), counts, strict=True):
        free = [index for index in span if 0 <= index < len(ranked) and index not in taken]
        drawn = sorted(rng.choice(free, min(count, len(free)), replace=False).tolist()) if free else []
        taken.update(drawn)
        cases += [(label, ranked[index]) for index in drawn]
    return cases


def as_markdown(summary: Summary, size: int) -> str:
    """The tables as Markdown, and what the numbers mean. size: px, at which was measured."""
    lines = [
        "# Benchmark", "",
        f"Images squashed to {size} x {size} px (Pillow bilinear). MSE and fMSE on 0..255, fMSE over the foreground (mask >= 0.5);",
        "PSNR with peak 255; SSIM with an 11 x 11 Gaussian of sigma 1.5; the background counts as it is (flavour `raw`); means over",
        "images, with a 95 % bootstrap interval of the mean fMSE. `improved`: the share of images whose fMSE is lower than the",
        "untouched composite's.", "",
    ]
    for name, methods in summary.items():
        composite = methods["composite"]
        skipped = f"; {composite['num_skipped']} skipped, their masks are empty at this size" if composite["num_skipped"] else ""
        lines += [
            f"## {name}", "", f"{composite['num_images']} test pairs{skipped}.", "",
            "| method | MSE | fMSE | 95 % | median | of composite's | PSNR | fPSNR | SSIM | fSSIM | improved |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for method, values in methods.items():
            lines.append(
                f"| {method} | {values['mse']:.2f} | {values['fmse']:.1f} | {values['fmse_low']:.1f} to {values['fmse_high']:.1f} "
                f"| {values['median_fmse']:.1f} | {values['fmse_of_composites']:.3f} | {values['psnr']:.2f} | {values['fpsnr']:.2f} "
                f"| {values['ssim']:.4f} | {values['fssim']:.4f} | {values['do_no_harm']:.0%} |"
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
