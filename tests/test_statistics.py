"""Witnesses of tasks.evaluation.statistics: scipy's bootstrap, permutation and Wilcoxon tests, the normal approximation, and coverage."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tasks.evaluation.statistics import (
    auc_interval,
    auc_of,
    bootstrap_interval,
    bootstrap_median,
    bootstrap_share,
    compare,
    holm,
)


def test_bootstrap_intervals_are_seeded_and_hold_the_mean() -> None:
    values = list(np.random.default_rng(0).normal(10.0, 2.0, 400))
    low, high = bootstrap_interval(values, np.random.default_rng(5))
    assert (low, high) == bootstrap_interval(values, np.random.default_rng(5))
    assert low < np.mean(values) < high
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.15)  # the normal approximation
    assert bootstrap_interval([7.0], np.random.default_rng(0)) == (7.0, 7.0)


def test_bootstrap_intervals_are_those_of_scipy() -> None:
    values = np.random.default_rng(1).gamma(1.5, 400.0, 150)
    ours = bootstrap_interval(list(values), np.random.default_rng(2), num_resamples=6000)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=6000, method="percentile", rng=np.random.default_rng(3))
    assert ours == pytest.approx(theirs.confidence_interval, rel=0.02)


def test_images_of_one_photograph_do_not_count_as_independent() -> None:
    photographs = np.random.default_rng(4).normal(100.0, 20.0, 60)
    copies = np.repeat(photographs, 5)
    groups = [f"p{number // 5}" for number in range(len(copies))]
    alone = bootstrap_interval(list(photographs), np.random.default_rng(5))
    grouped = bootstrap_interval(list(copies), np.random.default_rng(5), groups=groups)
    naive = bootstrap_interval(list(copies), np.random.default_rng(5))
    assert grouped == pytest.approx(alone, abs=2.0)
    assert (naive[1] - naive[0]) < 0.6 * (grouped[1] - grouped[0])


def test_the_95_percent_interval_holds_the_true_mean_about_that_often() -> None:
    rng, held = np.random.default_rng(6), 0
    for _ in range(200):
        photographs = rng.normal(0.0, 3.0, 40)
        values = np.repeat(photographs, 3) + rng.normal(0.0, 1.0, 120)
        low, high = bootstrap_interval(list(values), rng, groups=[str(n // 3) for n in range(120)], num_resamples=400)
        held += low <= 0.0 <= high
    assert 0.89 <= held / 200 <= 0.99


def test_a_comparison_has_the_p_values_of_scipy() -> None:
    rng = np.random.default_rng(7)
    second = rng.gamma(2.0, 300.0, 80)
    first = second - rng.normal(20.0, 90.0, 80)
    found = compare(list(first), list(second), np.random.default_rng(8))
    permuted = scipy.stats.permutation_test(
        (first - second,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(9)
    )
    assert found.p_flip == pytest.approx(permuted.pvalue, abs=0.01)
    assert found.p_rank == pytest.approx(scipy.stats.wilcoxon(first, second).pvalue)
    assert found.difference == pytest.approx((first - second).mean())
    assert found.wins == np.mean(first < second)
    assert found.low < found.difference < found.high
    assert (found.num_images, found.num_groups) == (80, 80)


def test_a_clear_gain_is_seen_and_none_is_not_invented() -> None:
    rng = np.random.default_rng(10)
    base = rng.gamma(2.0, 300.0, 120)
    gain = compare(list(base * 0.8), list(base), np.random.default_rng(0))
    assert max(gain.p_flip, gain.p_rank) < 0.001
    assert gain.high < 0
    same = compare(list(base), list(base), np.random.default_rng(0))
    assert (same.difference, same.p_flip, same.p_rank, same.wins) == (0.0, 1.0, 1.0, 0.0)


def test_p_values_of_no_difference_are_uniform() -> None:
    rng = np.random.default_rng(11)
    found = [compare(list(rng.normal(size=24)), list(rng.normal(size=24)), rng) for _ in range(120)]
    for name in ("p_flip", "p_rank"):
        assert scipy.stats.kstest([getattr(one, name) for one in found], "uniform").pvalue > 0.001


def test_groups_take_away_certainty_that_is_not_there() -> None:
    rng = np.random.default_rng(12)
    by_photograph = np.repeat(rng.normal(5.0, 20.0, 12), 10)
    groups = [str(n // 10) for n in range(120)]
    zeros = [0.0] * 120
    grouped, naive = (compare(list(by_photograph), zeros, np.random.default_rng(1), groups=given) for given in (groups, None))
    assert grouped.num_groups == 12
    assert grouped.p_flip > 10 * naive.p_flip
    assert grouped.p_rank > 10 * naive.p_rank


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_helps(values: list[float]) -> None:
    named = {str(number): value for number, value in enumerate(values)}
    corrected = holm(named)
    assert list(corrected) == list(named)
    for name, value in named.items():
        assert value <= corrected[name] <= 1.0
        assert corrected[name] <= min(1.0, value * len(values))
    ordered = sorted(named, key=lambda name: (named[name], name))
    assert [corrected[name] for name in ordered] == sorted(corrected.values())


def test_holms_own_numbers() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_impossible_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="no images"):
        bootstrap_interval([], np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 groups for 3 values"):
        bootstrap_interval([1.0, 2.0, 3.0], np.random.default_rng(0), groups=["a", "b"])
    with pytest.raises(ValueError, match="3 errors of one method and 2 of the other"):
        compare([1.0, 2.0, 3.0], [1.0, 2.0], np.random.default_rng(0))


def test_bootstrapped_medians_are_those_of_scipy() -> None:
    values = np.random.default_rng(11).gamma(1.5, 4.0, 150)
    ours = bootstrap_median(list(values), np.random.default_rng(2), num_resamples=4000)
    theirs = scipy.stats.bootstrap((values,), np.median, n_resamples=4000, method="percentile", rng=np.random.default_rng(3))
    assert ours == pytest.approx(theirs.confidence_interval, rel=0.03)
    assert bootstrap_median([3.0, 3.0], np.random.default_rng(0)) == (3.0, 3.0)


def test_the_median_of_grouped_values_is_that_of_their_photographs() -> None:
    photographs = np.random.default_rng(12).normal(100.0, 20.0, 61)
    copies = np.repeat(photographs, 5)
    groups = [f"p{number // 5:02}" for number in range(len(copies))]
    grouped = bootstrap_median(list(copies), np.random.default_rng(5), groups=groups, num_resamples=1000)
    alone = bootstrap_median(list(photographs), np.random.default_rng(6), num_resamples=1000)
    assert grouped == pytest.approx(alone, abs=3.0)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.1, 5.0)), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_a_share_is_the_quotient_of_sums_within_its_interval(pairs: list[tuple[float, float]]) -> None:
    parts, wholes = (list(column) for column in zip(*pairs, strict=True))
    share, low, high = bootstrap_share(parts, wholes, np.random.default_rng(0), num_resamples=200)
    assert share == pytest.approx(sum(parts) / sum(wholes))
    quotients = np.array(parts) / np.array(wholes)
    assert quotients.min() - 1e-9 <= low <= high <= quotients.max() + 1e-9


def test_a_bootstrapped_share_is_that_of_scipy() -> None:
    rng = np.random.default_rng(13)
    wholes = rng.gamma(1.5, 400.0, 150)
    parts = wholes * rng.uniform(0.1, 0.9, 150)
    _, low, high = bootstrap_share(list(parts), list(wholes), np.random.default_rng(2), num_resamples=6000)
    theirs = scipy.stats.bootstrap(
        (parts, wholes), lambda part, whole, axis: part.sum(axis=axis) / whole.sum(axis=axis), paired=True, n_resamples=6000,
        method="percentile", rng=np.random.default_rng(3),
    )
    assert (low, high) == pytest.approx(theirs.confidence_interval, rel=0.02)


def test_a_share_of_nothing_or_of_other_images_is_refused() -> None:
    with pytest.raises(ValueError, match="all wholes are 0"):
        bootstrap_share([0.0], [0.0], np.random.default_rng(0))
    with pytest.raises(ValueError, match="same images"):
        bootstrap_share([0.0], [1.0, 2.0], np.random.default_rng(0))


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30), st.lists(st.integers(0, 9), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_auc_is_that_of_scikit_learn_ties_too(first: list[int], second: list[int]) -> None:
    truth = np.repeat([1, 0], [len(first), len(second)])
    assert auc_of(np.array(first), np.array(second)) == pytest.approx(roc_auc_score(truth, first + second))


def test_the_intervals_of_the_auc_hold_the_truth() -> None:
    """Two normal deviates half a standard deviation apart: the AUC is 0.638."""
    held = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, low, high = auc_interval(rng.normal(0.5, 1, 50), rng.normal(0.0, 1, 50), rng)
        held += low <= 0.6382 <= high
    assert held >= 16, "95 % of 20 are 19; three standard deviations below is 16"
