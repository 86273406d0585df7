"""A study from end to end, in miniature: what it trains on, what a kill costs, what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import short_chain
import yaml
from short_chain import coloured, write_photographs

from tasks.ablations import cells
from tasks.ablations.cells import measure_baselines, run_cell
from tasks.ablations.judge import judge_composites, load_judge, train_judge
from tasks.ablations.plans import plan_study, with_values
from tasks.ablations.results import BASELINES, read_results
from tasks.ablations.study_findings import study_findings
from tasks.ablations.study_params import StudyParams, load_study_params
from tasks.ablations.workspaces import make_workspace
from tasks.evaluation.methods import Methods
from tasks.params import Params, load_params
from tasks.shard_samples import read_samples

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "ingest": {"sources": ["photos"], "max_reject_fraction": 0.5},
    "ingest.synthesis": {"composites_per_object": 2, "composites_per_test_object": 2, "max_side": 64},
    "mine": {"min_box_side": 8, "max_side": 64},
    "syconet": {"latent_dim": 4, "num_luts": 4, "lut_dim": 5},
    "train": {"start_from": "none"},
    "train.model": {"architecture": "small"},
}
SHARED: dict[str, Any] = {
    "augment": {"size": 64, "copies": 1}, "mine": {"size": 64, "num_composites": 6},
    "syconet": {"size": 32, "width": 16, "steps": 3, "threads": 1},
    "train": {
        "start_from": "none",
        "model": {"architecture": "small", "size": 32, "options": {"small": {"width": 8, "read_rim": False}}},
        "data": {"batch_size": 4, "augmentation": "none", "drawn": {"share": 0.0}},
        "optimizer": {"steps": 2, "warmup_steps": 1}, "adversary": {"supervised_warmup_steps": 1},
        "val_every": 2, "keep": "last", "threads": 1, "sheet_every": 0,
    },
}


@pytest.fixture
def ingested(project: Path, repository: Path) -> tuple[StudyParams, Params]:
    """The params of studies and of a project whose photographs are indexed: 8 to train on, 4 each for validation and testing."""
    values = yaml.safe_load((repository / "params.yaml").read_text())
    for name, changes in SETTINGS.items():
        section = values
        for part in name.split("."):
            section = section[part]
        section |= changes
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    for split, first, stop in (("train", 0, 8), ("val", 20, 24), ("test", 40, 44)):
        write_photographs(project / "data/raw/photos", range(first, stop), split, coloured)
    short_chain.ingest()
    study = load_study_params(repository / "ablations" / "params.yaml")
    own = {"photographs": [3], "harmonizers": {"pixel": {"train": {"model": {"architecture": "pixel"}}}},
           "augmentations": {"none": {}, "static": {"train": {"data": {"augmentation": "static"}}},
                             "dynamic": {"train": {"data": {"augmentation": "dynamic", "batch_size": 2}}}},
           "shared": {"train": {"adversary": {"share": 0.0}}}}
    augmentation = study.augmentation.model_copy(update=own)
    few = {"configurations": {"dual": {}}, "data": ["pairs", "mined"], "judge_steps": 2, "shared": {"augment": {"copies": 0}}}
    ablation = study.ablation.model_copy(update=few)
    return study.model_copy(update={"seeds": [1, 2], "shared": SHARED, "augmentation": augmentation, "ablation": ablation}), load_params()


class Killed(Exception):
    """Stands for the end of the process."""


def _quiet(_said: str) -> None:
    pass


def test_a_study_trains_on_its_photographs_alone_and_a_kill_costs_one_training(
    ingested: tuple[StudyParams, Params], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, params = ingested
    plan, folder = plan_study("augmentation", study, params), project / "data/ablations/augmentation"
    make_workspace(plan.workspaces["3"], params, _quiet)
    shards = with_values(params, plan.workspaces["3"].params).paths.shards
    assert len({row["group"] for row in read_samples(shards, "train")}) == 3
    assert {row["kind"] for row in read_samples(shards, "train")} == {"original", "augmented"}
    assert {row["kind"] for row in read_samples(shards, "val")} == {"original"}

    def die_after_the_first(said: str) -> None:
        if said.startswith("seed 1"):
            raise Killed

    trained: list[int] = []
    train = cells.train
    monkeypatch.setattr(cells, "train", lambda one, *rest: trained.append(one.seed) or train(one, *rest))
    cell, result = plan.cells["3-pixel-none"], folder / "results" / "3-pixel-none.json"
    with pytest.raises(Killed):
        run_cell(cell, params, result, die_after_the_first)
    run_cell(cell, params, result, _quiet)
    assert trained == [1, 2], "the first seed was trained again, or the second not at all"
    for name in ("3-pixel-static", "3-pixel-dynamic"):
        run_cell(plan.cells[name], params, folder / "results" / f"{name}.json", _quiet)
    measure_baselines(plan.baselines, params, folder / "results" / f"{BASELINES}.json")
    assert not any(with_values(params, cell.params).paths.work.parent.iterdir()), "what cells work with is left behind"

    results = read_results(folder.relative_to(project), cells=list(plan.cells), workspaces=["3"])
    found = study_findings("augmentation", plan, study, results)
    assert {each.name for each in found["augmentation"].estimates} == {"composite", "none", "static", "dynamic"}
    assert {each.at for each in found["augmentation"].estimates} == {3.0}
    assert json.loads(result.read_text())["seed 1"]["pairs"]["all"]["composite_fmse"] == pytest.approx(results.untouched())


def test_the_judge_is_trained_and_says_nothing_where_there_are_no_real_composites(
    ingested: tuple[StudyParams, Params], project: Path
) -> None:
    study, params = ingested
    plan = plan_study("ablation", study, params)
    for workspace in plan.workspaces.values():
        make_workspace(workspace, params, _quiet)
    assert plan.judge is not None
    accuracies = train_judge(plan.judge, params, project / "judge")
    assert set(accuracies) == {"accuracy_on_composites", "accuracy_on_natural"}
    assert judge_composites(with_values(params, plan.judge.params), load_judge(project / "judge"), Methods({}, {}, {})) == {}
