"""What the samples of a shard folder are, without opening a tar: one row per sample, in the order of `tasks.shards.ShardFolder`.

Whoever chooses among samples (originals alone, those of so many photographs, those of one source) reads this, not a JSON member of each.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attune.files import written_atomically
from tasks.index import read_table

SAMPLES_FILE = "samples.parquet"

_dictionary = pa.dictionary(pa.int32(), pa.string())

# `key` is the sample's in its shard; `parent` the index's key of the pair, retouch or object that it was made of; `group` the photograph;
# `label` what the object is, "" where nobody says.
SAMPLES = pa.schema([
    pa.field("key", pa.string()), pa.field("split", _dictionary), pa.field("kind", _dictionary), pa.field("source", _dictionary),
    pa.field("subset", _dictionary), pa.field("group", pa.string()), pa.field("parent", pa.string()),
    pa.field("label", _dictionary),
])


def write_samples(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `folder`/samples.parquet, whole or not at all; rows must come in the order of the shards' names and of the samples in them."""
    plain = pa.schema([(field.name, pa.string()) for field in SAMPLES])
    table = pa.Table.from_pylist(list(rows), schema=plain).cast(SAMPLES)
    with written_atomically(folder / SAMPLES_FILE) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_samples(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of `split`: number i is sample i of `ShardFolder(folder, split)`. Raises ValueError naming the file if it is missing."""
    return read_table(folder / SAMPLES_FILE, SAMPLES, [("split", "=", split)])
