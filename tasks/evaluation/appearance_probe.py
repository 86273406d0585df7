"""A probe for mismatch: do colour and light alone give away that an object is from another photograph than what surrounds it?

It sees statistics of the foreground beside those of three surroundings: at its rim, around it, all of the background. It learns them from
photographs alone: an object with its own surroundings is natural, the same object with another photograph's is not. No composite is made
for that, so that the probe cannot learn how one was made (edges, filled plates, JPEG): it judges the match and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.color.recolor import decode_srgb
from tasks.mining.compositing import to_frame

SIDE = 128  # px: images are squashed to it, so that rings mean the same everywhere
_FEWEST = 40  # px of a region that statistics are taken of
_RINGS = ((1.0, 9.0), (5.0, 25.0), (4.0, np.inf))  # px away from the mask: over, up to
_LEVELS = (5, 25, 50, 75, 95)  # percentiles
_PARTNERS = 3  # other photographs' surroundings that each object is put into
_LINEAR = decode_srgb(np.arange(256) / 255.0).astype(np.float32)

Pixels = Float32[np.ndarray, "N 3"]


@dataclass(frozen=True)
class Looks:
    """Statistics of a foreground and of its surroundings: mean and ln deviation of CIELAB, percentiles of L*, a*, b* and chroma."""

    foreground: Float[np.ndarray, " S"]
    surroundings: Float[np.ndarray, "3 S"]

    def mismatch(self) -> Float[np.ndarray, " F"]:
        """What the probe sees: the differences from the three surroundings, signed and absolute."""
        apart = (self.foreground - self.surroundings).ravel()
        return np.concatenate([apart, np.abs(apart)])


@dataclass(frozen=True)
class Probe:
    """A trained probe."""

    _model: Any

    def scores(self, looks: Sequence[Looks]) -> Float[np.ndarray, " N"]:
        """One number for each: above 0 looks natural, below 0 mismatched; the unit has no meaning of its own."""
        found: np.ndarray = self._model.decision_function(np.stack([each.mismatch() for each in looks]))
        return found


def measure_looks(image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"]) -> Looks | None:
    """The looks of an image's foreground (mask >= 0.5) and surroundings; None where either is too small for statistics.

    image: sRGB-encoded. The outermost pixels of the foreground are left out where it is large enough: they are half background.
    """
    frame, inside = to_frame(image, SIDE), to_frame(mask, SIDE) >= FOREGROUND_LEVEL
    if min(np.count_nonzero(inside), np.count_nonzero(~inside)) < _FEWEST:
        return None
    lab = cv2.cvtColor(_LINEAR[frame], cv2.COLOR_LRGB2Lab)
    depth, distance = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (inside, ~inside))
    rings = [(distance > first) & (distance <= last) for first, last in _RINGS]
    return Looks(_statistics(_pixels(lab, depth > 1.0, inside)), np.stack([_statistics(_pixels(lab, ring, ~inside)) for ring in rings]))


def train_probe(photographs: Sequence[Looks], rng: np.random.Generator) -> Probe:
    """A probe that tells the given natural looks from the same foregrounds with the surroundings of others among them."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    mixed = [looks for _ in range(_PARTNERS) for looks in exchange_surroundings(photographs, rng)]
    labels = np.repeat([1, 0], [len(photographs), len(mixed)])
    model = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    return Probe(model.fit(np.stack([looks.mismatch() for looks in [*photographs, *mixed]]), labels))


def exchange_surroundings(photographs: Sequence[Looks], rng: np.random.Generator) -> list[Looks]:
    """Each foreground with the surroundings of another photograph, each surroundings used once; by lot. At least two are needed."""
    order = rng.permutation(len(photographs))
    return [
        Looks(photographs[first].foreground, photographs[second].surroundings)  # a turn of a random order gives nobody its own
        for first, second in zip(order, np.roll(order, 1), strict=True)
    ]


def _pixels(lab: Float[np.ndarray, "S S 3"], region: Bool[np.ndarray, "S S"], otherwise: Bool[np.ndarray, "S S"]) -> Pixels:
    chosen: np.ndarray = lab[region if np.count_nonzero(region) >= _FEWEST else otherwise]
    return chosen


def _statistics(pixels: Pixels) -> Float[np.ndarray, " S"]:
    values = np.column_stack([pixels, np.hypot(pixels[:, 1], pixels[:, 2])])
    spread = np.log(pixels.std(axis=0) + 1.0)
    return np.concatenate([pixels.mean(axis=0), spread, np.percentile(values, _LEVELS, axis=0).ravel()]).astype(np.float64)
