"""What makes a composite implausible, whatever made it: by ingestion's own limits, and by steps that no light could turn round."""

from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.ingestion.synthesis import measure_change
from tasks.params import Synthesis

Image = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]
Fault = Literal["clipped", "banded", "absurd", "turned"]

FAULTS: tuple[Fault, ...] = get_args(Fault)
MIN_FOREGROUND = 24  # px: fewer say nothing of gradients
DISTINCT_STEP, TURNED_STEP = 8, 2  # grey levels between neighbours, before and, the other way round, after
MAX_TURNED = 0.05  # share of the distinct steps that may be turned round; 4 % of synthesized composites have more


def find_faults(photograph: Image, composite: Image, mask: Mask, limits: Synthesis) -> set[Fault]:
    """What is wrong with a composite; nothing where its foreground is too small to say.

    clipped: pixels driven to black or white. banded: texture added or lost. absurd: a larger change than any light's. All three by the
    limits that ingestion puts on composites. turned: not monotone, more than `MAX_TURNED` of its steps are turned round.
    """
    if np.count_nonzero(mask >= FOREGROUND_LEVEL) < MIN_FOREGROUND:
        return set()
    measured = measure_change(photograph, composite, mask)
    largest = {"fmse": limits.max_fmse, "delta_e": limits.max_delta_e, "hue_turned": limits.max_hue_turned}
    found: dict[Fault, bool] = {
        "clipped": measured["clipped"] > limits.max_clipped,
        "banded": not 1.0 / limits.max_gradient_ratio <= measured["gradient_ratio"] <= limits.max_gradient_ratio,
        "absurd": any(measured[name] > limit for name, limit in largest.items()),
        "turned": steps_turned(photograph, composite, mask) > MAX_TURNED,
    }
    return {name for name, there in found.items() if there}


def steps_turned(photograph: Image, composite: Image, mask: Mask) -> float:
    """Of the distinct steps in luma between neighbouring foreground pixels, the share that goes the other way afterwards.

    No light or tone curve does that: it is what a table that is not monotone looks like, and it can be measured on any composite.
    """
    inside = mask >= FOREGROUND_LEVEL
    before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.int16) for image in (photograph, composite))
    num_distinct = num_turned = 0
    for turn in (np.asarray, np.transpose):
        first, second, within = turn(before), turn(after), turn(inside)
        both = within[1:] & within[:-1]
        step, changed = np.diff(first, axis=0)[both], np.diff(second, axis=0)[both]
        distinct = np.abs(step) >= DISTINCT_STEP
        num_distinct += int(distinct.sum())
        num_turned += int((distinct & (np.sign(step) * changed <= -TURNED_STEP)).sum())
    return num_turned / max(1, num_distinct)
