"""The table of an evaluation: one row per test image, method and flavour, in one schema; and what is said of many images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attune.files import written_atomically
from tasks.evaluation.error_left import error_left
from tasks.evaluation.haze import ToneChange
from tasks.evaluation.metrics import (
    BUCKETS,
    FLAVOURS,
    METRICS,
    Flavour,
    Scores,
    average,
    bucket_of,
    do_no_harm_rate,
    medians,
    relative_to,
)
from tasks.evaluation.statistics import bootstrap_interval
from tasks.seeds import numpy_generator

COMPOSITE, HARMONIZED, CHAMPION = "composite", "harmonized", "champion"  # methods: do nothing, the harmonizer, the one that it has to beat
TARGET = "target"  # beside the methods, where the wanted result is looked at as theirs are
VISIBLE = 2.0  # CIEDE2000: two patches that much apart are told apart side by side
NOTICED = 2.3  # CIE76: the same
SCORED, CHANGED = "per_image.parquet", "real_composites.parquet"  # the files of the two tables
DIGITS = 6  # significant ones in the JSON: enough to compare, few enough to survive another thread count

Summary = dict[str, dict[str, dict[str, Any]]]  # by benchmark, then by method

INDEX_COLUMNS = ("source", "subset", "key", "group", "label", "fg_ratio")  # columns that are the index's own
TOLD_APART_BY = ("subset", "method")  # columns of the index by which images are told apart: whose they are, how the composite was made
_name = pa.dictionary(pa.int32(), pa.string())
_PAIR = [
    pa.field("benchmark", _name), pa.field("source", _name), pa.field("subset", _name), pa.field("key", pa.string()),
    pa.field("group", pa.string()),  # the photograph: images of one group are not independent
    pa.field("label", _name), pa.field("made_by", _name),  # how the composite came to be
    pa.field("width", pa.int32()), pa.field("height", pa.int32()),  # px, as measured
    pa.field("num_foreground", pa.int64()),  # px, as measured: mask >= 0.5
    pa.field("fg_ratio", pa.float32()), pa.field("bucket", _name),  # at the file's own size
    pa.field("method", _name), pa.field("flavour", _name),
]

# Of real composites, which have no target: one row per image and method.
CHANGES = pa.schema([
    pa.field("benchmark", _name), pa.field("source", _name), pa.field("subset", _name), pa.field("key", pa.string()),
    pa.field("group", pa.string()), pa.field("label", _name), pa.field("width", pa.int32()), pa.field("height", pa.int32()),
    pa.field("num_foreground", pa.int64()), pa.field("fg_ratio", pa.float32()), pa.field("method", _name), pa.field("change", pa.float64()),
])


def per_image_schema() -> pa.Schema:
    """The table of pairs: what each is, a column per metric, and the untouched composite's error in the same flavour."""
    return pa.schema([*_PAIR, *(pa.field(metric, pa.float64()) for metric in METRICS), pa.field("composite_fmse", pa.float64())])


@dataclass(frozen=True)
class Appearance:
    """How one method changed a composite's object; what its error does not tell."""

    cie76: float  # mean inside the mask: how far it moved the object
    tones: ToneChange | None  # None where a region is too small


@dataclass(frozen=True)
class Scored:
    """Every method's metrics on one test pair."""

    row: Mapping[str, Any]  # of the index
    scores: Mapping[str, Mapping[Flavour, Scores]]  # by method
    width: int = 0
    height: int = 0
    num_foreground: int = 0
    appearance: Mapping[str, Appearance] = field(default_factory=dict)  # by method, and of the target; the table does not hold them

    def fmse(self, method: str) -> float:
        """The method's foreground error, raw."""
        return self.scores[method]["raw"].fmse


@dataclass(frozen=True)
class Changed:
    """How far every method moved one real composite, of which nobody knows what it should look like."""

    row: Mapping[str, Any]  # of the index
    changes: Mapping[str, float]  # by method: mean CIEDE2000 inside the mask, 0 for what nobody touched
    width: int
    height: int
    num_foreground: int
    appearance: Mapping[str, Appearance] = field(default_factory=dict)  # by method; the table does not hold them


def as_table(results: Mapping[str, Iterable[Scored]]) -> pa.Table:
    """The rows of each benchmark's pairs, in the schema `per_image_schema()`; every pair must have the method `COMPOSITE`."""
    rows = [
        {
            "benchmark": benchmark, **_index_row(scored.row),
            "made_by": scored.row["method"], "bucket": bucket_of(scored.row["fg_ratio"]),
            "width": scored.width, "height": scored.height, "num_foreground": scored.num_foreground,
            "method": method, "flavour": flavour, **scores.values, "composite_fmse": scored.scores[COMPOSITE][flavour].fmse,
        }
        for benchmark, found in results.items() for scored in found
        for method, flavours in scored.scores.items() for flavour, scores in flavours.items()
    ]
    return pa.Table.from_pylist(rows, schema=per_image_schema())


def changes_table(results: Mapping[str, Iterable[Changed]]) -> pa.Table:
    """The rows of each benchmark's real composites, in the schema `CHANGES`."""
    rows = [
        {
            "benchmark": benchmark, **_index_row(changed.row),
            "width": changed.width, "height": changed.height, "num_foreground": changed.num_foreground, "method": method, "change": change,
        }
        for benchmark, found in results.items() for changed in found for method, change in changed.changes.items()
    ]
    return pa.Table.from_pylist(rows, schema=CHANGES)


def write_measurements(path: Path, table: pa.Table) -> None:
    """Write a table of measurements as Parquet, whole or not at all."""
    with written_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_measurements(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """The table that `write_measurements` wrote; of pairs, if no schema is named.

    ValueError names the file if it is missing or has another schema.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such table; `dvc repro` makes it")
    found, schema = pq.read_table(path), schema or per_image_schema()
    if not found.schema.equals(schema, check_metadata=False):
        raise ValueError(f"{path}: columns {found.column_names} where {schema.names} were expected; run `dvc repro` again")
    return found


def read_scored(path: Path) -> dict[str, list[Scored]]:
    """What `as_table` was made of, by benchmark, in its order; rows have the index's columns that the table has. ValueError as above."""
    scores: dict[str, dict[str, dict[str, dict[Flavour, Scores]]]] = {}
    about: dict[tuple[str, str], dict[str, Any]] = {}
    for row in read_measurements(path).to_pylist():
        methods = scores.setdefault(row["benchmark"], {}).setdefault(row["key"], {})
        methods.setdefault(row["method"], {})[row["flavour"]] = Scores({metric: row[metric] for metric in METRICS})
        about[row["benchmark"], row["key"]] = row
    return {
        name: [
            Scored(_index_row(row) | {"method": row["made_by"]}, methods, row["width"], row["height"], row["num_foreground"])
            for key, methods in pairs.items() for row in (about[name, key],)
        ]
        for name, pairs in scores.items()
    }


def read_changed(path: Path) -> dict[str, list[Changed]]:
    """What `changes_table` was made of, in the same way. ValueError as above."""
    changes: dict[str, dict[str, dict[str, float]]] = {}
    about: dict[tuple[str, str], dict[str, Any]] = {}
    for row in read_measurements(path, CHANGES).to_pylist():
        changes.setdefault(row["benchmark"], {}).setdefault(row["key"], {})[row["method"]] = row["change"]
        about[row["benchmark"], row["key"]] = row
    return {
        name: [
            Changed(_index_row(row), methods, row["width"], row["height"], row["num_foreground"])
            for key, methods in composites.items() for row in (about[name, key],)
        ]
        for name, composites in changes.items()
    }


def _index_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: row[column] for column in INDEX_COLUMNS}


def summarize(name: str, found: Sequence[Scored], num_pairs: int, seed: int) -> dict[str, dict[str, Any]]:
    """Per method the raw means, by their own names; medians, intervals, buckets, sub-sets and the other flavours beside them.

    num_pairs: those whose mask was empty too. Intervals are drawn by photograph.
    """
    untouched = average([scored.scores[COMPOSITE]["raw"] for scored in found])
    groups = [scored.row["group"] for scored in found]
    summary = {}
    for method in found[0].scores:
        raw = [scored.scores[method]["raw"] for scored in found]
        means, middle, fmse = average(raw), medians(raw), [score.fmse for score in raw]
        low, high = bootstrap_interval(fmse, numpy_generator(seed, "evaluate", "bootstrap", name, method), groups=groups)
        psnr_low, psnr_high = bootstrap_interval(
            [score.psnr for score in raw], numpy_generator(seed, "evaluate", "bootstrap", name, method), groups=groups
        )
        values: dict[str, Any] = {
            **means, "num_images": len(raw), "num_skipped": num_pairs - len(raw),
            **{f"median_{metric}": middle[metric] for metric in ("mse", "fmse", "psnr", "ssim")},
            "fmse_low": low, "fmse_high": high, "psnr_low": psnr_low, "psnr_high": psnr_high,
            "fmse_of_composites": relative_to(means, untouched),
            "do_no_harm": do_no_harm_rate(fmse, [scored.fmse(COMPOSITE) for scored in found]),
            "buckets": _buckets(found, method), "subsets": _subsets(found, method), "left": _left(name, found, method, seed),
        }
        for flavour in FLAVOURS[1:]:
            values[flavour] = average([scored.scores[method][flavour] for scored in found])
        summary[method] = rounded(values)
    return summary


def summarize_changes(found: Sequence[Changed], num_images: int) -> dict[str, dict[str, Any]]:
    """Per method the mean and median change of real composites; of `num_images`."""
    return {
        method: rounded({
            "change": float(np.mean([changed.changes[method] for changed in found])),
            "median_change": float(np.median([changed.changes[method] for changed in found])),
            "num_images": len(found), "num_skipped": num_images - len(found),
        })
        for method in found[0].changes
    }


def _left(name: str, found: Sequence[Scored], method: str, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """What the method leaves of the composites' error, by each column of `TOLD_APART_BY` that tells images apart."""
    fmse, untouched = ([one.fmse(who) for one in found] for who in (method, COMPOSITE))
    groups = [one.row["group"] for one in found]
    left = {}
    for column in TOLD_APART_BY:
        kinds = [str(one.row[column]) for one in found]
        if len(set(kinds)) > 1:
            rng = numpy_generator(seed, "evaluate", "left", name, method, column)
            left[column] = {kind: asdict(each) for kind, each in error_left(kinds, fmse, untouched, rng, groups=groups).items()}
    return left


def _subsets(found: Sequence[Scored], method: str) -> dict[str, dict[str, float]]:
    """Means over each sub-set, where there are several; the mean over all is not the mean of these."""
    names = sorted({scored.row["subset"] for scored in found})
    subsets = {}
    for name in names if len(names) > 1 else []:
        inside = [scored.scores[method]["raw"] for scored in found if scored.row["subset"] == name]
        means = average(inside)
        subsets[name] = {"num_images": len(inside)} | {metric: means[metric] for metric in ("mse", "fmse", "psnr", "ssim")}
    return subsets


def _buckets(found: Sequence[Scored], method: str) -> dict[str, dict[str, float]]:
    """Means of the pairs whose foreground covers that much of the image, at the file's own size; empty buckets are left out."""
    buckets = {}
    for bucket in BUCKETS:
        inside = [scored.scores[method]["raw"] for scored in found if bucket_of(scored.row["fg_ratio"]) == bucket]
        if inside:
            means = average(inside)
            buckets[bucket] = {"num_images": len(inside)} | {metric: means[metric] for metric in ("mse", "fmse", "psnr", "fssim")}
    return buckets


def rounded(value: Any) -> Any:
    """`value` with all floats in it, in dicts too, to `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
