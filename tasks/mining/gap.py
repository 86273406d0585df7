"""How far a foreground's looks are from what surrounds it: the mismatch that harmonization has to remove."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from tasks.mining.compositing import ring_around

HISTOGRAM_BINS = 32  # of L* over 0..100
GAP_NAMES = ("lightness", "colour", "contrast", "wasserstein", "chromaticity")
DIFFICULTIES = ("easy", "medium", "hard")

# A component of the gap divided by its scale is about 1 for a mismatch that an attentive viewer sees (Lab units, ln, Lab units, ln).
_GAP_SCALES = np.array([10.0, 10.0, 0.5, 10.0, 0.3])
_ENOUGH_BROUGHT = 50  # real composites, for terciles that mean something
_REGION_COLUMNS = ("mean", "std", "chromaticity", "histogram")


@dataclass(frozen=True)
class Colours:
    """Statistics of a region: mean and standard deviation of CIELAB, chromaticity and histogram of L*.

    chromaticity: (ln R/G, ln B/G) of the mean of linear light. histogram: shares, HISTOGRAM_BINS over L* 0..100.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    chromaticity: tuple[float, float]
    histogram: tuple[float, ...]


@dataclass(frozen=True)
class Appearance:
    """Colour statistics of N regions: see `Colours`; `cumulative` is the running sum of the L* histogram."""

    mean: Float32[np.ndarray, "N 3"]
    std: Float32[np.ndarray, "N 3"]
    chromaticity: Float32[np.ndarray, "N 2"]
    cumulative: Float32[np.ndarray, "N bins"]

    def __getitem__(self, chosen: Int[np.ndarray, " M"]) -> "Appearance":
        return Appearance(self.mean[chosen], self.std[chosen], self.chromaticity[chosen], self.cumulative[chosen])


def region_colours(frame: UInt8[np.ndarray, "S S 3"], region: Bool[np.ndarray, "S S"]) -> Colours:
    """The statistics of a non-empty region of an sRGB frame."""
    pixels = np.ascontiguousarray(frame[region])[None].astype(np.float32) / 255.0
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    linear = (pixels[0].astype(np.float64) ** 2.2).mean(axis=0) + 1e-4
    counts, _ = np.histogram(lab[:, 0], bins=HISTOGRAM_BINS, range=(0.0, 100.0 + 1e-3))
    mean, std = lab.mean(axis=0), lab.std(axis=0)
    return Colours(
        mean=(float(mean[0]), float(mean[1]), float(mean[2])), std=(float(std[0]), float(std[1]), float(std[2])),
        chromaticity=(float(np.log(linear[0] / linear[1])), float(np.log(linear[2] / linear[1]))),
        histogram=tuple((counts / counts.sum()).tolist()),
    )


def gap_components(foreground: Appearance, ring: Appearance) -> Float[np.ndarray, "N 5"]:
    """How far N foregrounds are from what surrounds them, columns as GAP_NAMES, row by row.

    Distance of mean L*; of mean (a*, b*); |ln| of the ratio of the standard deviations of L*; Wasserstein-1 distance between the
    distributions of L*; distance of the chromaticities (ln R/G, ln B/G). All are 0 for equal statistics.
    """
    apart = np.abs(foreground.mean - ring.mean)
    contrast = np.abs(np.log((foreground.std[:, 0] + 1.0) / (ring.std[:, 0] + 1.0)))
    wasserstein = np.abs(foreground.cumulative - ring.cumulative).sum(axis=1) * (100.0 / HISTOGRAM_BINS)
    chromaticity = np.linalg.norm(foreground.chromaticity - ring.chromaticity, axis=1)
    columns: np.ndarray = np.stack([apart[:, 0], np.hypot(apart[:, 1], apart[:, 2]), contrast, wasserstein, chromaticity], axis=1)
    return columns


def gap_size(components: Float[np.ndarray, "N 5"]) -> Float[np.ndarray, " N"]:
    """One number per pair: the root mean square of the components in units of a visible mismatch."""
    sizes: np.ndarray = np.sqrt(np.square(components / _GAP_SCALES).mean(axis=1))
    return sizes


def measure_gap(frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"], *, ring_width: int) -> Float[np.ndarray, "5"]:
    """The gap components of a finished composite: inside `mask` against the ring around it."""
    ring = ring_around(mask, width=ring_width, gap=1)
    colours = [region_colours(frame, mask), region_colours(frame, ring if ring.any() else ~mask)]
    inside, around = (appearance([vars(region)], prefix="") for region in colours)
    first: np.ndarray = gap_components(inside, around)[0]
    return first


def appearance(rows: Sequence[Mapping[str, Any]], *, prefix: str) -> Appearance:
    """The columns `<prefix>mean`, `<prefix>std`, `<prefix>chromaticity`, `<prefix>histogram` of rows, as arrays."""
    columns = {name: np.array([row[f"{prefix}{name}"] for row in rows], np.float32) for name in _REGION_COLUMNS}
    cumulative = np.cumsum(columns.pop("histogram"), axis=1, dtype=np.float32)
    return Appearance(cumulative=cumulative, **columns)


def tercile_edges(gaps: Float[np.ndarray, " M"]) -> tuple[float, float]:
    """The gaps that part the possible pairs into easy, medium and hard; (0, 0) if there are none."""
    if gaps.size == 0:
        return 0.0, 0.0
    low, high = np.quantile(gaps.astype(np.float64), [1 / 3, 2 / 3])
    return float(low), float(high)


def difficulty_edges(possible: Float[np.ndarray, " M"], brought: Float[np.ndarray, " B"]) -> tuple[float, float]:
    """The gaps that part easy from medium and medium from hard: terciles of real composites that the user brought, if there are enough.

    So mined composites get the difficulties of genuine ones in the quotas' shares. Without them the possible pairs' own terciles part.
    """
    return tercile_edges(brought if brought.size >= _ENOUGH_BROUGHT else possible)


def difficulty_bins(gaps: Float[np.ndarray, " M"], edges: tuple[float, float]) -> Int[np.ndarray, " M"]:
    """Int[np.ndarray, " M"] in DIFFICULTIES."""
    bins: np.ndarray = np.searchsorted(np.array(edges), gaps.astype(np.float64), side="right")
    return bins
