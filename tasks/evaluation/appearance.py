"""What an error does not tell of many images: haze and wash-out, and whether what people take for pasted is changed most.

Two files: `metrics/appearance.json` (the summary) and `measures/appearance.parquet` (a row per image and method).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from tasks.evaluation.haze import summarize_haze
from tasks.evaluation.human_labels import JUDGEMENTS, agreement
from tasks.evaluation.measurements import COMPOSITE, Changed, Scored, rounded
from tasks.seeds import numpy_generator

TABLE, SUMMARY = "appearance.parquet", "appearance.json"
Found = Mapping[str, Sequence[Scored | Changed]]  # by benchmark

_name = pa.dictionary(pa.int32(), pa.string())
_POINTS = [f"{point}_{when}" for point in ("black", "white", "chroma") for when in ("before", "after", "background")]
APPEARANCE = pa.schema([
    pa.field("benchmark", _name), pa.field("source", _name), pa.field("subset", _name), pa.field("key", pa.string()),
    pa.field("group", pa.string()), pa.field("method", _name),  # a method, or "target"
    pa.field("cie76", pa.float64()),  # mean change inside the mask
    *(pa.field(point, pa.float64()) for point in _POINTS),  # grey levels and CIELAB chroma; null where a region was too small
])


def appearance_table(found: Found) -> pa.Table:
    """The rows of every image of each benchmark, in the schema `APPEARANCE`."""
    rows = [
        {
            "benchmark": name, **{column: one.row[column] for column in ("source", "subset", "key", "group")}, "method": method,
            "cie76": each.cie76, **(_points(asdict(each.tones)) if each.tones is not None else {}),
        }
        for name, images in found.items() for one in images for method, each in one.appearance.items()
    ]
    return pa.Table.from_pylist(rows, schema=APPEARANCE)


def _points(tones: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: tones[when][point] for name in _POINTS for point, _, when in (name.partition("_"),)}


def summarize_appearance(found: Found, seed: int) -> dict[str, Any]:
    """`{"tones": {benchmark: {method: Haze}}, "human_labels": {benchmark: {method: Agreement}}}`, as plain values.

    Doing nothing is left out, and the targets stand beside the methods. Human labels are those of benchmarks whose sub-sets are
    judgements (tasks/sources/realism_labels.py); others are left out.
    """
    summary: dict[str, Any] = {"tones": {}, "human_labels": {}}
    for name, images in found.items():
        methods = [method for method in images[0].appearance if method != COMPOSITE]
        tones = {method: each for method in methods if (each := _tones(name, images, method, seed))}
        labels = {method: each for method in methods if (each := _agreement(name, images, method, seed))}
        summary["tones"] |= {name: tones} if tones else {}
        summary["human_labels"] |= {name: labels} if labels else {}
    plain: dict[str, Any] = rounded(summary)
    return plain


def _tones(name: str, images: Sequence[Scored | Changed], method: str, seed: int) -> dict[str, Any] | None:
    seen = [(each.tones, one.row["group"]) for one in images for each in (one.appearance[method],) if each.tones is not None]
    if not seen:
        return None
    changes, groups = zip(*seen, strict=True)
    return asdict(summarize_haze(changes, numpy_generator(seed, "appearance", "tones", name, method), groups=groups))


def _agreement(name: str, images: Sequence[Scored | Changed], method: str, seed: int) -> dict[str, Any] | None:
    changes: dict[str, list[float]] = defaultdict(list)
    for one in images:
        if one.row["subset"] in JUDGEMENTS:
            changes[one.row["subset"]].append(one.appearance[method].cie76)
    told = agreement(changes, numpy_generator(seed, "appearance", "labels", name, method))
    return None if told is None else asdict(told)


