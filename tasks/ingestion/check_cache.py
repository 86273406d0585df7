"""What a verdict of checking is kept under: a file that is as it was is not opened again.

A verdict is filed (by `kept_work`) under its sample's `check_key`: the paths of its files with their sizes and modification times, and what
else decides the outcome. The folder is named after the rules: limits, code, decoders.
"""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.code_digest import code_digest
from tasks.ingestion.kept_work import work_key
from tasks.params import Ingest
from tasks.sources.candidates import Candidate

Verdict = dict[str, Any]  # {"facts": {column: value}} of a good sample, {"path", "reason", "detail"} of a bad one

DECODERS = ("numpy", "opencv-python-headless", "pillow", "simplejpeg")
_ELSEWHERE = {  # params that say what is read and what becomes of it, not what is good
    "sources", "folders", "max_reject_fraction", "val_share", "test_share", "num_workers", "max_hash_distance", "starter", "synthesis",
}
_UNSEEN = {"key", "source", "subset", "split", "group", "label", "licence", "method_params"}  # said of a sample: no check looks at it


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
    return work_key(*parts)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns
