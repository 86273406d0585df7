"""Witnesses of tasks.ablations: subsets nest and leak nothing, plans differ where the study says, findings follow from made-up results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.files import write_json
from tasks.ablations import cells
from tasks.ablations.cells import for_seed
from tasks.ablations.measuring import GROUP, LIGHT, METHOD, SUBSET, WHOLE, fits, light_range, slices_of
from tasks.ablations.plans import (
    StudyPlan,
    plan_study,
    read_cell_plan,
    read_workspace_plan,
    with_values,
    write_plan,
)
from tasks.ablations.results import BASELINES, Results, read_results, spread
from tasks.ablations.study_findings import study_findings, verdict
from tasks.ablations.study_params import STUDIES, StudyParams, load_study_params
from tasks.ablations.workspaces import choose_photographs, write_index
from tasks.evaluation.findings import Finding
from tasks.index import TABLES, read_index, write_table
from tasks.params import Params, load_params

SUBSETS = ("coco", "ccp", "lalr")


@pytest.fixture(scope="module")
def study(repository: Path) -> StudyParams:
    return load_study_params(repository / "ablations" / "params.yaml")


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "params.yaml")


# --- Cells ------------------------------------------------------------------------------------------------------------------------------


def test_edited_code_trains_a_cells_seeds_anew_and_other_code_keeps_them(
    study: StudyParams, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit_code: Callable[[str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_study("augmentation", study, params).cells["60-pixel-none"]
    trained: list[int] = []
    monkeypatch.setattr(cells, "train", lambda one, *_: trained.append(one.seed) or {"val_fmse_ratio": 0.5})

    def killed_after(seed: int) -> None:
        trained.clear()

        def say(said: str) -> None:
            if said.startswith(f"seed {seed}:"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cells.run_cell(plan, params, Path("result.json"), say)

    killed_after(1)
    edit_code("tasks/mine.py")
    killed_after(2)
    assert trained == [2]
    edit_code("models/harmonizer.py")
    killed_after(2)
    assert trained == [1, 2]


# --- Workspaces: the index ----------------------------------------------------------------------------------------------------------------


def _row(table: str, number: int, split: str, source: str = "photos") -> dict[str, Any]:
    known = {
        "key": f"{source}-{number}", "source": source, "subset": SUBSETS[number % 3] if source == "photos" else source, "split": split,
        "group": f"{source}/{number // 2}", "method": "retouch", "fg_ratio": 0.2, "width": 64, "height": 64,
    }
    empty = {field.name: None for field in TABLES[table]}
    return {**empty, **{name: value for name, value in known.items() if name in empty}}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of 20 training photographs with two pairs each, 4 for validation, 6 for testing, and two retouched pairs."""
    folder = tmp_path / "index"
    splits = ["train"] * 40 + ["val"] * 8 + ["test"] * 12
    for table in ("photographs", "pairs", "composites"):
        write_table(folder / f"{table}.parquet", (_row(table, n, split) for n, split in enumerate(splits)), TABLES[table])
    retouches = [_row("retouches", number, split, "retouch") for number, split in ((0, "train"), (2, "val"))]
    write_table(folder / "retouches.parquet", retouches, TABLES["retouches"])
    return folder


def _groups(folder: Path, table: str, split: str) -> set[str]:
    return {row["group"] for row in read_index(folder, table, split=split)}


@given(st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=20), st.data())
def test_a_smaller_subset_lies_in_a_larger_one(groups: set[str], data: st.DataObject) -> None:
    pairs = [{"group": group, "split": "train"} for group in groups] + [{"group": "elsewhere", "split": "test"}]
    large = data.draw(st.integers(1, len(groups)))
    small = data.draw(st.integers(1, large))
    chosen = {count: choose_photographs(pairs, count) for count in (small, large)}
    assert len(chosen[small]) == small
    assert chosen[small] <= chosen[large] <= choose_photographs(pairs, "all") == groups
    assert choose_photographs(pairs[::-1], large) == chosen[large], "the order of the rows has a say"


def test_a_subset_has_its_photographs_alone_in_every_table_and_leaves_val_and_test_as_they_are(index: Path, tmp_path: Path) -> None:
    counts = write_index(index, tmp_path / "few", photographs=5, without=())
    chosen = _groups(tmp_path / "few", "pairs", "train")
    assert counts == {"photographs": 5, "pairs": 10}
    assert len(chosen) == 5
    for table in ("photographs", "pairs", "composites"):
        assert _groups(tmp_path / "few", table, "train") <= chosen
        for split in ("val", "test"):
            assert read_index(tmp_path / "few", table, split=split) == read_index(index, table, split=split)
    assert _groups(tmp_path / "few", "retouches", "train") == set(), "a retouched photograph is one more than was asked for"


def test_without_a_subset_none_of_it_is_left_to_learn_from_and_all_of_it_to_be_tested_on(index: Path, tmp_path: Path) -> None:
    write_index(index, tmp_path / "without", photographs=None, without=("co*", "ccp", "dogs"))
    for table in ("photographs", "pairs", "composites"):
        left = [row for split in ("train", "val") for row in read_index(tmp_path / "without", table, split=split)]
        assert {row["subset"] for row in left} == {"lalr"}
        assert read_index(tmp_path / "without", table, split="test") == read_index(index, table, split="test")
    assert read_index(tmp_path / "without", "retouches") == read_index(index, "retouches")


def test_photographs_without_pairs_are_left_out_too(index: Path, tmp_path: Path) -> None:
    held_out = [row for row in read_index(index, "pairs") if row["split"] != "train"]
    write_table(index / "pairs.parquet", held_out, TABLES["pairs"])  # training draws its own composites
    counts = write_index(index, tmp_path / "without", photographs=None, without=("ccp",))
    left = {row["group"] for row in read_index(tmp_path / "without", "photographs", split="train")}
    assert left == {row["group"] for row in read_index(index, "photographs", split="train") if row["subset"] != "ccp"}
    assert counts == {"photographs": len(left), "pairs": 0}


def test_what_is_not_there_is_named(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing to train on of sub-sets dogs, cat_\* to leave out; there are: ccp, coco, lalr"):
        write_index(index, tmp_path / "other", photographs=None, without=("dogs", "cat_*"))
    with pytest.raises(ValueError, match="21 of 20 training photographs"):
        write_index(index, tmp_path / "other", photographs=21, without=())


# --- Plans --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_a_plan_survives_its_file_and_gives_valid_params(name: Any, study: StudyParams, params: Params, tmp_path: Path) -> None:
    plan = plan_study(name, study, params)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "gone.json").write_text("{}")
    write_plan(tmp_path, plan)
    assert {path.stem for path in (tmp_path / "cells").iterdir()} == set(plan.cells)
    for which, cell in plan.cells.items():
        assert read_cell_plan(tmp_path / "cells" / f"{which}.json") == cell
        own = with_values(params, cell.params)
        assert for_seed(own, 7, tmp_path).seed == 7
        places = {getattr(for_seed(own, seed, tmp_path).paths, part) for seed in (1, 2) for part in ("work", "harmonizer")}
        assert len(places) == 4, "two seeds share a folder"
    for which, workspace in plan.workspaces.items():
        assert read_workspace_plan(tmp_path / "workspaces" / f"{which}.json") == workspace


def _changed(plan: StudyPlan, first: str, second: str) -> dict[str, tuple[Any, Any]]:
    one, other = (_flat(plan.cells[name].params["train"]) for name in (first, second))
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_cells_differ_in_what_the_study_varies_alone(study: StudyParams, params: Params) -> None:
    augmentation = plan_study("augmentation", study, params)
    assert _changed(augmentation, "60-pixel-none", "60-pixel-jitter") == {"data.jitter": (0.0, 0.5)}
    assert _changed(augmentation, "60-pixel-none", "60-pixel-static") == {"data.augmentation": ("none", "static")}
    assert set(_changed(augmentation, "60-pixel-static", "60-pixel-dynamic")) == {"data.augmentation", "data.batch_size"}
    assert set(_changed(augmentation, "60-pixel-none", "60-parametric-none")) == {"model.architecture"}
    assert _changed(augmentation, "60-pixel-none", "all-pixel-none") == {}
    ablation = plan_study("ablation", study, params)
    assert _changed(ablation, "dual", "curves") == {"model.options.small.edit": ("both", "curves")}
    assert _changed(ablation, "dual", "pih_random") == {}
    assert ablation.cells["dual"].params["paths"]["mined"] != ablation.cells["pih_random"].params["paths"]["mined"]
    assert {name: plan.params["mine"]["mode"] for name, plan in ablation.workspaces.items() if "mine" in plan.params} == {
        "mined": "mined", "pih_random": "pih_random"
    }


def test_each_configuration_of_the_parts_differs_from_the_whole_in_one_thing(study: StudyParams, params: Params) -> None:
    plan = plan_study("parts", study, params)
    changed = {name: set(_changed(plan, "whole", name)) for name in plan.cells if name != "whole"}
    assert all(len(keys) == 1 for keys in changed.values()), changed
    assert len({key for keys in changed.values() for key in keys}) == len(changed), "two cells are alike"


def test_nothing_is_mined_for_a_study_without_an_adversary(study: StudyParams, params: Params) -> None:
    assert {plan.parts for plan in plan_study("cross_source", study, params).workspaces.values()} == {("shards",)}
    shared = {**study.cross_source.shared, "train": {**study.cross_source.shared["train"], "adversary": {"share": 0.2}}}
    mined = study.model_copy(update={"cross_source": study.cross_source.model_copy(update={"shared": shared})})
    assert {plan.parts for plan in plan_study("cross_source", mined, params).workspaces.values()} == {("shards", "mined")}


def test_every_study_sees_as_many_images_in_a_step_of_each_augmentation(study: StudyParams, params: Params) -> None:
    trains = [cell.params["train"] for cell in plan_study("augmentation", study, params).cells.values()]
    assert len({train["data"]["batch_size"] * (2 if train["data"]["augmentation"] == "dynamic" else 1) for train in trains}) == 1
    assert len({train["optimizer"]["steps"] for train in trains}) == 1
    assert {train["adversary"]["share"] for train in trains} == {0.0}


def test_an_edit_that_a_plan_does_not_stand_on_leaves_it_as_it_is(study: StudyParams, params: Params) -> None:
    before = plan_study("augmentation", study, params)
    elsewhere = {"release": {"resamples": 123}, "mine": {"choke": 2.0}, "train": {"optimizer": {"steps": 12_345}}, "paths": {"raw": "/x"}}
    other = with_values(params, elsewhere)
    assert plan_study("augmentation", study, other) == before, "steps are the study's own, and nothing is mined"
    touched = plan_study("augmentation", study, with_values(params, {"train": {"optimizer": {"grad_clip": 0.5}}}))
    assert touched.workspaces == before.workspaces
    assert touched.cells != before.cells


def test_a_study_has_no_speed_of_its_own(study: StudyParams) -> None:
    with pytest.raises(ValueError, match=r"shared\n.*speed: the studies run at the project's own"):
        StudyParams.model_validate(study.model_dump() | {"shared": {"speed": {"num_workers": 1}}})


def test_a_key_that_params_do_not_have_is_named(study: StudyParams, params: Params) -> None:
    broken = study.model_copy(update={"shared": {"train": {"stepz": 3}}})
    with pytest.raises(ValueError, match=r"ablations/params\.yaml: train\.stepz: no such key"):
        plan_study("ablation", broken, params)


def test_a_study_without_what_its_claims_are_about_is_refused(repository: Path, tmp_path: Path) -> None:
    text = (repository / "ablations" / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("    dual: {}", "    duel: {}"))
    with pytest.raises(ValueError, match=r"ablation\.configurations: .*dual is not there"):
        load_study_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "words"), [("seeds: [", "not YAML"), ("seeds: [1]\nfolders: x", "folders"), ("seeds: [0]", r"seeds\.0")])
def test_a_broken_file_of_studies_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"params\.yaml: .*{words}"):
        load_study_params(tmp_path / "params.yaml")


# --- Slices -------------------------------------------------------------------------------------------------------------------------------


def test_a_gradient_of_light_is_read_from_the_index() -> None:
    def row(stops: float, method: str = "retouch") -> dict[str, Any]:
        light = [[0.0, 0.1, 0.2], [0.0, 0.0, stops], [0.0, 0.0, 0.0]]
        return {"subset": "coco", "method": method, "method_params": json.dumps({"light": light})}

    assert light_range(row(1.5)["method_params"]) == 1.5
    assert list(slices_of(row(1.5), 1.0, {})) == [WHOLE, f"{SUBSET}coco", f"{METHOD}retouch", LIGHT]
    assert list(slices_of(row(0.0), 1.0, {"people": ["c?co"], "dogs": ["dog"]}))[2:] == [f"{GROUP}people", f"{METHOD}retouch"]
    assert LIGHT not in slices_of(row(0.9), 1.0, {})
    assert LIGHT not in slices_of(row(1.5, "pitie"), 1.0, {})
    assert LIGHT not in slices_of({**row(1.5), "method_params": None}, 1.0, {})


# --- Findings of made-up results ----------------------------------------------------------------------------------------------------------

Fmse = Callable[[str, int, str], float]  # of a cell, a seed and a slice


def write_results(folder: Path, plan: StudyPlan, fmse: Fmse) -> Results:
    """Made-up results of all cells, with 1000 for the untouched composites."""
    groups = [f"{GROUP}{name}" for name in plan.baselines.groups]
    parts = (WHOLE, LIGHT, f"{METHOD}retouch", *(f"{SUBSET}{subset}" for subset in SUBSETS[:2]), *groups)

    def pairs(of: Callable[[str], float]) -> dict[str, Any]:
        known = {"composite_fmse": 1000.0, "psnr": 30.0, "do_no_harm": 0.7, "num_images": 40.0}
        return {part: {"fmse": of(part), **known} for part in parts}

    for name, cell in plan.cells.items():
        found = {}
        for seed in cell.seeds:
            found[f"seed {seed}"] = {"training": {}, "pairs": pairs(lambda part, name=name, seed=seed: fmse(name, seed, part))}
            if cell.judge:
                judged = {"before": -0.5, "after": -0.5 + 0.1 * seed, "natural": 0.0}
                found[f"seed {seed}"] |= {"probe": judged, "judge": judged}
        write_json(folder / "results" / f"{name}.json", found)
    baselines = {"composite": 1000.0, "lab_shift": 900.0, "reinhard": 1200.0}
    measured = {name: {"pairs": pairs(lambda _, value=value: value)} for name, value in baselines.items()}
    write_json(folder / "results" / f"{BASELINES}.json", measured)
    for place, name in enumerate(plan.workspaces, start=1):
        summary = {"photographs": 60 * place, "pairs": 200, "syconet": {"reconstruction_ratio": 0.3}}
        write_json(folder / "workspaces" / name / "summary.json", summary)
    return read_results(folder, cells=list(plan.cells), workspaces=list(plan.workspaces))


def _findings(name: Any, study: StudyParams, params: Params, folder: Path, fmse: Fmse) -> dict[str, Finding]:
    plan = plan_study(name, study, params)
    return study_findings(name, plan, study, write_results(folder, plan, fmse))


def test_means_spreads_and_gains_by_hand(study: StudyParams, params: Params, tmp_path: Path) -> None:
    def fmse(cell: str, seed: int, _part: str) -> float:
        few, dynamic = cell.startswith("60-"), cell.endswith("-dynamic")
        return (800.0 if few else 600.0) * ((0.5 if few else 0.9) if dynamic else 1.0) + seed

    found = _findings("augmentation", study, params, tmp_path, fmse)
    assert set(found) == {"augmentation", "augmentation_gain"}
    lines = {(each.group, each.name, each.at): each for each in found["augmentation"].estimates}
    first = lines["pixel", "none", 60.0]
    assert (first.value, first.low, first.high, first.count) == (802.0, 801.0, 803.0, 3)
    assert lines["pixel", "composite", 60.0].value == 1000.0
    assert len(lines) == 2 * 5 * len(study.augmentation.photographs)
    gains = {(each.group, each.name, each.at): each.value for each in found["augmentation_gain"].estimates}
    assert gains["parametric", "dynamic", 60.0] == pytest.approx(100 * np.mean([1 - (400 + s) / (800 + s) for s in (1, 2, 3)]), rel=1e-5)
    assert gains["parametric", "static", 60.0] == gains["parametric", "none", 60.0] == 0.0
    note = found["augmentation_gain"].note
    assert "Is the gain larger on the small set? Yes, with every seed." in note
    assert "lab shift) 900" in found["augmentation"].note


def test_a_claim_that_did_not_come_out_is_said_to(study: StudyParams, params: Params, tmp_path: Path) -> None:
    found = _findings("augmentation", study, params, tmp_path, lambda cell, seed, _: 700.0 + 5 * seed * cell.endswith("-dynamic"))
    assert "Is the gain larger on the small set? Not beyond the spread over seeds." in found["augmentation_gain"].note
    assert "no, with every seed" in found["augmentation_gain"].note, "dynamic above static"


def test_the_margin_of_shading_stands_in_the_note(study: StudyParams, params: Params, tmp_path: Path) -> None:
    def fmse(cell: str, _seed: int, part: str) -> float:
        return 640.0 if cell == "curves" and part == LIGHT else 600.0

    found = _findings("ablation", study, params, tmp_path, fmse)
    assert "curves and shading are below curves alone by 40 (40 to 40) squared grey levels" in found["ablation"].note
    assert "6.2 % (6.2 to 6.2): yes, with every seed" in found["ablation"].note
    groups = {each.group for each in found["ablation"].estimates}
    assert groups == {"all test pairs (40)", "retouched pairs (40)", "retouched, with a gradient of light (40)"}
    changes = {(each.group, each.name): each.value for each in found["ablation_real"].estimates}
    assert len(changes) == 2 * 6
    assert set(changes.values()) == {0.2}
    assert "means little" not in found["ablation_real"].note


def test_what_a_part_adds_stands_in_the_note(study: StudyParams, params: Params, tmp_path: Path) -> None:
    def fmse(cell: str, seed: int, _part: str) -> float:
        return 400.0 + 10 * seed + (50 if cell == "no_matrix" else 0)

    found = _findings("parts", study, params, tmp_path, fmse)["parts"]
    assert "No matrix: 0.05 (0.05 to 0.05) more of the composites' fMSE is left: yes, with every seed." in found.note
    assert "No rim: 0 (0 to 0) more of the composites' fMSE is left: not beyond the spread over seeds." in found.note
    first = found.estimates[0]
    assert (first.name, first.value, first.low, first.high) == ("whole", 0.42, 0.41, 0.43)


def test_a_judge_that_cannot_tell_composites_from_photographs_is_called_so(study: StudyParams, params: Params, tmp_path: Path) -> None:
    plan = plan_study("ablation", study, params)
    results = write_results(tmp_path, plan, lambda *_: 500.0)
    for cell in results.cells.values():
        for found in cell.values():
            found["judge"] = {**found["judge"], "natural": -0.7}
    note = study_findings("ablation", plan, study, results)["ablation_real"].note
    assert "score no lower than photographs with the judge: what it says means little" in note


def test_each_group_is_tested_by_a_training_without_it_beside_one_with_it(study: StudyParams, params: Params, tmp_path: Path) -> None:
    def fmse(cell: str, _seed: int, part: str) -> float:
        return 600.0 if cell == "everything" else 680.0 if cell == "people" else 630.0

    found = _findings("cross_source", study, params, tmp_path, fmse)["cross_source"]
    names = list(study.cross_source.groups)
    assert len(names) >= 4
    assert {each.group for each in found.estimates} == {f"{name} (40 test pairs)" for name in names}
    values = {(each.group.split()[0], each.name): each.value for each in found.estimates}
    assert values["people", "trained on everything"] == 0.6
    assert values["people", "trained without people"] == 0.68
    assert "Without it 0.08 (0.08 to 0.08) more of that is left: yes, with every seed." in found.note
    mean = (0.08 + 0.03 * (len(names) - 1)) / len(names)
    assert f"Mean over {len(names)} groups: {mean:.3g} (" in found.note


def test_the_plan_of_a_group_leaves_it_out_and_looks_at_it_alone(study: StudyParams, params: Params) -> None:
    plan = plan_study("cross_source", study, params)
    assert plan.workspaces["everything"].without == ()
    for name, patterns in study.cross_source.groups.items():
        assert plan.workspaces[name].without == plan.cells[name].subsets == tuple(patterns)
        assert set(plan.cells[name].groups) == {name}
        assert set(patterns) <= set(plan.cells["everything"].subsets)
    assert set(plan.cells["everything"].groups) == set(plan.baselines.groups) == set(study.cross_source.groups)


@pytest.mark.parametrize(("changes", "fault"), [
    ({"data": ["everything"]}, "at least one group"),
    ({"data": ["people", "flowers"]}, "must name everything"),
    ({"data": ["everything", "ships"]}, "ships is no group of held_out"),
    ({"held_out": {"everything": ["ccp"]}}, "everything is no group"),
    ({"held_out": {"people": []}}, "at least 1 item"),
])
def test_groups_that_make_no_sense_are_refused(study: StudyParams, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        type(study.cross_source).model_validate(study.cross_source.model_dump() | changes)


def test_patterns_are_those_of_a_shell() -> None:
    assert fits("person_wanko", ["ccp", "person_*"])
    assert not fits("coco_person", ["ccp", "person_*"])
    assert fits("ccp2", ["ccp?"])
    assert not fits("CCP", ["ccp"])


def test_a_missing_result_is_named(study: StudyParams, params: Params, tmp_path: Path) -> None:
    plan = plan_study("ablation", study, params)
    write_results(tmp_path, plan, lambda *_: 500.0)
    (tmp_path / "results" / "curves.json").unlink()
    with pytest.raises(ValueError, match=r"curves\.json: no such result"):
        read_results(tmp_path, cells=list(plan.cells), workspaces=[])


def test_verdicts_go_no_further_than_the_seeds() -> None:
    assert verdict(spread([1.0, 2.0])) == "yes, with every seed"
    assert verdict(spread([-1.0, 2.0])) == "not beyond the spread over seeds"
    assert verdict(spread([-1.0, -2.0])) == "no, with every seed"
