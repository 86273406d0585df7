"""Files that a source describes but does not hold: masks drawn from annotations, composites pasted from their parts.

They stand below `<paths.prepared>/<source>/` and carry the modification time of what they were made from, with microseconds that stand for
the code that made them. So a file is up to date where the times are equal, and one that had to be made again, because DVC cleared the
folder, looks to ingestion as it did before: what is not new need not be checked again.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attune.unit_keys import unit_key

SECOND = 10**9


def time_made(maker: Callable[..., Any], made_from: Iterable[Path]) -> int:
    """The modification time (ns) of what the code of `maker` makes from files: that of the latest, to the second, those that are not there
    left out; below it, whole microseconds (not every file system keeps finer ones), by hash of time and code.
    """
    latest = max((path.stat().st_mtime_ns for path in made_from if path.is_file()), default=0)
    return latest // SECOND * SECOND + int(unit_key(maker, latest), 16) % 10**6 * 1000


def is_up_to_date(path: Path, made_from: int) -> bool:
    """Whether the file `path` has that modification time (ns), see `time_made`."""
    return path.is_file() and path.stat().st_mtime_ns == made_from


def write_prepared(path: Path, data: bytes, *, made_from: int) -> None:
    """Write `data`, whole or not at all, under the modification time (ns) of what it was made from.

    Unlike `attune.files.write_bytes` it does not wait for the disk: there may be hundreds of thousands, and each can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_bytes(data)
    os.utime(temporary, ns=(made_from, made_from))
    temporary.replace(path)


def clear_others(folder: Path, kept: Iterable[Path]) -> None:
    """Remove every file below `folder` that is not among `kept`."""
    wanted = set(kept)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
