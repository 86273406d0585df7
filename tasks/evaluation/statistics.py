"""What can be said of a mean over images, and of the difference between two methods: intervals and paired tests.

Composites of one photograph are not independent (HAdobe5k has five of each): whatever is drawn here is drawn by group, a photograph with
all its images. Everything is equal for equal generators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import wilcoxon

NUM_RESAMPLES = 2000
NUM_FLIPS = 9999  # of a sign test: the smallest p-value is one in one more
CHUNK = 250  # draws at a time: memory stays small however many images there are


@dataclass(frozen=True)
class Comparison:
    """One method beside another on the same images; differences are the first's error minus the second's: below 0 is a gain."""

    difference: float  # mean over images
    low: float  # 95 % interval of that mean, over resampled groups
    high: float
    p_flip: float  # two-sided, of signs flipped at random by group: that the mean difference is 0
    p_rank: float  # Wilcoxon's signed ranks, two-sided, of the groups' means: that the differences are symmetric about 0
    wins: float  # share of images on which the first is better; a tie is no win
    num_images: int
    num_groups: int


def bootstrap_interval(
    values: Sequence[float],
    rng: np.random.Generator,
    *,
    groups: Sequence[str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval of the mean of `values` over resampled groups; each value is a group of its own where none are given.

    Raises ValueError if there are no values, or not as many groups as values.
    """
    totals, sizes = _by_group(values, groups)
    means = np.empty(num_resamples)
    for first in range(0, num_resamples, CHUNK):
        drawn = rng.integers(0, len(totals), (min(CHUNK, num_resamples - first), len(totals)))
        means[first : first + len(drawn)] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(
    first: Sequence[float], second: Sequence[float], rng: np.random.Generator, *, groups: Sequence[str] | None = None
) -> Comparison:
    """The first method's errors against the second's, image by image.

    Raises ValueError if there are no images, or the sequences differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} errors of one method and {len(second)} of the other: they must be of the same images")
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    totals, sizes = _by_group(differences, groups)
    low, high = bootstrap_interval(list(differences), rng, groups=groups)
    return Comparison(
        difference=float(differences.mean()), low=low, high=high,
        p_flip=_sign_flip_p(totals, rng), p_rank=_signed_rank_p(totals / sizes),
        wins=float(np.mean(differences < 0)), num_images=len(differences), num_groups=len(totals),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several tests, corrected so that the chance of any false alarm among them stays what it is for one.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - rank)))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def _by_group(values: Sequence[float] | np.ndarray, groups: Sequence[str] | None) -> tuple[Float[np.ndarray, " G"], Int[np.ndarray, " G"]]:
    """Each group's sum and number of values."""
    if len(values) == 0:
        raise ValueError("no images to average over")
    if groups is None:
        return np.asarray(values, np.float64), np.ones(len(values), np.int64)
    if len(groups) != len(values):
        raise ValueError(f"{len(groups)} groups for {len(values)} values")
    _, owner = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(owner, np.asarray(values, np.float64)), np.bincount(owner)


def _sign_flip_p(totals: Float[np.ndarray, " G"], rng: np.random.Generator) -> float:
    """Two-sided p-value of the groups' summed differences under random signs, the one that was observed counted among the draws."""
    observed = abs(totals.sum()) * (1 - 1e-12)  # equal sums count as equal, however they are added up
    extreme = 0
    for first in range(0, NUM_FLIPS, CHUNK):
        signs = rng.integers(0, 2, (min(CHUNK, NUM_FLIPS - first), len(totals)), dtype=np.int8) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ totals) >= observed))
    return (extreme + 1) / (NUM_FLIPS + 1)


def _signed_rank_p(differences: Float[np.ndarray, " G"]) -> float:
    """Wilcoxon's p-value; 1 where nothing differs."""
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0
