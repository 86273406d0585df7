"""What an outcome of checking is kept under: a file that is as it was is not opened again.

An outcome is filed (by `kept_work`) under its sample's `check_key`: the paths of its files with their sizes and modification times, and
what else decides it. The folder is named after the rules: limits and code.
"""

import os
from typing import Any

from tasks.ingestion.kept_work import work_key
from tasks.sources.candidates import Candidate

Outcome = dict[str, Any]  # {"facts": {column: value}} of a good sample, {"path", "reason", "detail"} of a bad one

_UNSEEN = {"key", "source", "subset", "split", "group", "label", "licence", "method_params"}  # said of a sample: no check looks at it


def check_key(sample: Candidate) -> bytes:
    """16 bytes that are others as soon as a file of the sample has another path, size or modification time (ns)."""
    parts: list[Any] = [type(sample).__name__]
    for name, value in vars(sample).items():
        if name not in _UNSEEN:
            parts += (name, value, _stamp(value) if name.endswith("_path") and value else "")
    return work_key(*parts)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns
