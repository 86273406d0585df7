"""The gate: each rule on made-up tables, ties and missing sources among them; the paired bound beside outside references."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.evaluation.measurements import per_image_schema
from tasks.params import Params, Release
from tasks.release import Figures, Rule, Verdict, decide, mean_difference_bound, pair_images

SETTINGS = settings(max_examples=30, deadline=None)


def images(fmse: list[float], *, group: Callable[[int], str] = str, composite: float = 100.0, subset: str = "a", first: int = 0,
           bucket: str = "5-15") -> pa.Table:
    """A table of one row per value, each image of a photograph of its own unless `group` says otherwise."""
    rows = [
        {**dict.fromkeys(per_image_schema().names), "benchmark": "b", "source": "photos", "subset": subset,
         "key": f"{subset}{first + number:04d}", "group": f"{subset}/{group(first + number)}", "bucket": bucket,
         "fmse": value, "composite_fmse": composite}
        for number, value in enumerate(fmse)
    ]
    return pa.Table.from_pylist(rows, schema=per_image_schema())


def figures(table: pa.Table, **others: float) -> Figures:
    return Figures(table, **{"natural_fmse": 10.0, "latency_ms": 5.0, "megabytes": 1.0} | others)


@pytest.fixture
def limits(configure: Callable[..., Params]) -> Release:
    """The repository's limits, but for round numbers."""
    return configure({
        "release.max_fmse_growth": 0.02, "release.max_group_growth": 0.1, "release.min_group_images": 10, "release.min_do_no_harm": 0.5,
        "release.max_natural_fmse": 50.0, "release.max_latency_ms": 100.0, "release.max_megabytes": 10.0, "release.confidence": 0.95,
        "release.resamples": 1000,
    }).release


def rule(verdict: Verdict, name: str) -> Rule:
    found = [one for one in verdict.rules if one.name == name]
    assert len(found) == 1, f"{name} among {[one.name for one in verdict.rules]}"
    return found[0]


NOISE = np.random.default_rng(3).normal(0, 8, 60)
CHAMPION = [float(value) for value in 60 + np.random.default_rng(2).uniform(-30, 30, 60)]


# --- Verdicts ---------------------------------------------------------------------------------------------------------------------------


def test_a_better_candidate_is_accepted_and_every_rule_leaves_its_number(limits: Release) -> None:
    better = [value - 10 + noise for value, noise in zip(CHAMPION, NOISE, strict=True)]
    verdict = decide(figures(images(better)), figures(images(CHAMPION)), limits, 1)
    assert verdict.accepted
    assert [one.name for one in verdict.rules] == [
        "same_images", "not_inferior", "do_no_harm", "natural", "latency", "size", "bucket 5-15", "source photos/a",
    ]
    assert all(math.isfinite(one.value) and one.passed for one in verdict.rules)
    assert rule(verdict, "latency").value == 5.0
    assert rule(verdict, "source photos/a").value == pytest.approx(np.mean(better) / np.mean(CHAMPION) - 1)


def test_a_tie_is_accepted(limits: Release) -> None:
    verdict = decide(figures(images(CHAMPION)), figures(images(CHAMPION)), limits, 1)
    assert verdict.accepted
    assert rule(verdict, "not_inferior").value == 0.0


def test_a_perfect_champion_is_tied_by_a_perfect_candidate_alone(limits: Release) -> None:
    perfect = [0.0] * 20
    assert decide(figures(images(perfect)), figures(images(perfect)), limits, 1).accepted
    worse = decide(figures(images([0.0] * 19 + [0.1])), figures(images(perfect)), limits, 1)
    assert set(worse.refusing) == {"not_inferior", "bucket 5-15", "source photos/a"}
    assert rule(worse, "not_inferior").value == math.inf


def test_a_mean_that_is_better_by_luck_alone_is_refused(limits: Release) -> None:
    # One lucky image in ten carries the mean; without it the candidate is worse.
    lucky = [value + 8 for value in CHAMPION]
    lucky[0] = CHAMPION[0] - 60 * 8 - 60
    verdict = decide(figures(images(lucky)), figures(images(CHAMPION)), limits, 1)
    assert np.mean(lucky) < np.mean(CHAMPION)
    assert verdict.refusing == ("not_inferior",)
    assert "with 95% confidence at most" in verdict.why


@pytest.mark.parametrize(
    ("change", "refusing"),
    [
        ({"natural_fmse": 50.1}, "natural"), ({"latency_ms": 100.1}, "latency"), ({"megabytes": 10.1}, "size"),
        ({"natural_fmse": math.nan}, "natural"), ({"latency_ms": math.inf}, "latency"),
    ],
)
def test_a_cost_over_its_limit_refuses_by_name(limits: Release, change: dict[str, float], refusing: str) -> None:
    verdict = decide(figures(images(CHAMPION), **change), figures(images(CHAMPION)), limits, 1)
    assert verdict.refusing == (refusing,)
    assert refusing in verdict.why


def test_an_unknown_change_of_natural_photographs_is_told_of_and_refuses_nothing(limits: Release) -> None:
    verdict = decide(dataclasses.replace(figures(images(CHAMPION)), natural_fmse=None), figures(images(CHAMPION)), limits, 1)
    assert verdict.accepted
    assert rule(verdict, "natural").passed is None
    assert "too few photographs" in rule(verdict, "natural").detail


def test_a_limit_that_is_met_exactly_passes(limits: Release) -> None:
    at_limit = figures(images([50.0, 150.0]), natural_fmse=50.0, latency_ms=100.0, megabytes=10.0)
    assert decide(at_limit, None, limits, 1).accepted  # one of two better is a share of 0.5


def test_harm_refuses_and_a_tie_with_the_composite_is_no_gain(limits: Release) -> None:
    verdict = decide(figures(images([100.0] * 30)), figures(images([100.0] * 30)), limits, 1)
    assert verdict.refusing == ("do_no_harm",)
    assert rule(verdict, "do_no_harm").value == 0.0


def test_a_bucket_that_gets_worse_refuses_however_good_the_rest_is(limits: Release) -> None:
    champion = pa.concat_tables([images([60.0] * 90), images([60.0] * 10, first=90, bucket="0-5")])
    candidate = pa.concat_tables([images([40.0] * 90), images([67.0] * 10, first=90, bucket="0-5")])
    verdict = decide(figures(candidate), figures(champion), limits, 1)
    assert verdict.refusing == ("bucket 0-5",)
    assert rule(verdict, "bucket 0-5").value == pytest.approx(67 / 60 - 1)


def test_a_small_group_is_told_of_and_refuses_nothing(limits: Release) -> None:
    champion = pa.concat_tables([images([60.0] * 90), images([60.0] * 9, subset="rare")])
    candidate = pa.concat_tables([images([40.0] * 90), images([90.0] * 9, subset="rare")])
    verdict = decide(figures(candidate), figures(champion), limits, 1)
    assert verdict.accepted
    assert rule(verdict, "source photos/rare").passed is None
    assert rule(verdict, "source photos/rare").value == pytest.approx(0.5)
    assert "too few to tell" in rule(verdict, "source photos/rare").detail


@pytest.mark.parametrize(("absent", "said"), [("candidate", "the candidate was not"), ("champion", "the champion was not")])
def test_a_source_that_one_of_the_two_lacks_refuses(limits: Release, absent: str, said: str) -> None:
    whole, part = pa.concat_tables([images([50.0] * 30), images([50.0] * 12, subset="film")]), images([50.0] * 30)
    tables = {"candidate": (part, whole), "champion": (whole, part)}[absent]
    verdict = decide(figures(tables[0]), figures(tables[1]), limits, 1)
    assert verdict.refusing == ("same_images", "source photos/film")
    assert rule(verdict, "same_images").value == 12
    assert said in rule(verdict, "source photos/film").detail


def test_nothing_in_common_and_nothing_at_all_refuse(limits: Release) -> None:
    apart = decide(figures(images([1.0] * 20)), figures(images([1.0] * 20, first=100)), limits, 1)
    assert {"same_images", "not_inferior"} <= set(apart.refusing)
    empty = decide(figures(images([])), figures(images([])), limits, 1)
    assert {"not_inferior", "do_no_harm"} <= set(empty.refusing)


def test_a_measurement_that_is_no_number_refuses(limits: Release) -> None:
    verdict = decide(figures(images([math.nan, *CHAMPION[1:]])), figures(images(CHAMPION)), limits, 1)
    assert {"not_inferior", "bucket 5-15", "source photos/a"} <= set(verdict.refusing)
    assert json.loads(json.dumps(verdict.as_json(), allow_nan=False))["verdict"] == "refused"


def test_the_first_candidate_is_held_to_the_rules_that_need_no_champion(limits: Release) -> None:
    verdict = decide(figures(images(CHAMPION)), None, limits, 1)
    assert verdict.accepted
    assert rule(verdict, "not_inferior").passed is None
    assert decide(figures(images([120.0] * 30)), None, limits, 1).refusing == ("do_no_harm",)


# --- The bound --------------------------------------------------------------------------------------------------------------------------


def bound(differences: list[float], groups: list[str] | None = None, seed: int = 5, **options: Any) -> float:
    names = groups or [str(number) for number in range(len(differences))]
    pairs = [(name, value, 0.0) for name, value in zip(names, differences, strict=True)]
    return mean_difference_bound(pairs, np.random.default_rng(seed), **{"confidence": 0.95, "resamples": 2000} | options)


def test_the_bound_agrees_with_scipys_bootstrap() -> None:
    differences = [float(value) for value in np.random.default_rng(0).gamma(2.0, 10.0, 80) - 15]
    theirs = stats.bootstrap(
        (np.array(differences),), np.mean, n_resamples=20000, confidence_level=0.95, alternative="less", method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval.high
    spread = np.std(differences) / math.sqrt(len(differences))
    assert bound(differences, resamples=20000) == pytest.approx(theirs, abs=0.03 * spread)


def test_the_bound_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = sum(bound(list(rng.normal(1.0, 10.0, 40)), seed=trial, resamples=300) >= 1.0 for trial in range(200))
    assert 0.90 <= covered / 200 <= 0.99


def test_images_of_one_photograph_count_as_one_witness() -> None:
    rng = np.random.default_rng(9)
    per_photograph = rng.normal(0.0, 10.0, 20)
    repeated = [float(value) for value in np.repeat(per_photograph, 12)]
    groups = [str(number // 12) for number in range(240)]
    alone = bound([float(value) for value in per_photograph])
    assert bound(repeated, groups) == pytest.approx(alone, rel=1e-9)
    assert bound(repeated) < alone - 1.0, "taken for independent, they would promise too much"


@SETTINGS
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=30), st.floats(-100, 100), st.floats(0.1, 10))
def test_the_bound_moves_and_scales_with_the_differences(differences: list[float], shift: float, scale: float) -> None:
    moved = bound([scale * value + shift for value in differences], resamples=100)
    assert moved == pytest.approx(scale * bound(differences, resamples=100) + shift, abs=1e-6 * (1 + max(map(abs, differences)) * scale))


@SETTINGS
@given(st.permutations(range(12)))
def test_the_order_of_the_tables_rows_says_nothing(order: list[int]) -> None:
    rows = images([float(10 * number) for number in range(12)])
    assert pair_images(rows.take(pa.array(order)), rows) == pair_images(rows, rows)
