"""Bradley-Terry scores of methods from pairwise votes, with bootstrap intervals.

The model: i is preferred to j with probability 1 / (1 + exp(b_j - b_i)). Only differences matter, so the scores sum to 0; they can be
compared within one poll alone. It knows no ties: a vote for neither counts half for each, which leaves equal methods equal.
Source: Bradley and Terry, Biometrika 1952; Hunter, "MM algorithms for generalized Bradley-Terry models", Annals of Statistics 2004.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components

_TOLERANCE = 1e-10  # of the gradient, per vote
_MAX_STEPS = 100
_RESAMPLES_AT_ONCE = 64  # bounds the memory: resamples x votes
_MAX_DRAWS = 2  # times the resamples that are wanted


@dataclass(frozen=True)
class Comparisons:
    """N votes as indices: `share` of the vote went to `first`, the rest to `second` (1, 0, or 0.5 where neither was preferred)."""

    first: Int[np.ndarray, " N"]
    second: Int[np.ndarray, " N"]
    share: Float[np.ndarray, " N"]
    rater: Int[np.ndarray, " N"]
    image: Int[np.ndarray, " N"]


@dataclass(frozen=True)
class Intervals:
    """What bootstrap resamples say of M scores: percentile limits, and the share of resamples in which each is the highest."""

    low: Float[np.ndarray, " M"]
    high: Float[np.ndarray, " M"]
    share_best: Float[np.ndarray, " M"]
    difference_low: Float[np.ndarray, "M M"]  # of score i minus score j
    difference_high: Float[np.ndarray, "M M"]
    units: tuple[str, ...]  # what was drawn again: "rater", "image"
    level: float


def count_wins(votes: Comparisons, num_methods: int, weights: Float[np.ndarray, "... N"] | None = None) -> Float[np.ndarray, "... M M"]:
    """How often i was preferred to j, at [i, j]; votes for neither count half in both directions. weights: of each vote, 1 where None."""
    weights = np.ones(len(votes.share)) if weights is None else weights
    cells = num_methods * num_methods
    table = np.zeros((len(votes.share), cells))
    position = np.arange(len(votes.share))
    np.add.at(table, (position, votes.first * num_methods + votes.second), votes.share)
    np.add.at(table, (position, votes.second * num_methods + votes.first), 1.0 - votes.share)
    wins: np.ndarray = (weights @ table).reshape(*weights.shape[:-1], num_methods, num_methods)
    return wins


def check_connected(wins: Float[np.ndarray, "M M"], methods: Sequence[str]) -> None:
    """ValueError naming the parts if the methods fall into groups that no vote compares: their scores would not be on one scale."""
    count, part = connected_components(wins + wins.T, directed=False)
    if count > 1:
        groups = ["{" + ", ".join(name for name, of in zip(methods, part, strict=True) if of == number) + "}" for number in range(count)]
        raise ValueError(f"no vote compares {' with '.join(groups)}: their scores cannot be put on one scale; more votes are needed")


def is_separated(wins: Float[np.ndarray, "M M"]) -> bool:
    """Whether some methods were never preferred to any of the others: then no finite scores have the maximum likelihood.

    Source: Ford, "Solution of a ranking problem from binary comparisons", 1957: finite scores need a chain of wins from each to each.
    """
    return bool(connected_components(wins, directed=True, connection="strong")[0] > 1)


def fit_scores(wins: Float[np.ndarray, "... M M"], *, ridge: float) -> Float[np.ndarray, "... M"]:
    """The scores of greatest penalized likelihood for each table of wins, summing to 0, by Newton's method.

    ridge: ridge / 2 times the sum of squared scores is taken from the log likelihood. It has one maximum for every ridge above 0; at 0,
    the plain likelihood, only where `is_separated` is false for every table, else ValueError.
    """
    num_methods = wins.shape[-1]
    flat = wins.reshape(-1, num_methods, num_methods)
    if ridge <= 0.0 and any(map(is_separated, flat)):
        raise ValueError(f"some methods never won: without a penalty their scores are infinite; set poll.ridge above {ridge:g}")
    played = flat + flat.transpose(0, 2, 1)
    total = flat.sum(axis=(1, 2)) / 2 + 1.0
    won, scores = flat.sum(axis=2), np.zeros((len(flat), num_methods))
    # Adding a constant to all scores changes no likelihood: the ones matrix holds that direction, along which the gradient is 0.
    fixed = np.ones((num_methods, num_methods)) + ridge * np.eye(num_methods)
    for _ in range(_MAX_STEPS):
        expected = 1.0 / (1.0 + np.exp(scores[:, None, :] - scores[:, :, None]))
        gradient = won - (played * expected).sum(axis=2) - ridge * scores
        if (np.abs(gradient).max(axis=1) <= _TOLERANCE * total).all():
            centred: np.ndarray = (scores - scores.mean(axis=1, keepdims=True)).reshape(wins.shape[:-1])
            return centred
        spread = played * expected * (1.0 - expected)
        curvature = np.eye(num_methods) * spread.sum(axis=2)[:, None] - spread + fixed
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        # The logistic's curvature changes by at most a factor e per unit: shorter steps than 1 never overshoot by much.
        scores += step * np.minimum(1.0, 1.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
    raise AssertionError(f"Newton's method did not settle in {_MAX_STEPS} steps on {wins.tolist()}")


def bootstrap_intervals(
    votes: Comparisons, num_methods: int, *, ridge: float, num_resamples: int, rng: np.random.Generator, level: float = 0.95
) -> Intervals:
    """Percentile intervals over resampled raters AND resampled images: a vote counts as often as its rater was drawn times its image was.

    So they speak of other people and other photographs. In simulated polls whose raters and images differ, 95 % intervals held the truth
    in 93 to 99 % of them, where resampling single votes held it in 72 to 91 %; where they do not differ in over 99 %: rather too wide.
    With a single rater (or image) only the other is drawn. Draws that leave methods without comparisons are drawn again; ValueError if most
    are: too few votes. Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007.
    """
    units = {name: column for name, column in (("rater", votes.rater), ("image", votes.image)) if np.unique(column).size > 1}
    found: list[np.ndarray] = []
    for _ in range(_MAX_DRAWS * (num_resamples // _RESAMPLES_AT_ONCE + 1)):
        weights = np.ones((_RESAMPLES_AT_ONCE, len(votes.share)))
        for column in units.values():
            known, position = np.unique(column, return_inverse=True)
            weights *= rng.multinomial(len(known), np.full(len(known), 1.0 / len(known)), size=_RESAMPLES_AT_ONCE)[:, position]
        wins = count_wins(votes, num_methods, weights)
        whole = [connected_components(table + table.T, directed=False)[0] == 1 for table in wins]
        found += list(fit_scores(wins[whole], ridge=ridge))
        if len(found) >= num_resamples:
            break
    else:
        raise ValueError(f"{len(votes.share)} votes are too few for intervals: most resamples leave methods without comparisons")
    scores = np.array(found[:num_resamples])
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    low, high = np.quantile(scores, tails, axis=0)
    difference_low, difference_high = np.quantile(scores[:, :, None] - scores[:, None, :], tails, axis=0)
    share_best = np.bincount(scores.argmax(axis=1), minlength=num_methods) / num_resamples
    return Intervals(low, high, share_best, difference_low, difference_high, tuple(units), level)
