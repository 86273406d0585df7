"""Composites made from photographs: one foreground's light and colours changed, and bad results rejected with a reason.

The limits keep the distribution of composite fMSE within that of the field's data sets; 5th, 50th and 95th percentile at 256 px:
HCOCO 187, 738, 3183; HFlickr 229, 1091, 5399; HAdobe5k 177, 1402, 6997.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.color.difference import Lab, delta_e_2000, foreground_mse, lab_from_srgb
from tasks.color.recolor import (
    Illuminants,
    apply_illuminant_change,
    apply_retouch,
    random_illuminant_change,
    random_retouch,
)
from tasks.color.transfer import TRANSFERS, TooFewPixels, bounding_box, paste, region_pixels
from tasks.params import Synthesis, Weights

Image = UInt8[np.ndarray, "_H _W 3"]  # a reference has a size of its own
Mask = UInt8[np.ndarray, "_H _W"]

MAX_LAB_PIXELS = 2048  # looked at for differences of colour
MIN_CHROMA = 15.0  # CIELAB: below it a colour has no hue to speak of (skin has 15 to 35)
MAX_HUE_TURN = np.radians(60.0)
GRADIENT_FLOOR = 0.25  # grey levels: below it an image is flat, and ratios of its gradients are rounding


class Reason(StrEnum):
    """Why a composite was rejected."""

    TINY = "tiny"  # too few foreground pixels for statistics
    UNCHANGED = "unchanged"  # nobody would see it
    ABSURD = "absurd"  # no light does that
    CLIPPED = "clipped"  # too many foreground pixels driven to 0 or 255
    BANDED = "banded"  # grain or contours added, or texture lost


@dataclass(frozen=True, eq=False)
class Synthesized:
    """One draw: a composite, or the reason why there is none."""

    method: str
    composite: Image | None
    reason: Reason | None
    fmse: float  # squared grey levels inside the mask; 0 for tiny ones
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the change, as JSON holds them; of a transfer its reference says all
    measured: Mapping[str, float] = field(default_factory=dict)  # by `measure_change`, where something was made
    cause: str = ""  # why nothing was made


def choose_method(rng: np.random.Generator, weights: Weights, *, has_reference: bool) -> str:
    """A way to change a foreground, drawn by weight; without a reference, one that needs none.

    Raises ValueError naming the key if no possible method has a weight.
    """
    possible = {name: weight for name, weight in weights if has_reference or name not in TRANSFERS}
    total = sum(possible.values())
    if total <= 0.0:
        missing = "" if has_reference else " that needs no reference"
        raise ValueError(f"ingest.synthesis.weights: no method{missing} has a weight above 0 ({possible})")
    return str(rng.choice(list(possible), p=np.array(list(possible.values())) / total))


def synthesize_composite(
    target: Image,
    mask: Mask,
    reference: Image | None,
    reference_mask: Mask | None,
    *,
    method: str,
    rng: np.random.Generator,
    limits: Synthesis,
    illuminants: Illuminants | None = None,
) -> Synthesized:
    """`target` with its foreground recoloured by `method`, or the reason why the result was rejected.

    reference, reference_mask: whose foreground's colours a transfer takes; unused, and None is fine, for "retouch" and "illuminant".
    mask: its foreground is measured; blended in where soft; the background stays bit-exact.
    Raises ValueError for an unknown method, a transfer without reference, "illuminant" without `illuminants`, or sizes that differ.
    """
    composite: Image | None
    parameters: dict[str, Any]
    try:
        region_pixels(target, mask)
        if method in TRANSFERS:
            composite, parameters = _transferred(target, mask, reference, reference_mask, method=method, rng=rng), {}
        else:
            composite, parameters = _relit(target, mask, method=method, rng=rng, limits=limits, illuminants=illuminants)
    except TooFewPixels as error:
        return Synthesized(method, None, Reason.TINY, 0.0, cause=str(error))
    if composite is None:
        return Synthesized(method, None, Reason.ABSURD, 0.0, cause="no measured change of light suits these colours")
    measured = measure_change(target, composite, mask)
    reason = find_fault(measured, limits)
    return Synthesized(method, None if reason else composite, reason, measured["fmse"], parameters, measured)


def _transferred(
    target: Image, mask: Mask, reference: Image | None, reference_mask: Mask | None, *, method: str, rng: np.random.Generator
) -> Image:
    if reference is None or reference_mask is None:
        raise ValueError(f"method {method!r} needs a reference")
    return TRANSFERS[method](target, mask, reference, reference_mask, rng=rng)


def _relit(
    target: Image, mask: Mask, *, method: str, rng: np.random.Generator, limits: Synthesis, illuminants: Illuminants | None
) -> tuple[Image | None, dict[str, Any]]:
    """A foreground changed without a reference, the light's gradient spanning its box, and how; None where nothing suits it."""
    box = bounding_box(mask)
    crop = target[box]
    if method == "retouch":
        retouch = random_retouch(rng, strength=limits.retouch_strength)
        changed, parameters = apply_retouch(crop, retouch), asdict(retouch)
    elif method == "illuminant":
        if illuminants is None:
            raise ValueError("method 'illuminant' needs illuminants: ingest.synthesis.weights.illuminant is above 0, but none were loaded")
        change = random_illuminant_change(illuminants, region_pixels(target, mask), rng=rng)
        if change is None:
            return None, {}
        changed, parameters = apply_illuminant_change(crop, change), {"first": change.first, "second": change.second}
    else:
        raise ValueError(f"unknown method {method!r}: one of {', '.join([*TRANSFERS, 'illuminant', 'retouch'])}")
    return paste(target, mask, box, changed.astype(np.float32)), parameters


def find_fault(measured: Mapping[str, float], limits: Synthesis) -> Reason | None:
    """The first reason, in the order here, to reject a change that was measured so; None if there is none."""
    absurd = {"fmse": limits.max_fmse, "delta_e": limits.max_delta_e, "hue_turned": limits.max_hue_turned}
    if measured["fmse"] < limits.min_fmse or measured["delta_e"] < limits.min_delta_e:
        return Reason.UNCHANGED
    if any(measured[name] > limit for name, limit in absurd.items()):
        return Reason.ABSURD
    if measured["clipped"] > limits.max_clipped:
        return Reason.CLIPPED
    if not 1.0 / limits.max_gradient_ratio <= measured["gradient_ratio"] <= limits.max_gradient_ratio:
        return Reason.BANDED
    return None


def measure_change(target: Image, composite: Image, mask: Mask) -> dict[str, float]:
    """What was done to the foreground, where `mask` is foreground.

    fmse: mean squared difference, in squared grey levels. delta_e: mean CIEDE2000. hue_turned: share of pixels of which a distinct hue
    became another, over 60 degrees away; both of an even sample. clipped: share of pixels with a value that is 0 or 255 and was not
    before. gradient_ratio: mean absolute step between neighbouring luma values, after by before.
    """
    box = bounding_box(mask)
    before, after, inside = target[box], composite[box], mask[box] >= FOREGROUND_LEVEL
    chosen = np.flatnonzero(inside)
    seen, seen_after = (np.take(crop.reshape(-1, 3), chosen, axis=0) for crop in (before, after))
    lab, lab_after = (lab_from_srgb(values[:: -(-len(chosen) // MAX_LAB_PIXELS)]) for values in (seen, seen_after))
    newly = ((seen_after == 0) | (seen_after == 255)) & (seen != seen_after)
    return {
        "fmse": foreground_mse(before, after, mask[box]),
        "delta_e": float(delta_e_2000(lab, lab_after).mean()),
        "hue_turned": _hue_turned(lab, lab_after),
        "clipped": float(np.mean(newly[:, 0] | newly[:, 1] | newly[:, 2])),
        "gradient_ratio": (_mean_step(after, inside) + GRADIENT_FLOOR) / (_mean_step(before, inside) + GRADIENT_FLOOR),
    }


def _hue_turned(before: Lab, after: Lab) -> float:
    """The share of colours that had a hue and have one over 60 degrees away: faces turned green, skies turned orange."""
    first, second = before[:, 1] + 1j * before[:, 2], after[:, 1] + 1j * after[:, 2]
    both = (np.abs(first) > MIN_CHROMA) & (np.abs(second) > MIN_CHROMA)
    return float(np.mean(both & (np.abs(np.angle(second * np.conj(first))) > MAX_HUE_TURN)))


def _mean_step(crop: Image, inside: np.ndarray) -> float:
    """The mean absolute difference of neighbouring luma values of which both are inside; 0 if there are none."""
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    across, down = inside[:, 1:] & inside[:, :-1], inside[1:] & inside[:-1]
    total = np.sum(cv2.absdiff(luma[:, 1:], luma[:, :-1]) * across, dtype=np.int64)
    total += np.sum(cv2.absdiff(luma[1:], luma[:-1]) * down, dtype=np.int64)
    return float(total) / max(1, int(across.sum() + down.sum()))
