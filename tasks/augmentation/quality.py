"""What a sampler's draws are worth on photographs that training never saw: whether they are plausible, differ, and reach true composites.

Coverage: for each true composite, the best of K draws' fMSE. Plausibility: the share of draws with a fault (`tasks.augmentation.faults`).
Diversity: how far draws of one photograph lie apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Float, UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.augmentation.faults import FAULTS, MIN_FOREGROUND, find_faults
from tasks.augmentation.pairs import Stacks
from tasks.augmentation.samplers import Images, Masks, Sampler
from tasks.color.difference import delta_e_2000, foreground_mse, lab_from_srgb
from tasks.params import Synthesis

NUM_DRAWS = 20
BEST_OF = (1, 2, 5, 10, 20)
NUM_JUDGED = 6  # draws of each photograph whose plausibility is measured
NUM_COMPARED = 8  # draws of each photograph that are held against one another
MAX_COMPARED_PIXELS = 256


@dataclass(frozen=True)
class Quality:
    """What a sampler's draws are worth."""

    coverage: Mapping[int, float]  # K -> mean fMSE of the best of K draws, of 1 for the untouched photograph
    strength: float  # mean fMSE between draw and photograph, squared grey levels
    diversity: float  # mean CIEDE2000 between two draws of a photograph, inside the mask
    implausible: Mapping[str, float]  # fault -> share of draws that have it; "any": at least one
    background_exact: bool  # whether every pixel with mask 0 is the photograph's


def measure_quality(sampler: Sampler, pairs: Stacks, limits: Synthesis) -> Quality:
    """The quality of `sampler` on held-out `pairs`; those with too small a foreground are passed over.

    Raises ValueError if none is left.
    """
    kept = (pairs["mask"] >= FOREGROUND_LEVEL).sum(axis=(1, 2)) >= MIN_FOREGROUND
    if not kept.any():
        raise ValueError(f"none of {len(kept)} held-out pairs has a foreground of {MIN_FOREGROUND} px at syconet.size")
    photographs, masks, composites = (pairs[field][kept] for field in ("target", "mask", "composite"))
    draws = [sampler(photographs, masks, number) for number in range(NUM_DRAWS)]
    errors = np.stack([foreground_errors(draw, composites, masks) for draw in draws])
    untouched = float(foreground_errors(photographs, composites, masks).mean())
    outside = masks == 0
    return Quality(
        coverage={most: float(expected_best(errors, most).mean()) / untouched for most in BEST_OF},
        strength=float(np.mean([foreground_errors(draw, photographs, masks) for draw in draws])),
        diversity=float(np.mean(pairwise_difference(draws[:NUM_COMPARED], masks))),
        implausible=implausible_shares(photographs, draws[:NUM_JUDGED], masks, limits),
        background_exact=all(bool(np.array_equal(draw[outside], photographs[outside])) for draw in draws),
    )


def foreground_errors(
    images: UInt8[np.ndarray, "B H W 3"], references: UInt8[np.ndarray, "B H W 3"], masks: UInt8[np.ndarray, "B H W"]
) -> Float[np.ndarray, " B"]:
    """The fMSE of each image, in squared grey levels."""
    return np.array([foreground_mse(*each) for each in zip(images, references, masks, strict=True)])


def expected_best(errors: Float[np.ndarray, "N B"], most: int) -> Float[np.ndarray, " B"]:
    """What the smallest error of `most` of the N draws is in expectation, over all choices among them: less noise than one choice."""
    count = len(errors)
    # The smallest of a choice is number `rank` of the sorted if the others come after it.
    weights = np.array([comb(count - 1 - rank, most - 1) for rank in range(count)], float) / comb(count, most)
    return np.asarray(weights @ np.sort(errors, axis=0))


def pairwise_difference(draws: Sequence[Images], masks: Masks) -> Float[np.ndarray, " B"]:
    """Per photograph, the mean CIEDE2000 between two of its draws, on an even sample of the foreground's pixels."""
    differences = []
    for number, mask in enumerate(masks):
        chosen = np.flatnonzero(mask >= FOREGROUND_LEVEL)
        chosen = chosen[:: -(-len(chosen) // MAX_COMPARED_PIXELS)]
        labs = [lab_from_srgb(draw[number].reshape(-1, 3)[chosen], np.float32) for draw in draws]
        first, second = (np.concatenate(side) for side in zip(*combinations(labs, 2), strict=True))
        differences.append(delta_e_2000(first, second).mean())
    return np.array(differences)


def implausible_shares(photographs: Images, draws: Sequence[Images], masks: Masks, limits: Synthesis) -> dict[str, float]:
    """Of all draws, the share with each fault, and with any of them."""
    found = [
        find_faults(photograph, composite, mask, limits)
        for draw in draws for photograph, composite, mask in zip(photographs, draw, masks, strict=True)
    ]
    shares: dict[str, float] = {name: float(np.mean([name in faults for faults in found])) for name in FAULTS}
    return {**shares, "any": float(np.mean([bool(faults) for faults in found]))}
