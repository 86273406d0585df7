"""What a report rests on: versions of the code, hashes of the model and of the data, and the values that it was made with."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attune.files import read_json
from tasks.params import Params

PACKAGES = ("attune", "torch", "numpy", "opencv-python-headless", "pillow", "numba", "pyarrow")
HASH_LENGTH = 16  # hexadecimal digits
WEIGHTS = "weights, sha256"


def describe_provenance(params: Params, lineage: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """By heading: code, model, data, values. lineage: what only the caller knows (the commit, DVC's hashes); it stands with the code."""
    return {
        "Code": {**lineage, "python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "Model": _model(params.paths.harmonizer),
        "Data": _data(params.paths.index),
        "Values": {"seed": str(params.seed), **_flat("evaluate", params.evaluate.model_dump(mode="json"))},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _model(folder: Path) -> dict[str, str]:
    found = read_json(folder / "config.json")
    weights = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()[:HASH_LENGTH]
    return {WEIGHTS: weights, **_flat("config", found["config"]), **_flat("training", found["about"])}


def _data(index: Path) -> dict[str, str]:
    """Rows and hash of every table of the index; nothing where it has no manifest."""
    path = index / "manifest.json"
    tables = read_json(path)["tables"] if path.is_file() else {}
    return {name: f"{table['rows']} rows, sha256 {table['sha256'][:HASH_LENGTH]}" for name, table in sorted(tables.items())}


def _flat(name: str, value: object) -> dict[str, str]:
    """Nested values by dotted keys."""
    if not isinstance(value, Mapping):
        return {name: value if isinstance(value, str) else json.dumps(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= _flat(f"{name}.{key}", inner)
    return flat
