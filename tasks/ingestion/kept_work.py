"""Work in chunks whose results are kept from run to run: what was done once, under equal rules, is not done again.

    <folder>/chunks/<name>.json     what a chunk of work is to do
    <folder>/<name>.parquet         its results: a text (JSON) for each key, whole or not at all
    <folder>/kept.parquet           results of earlier runs, together

The folder is named after the rules (`attune.unit_keys`): other rules find it empty. To delete it costs time and changes nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attune.files import read_json, write_bytes, written_atomically

KEPT = "kept"
_BATCH_ROWS = 512  # that stand in memory together as Python objects
_SCHEMA = pa.schema([pa.field("key", pa.binary(16)), pa.field("result", pa.string())])


@dataclass(frozen=True)
class WorkChunk:
    """One unit of work: what `folder/chunks/<name>.json` lists; its results go to `folder/<name>.parquet`."""

    name: str
    folder: str


@dataclass(frozen=True)
class DoneChunk:
    """A chunk that is done: how many good things came of it, and how many rejects."""

    name: str
    num_good: int
    num_bad: int


def work_key(*values: Any) -> bytes:
    """16 bytes that stand for `values`: others for values that print otherwise."""
    return hashlib.sha256(repr(values).encode(errors="surrogateescape")).digest()[:16]


def write_chunk(folder: Path, name: str, work: Any) -> WorkChunk:
    """Keep what a chunk is to do, as JSON."""
    write_bytes(folder / "chunks" / f"{name}.json", json.dumps(work).encode())
    return WorkChunk(name, folder.as_posix())


def read_chunk(chunk: WorkChunk) -> Any:
    """What a chunk is to do."""
    return read_json(Path(chunk.folder) / "chunks" / f"{chunk.name}.json")


def iterate_results(folder: Path) -> Iterator[tuple[bytes, str]]:
    """All results that are filed in `folder`, some hundred at a time in memory."""
    for path in _filed(folder):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield from zip(batch["key"].to_pylist(), batch["result"].to_pylist(), strict=True)


def write_results(path: Path, results: Mapping[bytes, str]) -> None:
    """File `results` as `path`, whole or not at all."""
    keys = sorted(results)
    with written_atomically(path) as temporary:
        pq.write_table(_table({key: results[key] for key in keys}), temporary, compression="zstd")


def keep_results(folder: Path, wanted: Callable[[bytes, str], bool]) -> set[bytes]:
    """Leave one file in `folder`, with the results that are `wanted` alone, each key once; their keys."""
    old, found = _filed(folder), set()
    kept = folder / f"{KEPT}.parquet"
    with written_atomically(kept) as temporary, pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
        batch: dict[bytes, str] = {}
        for key, result in iterate_results(folder):
            if key not in found and wanted(key, result):
                found.add(key)
                batch[key] = result
            if len(batch) == _BATCH_ROWS:
                writer.write_table(_table(batch))
                batch = {}
        writer.write_table(_table(batch))
    for path in old:
        if path != kept:
            path.unlink()
    return found


def _filed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))  # not what a killed run left half written


def _table(results: Mapping[bytes, str]) -> pa.Table:
    return pa.table([pa.array(list(results), pa.binary(16)), pa.array(list(results.values()), pa.string())], schema=_SCHEMA)
