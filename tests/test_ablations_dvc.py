"""ablations/dvc.yaml says the truth: the parts of a study are those of its plan, and the pipeline knows nothing of them."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.ablations import NAMED, WHOLE
from flows.graph import plan_stages
from tasks.ablations.plans import plan_study
from tasks.ablations.study_params import STUDIES, load_study_params
from tasks.params import load_params

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC reads the value of an empty step


@pytest.fixture(scope="module")
def copied(repository: Path, copy_project: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with its studies, that nobody ran yet."""
    folder = copy_project(repository, tmp_path_factory.mktemp("studies"))
    shutil.copytree(repository / "ablations", folder / "ablations", ignore=shutil.ignore_patterns("dvc.lock"))
    return folder


@pytest.fixture(scope="module")
def commands(copied: Path) -> dict[str, str]:
    """The command of each stage of ablations/dvc.yaml, as DVC resolves it."""
    from dvc.repo import Repo

    with contextlib.chdir(copied), Repo() as repo:
        stages = [stage for stage in repo.index.stages if stage.path_in_repo == "ablations/dvc.yaml"]
        assert all(Path(stage.wdir) == copied for stage in stages), "paths are the project's"
        return {stage.name: stage.cmd for stage in stages}


@pytest.mark.slow
def test_there_is_a_stage_for_every_workspace_and_cell_of_the_plans_and_no_other(repository: Path, commands: dict[str, str]) -> None:
    study, params = load_study_params(repository / "ablations" / "params.yaml"), load_params(repository / "params.yaml")
    wanted = {f"{part} {name}" for name in STUDIES for part in ("plan", "baselines")} | {"judge ablation"}
    for name in STUDIES:
        plan = plan_study(name, study, params)
        wanted |= {f"workspace {name} {each}" for each in plan.workspaces} | {f"cell {name} {each}" for each in plan.cells}
    assert sorted(commands.values()) == sorted(f"python -m flows.ablations {each}" for each in wanted)
    assert {command.split()[3] for command in commands.values()} | {"report"} == {*NAMED, *WHOLE}


@pytest.mark.slow
def test_the_pipeline_does_not_see_the_studies(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    names = {stage.name.split("@")[0] for stage in plan_stages()}
    assert "evaluate" in names
    assert names <= set(yaml.safe_load(Path("dvc.yaml").read_text())["stages"])


def test_the_index_of_the_studies_is_the_pipelines(repository: Path) -> None:
    study, params = load_study_params(repository / "ablations" / "params.yaml"), load_params(repository / "params.yaml")
    assert study.index == params.paths.index
