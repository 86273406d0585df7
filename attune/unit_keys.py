"""What a kept unit of work belongs to: its params, its inputs, and the code that makes it.

Whatever survives a kill or an edit and is taken up again is kept under `unit_key`: outcomes and composites of ingestion, what is known of
objects, shards, training states, cells of studies. Edit a file behind the function that makes a unit, and it is made anew; edit
another, and it is kept.

Code is the bytes of files: a comment counts, as it does for DVC, for no rule says for sure which edit changes nothing. The schema of
params does not count (it says what values may be, and the values are in the key), nor do params that change speed alone
(section `speed` of params.yaml). Of the libraries that those files import, the versions count.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).parent.parent
PACKAGES = ("attune", "models", "tasks")
SCHEMA = ROOT / "tasks" / "params.py"
# Libraries by what they are installed as, where that is another name; whichever of several is there.
DISTRIBUTIONS = {
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "PIL": ("pillow",), "skimage": ("scikit-image",), "sklearn": ("scikit-learn",), "yaml": ("pyyaml",),
}
_PARSING = Lock()  # Python 3.11 counts the depth of all threads' trees together, and fails where two are built at once
NOT_COUNTED = {"flows", "jaxtyping", "pydantic"}  # when work is done, and what values are: what comes out of it is the same


def unit_key(maker: Callable[..., Any], *values: Any) -> str:
    """24 hex digits that are others as soon as a file or library behind `maker`, the function that makes the unit, or one of `values` is.

    values: the params that count and the inputs, JSON-able (anything else by its text).
    """
    path = Path(str(sys.modules[maker.__module__].__file__))
    return fingerprint(code_digest(path), library_versions(path), *values)


def fingerprint(*values: Any) -> str:
    """A short hash of JSON-able values, equal for equal values on any machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:24]


@cache
def code_digest(path: Path) -> str:
    """A hash of the names and bytes of a file's `import_closure`."""
    digest = hashlib.sha256()
    for file in sorted(import_closure(path)):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + hashlib.sha256(read_source(file)).digest())
    return digest.hexdigest()


@cache
def library_versions(path: Path) -> dict[str, str]:
    """The versions of the libraries that a file's `import_closure` imports; "" of one that is not installed."""
    names = {name.split(".")[0] for file in import_closure(path) if file.suffix == ".py" for name in imported_names(file)}
    return {name: library_version(name) for name in sorted(names - NOT_COUNTED - set(PACKAGES) - sys.stdlib_module_names)}


def import_closure(path: Path) -> set[Path]:
    """The file `path`, all files of our packages that it imports, directly or by way of others, but the schema, and the data files beside
    them that they name.
    """
    found, waiting = {path}, [path]
    while waiting:
        for file in _imported_files(waiting.pop()):
            if file not in found and file != SCHEMA:
                found.add(file)
                waiting.append(file)
    return found.union(*map(named_files, found))


def read_source(path: Path) -> bytes:
    """The bytes of a file of ours."""
    return path.read_bytes()


def _imported_files(path: Path) -> Iterator[Path]:
    for name in imported_names(path):
        if name.split(".")[0] in PACKAGES:
            place = ROOT / name.replace(".", "/")
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            if file.is_file():
                yield file


@cache
def imported_names(path: Path) -> tuple[str, ...]:
    """The modules that a file imports, anywhere in it, and what it takes out of them."""
    names: list[str] = []
    with _PARSING:
        tree = ast.parse(read_source(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return tuple(names)


@cache
def named_files(path: Path) -> set[Path]:
    """The files beside `path`, no code, whose names stand in it as texts."""
    text = read_source(path).decode()
    return {file for file in path.parent.iterdir() if file.is_file() and file.suffix != ".py" and f'"{file.name}"' in text}


@cache
def library_version(name: str) -> str:
    """The installed version of the library that is imported as `name`; "" where there is none."""
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""
