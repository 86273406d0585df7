"""The Parquet index: explicit schemas, sorted rows, written whole or not at all, byte-equal for equal rows.

Every path is relative to the project's root, in POSIX form. `group` names the source photograph: no group stands in two splits.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.files import written_atomically

SCHEMA_VERSION = "2"

_dictionary = pa.dictionary(pa.int32(), pa.string())
_identity = [pa.field("key", pa.string()), pa.field("source", _dictionary), pa.field("subset", _dictionary)]
_split = [pa.field("split", _dictionary), pa.field("group", pa.string())]
_shape = [pa.field("width", pa.int32()), pa.field("height", pa.int32()), pa.field("fg_ratio", pa.float32())]

# One row per object: a photograph and one mask of it.
PHOTOGRAPHS = pa.schema([
    *_identity, *_split,
    pa.field("image_path", pa.string()), pa.field("mask_path", pa.string()),
    *_shape, pa.field("label", _dictionary),
    pa.field("image_phash", pa.uint64()),
    pa.field("image_sha256", pa.string()), pa.field("mask_sha256", pa.string()), pa.field("licence", _dictionary),
])

# One row per training or test pair. `method` says how the composite came to be ("published" where it was given);
# `plate_path` is the clean background, null where there is none.
PAIRS = pa.schema([
    *_identity, *_split,
    pa.field("composite_path", pa.string()), pa.field("mask_path", pa.string()), pa.field("target_path", pa.string()),
    pa.field("plate_path", pa.string()),
    *_shape, pa.field("label", _dictionary), pa.field("method", _dictionary), pa.field("composite_fmse", pa.float32()),
    pa.field("target_phash", pa.uint64()),
    pa.field("composite_sha256", pa.string()), pa.field("mask_sha256", pa.string()), pa.field("target_sha256", pa.string()),
])

# One row per photograph and its retouched version, pixel-aligned.
RETOUCHES = pa.schema([
    *_identity, *_split,
    pa.field("before_path", pa.string()), pa.field("after_path", pa.string()), pa.field("mask_path", pa.string()),
    *_shape, pa.field("before_phash", pa.uint64()),
    pa.field("before_sha256", pa.string()), pa.field("after_sha256", pa.string()), pa.field("mask_sha256", pa.string()),
])

# One row per real composite that was brought, without ground truth.
COMPOSITES = pa.schema([
    *_identity, *_split,
    pa.field("composite_path", pa.string()), pa.field("mask_path", pa.string()),
    *_shape, pa.field("label", _dictionary), pa.field("composite_phash", pa.uint64()),
    pa.field("composite_sha256", pa.string()), pa.field("mask_sha256", pa.string()),
])

# One row per bad sample; `reason` is from a closed vocabulary, `detail` is the message.
REJECTS = pa.schema([*_identity, pa.field("path", pa.string()), pa.field("reason", _dictionary), pa.field("detail", pa.string())])

TABLES: dict[str, pa.Schema] = {
    "photographs": PHOTOGRAPHS, "pairs": PAIRS, "retouches": RETOUCHES, "composites": COMPOSITES, "rejects": REJECTS,
}


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write `rows` sorted by key as Parquet; the number of rows. Equal rows give equal bytes.

    Raises ValueError naming the first key that stands twice, or a row that does not fit the schema. (Rejects may repeat keys.)
    """
    ordered = sorted(rows, key=lambda row: (row["key"], row.get("path", "")))
    if "reason" not in schema.names:
        for first, second in pairwise(ordered):
            if first["key"] == second["key"]:
                raise ValueError(f"{path}: key {first['key']!r} stands twice (sources {first['source']} and {second['source']})")
    try:
        table = pa.Table.from_pylist(ordered, schema=schema.with_metadata({"schema_version": SCHEMA_VERSION}))
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise ValueError(f"{path}: a row does not fit the schema ({error})") from error
    with written_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=65536)
    return len(ordered)


def read_table(path: Path, schema: pa.Schema, filters: Any = None) -> list[dict[str, Any]]:
    """The rows of a Parquet table as dicts, optionally filtered (`[("split", "=", "train")]`).

    Raises ValueError if the file is missing or has another schema: it says which stage writes it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such table; `dvc repro` makes it")
    found = pq.read_schema(path)
    if not found.equals(schema, check_metadata=False):
        raise ValueError(f"{path}: columns {found.names} where {schema.names} were expected; run `dvc repro` again")
    rows: list[dict[str, Any]] = pq.read_table(path, filters=filters).to_pylist()
    return rows


def read_index(folder: Path, name: str, **equal: str) -> list[dict[str, Any]]:
    """The rows of the index table `name` in `folder` whose columns have the values `equal`, sorted by key."""
    filters = [(column, "=", value) for column, value in equal.items()] or None
    return read_table(folder / f"{name}.parquet", TABLES[name], filters)
