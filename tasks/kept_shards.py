"""Shards that outlive a kill or an edit: the key (`attune.unit_keys`) that each was written under stands in a record apart."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attune.files import read_json, write_json
from tasks.shards import ShardInfo, shard_info


def record_shard(record: Path, key: str, info: ShardInfo, about: Mapping[str, Any]) -> None:
    """Say in the file `record` that the shard of `info` was written under `key`, and what is known `about` it."""
    write_json(record, {"key": key, "info": asdict(info), "about": dict(about)})


def find_kept_shard(path: Path, record: Path, key: str, *, split: str) -> tuple[ShardInfo, dict[str, Any]] | None:
    """The shard at `path`, and what its record says about it, if it is whole and was written under `key`; None where it must be written."""
    if not (path.is_file() and record.is_file()):
        return None
    try:
        saved = read_json(record)
        info, about = ShardInfo(**saved["info"]), dict(saved["about"])
        if saved["key"] == key and shard_info(path, split=split) == info:
            return info, about
    except (ValueError, KeyError, TypeError):
        pass  # a record or shard that cannot be read is written again
    return None
