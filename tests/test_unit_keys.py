"""What kept work belongs to: every file behind it, and no other. Each kind of unit has the law of its own in the test of its module."""

import ast
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attune import unit_keys as module
from attune.unit_keys import DISTRIBUTIONS, code_digest, fingerprint, import_closure, library_versions, unit_key
from tasks.ingestion.checks import check_pair
from tasks.params import Params, key_params
from tasks.sources import starter

EditCode = Callable[[str], None]


def test_the_closure_is_all_that_an_import_loads(repository: Path) -> None:
    found = import_closure(repository / "tasks" / "ingestion" / "checks.py")
    names = {path.relative_to(repository).as_posix() for path in found}
    assert {"tasks/ingestion/checks.py", "attune/images.py", "tasks/ingestion/perceptual_hash.py", "attune/rejects.py"} <= names
    assert not names & {"tasks/params.py", "tasks/ingest.py", "tasks/mine.py"}
    for path in found:  # nothing that a file of the closure imports is missing
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("attune.", "tasks.")) and node.module != "tasks.params":
                assert repository / f"{str(node.module).replace('.', '/')}.py" in found


class Garbage:
    """What only the collector can free, and runs Python when it does: in the middle of anything."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(50))


def test_threads_may_ask_for_the_code_of_many_files_at_once(repository: Path) -> None:
    def names(path: Path) -> tuple[str, ...]:
        for _ in range(50):
            Garbage()
        return module.imported_names(path)

    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50, 2, 2)
    try:  # Python 3.11 cannot build two syntax trees at once: without a lock some of these fail
        module.imported_names.cache_clear()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(names, sorted((repository / "tasks").rglob("*.py"))[:60]))
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
    assert len(found) == 60


def test_data_that_code_names_is_code(repository: Path) -> None:
    assert repository / "tasks/sources/starter_objects.json" in import_closure(Path(starter.__file__))


def test_the_digest_changes_with_any_file_of_the_closure_and_with_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "tasks/a": "from tasks import b", "tasks/b": "import models.c\nimport numpy\nFILE = \"d.csv\"", "models/c": "", "tasks/e": "",
        "tasks/params": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "tasks/d.csv").touch()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "SCHEMA", tmp_path / "tasks/params.py")
    caches = (module.code_digest, module.imported_names, module.named_files)

    def digest_after(name: str) -> str:
        path = tmp_path / name
        path.write_text(path.read_text() + "\n")
        for known in caches:
            known.cache_clear()
        return code_digest(tmp_path / "tasks/a.py")

    first = digest_after("tasks/e.py")
    assert digest_after("tasks/e.py") == digest_after("tasks/params.py") == first
    changed = {digest_after(name) for name in ("tasks/a.py", "tasks/b.py", "models/c.py", "tasks/d.csv")}
    assert len({first, *changed}) == 5
    assert list(library_versions(tmp_path / "tasks/a.py")) == ["numpy"]


def test_a_key_is_another_for_other_code_libraries_or_values(edit_code: EditCode, monkeypatch: pytest.MonkeyPatch) -> None:
    first = unit_key(check_pair, {"min_side": 3})
    assert unit_key(check_pair, {"min_side": 3}) == first
    keys = {first, unit_key(check_pair, {"min_side": 4}), unit_key(starter.write_starter, {"min_side": 3})}
    edit_code("tasks/mine.py")
    assert unit_key(check_pair, {"min_side": 3}) == first
    edit_code("attune/images.py")
    keys.add(unit_key(check_pair, {"min_side": 3}))
    edit_code("tasks/mine.py")
    monkeypatch.setattr(module, "version", lambda name: f"another {name}")
    module.library_version.cache_clear()
    keys.add(unit_key(check_pair, {"min_side": 3}))
    module.library_version.cache_clear()
    assert len(keys) == 5
    assert len(fingerprint()) == len(first) == 24


def test_every_library_behind_kept_work_is_found(repository: Path) -> None:
    libraries: dict[str, str] = {}
    for stage in ("ingest", "mine", "fit_syconet", "augment", "train", "ablations/cells"):
        libraries |= library_versions(repository / f"tasks/{stage}.py")
    assert {"numpy", "torch", *DISTRIBUTIONS} - {"yaml", "skimage"} <= set(libraries)
    assert not [name for name, found in libraries.items() if not found]


def test_params_that_change_speed_alone_are_in_no_key(configure: Callable[..., Params]) -> None:
    params = configure()
    sections = [name for name in Params.model_fields if name not in ("seed", "speed")]
    kept = key_params(params, "seed", *sections)
    for key in ("speed", "speed.num_workers"):
        with pytest.raises(ValueError, match=f"{key}: changes speed alone"):
            key_params(params, "seed", key)
    assert kept["seed"] == params.seed
    assert len(kept) == 1 + sum(map(len, (key_params(params, section) for section in sections)))
    whole = configure({"speed.report_every": 977, "speed.num_workers": 9})
    assert key_params(whole, "seed", *sections) == kept
    assert key_params(configure({"ingest.synthesis.max_side": 99}), "ingest") != key_params(params, "ingest")


def test_a_key_takes_what_it_names_and_leaves_what_it_excepts(configure: Callable[..., Params]) -> None:
    found = key_params(configure(), "ingest.val_share", "ingest.synthesis.weights", but=["ingest.synthesis.weights.pitie"])
    weights = {f"ingest.synthesis.weights.{name}" for name in ("reinhard", "xiao_ma", "fecker", "illuminant", "retouch")}
    assert set(found) == {"ingest.val_share", *weights}
