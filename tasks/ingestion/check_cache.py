"""What checking found, kept from run to run: a file that is as it was is not opened again.

A verdict is filed under its sample's `check_key`: the paths of its files with their sizes and modification times, and what else decides the
outcome. The folder is named after the rules (limits, code, decoders), so that other rules find it empty. Each chunk of work leaves one
file, whole or not at all; to delete the folder costs time and changes nothing.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.code_digest import code_digest
from tasks.files import written_atomically
from tasks.params import Ingest
from tasks.sources.candidates import Candidate

Verdict = dict[str, Any]  # {"facts": {column: value}} of a good sample, {"path", "reason", "detail"} of a bad one

DECODERS = ("numpy", "opencv-python-headless", "pillow", "simplejpeg")
_ELSEWHERE = {  # params that say what is read and what becomes of it, not what is good
    "sources", "folders", "max_reject_fraction", "val_share", "test_share", "num_workers", "max_hash_distance", "starter", "synthesis",
}
_UNSEEN = {"key", "source", "subset", "split", "group", "label", "licence"}  # what a sample is called, which no check looks at
_SCHEMA = pa.schema([pa.field("key", pa.binary(16)), pa.field("verdict", pa.string())])


def rules_digest(ingest: Ingest) -> str:
    """A name for all that decides a verdict but the files themselves."""
    settings = ingest.model_dump(mode="json", exclude=_ELSEWHERE)
    values = [settings, _decoders(), code_digest(Path(__file__).with_name("checks.py"))]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _decoders() -> list[str]:
    return [version(name) for name in DECODERS]


def check_key(sample: Candidate) -> bytes:
    """16 bytes that are others as soon as a file of the sample has another path, size or modification time (ns)."""
    parts: list[Any] = [type(sample).__name__]
    for name, value in vars(sample).items():
        if name not in _UNSEEN:
            parts += (name, value, _stamp(value) if name.endswith("_path") and value else "")
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).digest()[:16]


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def read_verdicts(folder: Path) -> dict[bytes, str]:
    """All verdicts that are filed in `folder`, as JSON: `json.loads` gives the Verdict."""
    found: dict[bytes, str] = {}
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, schema=_SCHEMA)
        found.update(zip(table["key"].to_pylist(), table["verdict"].to_pylist(), strict=True))
    return found


def write_verdicts(path: Path, verdicts: Mapping[bytes, str]) -> None:
    """File `verdicts` (JSON by key) as `path`, whole or not at all."""
    keys = sorted(verdicts)
    table = pa.table([pa.array(keys, pa.binary(16)), pa.array([verdicts[key] for key in keys], pa.string())], schema=_SCHEMA)
    with written_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def keep_verdicts(folder: Path, keys: Iterable[bytes]) -> None:
    """Leave one file in `folder`, with the verdicts of `keys` alone: what is gone from the sources is forgotten."""
    found = read_verdicts(folder)
    old = sorted(folder.glob("*.parquet"))
    kept = folder / "kept.parquet"
    write_verdicts(kept, {key: found[key] for key in keys if key in found})
    for path in old:
        if path != kept:
            path.unlink()
