"""Laws of the summary of haze, wash-out and human labels, of its table, and of what the report says of them."""

import json
from typing import Any

import numpy as np
import pytest

from tasks.evaluation.appearance import APPEARANCE, appearance_table, summarize_appearance
from tasks.evaluation.appearance_findings import PHOTOGRAPHS, appearance_findings, eye_finding
from tasks.evaluation.eye_sheet import Judged
from tasks.evaluation.haze import ToneChange, Tones
from tasks.evaluation.human_labels import JUDGEMENTS
from tasks.evaluation.measurements import COMPOSITE, HARMONIZED, TARGET, Appearance, Changed

BEFORE, SCENE = Tones(50.0, 200.0, 20.0), Tones(20.0, 230.0, 25.0)
HAZY, CLEAR = Tones(70.0, 180.0, 10.0), Tones(30.0, 210.0, 20.0)


def image(number: int, subset: str, *, ours: float = 1.0, after: Tones = CLEAR, others: Tones | None = BEFORE) -> Changed:
    """A picture that the harmonizer moved by `ours` and left with the tones `after`."""
    kept = None if others is None else ToneChange(BEFORE, others, SCENE)
    moved = None if others is None else ToneChange(BEFORE, after, SCENE)
    row = {"key": f"k{number}", "source": "realism_labels", "subset": subset, "group": f"g{number}"}
    seen = {COMPOSITE: Appearance(0.0, kept), HARMONIZED: Appearance(ours, moved), "lab_shift": Appearance(3.0, kept)}
    return Changed(row, {}, 64, 64, 100, appearance=seen)


LABELLED = [image(number, JUDGEMENTS[number % 3], ours=9.0 if number % 3 == 0 else 2.0) for number in range(36)]
PLAIN = [image(number, "composites", after=HAZY if number < 3 else CLEAR) for number in range(10)]


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    """Of one benchmark with human labels and one without."""
    return summarize_appearance({"labels": LABELLED, "plain": PLAIN}, 1)


def test_every_method_but_doing_nothing_has_its_haze(summary: dict[str, Any]) -> None:
    assert {name: list(methods) for name, methods in summary["tones"].items()} == {
        "labels": [HARMONIZED, "lab_shift"], "plain": [HARMONIZED, "lab_shift"],
    }
    ours = summary["tones"]["plain"][HARMONIZED]
    assert (ours["lifted"], ours["dulled"], ours["washed_out"], ours["num_images"]) == (0.3, 0.3, 0.3, 10)
    assert summary["tones"]["plain"]["lab_shift"]["lifted"] == 0.0


def test_human_labels_are_told_of_benchmarks_that_have_them_alone(summary: dict[str, Any]) -> None:
    assert list(summary["human_labels"]) == ["labels"]
    ours = summary["human_labels"]["labels"][HARMONIZED]
    assert (ours["against_natural"]["value"], ours["against_realistic"]["value"]) == (1.0, 1.0)
    assert summary["human_labels"]["labels"]["lab_shift"]["against_natural"]["value"] == 0.5


def test_equal_inputs_give_equal_numbers_and_plain_ones(summary: dict[str, Any]) -> None:
    assert summarize_appearance({"labels": LABELLED, "plain": PLAIN}, 1) == summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_table_has_a_row_per_image_and_method_and_nulls_where_a_region_was_too_small() -> None:
    table = appearance_table({"plain": [*PLAIN, image(99, "composites", others=None)]})
    assert table.schema == APPEARANCE
    assert table.num_rows == 11 * 3
    rows = {(row["key"], row["method"]): row for row in table.to_pylist()}
    assert rows["k0", HARMONIZED]["black_after"] == HAZY.black
    assert rows["k0", HARMONIZED]["chroma_background"] == SCENE.chroma
    assert rows["k0", COMPOSITE]["cie76"] == 0.0
    assert rows["k99", HARMONIZED]["black_after"] is None
    assert rows["k99", HARMONIZED]["cie76"] == 1.0


def test_of_regions_that_are_all_too_small_nothing_is_said() -> None:
    assert summarize_appearance({"plain": [image(number, "x", others=None) for number in range(3)]}, 1) == {"tones": {}, "human_labels": {}}
    assert appearance_findings({"tones": {}, "human_labels": {}}, {}) == {}


def test_the_findings_hold_the_summarys_figures(summary: dict[str, Any]) -> None:
    natural = {HARMONIZED: {"haze": summary["tones"]["plain"][HARMONIZED]}, "nothing": {"haze": None}}
    found = appearance_findings(summary, natural)
    assert set(found) == {"haze", "wash_out", "human_labels"}
    shown = {(each.group, each.name): each.value for each in found["haze"].estimates}
    assert shown["plain", HARMONIZED] == shown[PHOTOGRAPHS, HARMONIZED] == 0.3
    assert shown["plain", "lab_shift"] == 0.0
    assert "whites pulled down below the background's in 30% of 10" in found["haze"].note
    assert "plain 30% of 10" in found["wash_out"].note
    areas = {(each.group, each.name): each.value for each in found["human_labels"].estimates}
    assert areas["labels: against photographs", HARMONIZED] == 1.0
    assert "unrealistic 9.0, realistic 2.0, natural 2.0" in found["human_labels"].note


def test_verdicts_by_eye_are_shares_and_those_of_another_model_are_told(summary: dict[str, Any]) -> None:
    judged = Judged(better=7, same=2, worse=1, models=("abc",))
    same = eye_finding(judged, "abc")
    assert {each.name: each.value for each in same.estimates} == {"better": 0.7, "same": 0.2, "worse": 0.1}
    assert "another model" not in same.note
    assert "another model's pictures (abc), not of this run's (xyz)" in eye_finding(judged, "xyz").note


def test_the_target_stands_beside_the_methods_of_pairs() -> None:
    pairs = [image(number, "a") for number in range(4)]
    for one in pairs:
        one.appearance[TARGET] = Appearance(5.0, ToneChange(BEFORE, HAZY, SCENE))  # type: ignore[index]
    assert summarize_appearance({"pairs": pairs}, 1)["tones"]["pairs"][TARGET]["lifted"] == 1.0
    assert np.isfinite(summarize_appearance({"pairs": pairs}, 1)["tones"]["pairs"][TARGET]["lifted_low"])
