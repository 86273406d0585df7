"""A name for code, so that what older code left half done is not continued."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
PACKAGES = ("attune.", f"{PACKAGE.name}.", "models.")
SCHEMA = PACKAGE / "params.py"  # says what values may be, not what comes of them


@cache
def code_digest(root: Path) -> str:
    """A hash of the file `root` and all of attune/, tasks/ and models/ that it imports, directly or by way of others, but the schema's."""
    digest = hashlib.sha256()
    for path in sorted(import_closure(root)):
        digest.update(path.relative_to(PACKAGE.parent).as_posix().removeprefix("tasks/").encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def import_closure(root: Path) -> set[Path]:
    """`root` and all files of attune/, tasks/ and models/ that it imports, directly or by way of others, but the schema."""
    found = {root}
    waiting = [root]
    while waiting:
        for path in _imported(waiting.pop()):
            if path not in found and path != SCHEMA:
                found.add(path)
                waiting.append(path)
    return found


def _imported(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = PACKAGE.parent / (name.replace(".", "/") + ".py")
            if name.startswith(PACKAGES) and file.is_file():
                yield file
