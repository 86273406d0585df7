"""dvc.yaml says the truth: files as imported, params as read, and what a change makes stale."""

import ast
import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.code import list_code
from flows.graph import CODE, PlannedStage, plan_stages
from tasks.params import Speed

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC reads the value of an empty step

SECTIONS = {
    "ingest": "ingest", "mine": "mine", "fit_syconet": "syconet", "finetune_syconet": "finetune_syconet", "augment": "augment",
    "train": "train", "evaluate": "evaluate", "report": "evaluate",
}
MATRICES = {"finetune_syconet": "domain"}  # stages of which there are as many as params name, none by default
# Files that two stages share read these where they work for the other one alone.
NOT_READ = {"fit_syconet": {"finetune_syconet.domains", "finetune_syconet.steps"}, "finetune_syconet": {"finetune_syconet.domains"}}


@pytest.fixture(scope="module")
def stages(repository: Path) -> dict[str, dict[str, Any]]:
    """dvc.yaml's stages."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    return found


# --- Code -------------------------------------------------------------------------------------------------------------------------------


def imported_files(path: Path, repository: Path) -> Iterator[Path]:
    """The files of attune/, tasks/ and models/ that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = repository / (name.replace(".", "/") + ".py")
            if name.split(".")[0] in ("attune", "tasks", "models") and file.is_file():
                yield file


SCHEMA = "tasks/params.py"  # says what values may be, never what comes out of them: the values themselves are tracked as params


def import_closure(stage: str, repository: Path) -> set[str]:
    """Every file of attune/, tasks/ and models/ behind a stage's flow but the schema, and the data files there that one of them names."""
    found: set[Path] = set()
    waiting = [repository / "flows" / f"{stage}.py"]
    while waiting:
        for file in imported_files(waiting.pop(), repository):
            if file not in found and file != repository / SCHEMA:
                found.add(file)
                waiting.append(file)
    for file in list(found):
        text = file.read_text()
        found |= {other for other in file.parent.iterdir() if other.is_file() and other.suffix != ".py" and f'"{other.name}"' in text}
    return {file.relative_to(repository).as_posix() for file in found}


@pytest.mark.parametrize("stage", SECTIONS)
def test_the_code_of_a_stage_is_its_import_closure(
    repository: Path, stages: dict[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    listed, real = list_code(stage), import_closure(stage, repository)
    assert set(listed) == real, f"{stage}: missing {sorted(real - set(listed))}, too many {sorted(set(listed) - real)}"
    assert stages[stage]["deps"][0] == f"${{paths.code}}/{stage}.json"
    for dep in stages[stage]["deps"]:  # no file of ours stands beside it
        assert dep.startswith("${paths.")


def test_nothing_is_loaded_that_is_not_listed(repository: Path) -> None:
    """What Python itself loads of ours for two stages, the one without and the one with most of the models."""
    look = "import sys, flows.{0}; print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('attune', 'models', 'tasks')))"
    for stage in ("report", "train"):
        said = subprocess.run([sys.executable, "-c", look.format(stage)], cwd=repository, capture_output=True, text=True, check=True).stdout
        loaded = {Path(file).relative_to(repository).as_posix() for file in said.split() if not file.endswith("__init__.py")}
        assert loaded - {SCHEMA} <= import_closure(stage, repository), stage
        assert f"tasks/{stage}.py" in loaded


def test_the_closure_follows_imports_inside_functions(tmp_path: Path) -> None:
    for name, text in {
        "flows/train.py": "from tasks.train import train", "tasks/train.py": "def train():\n    from models import curves",
        "models/curves.py": "import torch\nimport models.lut", "models/lut.py": "", "models/other.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert import_closure("train", tmp_path) == {"tasks/train.py", "models/curves.py", "models/lut.py"}


# --- Params -----------------------------------------------------------------------------------------------------------------------------


def keys_below(key: str, params: dict[str, Any]) -> set[str]:
    """The keys `section.key` that a declared section or key stands for."""
    section, _, name = key.partition(".")
    return {f"{section}.{name.split('.')[0]}"} if name else {f"{section}.{each}" for each in params[section]}


def keys_read(file: Path, params: dict[str, Any]) -> set[str]:
    """The keys `section.key` that a file reads from `params`; a section that it takes as a whole stands for all of its keys."""
    keys: set[str] = set()
    tree = ast.parse(file.read_text())
    inner = {id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "params" and node.attr in SECTIONS.values():
            key = inner.get(id(node))
            keys |= {f"{node.attr}.{key}"} if key in params[node.attr] else keys_below(node.attr, params)
    return keys


def keys_of(stage: str, repository: Path, params: dict[str, Any]) -> set[str]:
    """Its section's keys, as parts of a section are handed on under other names, and all that the files behind its flow read."""
    files = [repository / name for name in import_closure(stage, repository) if name.endswith(".py")]
    read = keys_below(SECTIONS[stage], params).union(*(keys_read(file, params) for file in files))
    return read - NOT_READ.get(stage, set())


def declared_keys(stage: dict[str, Any], params: dict[str, Any]) -> set[str]:
    """The keys `section.key` that a stage's `params` name or hold."""
    return {key for declared in stage["params"] if declared != "seed" for key in keys_below(declared, params)}


def upstream_of(stage: str, stages: dict[str, Any]) -> set[str]:
    """The stages whose outputs a stage reads, and those before them."""
    outs = {out: name for name, each in stages.items() for out in outputs_of(each)}
    found = {outs[dep] for dep in stages[stage]["deps"] if dep in outs} - {CODE}
    return found.union(*(upstream_of(each, stages) for each in found))


def outputs_of(stage: dict[str, Any]) -> list[str]:
    return [*stage["outs"], *(path for entry in stage.get("metrics", []) for path in entry)]


@pytest.mark.parametrize("stage", SECTIONS)
def test_the_params_of_a_stage_hold_all_that_its_code_reads(repository: Path, stages: dict[str, Any], stage: str) -> None:
    params = yaml.safe_load((repository / "params.yaml").read_text())
    read, declared = keys_of(stage, repository, params), declared_keys(stages[stage], params)
    assert "seed" in stages[stage]["params"]
    assert read <= declared, f"dvc.yaml, {stage}: missing {sorted(read - declared)}"


@pytest.mark.parametrize("stage", SECTIONS)
def test_no_param_of_a_stage_runs_it_for_nothing(repository: Path, stages: dict[str, Any], stage: str) -> None:
    """What a stage declares with a whole section beyond what its code reads is read by a stage before it, which runs anyway."""
    params = yaml.safe_load((repository / "params.yaml").read_text())
    spare = declared_keys(stages[stage], params) - keys_of(stage, repository, params)
    before = {key for name in upstream_of(stage, stages) for key in keys_of(name, repository, params)}
    assert spare <= before, f"dvc.yaml, {stage}: too many {sorted(spare - before)}"


def test_no_stage_names_what_changes_speed_alone(stages: dict[str, Any]) -> None:
    assert not [name for name, stage in stages.items() for key in stage.get("params", []) if key.split(".")[0] == "speed"]


# --- Form -------------------------------------------------------------------------------------------------------------------------------


def test_stages_are_the_flows_in_pipeline_order(stages: dict[str, Any]) -> None:
    assert list(stages) == [CODE, *SECTIONS]
    for name, stage in stages.items():
        unit = f" ${{item.{MATRICES[name]}}}" if name in MATRICES else ""
        assert stage["cmd"] == f"python -m flows.{name}{unit}"
        assert stage["desc"]
        assert list(stage.get("matrix", {})) == ([MATRICES[name]] if name in MATRICES else [])


def test_every_path_comes_from_params(repository: Path, stages: dict[str, Any]) -> None:
    text = (repository / "dvc.yaml").read_text()
    paths = yaml.safe_load((repository / "params.yaml").read_text())["paths"]
    assert set(re.findall(r"\$\{paths\.(\w+)\}", text)) == set(paths) - {"work"}
    listed = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "data/" not in listed


def test_metrics_and_plots_stay_in_git(stages: dict[str, Any]) -> None:
    for name, stage in stages.items():
        if name == CODE:
            continue
        entries = [entry for kind in ("metrics", "plots") for entry in stage.get(kind, [])]
        if name == "report":
            assert entries == []  # it measures nothing
            continue
        unit = f"@${{item.{MATRICES[name]}}}" if name in MATRICES else ""
        assert entries[0] == {f"${{paths.metrics}}/{name}{unit}.json": {"cache": False}}
        assert all(options["cache"] is False for entry in entries for options in entry.values())


# --- Staleness, as DVC itself sees it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settled(repository: Path, copy_project: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose stages, DVC believes, have all just run."""
    from dvc.repo import Repo

    folder = copy_project(repository, tmp_path_factory.mktemp("settled"))
    subprocess.run([sys.executable, "-m", f"flows.{CODE}"], cwd=folder, check=True)
    with contextlib.chdir(folder), Repo() as repo:
        for out in repo.index.outs:
            path = Path(out.fs_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                path.write_text("{}")
            elif path.name != CODE:
                path.mkdir()
                (path / "manifest.json").write_text(f'"{path.name}"')
        repo.commit(force=True)
    return folder


@pytest.fixture
def due(settled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], tuple[set[str], set[str]]]]:
    """`due(file, old, new)`: the stages stale by themselves, and all that would run, after a text has been replaced in a file."""
    monkeypatch.chdir(settled)
    before: dict[Path, str] = {}

    def changed(name: str, old: str, new: str) -> tuple[set[str], set[str]]:
        path = settled / name
        before.setdefault(path, path.read_text())
        assert old in before[path]
        path.write_text(before[path].replace(old, new, 1))
        planned = plan_stages()
        return {stage.name for stage in planned if stage.reasons}, would_run(planned)

    yield changed
    for path, text in before.items():
        path.write_text(text)


def would_run(planned: list[PlannedStage]) -> set[str]:
    names: set[str] = set()
    for stage in planned:
        if stage.is_due(names):
            names.add(stage.name)
    return names


def test_dvc_visits_the_stages_in_an_order_that_respects_the_edges(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(settled)
    planned = plan_stages()
    seen: set[str] = set()
    for stage in planned:
        assert seen.issuperset(stage.upstream)
        seen.add(stage.name)
    assert seen == {CODE, *SECTIONS} - set(MATRICES)
    assert planned[-1].name == "report"
    assert all(stage.description for stage in planned)


def test_nothing_is_due_where_nothing_changed(due: Callable[..., tuple[set[str], set[str]]]) -> None:
    assert due("params.yaml", "seed: 1 ", "seed: 1 ") == (set(), set())


def test_a_learning_rate_trains_and_evaluates_again_and_nothing_else(
    settled: Path, due: Callable[..., tuple[set[str], set[str]]]
) -> None:
    found = re.search(r"\n    lr: [^\n]*\n    lr_floor", (settled / "params.yaml").read_text())
    assert found is not None
    assert due("params.yaml", found.group(), "\n    lr: 0.7\n    lr_floor") == ({"train"}, {"train", "evaluate", "report"})


def test_each_named_domain_is_fine_tuned_between_the_union_and_the_shards(
    due: Callable[..., tuple[set[str], set[str]]]
) -> None:
    tuned = {"finetune_syconet@photos", "finetune_syconet@photos/coco"}
    stale, would = due("params.yaml", "  domains: []", "  domains: [photos, photos/coco]")
    assert stale == tuned | {"augment"}
    assert would == stale | {"train", "evaluate", "report"}
    planned = {stage.name: stage for stage in plan_stages()}
    assert list(planned).index("fit_syconet") < min(list(planned).index(name) for name in tuned)
    assert tuned < set(planned["augment"].upstream)
    assert all("fit_syconet" in planned[name].upstream for name in tuned)


@pytest.mark.parametrize("key", Speed.model_fields)
def test_an_edit_of_speed_runs_nothing(settled: Path, due: Callable[..., tuple[set[str], set[str]]], key: str) -> None:
    found = re.search(rf"\n  {key}: (\w+) ", (settled / "params.yaml").read_text())
    assert found is not None
    assert due("params.yaml", found.group(), f"\n  {key}: {'dask' if key == 'executor' else 977} ") == (set(), set())


@pytest.mark.parametrize(
    "file", ["models/curves.py", "models/discriminator.py", "tasks/evaluation/metrics.py", "tasks/mine.py", "tasks/seeds.py"]
)
def test_touched_code_makes_stale_exactly_the_stages_that_import_it(
    due: Callable[..., tuple[set[str], set[str]]], repository: Path, file: str
) -> None:
    stale, _ = due(file, '"""', '"""Touched. ')
    assert stale == {CODE} | {stage for stage in set(SECTIONS) - set(MATRICES) if file in import_closure(stage, repository)}


@pytest.mark.parametrize("name", ["page.css", "page.html", "page.js", "tables.py"])
def test_the_pages_code_measures_nothing_again(due: Callable[..., tuple[set[str], set[str]]], name: str) -> None:
    assert due(f"tasks/evaluation/report_page/{name}", "\n", "\n\n") == ({CODE, "report"}, {CODE, "report"})


def test_the_plan_names_the_file_that_changed(due: Callable[..., tuple[set[str], set[str]]]) -> None:
    due("models/discriminator.py", '"""', '"""Touched. ')
    assert [stage.reasons for stage in plan_stages() if stage.name == "train"] == [("models/discriminator.py modified",)]


def test_orchestration_makes_nothing_stale(due: Callable[..., tuple[set[str], set[str]]]) -> None:
    assert due("flows/stage.py", '"""', '"""Touched. ') == ({CODE}, {CODE})


def test_a_new_photograph_is_ingested(settled: Path, due: Callable[..., tuple[set[str], set[str]]]) -> None:
    stale, _ = due("data/raw/README.md", "", "more")
    assert "ingest" in stale


def test_a_broken_lock_file_is_named(due: Callable[..., tuple[set[str], set[str]]]) -> None:
    with pytest.raises(ValueError, match=r"DVC: .*dvc\.lock"):
        due("dvc.lock", "schema", "{")
