"""The Parquet index: explicit schemas, sorted rows, written whole or not at all, byte-equal for equal rows.

Every path is relative to the project's root, in POSIX form. `group` names the source photograph, or where several are near-duplicates of
each other the one that speaks for all of them: no group stands in two splits.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attune.files import written_atomically

SCHEMA_VERSION = "3"
_LACKING = {"2": ("method_params",)}  # columns that tables of an older version do not have yet: read as null

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

# One row per training or test pair. `method` says how the composite came to be ("published" where it was given), `method_params` how
# strongly: JSON with sorted keys, floats rounded to six decimals, null where nothing is known of it. reinhard, xiao_ma, fecker, pitie:
# {reference}, the key of the object whose colours were taken. retouch: the fields of `tasks.color.recolor.Retouch`. illuminant: {first,
# second}, the lights' names. rendered: the lights of scene and object, and what the camera renders as white.
# `plate_path` is the clean background, null where there is none.
PAIRS = pa.schema([
    *_identity, *_split,
    pa.field("composite_path", pa.string()), pa.field("mask_path", pa.string()), pa.field("target_path", pa.string()),
    pa.field("plate_path", pa.string()),
    *_shape, pa.field("label", _dictionary), pa.field("method", _dictionary), pa.field("method_params", pa.string()),
    pa.field("composite_fmse", pa.float32()),
    pa.field("target_phash", pa.uint64()),
    pa.field("composite_sha256", pa.string()), pa.field("mask_sha256", pa.string()), pa.field("target_sha256", pa.string()),
])

# One row per photograph and its retouched version, pixel-aligned.
RETOUCHES = pa.schema([
    *_identity, *_split,
    pa.field("before_path", pa.string()), pa.field("after_path", pa.string()), pa.field("mask_path", pa.string()),
    *_shape, pa.field("before_phash", pa.uint64()), pa.field("after_phash", pa.uint64()),
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

# One row per source photograph that another one is a near-duplicate of: a named photograph is one row, whatever number of samples it has.
# `named_split` is what its source says, null where it says nothing; `own_split` where it would stand alone; `action` what was done.
DUPLICATES = pa.schema([
    *_identity, *_split,
    pa.field("path", pa.string()), pa.field("width", pa.int32()), pa.field("height", pa.int32()), pa.field("phash", pa.uint64()),
    pa.field("distance", pa.int32()),  # bits, from the hash of the photograph that the group is named after
    pa.field("named_split", _dictionary), pa.field("own_split", _dictionary), pa.field("action", _dictionary),
])

TABLES: dict[str, pa.Schema] = {
    "photographs": PHOTOGRAPHS, "pairs": PAIRS, "retouches": RETOUCHES, "composites": COMPOSITES, "duplicates": DUPLICATES,
    "rejects": REJECTS,
}
FOR_MEASURING = frozenset({"realism_labels"})  # sources of real composites that nothing may learn from, or be tuned on
BATCH_ROWS = 4096  # of which no more stand in memory as Python objects


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, metadata: Mapping[str, str] | None = None) -> int:
    """Write `rows` sorted by key as Parquet; the number of rows. Equal rows, in whatever order, and metadata give equal bytes.

    rows: a generator's too: they are taken in batches, so that a million of them stand in memory as bytes, not as a million dicts. Rows of
    equal key and path (rejects alone may have them) keep the order they come in. metadata: what a reader should know of their making.
    Raises ValueError naming the first key that stands twice, or a row that does not fit the schema.
    """
    plain = pa.schema([(field.name, _plain_type(field.type)) for field in schema])
    try:
        batches = [pa.RecordBatch.from_pylist(batch, schema=plain) for batch in _batched(rows)]
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: a row does not fit the schema ({error})") from error
    table = pa.Table.from_batches(batches, schema=plain)
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in ("key", "path") if name in plain.names])
    table = table.take(order).combine_chunks()
    if "reason" not in schema.names:
        _check_unique(path, table)
    described = {"schema_version": SCHEMA_VERSION, **(metadata or {})}
    with written_atomically(path) as temporary:  # encoded only now that rows are sorted: a dictionary's order is that of its rows
        pq.write_table(table.cast(schema).replace_schema_metadata(described), temporary, compression="zstd", row_group_size=65536)
    return int(table.num_rows)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _batched(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        yield batch


def _check_unique(path: Path, table: pa.Table) -> None:
    keys = table["key"]
    repeated = pc.indices_nonzero(pc.equal(keys[1:], keys[:-1])) if len(keys) > 1 else []
    if len(repeated):
        first = repeated[0].as_py()
        key, sources = keys[first].as_py(), [table["source"][place].as_py() for place in (first, first + 1)]
        raise ValueError(f"{path}: key {key!r} stands twice (sources {sources[0]} and {sources[1]})")


def iterate_table(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, a batch at a time in memory."""
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
        yield from batch.to_pylist()


def read_table(path: Path, schema: pa.Schema, filters: Any = None) -> list[dict[str, Any]]:
    """The rows of a Parquet table as dicts, optionally filtered (`[("split", "=", "train")]`).

    Raises ValueError if the file is missing or has another schema: it says which stage writes it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such table; `dvc repro` makes it")
    found = pq.read_schema(path)
    version = (found.metadata or {}).get(b"schema_version", b"").decode()
    lacking = [name for name in _LACKING.get(version, ()) if name in schema.names]
    wanted = pa.schema([field for field in schema if field.name not in lacking])
    if not found.equals(wanted, check_metadata=False):
        raise ValueError(
            f"{path}: columns {found.names} of schema version {version or 'unknown'}, where {schema.names} of version {SCHEMA_VERSION} "
            f"were expected; run `dvc repro` again"
        )
    rows: list[dict[str, Any]] = pq.read_table(path, filters=filters).to_pylist()
    return [{**row, **dict.fromkeys(lacking)} for row in rows] if lacking else rows


def read_index(folder: Path, name: str, **equal: str) -> list[dict[str, Any]]:
    """The rows of the index table `name` in `folder` whose columns have the values `equal`, sorted by key."""
    filters = [(column, "=", value) for column, value in equal.items()] or None
    return read_table(folder / f"{name}.parquet", TABLES[name], filters)


def read_real_composites(folder: Path) -> list[dict[str, Any]]:
    """The rows of real composites that mining, judges and people may look at: without those of `FOR_MEASURING`."""
    return [row for row in read_index(folder, "composites") if row["source"] not in FOR_MEASURING]
