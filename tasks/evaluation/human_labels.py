"""Does a harmonizer change most what people take for pasted? Composites and photographs with a human judgement each, for measuring alone.

People said of each picture whether it looks right: composites that do not (`unrealistic`) should be changed, those that do (`realistic`)
hardly, photographs (`natural`) not at all. Nothing is trained on them, and no ground truth is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.evaluation.statistics import auc_interval, bootstrap_median

UNREALISTIC, REALISTIC, NATURAL = "unrealistic", "realistic", "natural"
JUDGEMENTS = (UNREALISTIC, REALISTIC, NATURAL)
FEWEST = 10  # pictures of a judgement, of which anything is said


@dataclass(frozen=True)
class Change:
    """How far the pictures of one judgement were changed: their median, with its 95 % interval."""

    median: float  # of the mean CIE76 inside the mask
    low: float
    high: float
    num_images: int


@dataclass(frozen=True)
class Area:
    """An area under a ROC curve with its 95 % interval: 0.5 tells nothing apart, 1 all."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """How one method's changes go with what people said."""

    changes: Mapping[str, Change]  # by judgement
    against_natural: Area  # the chance that an unrealistic composite is changed more than a photograph
    against_realistic: Area  # ... than a composite that people take for right


def agreement(changes: Mapping[str, Sequence[float]], rng: np.random.Generator) -> Agreement | None:
    """The agreement of one method's changes (by judgement, one number a picture) with people; None if a judgement has too few pictures."""
    if any(len(changes.get(judgement, ())) < FEWEST for judgement in JUDGEMENTS):
        return None
    values = {judgement: np.asarray(changes[judgement], np.float64) for judgement in JUDGEMENTS}
    medians = {
        judgement: Change(float(np.median(found)), *bootstrap_median(list(found), rng), len(found)) for judgement, found in values.items()
    }
    natural, realistic = (Area(*auc_interval(values[UNREALISTIC], values[other], rng)) for other in (NATURAL, REALISTIC))
    return Agreement(medians, natural, realistic)
