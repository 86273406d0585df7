"""What the index holds, counted for the report, and whether any photograph stands on two sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.splits import SPLITS

PLACE = ["source", "subset"]


@dataclass(frozen=True)
class Audit:
    """What the index holds, counted."""

    counts: Sequence[Mapping[str, Any]]  # a row per source and sub-set: those two, "photographs", "objects", "train", "val", "test"
    rejects: Sequence[Mapping[str, Any]]  # a row per source and reason: "source", "reason", "count", "example"
    shared_groups: int  # source photographs that stand in more than one split: leaks, so 0
    duplicates: Sequence[Mapping[str, Any]]  # photographs under several names, a row per source and what was done: "source", "action", ...
    duplicate_groups: int  # how many photographs those are in truth


def audit_index(folder: Path) -> Audit:
    """The index in `folder`, counted by columns: a million rows are no matter. ValueError names a table that is missing."""
    photographs = _read(folder, "photographs", [*PLACE, "group", "split", "image_path"])
    pairs = _read(folder, "pairs", [*PLACE, "group", "split"])
    rejects = _read(folder, "rejects", ["source", "reason", "detail"])
    duplicates = _read(folder, "duplicates", ["source", "action", "key", "group"])
    return Audit(
        counts=_count_places(photographs, pairs),
        rejects=_count(rejects, ["source", "reason"], "detail"),
        shared_groups=_count_shared([photographs, pairs]),
        duplicates=_count(duplicates, ["source", "action"], "key"),
        duplicate_groups=len(duplicates["group"].unique()),
    )


def _read(folder: Path, name: str, columns: Sequence[str]) -> pa.Table:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise ValueError(f"{path}: no such table; `dvc repro` makes it")
    return pq.read_table(path, columns=columns).cast(pa.schema([(column, pa.string()) for column in columns]))


def _count_places(photographs: pa.Table, pairs: pa.Table) -> list[dict[str, str | int]]:
    """A row per source and sub-set: photographs, objects in them, and pairs of each split."""
    images = photographs.group_by(PLACE).aggregate([("image_path", "count_distinct"), ("image_path", "count")]).to_pylist()
    made = pairs.group_by([*PLACE, "split"]).aggregate([([], "count_all")]).to_pylist()
    blank = {"photographs": 0, "objects": 0} | dict.fromkeys(SPLITS, 0)
    places = {(row["source"], row["subset"]): dict(blank) for row in [*images, *made]}
    for row in images:
        places[row["source"], row["subset"]] |= {"photographs": row["image_path_count_distinct"], "objects": row["image_path_count"]}
    for row in made:
        places[row["source"], row["subset"]][row["split"]] = row["count_all"]
    return [{"source": source, "subset": subset, **counts} for (source, subset), counts in sorted(places.items())]


def _count(table: pa.Table, by: Sequence[str], example: str) -> list[dict[str, str | int]]:
    """A row for each combination of the columns `by`, most first, with its count and the first `example` in the alphabet."""
    found = table.group_by(list(by)).aggregate([([], "count_all"), (example, "min")]).to_pylist()
    rows = [{name: row[name] for name in by} | {"count": row["count_all"], "example": row[f"{example}_min"]} for row in found]
    return sorted(rows, key=lambda row: (-row["count"], *(str(row[name]) for name in by)))


def _count_shared(tables: Sequence[pa.Table]) -> int:
    """Source photographs that stand in more than one split, across tables too."""
    together = pa.concat_tables([table.select(["group", "split"]) for table in tables])
    splits = together.group_by("group").aggregate([("split", "count_distinct")])
    return int(pc.sum(pc.greater(splits["split_count_distinct"], 1)).as_py() or 0)
