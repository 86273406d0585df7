"""The card says what a model is, what it was made of, how it did and why; and fits the registry."""

import math
from typing import Any

import pyarrow as pa

from tasks.evaluation.measurements import per_image_schema
from tasks.release import Figures, Rule, Verdict
from tasks.retraining.model_card import MAX_LENGTH, Origin, figures_table, rules_table, write_card

ORIGIN = Origin(
    git_commit="0123abcd", data_version="feed", dvc_lock="f" * 64, seed=7, architecture={"architecture": "small", "width": 16},
    num_parameters=12345, data_counts={"pairs_train": 120.0, "objects": 30.0},
)
VERDICT = Verdict((
    Rule("do_no_harm", 0.75, 0.5, True, "3 of 4 images"), Rule("not_inferior", math.nan, 0.02, None, "no champion yet"),
    Rule("latency", 300.0, 250.0, False, "300.0 ms to predict an edit"),
))


def figures(*fmse: float, benchmark: str = "photos") -> Figures:
    rows: list[dict[str, Any]] = [
        {**dict.fromkeys(per_image_schema().names), "benchmark": benchmark, "key": str(number), "fmse": value, "composite_fmse": 200.0}
        for number, value in enumerate(fmse)
    ]
    return Figures(pa.Table.from_pylist(rows, schema=per_image_schema()), 1.0, 2.0, 3.0)


def test_the_card_names_origin_verdict_and_figures() -> None:
    card = write_card(ORIGIN, figures(100.0, 50.0), figures(120.0, 80.0), VERDICT)
    for said in ("0123abcd", "feed", "pairs train 120", "12,345 parameters", "seed 7", "**refused**", "300.0 ms to predict"):
        assert said in card
    assert "| photos | 2 | 200.0 | 100.0 | 75.0 |" in card


def test_without_a_champion_the_table_says_none() -> None:
    assert "| photos | 1 | 200.0 | none | 80.0 |" in figures_table(figures(80.0), None)
    assert "| photos | 1 | 200.0 | none | 80.0 |" in figures_table(figures(80.0), figures(10.0, benchmark="other"))


def test_rules_that_refuse_come_first() -> None:
    lines = rules_table(VERDICT.rules).splitlines()
    assert lines[2] == "| latency | 300 | 250 | **refuses** | 300.0 ms to predict an edit |"
    assert "cannot tell" in lines[4]


def test_many_groups_still_fit_the_registry() -> None:
    rules = tuple(Rule(f"source s/{number}", 0.01, 0.1, number % 7 != 0, "d" * 90) for number in range(300))
    card = write_card(ORIGIN, figures(1.0), None, Verdict(rules))
    assert len(card) <= MAX_LENGTH
    assert "**refuses**" in card
