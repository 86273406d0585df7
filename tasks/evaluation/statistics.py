"""What can be said of a mean over images, and of the difference between two methods: intervals, paired tests, areas under ROC curves.

Composites of one photograph are not independent (HAdobe5k has five of each): whatever is drawn here is drawn by group, a photograph with
all its images. Everything is equal for equal generators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real
from scipy.stats import wilcoxon

NUM_RESAMPLES = 2000
NUM_FLIPS = 9999  # of a sign test: the smallest p-value is one in one more
AUC_RESAMPLES = 1000
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


def bootstrap_median(
    values: Sequence[float], rng: np.random.Generator, *, groups: Sequence[str] | None = None, num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float]:
    """The 95 % percentile interval of the median of `values` over resampled groups. Errors as `bootstrap_interval`."""
    _, sizes = _by_group(values, groups)
    listed = np.asarray(values, np.float64)
    owner = np.arange(len(listed)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.argsort(listed, kind="stable")
    listed, owner = listed[order], owner[order]
    medians = np.empty(num_resamples)
    for number in range(num_resamples):
        times = np.bincount(rng.integers(0, len(sizes), len(sizes)), minlength=len(sizes))[owner]
        below = np.cumsum(times)  # of each value, how many of the resampled ones are no larger
        first, second = np.searchsorted(below, [(below[-1] + 1) // 2, below[-1] // 2 + 1])
        medians[number] = 0.5 * (listed[first] + listed[second])
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_share(
    parts: Sequence[float], wholes: Sequence[float], rng: np.random.Generator, *,
    groups: Sequence[str] | None = None, num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float, float]:
    """The sum of `parts` over the sum of `wholes`, and its 95 % percentile interval over resampled groups.

    Raises ValueError as `bootstrap_interval`, and if the lengths differ or all `wholes` are 0.
    """
    if len(parts) != len(wholes):
        raise ValueError(f"{len(parts)} parts of {len(wholes)} wholes: they must be of the same images")
    (above, _), (below, _) = _by_group(parts, groups), _by_group(wholes, groups)
    if below.sum() <= 0.0:
        raise ValueError("a share of nothing: all wholes are 0")
    shares = np.empty(num_resamples)
    for first in range(0, num_resamples, CHUNK):
        drawn = rng.integers(0, len(above), (min(CHUNK, num_resamples - first), len(above)))
        shares[first : first + len(drawn)] = above[drawn].sum(axis=1) / np.maximum(below[drawn].sum(axis=1), np.finfo(float).tiny)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(above.sum() / below.sum()), float(low), float(high)


def auc_of(first: Real[np.ndarray, " N"], second: Real[np.ndarray, " M"]) -> float:
    """The chance that one of `first` is larger than one of `second`; a tie counts half. The area under a ROC curve."""
    return float(_beats(first, second).mean())


def auc_interval(
    first: Float[np.ndarray, " N"], second: Float[np.ndarray, " M"], rng: np.random.Generator, *, num_resamples: int = AUC_RESAMPLES
) -> tuple[float, float, float]:
    """`auc_of` and its 95 % percentile interval over resampled values of both kinds."""
    table = _beats(first, second)
    rows, columns = (rng.integers(0, size, (num_resamples, size)) for size in table.shape)
    drawn = [float(table[np.ix_(*each)].mean()) for each in zip(rows, columns, strict=True)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(table.mean()), float(low), float(high)


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


def _beats(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    above, equal = first[:, None] > second[None, :], first[:, None] == second[None, :]
    table: np.ndarray = above + 0.5 * equal
    return table


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
