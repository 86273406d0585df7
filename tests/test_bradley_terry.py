import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from tasks.poll.bradley_terry import Comparisons, bootstrap_intervals, check_connected, count_wins, fit_scores, is_separated

TRUE = np.array([-0.9, -0.2, 0.2, 0.9])


def simulate(scores: np.ndarray, seed: int, *, raters: int = 8, images: int = 40, each: int = 60, differ: float = 0.0) -> Comparisons:
    """Votes by the model itself; raters and images shift the scores by normal deviates of `differ`; one vote in ten is for neither."""
    rng = np.random.default_rng(seed)
    count, methods = raters * each, len(scores)
    rater, image = np.repeat(np.arange(raters), each), rng.integers(0, images, count)
    first = rng.integers(0, methods, count)
    second = (first + rng.integers(1, methods, count)) % methods
    by_rater, by_image = rng.normal(0, differ, (raters, methods)), rng.normal(0, differ, (images, methods))
    felt = scores + by_rater[rater] + by_image[image]
    rows = np.arange(count)
    share = (rng.random(count) < 1 / (1 + np.exp(felt[rows, second] - felt[rows, first]))).astype(float)
    share[rng.random(count) < 0.1] = 0.5
    return Comparisons(first, second, share, rater, image)


def random_wins(seed: int, methods: int) -> np.ndarray:
    wins = np.random.default_rng(seed).integers(0, 30, (methods, methods)).astype(float)
    np.fill_diagonal(wins, 0)
    return wins + np.roll(np.eye(methods), 1, axis=1)  # a ring of wins: from each to each


def test_two_methods_have_the_closed_form() -> None:
    low, high = fit_scores(np.array([[0.0, 30.0], [90.0, 0.0]]), ridge=0.0)
    assert high - low == pytest.approx(np.log(3.0), abs=1e-9)
    assert high + low == pytest.approx(0.0, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 7), st.sampled_from([0.0, 0.01, 1.0]))
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_an_independent_optimizer(seed: int, methods: int, ridge: float) -> None:
    wins = random_wins(seed, methods)

    def loss(scores: np.ndarray) -> float:
        apart = scores[:, None] - scores[None, :]
        return float((wins * np.logaddexp(0.0, -apart)).sum() + 0.5 * ridge * (scores @ scores))

    found = minimize(loss, np.zeros(methods), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(fit_scores(wins, ridge=ridge), found - found.mean(), atol=2e-5)


def test_scores_are_those_of_a_logistic_regression_on_differences() -> None:
    wins = random_wins(5, 5)
    first, second = (index.ravel() for index in np.indices(wins.shape))
    inputs = np.zeros((25, 5))
    np.add.at(inputs, (np.arange(25), first), 1.0)
    np.add.at(inputs, (np.arange(25), second), -1.0)
    mirrored, answers = np.concatenate([inputs, -inputs]), np.repeat([1, 0], 25)
    weights = np.concatenate([wins.ravel(), wins.ravel()])
    model = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(mirrored, answers, sample_weight=weights)
    np.testing.assert_allclose(fit_scores(wins, ridge=0.0), model.coef_[0] - model.coef_[0].mean(), atol=1e-4)


def test_the_fit_is_a_fixed_point_of_the_mm_algorithm() -> None:
    wins = random_wins(11, 6)
    strength = np.exp(fit_scores(wins, ridge=0.0))
    played = wins + wins.T
    again = wins.sum(axis=1) / (played / (strength[:, None] + strength[None, :])).sum(axis=1)
    np.testing.assert_allclose(again / again.sum(), strength / strength.sum(), rtol=1e-8)


@given(st.integers(0, 10_000), st.permutations(range(5)))
@settings(max_examples=30, deadline=None)
def test_scores_sum_to_zero_follow_their_methods_and_turn_with_the_votes(seed: int, order: list[int]) -> None:
    wins = random_wins(seed, 5)
    scores = fit_scores(wins, ridge=0.01)
    assert scores.sum() == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(fit_scores(wins[np.ix_(order, order)], ridge=0.01), scores[order], atol=1e-7)
    np.testing.assert_allclose(fit_scores(wins.T, ridge=0.01), -scores, atol=1e-7)


def test_many_tables_at_once_are_fitted_as_one_by_one() -> None:
    tables = np.stack([random_wins(seed, 4) for seed in range(6)]).reshape(2, 3, 4, 4)
    together = fit_scores(tables, ridge=0.01)
    assert together.shape == (2, 3, 4)
    np.testing.assert_allclose(together[1, 2], fit_scores(tables[1, 2], ridge=0.01), atol=1e-9)


def test_convention_a_vote_for_neither_counts_half_for_each() -> None:
    votes = Comparisons(np.array([0, 1, 0]), np.array([1, 0, 2]), np.array([1.0, 0.5, 0.0]), np.zeros(3, int), np.zeros(3, int))
    np.testing.assert_array_equal(count_wins(votes, 3), [[0, 1.5, 0], [0.5, 0, 0], [1, 0, 0]])
    doubled = count_wins(votes, 3, np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(doubled[1], [[0, 2, 0], [0, 0, 0], [0, 0, 0]])


def test_methods_that_nobody_compared_are_named() -> None:
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[3, 2] = 5
    with pytest.raises(ValueError, match=r"\{ours, theirs\} with \{old, older\}"):
        check_connected(wins, ["ours", "theirs", "old", "older"])
    wins[1, 2] = 1
    check_connected(wins, ["ours", "theirs", "old", "older"])


def test_a_method_that_never_won_needs_the_penalty() -> None:
    wins = np.array([[0.0, 6.0, 7.0], [4.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    assert is_separated(wins)
    with pytest.raises(ValueError, match=r"never won.*poll\.ridge"):
        fit_scores(wins, ridge=0.0)
    mild, strong = fit_scores(wins, ridge=0.01), fit_scores(wins, ridge=1.0)
    assert np.isfinite(mild).all()
    assert mild[2] < strong[2] < strong[1], "the penalty draws the scores together"
    assert not is_separated(wins + 1)


@pytest.mark.slow
@pytest.mark.parametrize("differ", [0.0, 0.4])
def test_simulated_raters_order_and_intervals_are_recovered(differ: float) -> None:
    """Over 40 polls: the intervals hold the truth in 95 % or more, and so does the order of the outer methods."""
    held, ordered, wide = [], [], []
    crowd = simulate(TRUE, 999, raters=800, images=800, each=100, differ=differ)
    truth = fit_scores(count_wins(crowd, 4), ridge=0.0)  # ties and differences between people draw the scores of a crowd together
    assert (np.diff(truth) > 0.2).all()
    for seed in range(40):
        votes = simulate(TRUE, seed, differ=differ)
        found = bootstrap_intervals(votes, 4, ridge=0.01, num_resamples=128, rng=np.random.default_rng(seed))
        held.append((found.low <= truth) & (truth <= found.high))
        wide.append(found.high - found.low)
        order = np.argsort(fit_scores(count_wins(votes, 4), ridge=0.01))
        ordered.append(order[0] == 0 and order[-1] == 3)
    assert np.mean(held) >= 0.95
    assert np.mean(ordered) >= 0.95
    assert np.mean(wide) < 1.0, "intervals that hold everything say nothing"


def test_intervals_tell_methods_apart_and_say_what_was_resampled() -> None:
    votes = simulate(TRUE, 3)
    found = bootstrap_intervals(votes, 4, ridge=0.01, num_resamples=256, rng=np.random.default_rng(0))
    assert found.units == ("rater", "image")
    assert found.difference_low[3, 0] > 0 > found.difference_high[0, 3]
    np.testing.assert_allclose(found.difference_low, -found.difference_high.T)
    assert found.share_best.sum() == pytest.approx(1.0)
    assert found.share_best.argmax() == 3
    alone = Comparisons(votes.first, votes.second, votes.share, np.zeros_like(votes.rater), votes.image)
    assert bootstrap_intervals(alone, 4, ridge=0.01, num_resamples=64, rng=np.random.default_rng(0)).units == ("image",)
    again = bootstrap_intervals(votes, 4, ridge=0.01, num_resamples=256, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again.low, found.low)


def test_too_few_votes_for_intervals_are_refused() -> None:
    lone = Comparisons(np.array([0, 1, 2]), np.array([1, 2, 3]), np.ones(3), np.arange(3), np.arange(3))
    with pytest.raises(ValueError, match="3 votes are too few"):
        bootstrap_intervals(lone, 4, ridge=0.01, num_resamples=100, rng=np.random.default_rng(0))
