"""The share of the composites' error that a method leaves, by kind of change, by sub-set, by label: where it is good, and where not."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.evaluation.statistics import bootstrap_share

FEWEST = 5  # images of a kind, of which anything is said


@dataclass(frozen=True)
class Left:
    """What is left of one kind's error."""

    share: float  # the sum of the method's fMSE over the sum of the untouched composites'
    low: float  # 95 % interval over resampled photographs
    high: float
    improved: float  # share of the images whose fMSE is lower than the composite's
    fmse: float  # means
    composite_fmse: float
    num_images: int


def error_left(
    kinds: Sequence[str], fmse: Sequence[float], composite_fmse: Sequence[float], rng: np.random.Generator, *, groups: Sequence[str]
) -> dict[str, Left]:
    """By kind, in alphabetical order: what one method leaves of the images of that kind. Kinds of under `FEWEST` images are left out.

    kinds, fmse, composite_fmse, groups: one value per image. Raises ValueError if they differ in length.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, (kind, *_) in enumerate(zip(kinds, fmse, composite_fmse, groups, strict=True)):
        members[kind].append(place)
    found = {}
    for kind, places in sorted(members.items()):
        after, before = ([values[place] for place in places] for values in (fmse, composite_fmse))
        if len(places) >= FEWEST and any(before):
            found[kind] = _left(after, before, rng, [groups[place] for place in places])
    return found


def _left(after: list[float], before: list[float], rng: np.random.Generator, groups: list[str]) -> Left:
    share, low, high = bootstrap_share(after, before, rng, groups=groups)
    improved = float(np.mean(np.array(after) < np.array(before)))
    return Left(share, low, high, improved, float(np.mean(after)), float(np.mean(before)), len(after))
