"""What stands for code: every file behind it, and no other."""

import ast

from tasks import code_digest as module
from tasks.code_digest import code_digest, import_closure


def test_the_closure_is_all_that_an_import_loads(repository):
    found = import_closure(repository / "tasks" / "ingestion" / "checks.py")
    names = {path.relative_to(repository).as_posix() for path in found}
    assert {"tasks/ingestion/checks.py", "tasks/ingestion/perceptual_hash.py", "tasks/sources/candidates.py"} <= names
    assert {"attune/images.py", "attune/rejects.py"} <= names
    assert not names & {"tasks/params.py", "tasks/ingest.py", "tasks/mine.py"}
    for path in found:  # nothing that a file of the closure imports is missing
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("attune.", "tasks.")) and node.module != "tasks.params":
                assert repository / f"{str(node.module).replace('.', '/')}.py" in found


def test_the_digest_changes_with_any_file_of_the_closure_and_with_no_other(tmp_path, monkeypatch):
    package = tmp_path / "tasks"
    package.mkdir()
    for name, text in {"a": "from tasks import b", "b": "import tasks.c", "c": "", "d": "", "params": ""}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(module, "PACKAGE", package)
    monkeypatch.setattr(module, "SCHEMA", package / "params.py")

    def digest_after(name: str) -> str:
        path = package / f"{name}.py"
        path.write_text(path.read_text() + "\n")
        code_digest.cache_clear()
        return code_digest(package / "a.py")

    first = digest_after("d")
    assert digest_after("d") == digest_after("params") == first
    assert len({first, digest_after("a"), digest_after("b"), digest_after("c")}) == 4
    code_digest.cache_clear()
