"""How far a harmonized image is from its target: per image, in the flavours that the field's papers differ by, and over many images.

Images are 0..255 and sRGB-encoded; every metric is per image, and means are over images. What differs in silence elsewhere is said here:

| flavour  | background                     | PSNR's peak           | foreground    | as in                        |
|----------|--------------------------------|-----------------------|---------------|------------------------------|
| `raw`    | counts as it is                | 255                   | mask >= 0.5   | DoveNet's and IIH's tables   |
| `masked` | set to the target's: no error  | 255                   | mask >= 0.5   | PCT-Net, DCCF                |
| `issam`  | counts as it is                | the target's own peak | soft, weighed | iSSAM, CDTNet, DucoNet       |

`raw` is the primary one. The structural similarity differs by background and weights alone: 11 x 11 Gaussian, sigma 1.5, range 255.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.color.difference import delta_e_2000, lab_from_srgb, squared_errors
from tasks.color.error_kernel import softly_weighed_error
from tasks.evaluation.metric import Answer, Metric
from tasks.evaluation.ssim_kernel import RADIUS, similarity_sums

PEAK = 255.0
MSE_FLOOR = 1e-6  # added before the logarithm, as iSSAM does
MAX_PSNR = 100.0  # dB: what an equal image is given
EMPTY_MASK = "the mask is empty: no pixel reaches 0.5, so there is no foreground to measure"
BUCKETS = {"0-5": (0.0, 0.05), "5-15": (0.05, 0.15), "15-100": (0.15, 1.0)}  # foreground ratio: above the first, up to the second

Flavour = Literal["raw", "masked", "issam"]
FLAVOURS: tuple[Flavour, ...] = ("raw", "masked", "issam")

Image = UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


@dataclass(frozen=True)
class Scores:
    """One image's metrics in one flavour, by name; each is an attribute too."""

    values: Mapping[str, float]

    def __getattr__(self, name: str) -> float:
        if name == "values" or name not in self.values:  # the first while it is unpickled
            raise AttributeError(name)
        return self.values[name]


def psnr_of(mse: float, *, peak: float = PEAK) -> float:
    """Peak signal-to-noise ratio in dB, of a mean squared error; `MAX_PSNR` at most."""
    return min(MAX_PSNR, 10.0 * math.log10(peak**2 / (mse + MSE_FLOOR)))


# Squared errors are in squared grey levels, similarities at most 1. A metric is a file beside this one, or a line, and its entry here.
METRICS: dict[str, Metric] = {
    "mse": Metric("MSE", 1, lambda answer: answer.squared.mse),
    "fmse": Metric("fMSE", 0, lambda answer: answer.fmse),
    # What JPEG left of the background, if nobody touched it; 0 where there is none.
    "bmse": Metric("background MSE", 2, lambda answer: answer.squared.bmse, is_shown=False),
    "mae": Metric("MAE", 2, lambda answer: answer.absolute / answer.squared.num_values, is_shown=False),
    "psnr": Metric("PSNR, dB", 2, lambda answer: psnr_of(answer.squared.mse, peak=answer.peak), lower_is_better=False),
    "fpsnr": Metric("fPSNR, dB", 2, lambda answer: psnr_of(answer.fmse, peak=answer.peak), lower_is_better=False),
    "ssim": Metric("SSIM", 4, lambda answer: answer.similarity, lower_is_better=False),
    # At the border with the image mirrored.
    "fssim": Metric("fSSIM", 4, lambda answer: answer.foreground_similarity, lower_is_better=False),
    # Mean CIEDE2000 over the foreground, the same in every flavour.
    "delta_e": Metric("dE2000", 2, lambda answer: answer.delta_e, has_flavours=False),
}


def shown_metrics() -> list[str]:
    """The names of those that the tables of all methods show, fMSE first."""
    return sorted((name for name, metric in METRICS.items() if metric.is_shown), key=lambda name: name != "fmse")


def score_pair(prediction: Image, target: Image, mask: Mask, *, flavour: Flavour = "raw", colour: bool = True) -> Scores:
    """The metrics of one prediction in one flavour; see `score_flavours`."""
    return score_flavours(prediction, target, mask, flavours=(flavour,), colour=colour)[flavour]


def score_flavours(
    prediction: Image, target: Image, mask: Mask, *, flavours: Sequence[Flavour] = FLAVOURS, colour: bool = True
) -> dict[Flavour, Scores]:
    """The metrics of one prediction in each of `flavours`; the image is windowed once, whatever is asked for.

    prediction: 0..255, uint8 or float (which is not rounded). target: 0..255. mask: 255 is foreground. colour: whether `delta_e` is wanted,
    which takes as long as the rest; without it is nan.
    Exact for uint8 but for the similarity, which equals scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255)` to 1e-9.
    Raises ValueError if the sizes differ, if no pixel of the mask reaches 0.5, or if the image is smaller than 11 px.
    """
    _check_shapes(prediction, target, mask)
    if prediction.dtype != np.uint8 or target.dtype != np.uint8:
        prediction, target = prediction.astype(np.float64), target.astype(np.float64)
    hard = (mask >= FOREGROUND_LEVEL).view(np.uint8)
    if not hard.any():
        raise ValueError(EMPTY_MASK)
    squared = squared_errors(prediction, target, mask)
    absolute, absolute_inside = (cv2.norm(prediction, target, cv2.NORM_L1, chosen) for chosen in (None, hard))
    delta_e = _delta_e(prediction, target, hard) if colour else math.nan
    found: dict[Flavour, Scores] = {}
    kept = _Similarity.of(prediction, target, mask) if {"raw", "issam"} & set(flavours) else None
    for flavour in flavours:
        if flavour not in FLAVOURS:
            raise ValueError(f"flavour is {flavour!r}; known are {', '.join(FLAVOURS)}")
        like, fmse, peak, errors = kept, squared.fmse, PEAK, (squared, absolute)
        if flavour == "masked":
            like = _Similarity.of_pasted(prediction, target, mask, hard)
            errors = (replace(squared, whole=squared.foreground), absolute_inside)
        assert like is not None
        if flavour == "issam":
            like, peak = like.softly(), max(float(target.max()), 1.0)  # of a black target: one level
            soft = softly_weighed_error(np.ascontiguousarray(prediction), np.ascontiguousarray(target), np.ascontiguousarray(mask))
            fmse = soft / (3.0 * float(mask.sum(dtype=np.int64)))
        answer = Answer(prediction, target, mask, *errors, fmse, like.whole, like.foreground, delta_e, peak)
        found[flavour] = Scores({name: metric.measure(answer) for name, metric in METRICS.items()})
    return found


def change_inside(composite: UInt8[np.ndarray, "H W 3"], answer: UInt8[np.ndarray, "H W 3"], mask: Mask) -> float:
    """How far an answer is from the composite that it was given: mean CIEDE2000 over the foreground. Errors as `score_flavours`."""
    _check_shapes(answer, composite, mask)
    hard = (mask >= FOREGROUND_LEVEL).view(np.uint8)
    if not hard.any():
        raise ValueError(EMPTY_MASK)
    return _delta_e(answer, composite, hard)


def cie76_inside(before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"], mask: Mask) -> float:
    """Mean CIE76 over the foreground: the distance in CIELAB (D65), where 2.3 is just noticed. Errors as `score_flavours`.

    Source of the 2.3: Mahy, Van Eycken and Oosterlinck, "Evaluation of Uniform Color Spaces", CR&A 1994.
    """
    _check_shapes(after, before, mask)
    inside = mask >= FOREGROUND_LEVEL
    if not inside.any():
        raise ValueError(EMPTY_MASK)
    apart = lab_from_srgb(after[inside], np.float32) - lab_from_srgb(before[inside], np.float32)
    return float(np.sqrt(np.square(apart).sum(axis=1)).mean(dtype=np.float64))


def average(scores: Sequence[Scores]) -> dict[str, float]:
    """Each metric's mean over images. ValueError if there are none."""
    return {name: _mean([getattr(score, name) for score in scores]) for name in METRICS}


def medians(scores: Sequence[Scores]) -> dict[str, float]:
    """Each metric's median over images. ValueError if there are none."""
    if not scores:
        raise ValueError("no images to average over")
    return {name: float(np.median([getattr(score, name) for score in scores])) for name in METRICS}


def bucket_of(fg_ratio: float) -> str:
    """The name in `BUCKETS` of a foreground that covers this share of its image; ValueError outside (0, 1]."""
    for name, (above, up_to) in BUCKETS.items():
        if above < fg_ratio <= up_to:
            return name
    raise ValueError(f"a foreground ratio of {fg_ratio:g} is not in (0, 1]")


def do_no_harm_rate(fmse: Sequence[float], composite_fmse: Sequence[float]) -> float:
    """The share of images whose foreground error is lower than the untouched composite's; a tie is no gain. ValueError if none."""
    pairs = list(zip(fmse, composite_fmse, strict=True))
    if not pairs:
        raise ValueError("no images to average over")
    return sum(mine < untouched for mine, untouched in pairs) / len(pairs)


def relative_to(means: Mapping[str, float], composite_means: Mapping[str, float]) -> float:
    """The mean foreground error as a share of the untouched composites': below 1 is a gain."""
    return means["fmse"] / composite_means["fmse"] if composite_means["fmse"] > 0 else math.inf


@dataclass(frozen=True)
class _Similarity:
    """Means of the similarity map: over the interior, the hard foreground, and weighed by the soft mask."""

    whole: float
    foreground: float
    soft_foreground: float

    @staticmethod
    def of(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> "_Similarity":
        whole, hard, soft = similarity_sums(prediction, target, mask, data_range=PEAK)
        num_hard = 3 * int(np.count_nonzero(mask >= FOREGROUND_LEVEL))
        return _Similarity(whole / _num_interior(mask), hard / num_hard, soft / (3.0 * float(mask.sum(dtype=np.int64)) / 255.0))

    @staticmethod
    def of_pasted(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray, hard: np.ndarray) -> "_Similarity":
        """The same with the target's background. It is 1 wherever no window meets the foreground, so a box around that is looked at."""
        box = _grown_box(hard, 2 * RADIUS)
        pasted = np.where(hard[box][..., None] > 0, prediction[box], target[box])
        whole, foreground, _ = similarity_sums(pasted, target[box], mask[box], data_range=PEAK)
        inside = _num_interior(mask[box])
        total = _num_interior(mask)
        mean = foreground / (3 * cv2.countNonZero(hard))
        return _Similarity((whole + total - inside) / total, mean, mean)

    def softly(self) -> "_Similarity":
        return _Similarity(self.whole, self.soft_foreground, self.soft_foreground)


def _delta_e(prediction: np.ndarray, target: np.ndarray, hard: np.ndarray) -> float:
    """The mean CIEDE2000 of the foreground; float images are rounded for it, which no eye sees."""
    inside = np.flatnonzero(hard)
    labs = []
    for image in (prediction, target):
        values = np.take(image.reshape(-1, 3), inside, axis=0)
        levels = values if values.dtype == np.uint8 else np.rint(values).clip(0, 255).astype(np.uint8)
        labs.append(lab_from_srgb(levels, np.float32))
    return float(delta_e_2000(*labs).mean(dtype=np.float64))


def _check_shapes(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> None:
    if prediction.shape != target.shape or target.shape != (*mask.shape, 3):
        raise ValueError(f"prediction {prediction.shape}, target {target.shape} and mask {mask.shape} do not belong together")


def _grown_box(hard: np.ndarray, margin: int) -> tuple[slice, slice]:
    left, top, width, height = cv2.boundingRect(hard)
    rows = slice(max(0, top - margin), min(hard.shape[0], top + height + margin))
    return rows, slice(max(0, left - margin), min(hard.shape[1], left + width + margin))


def _num_interior(mask: np.ndarray) -> int:
    height, width = mask.shape
    return int(3 * (height - 2 * RADIUS) * (width - 2 * RADIUS))


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("no images to average over")
    return math.fsum(values) / len(values)
