"""How far a trained harmonizer's edits may go: what is learned by heart of the training photographs is too bold on others."""

from models.harmonizer import Harmonizer, with_strength
from tasks.sample import PairBatch
from tasks.training.validation import harmonize_pairs, score

STRENGTHS = tuple(percent / 100 for percent in range(100, 45, -5))


def calibrated(model: Harmonizer, pairs: PairBatch) -> tuple[Harmonizer, float, dict[str, float]]:
    """`model` at that one of `STRENGTHS` which leaves the least mean fMSE of held-out `pairs`; the strength, and its figures there.

    Raises ValueError as `with_strength` does.
    """
    tried = {}
    for strength in STRENGTHS:
        candidate = with_strength(model, strength).to(pairs.mask.device)
        tried[strength] = candidate, score(harmonize_pairs(candidate, pairs), pairs)
    best = min(tried, key=lambda strength: tried[strength][1]["val_fmse"])
    return tried[best][0], best, tried[best][1]
