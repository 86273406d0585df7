"""Haze and wash-out: what a mean error does not tell of a harmonized object, its black and white points and its saturation.

A net that is unsure predicts the mean of what might be right: blacks rise, whites sink, colours pale. Each is held against the
background: an object's blacks may rise where the scene's own are no lower, and its colours fade where the scene's are paler.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.color.difference import lab_from_srgb
from tasks.evaluation.statistics import bootstrap_interval

LOW, HIGH = 2.0, 98.0  # percentiles of luma: the black and the white point
MOVED = 2.0  # grey levels: a point that moved further is lifted, or pulled down
BEYOND = 5.0  # grey levels: a lifted one that ends so far inside the background's is haze
KEPT = 0.75  # of its chroma: an object that keeps less is washed out
COLORED = 3.0  # mean CIELAB chroma: below it an object has no saturation to lose
FEWEST = 20  # px of a region of which anything is said
MOST = 65536  # px of a region that are looked at, evenly from all of them
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, of encoded values

Pixels = UInt8[np.ndarray, "N 3"]
Image = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Tones:
    """Where the tones of a region lie."""

    black: float  # 2nd percentile of luma, grey levels
    white: float  # 98th
    chroma: float  # mean, CIELAB


@dataclass(frozen=True)
class ToneChange:
    """An object's tones before and after, and its background's, which stay."""

    before: Tones
    after: Tones
    background: Tones

    @property
    def lifted(self) -> bool:
        """Whether blacks rose, and ended inside the background's."""
        return bool(self.after.black - self.before.black > MOVED and self.after.black > self.background.black + BEYOND)

    @property
    def dulled(self) -> bool:
        """Whether whites sank, and ended inside the background's: the mirror of `lifted`."""
        return bool(self.before.white - self.after.white > MOVED and self.after.white < self.background.white - BEYOND)

    @property
    def kept(self) -> float:
        """The share of its chroma that the object kept; 1 of one that had none."""
        return self.after.chroma / self.before.chroma if self.before.chroma >= COLORED else 1.0

    @property
    def has_no_reason(self) -> bool:
        """Whether the object is coloured and its background no paler: the scene gives no reason to lose saturation."""
        return self.before.chroma >= COLORED and self.background.chroma >= self.before.chroma


@dataclass(frozen=True)
class Haze:
    """What one method did to the tones of many objects. Shares have 95 % intervals over resampled photographs."""

    lifted: float  # share of the pictures: `ToneChange.lifted`
    lifted_low: float
    lifted_high: float
    dulled: float
    dulled_low: float
    dulled_high: float
    black_before: float  # means over pictures, grey levels
    black_after: float
    black_background: float
    white_before: float
    white_after: float
    white_background: float
    chroma_kept: float  # median over pictures of the share that was kept
    washed_out: float  # of the `num_no_reason` pictures whose background is no paler, the share that kept less than KEPT; 0 of none
    num_no_reason: int
    num_images: int


def tones_of(image: Image, inside: Bool[np.ndarray, "H W"]) -> Tones:
    """The tones of the pixels of `image` (sRGB-encoded) where `inside` is true, of at most `MOST`. Raises ValueError if there are none."""
    pixels: Pixels = image[inside]
    if not len(pixels):
        raise ValueError("no pixels to take tones of")
    pixels = pixels[:: -(-len(pixels) // MOST)]
    black, white = np.percentile(pixels @ _LUMA, [LOW, HIGH])
    lab = lab_from_srgb(pixels, np.float32)
    return Tones(float(black), float(white), float(np.hypot(lab[:, 1], lab[:, 2]).mean(dtype=np.float64)))


def tone_changes(before: Image, answers: Mapping[str, Image], mask: UInt8[np.ndarray, "H W"]) -> dict[str, ToneChange]:
    """How the object's tones moved in each of `answers`, where `mask` is foreground; the background is `before`'s elsewhere.

    Empty where either region has fewer than `FEWEST` pixels.
    """
    inside = mask >= FOREGROUND_LEVEL
    if min(np.count_nonzero(inside), np.count_nonzero(~inside)) < FEWEST:
        return {}
    own, background = tones_of(before, inside), tones_of(before, ~inside)
    return {name: ToneChange(own, tones_of(answer, inside), background) for name, answer in answers.items()}


def summarize_haze(changes: Sequence[ToneChange], rng: np.random.Generator, *, groups: Sequence[str] | None = None) -> Haze:
    """One method's changes, of at least one picture. groups: the photographs, as `bootstrap_interval` takes them."""
    lifted, dulled = ([float(getattr(change, name)) for change in changes] for name in ("lifted", "dulled"))
    limits = [bootstrap_interval(values, rng, groups=groups) for values in (lifted, dulled)]
    lost = [change.kept < KEPT for change in changes if change.has_no_reason]
    points = {
        f"{point}_{when}": float(np.mean([getattr(getattr(change, when), point) for change in changes]))
        for point in ("black", "white") for when in ("before", "after", "background")
    }
    return Haze(
        lifted=float(np.mean(lifted)), lifted_low=limits[0][0], lifted_high=limits[0][1],
        dulled=float(np.mean(dulled)), dulled_low=limits[1][0], dulled_high=limits[1][1],
        **points, chroma_kept=float(np.median([change.kept for change in changes])),
        washed_out=float(np.mean(lost)) if lost else 0.0, num_no_reason=len(lost), num_images=len(changes),
    )
