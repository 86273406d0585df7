"""The four colour transfers behind iHarmony4, and the Monge-Kantorovich map: one foreground takes the colours of another.

Each `transfer_<name>` gathers statistics of two foregrounds, changes the colours of the first and pastes the result back by its mask.
Each `match_<name>` is the same without image and mask: it maps pixel values, unrounded and unclipped.
Images are sRGB-encoded and used as they are, without linearising, as the published sets were made.
"""

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from attune.foreground import FOREGROUND_LEVEL

# Sizes with an underscore are not compared between arguments: a reference has its own, and `region_pixels` says it in words for masks.
Image = UInt8[np.ndarray, "_H _W 3"]
Mask = UInt8[np.ndarray, "_H _W"]
Pixels = Float32[np.ndarray, "_N 3"]
Matrix = Float[np.ndarray, "_R _C"]

MIN_PIXELS = 50  # fewer give no statistics worth the name
MAX_STATISTICS_PIXELS = 65536  # a region of more is sampled at even steps
MAX_IDT_PIXELS = 16384  # the iterative transfer's histograms need fewer
ROUNDING_VARIANCE = 1.0 / 12.0  # of an 8-bit value: no smaller variance is believed

# Reinhard et al. 2001: RGB -> LMS, and log LMS -> l-alpha-beta. The inverses are computed: the printed ones are rounded, and leave a cast.
LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
OPPONENT = np.diag(np.sqrt([1 / 3, 1 / 6, 1 / 2])) @ np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
MIN_LMS = 1e-4  # 8-bit black, and next to nothing else, lies below it
MIN_LAB_DEVIATION = 1e-3  # log10 units: what rounding leaves at mid-grey

# ITU-R BT.601, studio range: Y in [16, 235], Cb and Cr in [16, 240], from RGB in [0, 255]; the fourth column is the offset.
YCBCR = np.array([
    [65.481 / 255, 128.553 / 255, 24.966 / 255, 16.0],
    [-37.797 / 255, -74.203 / 255, 112.0 / 255, 128.0],
    [112.0 / 255, -93.786 / 255, -18.214 / 255, 128.0],
])
FECKER_STEPS_PER_BIN = 16  # of the table that interpolates between bins

# Pitie et al. 2007: six axes at once, two orthogonal bases, so that the pseudo-inverse is half the transpose.
IDT_AXES = np.concatenate([np.eye(3), np.array([[2.0, 2.0, -1.0], [2.0, -1.0, 2.0], [-1.0, 2.0, 2.0]]) / 3.0])
IDT_ITERATIONS = 10
IDT_BINS = 300
IDT_STEPS_PER_BIN = 16  # of the table that interpolates between bins
REGRAIN_SWEEPS = (4, 16, 32, 64, 64, 64)  # Jacobi sweeps per level, finest first
REGRAIN_MIN_SIDE = 20  # px: no coarser level
REGRAIN_DAMPING = 0.2


class TooFewPixels(ValueError):
    """A foreground is too small, or too black, for statistics."""


@runtime_checkable
@runtime_checkable
class Transfer(Protocol):
    """What every function in `TRANSFERS` is."""

    def __call__(
        self, image: Image, mask: Mask, reference: Image, reference_mask: Mask, *, rng: np.random.Generator | None = None
    ) -> Image:
        """`image` with its foreground in the colours of the reference's foreground."""
        ...


@runtime_checkable
@runtime_checkable
class Match(Protocol):
    """A map of pixel values, fitted to two sets of pixels."""

    def __call__(self, pixels: Pixels, target: Pixels, reference: Pixels) -> Pixels:
        """`pixels` under the map that takes `target`'s statistics to `reference`'s."""
        ...


def transfer_reinhard(
    image: Image, mask: Mask, reference: Image, reference_mask: Mask, *, rng: np.random.Generator | None = None
) -> Image:
    """`image` with the mean and deviation of the reference's foreground in l-alpha-beta, per channel.

    image, reference: sRGB-encoded. mask, reference_mask: their foreground counts for the statistics; where `mask` is 0 nothing changes,
    between 0 and 255 the change is blended in. `rng` is not used.
    Raises ValueError if an image and its mask differ in size, TooFewPixels (a ValueError) if a foreground has fewer than `MIN_PIXELS`
    pixels that are not black.
    Source: Reinhard et al., "Color Transfer between Images", CG&A 2001.
    """
    return _transfer_pointwise(match_reinhard, image, mask, reference, reference_mask)


def transfer_xiao_ma(
    image: Image, mask: Mask, reference: Image, reference_mask: Mask, *, rng: np.random.Generator | None = None
) -> Image:
    """`image` with the mean and covariance of the reference's foreground in RGB, principal axis to principal axis.

    Arguments and errors as `transfer_reinhard`. For the map see `xiao_ma_map`.
    Source: Xiao and Ma, "Color Transfer in Correlated Color Space", VRCIA 2006.
    """
    return _transfer_pointwise(match_xiao_ma, image, mask, reference, reference_mask)


def transfer_monge_kantorovich(
    image: Image, mask: Mask, reference: Image, reference_mask: Mask, *, rng: np.random.Generator | None = None
) -> Image:
    """`image` with the mean and covariance of the reference's foreground in RGB, by the map that moves colours least.

    Arguments and errors as `transfer_reinhard`. For the map, and its kinship with Xiao and Ma's, see `monge_kantorovich_map`.
    Source: Pitie and Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping", CVMP 2007.
    """
    return _transfer_pointwise(match_monge_kantorovich, image, mask, reference, reference_mask)


def transfer_fecker(
    image: Image, mask: Mask, reference: Image, reference_mask: Mask, *, rng: np.random.Generator | None = None
) -> Image:
    """`image` with the cumulative histograms of the reference's foreground in YCbCr, per channel.

    Arguments and errors as `transfer_reinhard`. For the tables see `histogram_map`.
    Source: Fecker et al., "Histogram-Based Prefiltering for Luminance and Chrominance Compensation of Multiview Video", CSVT 2008.
    """
    return _transfer_pointwise(match_fecker, image, mask, reference, reference_mask)


def transfer_pitie(
    image: Image, mask: Mask, reference: Image, reference_mask: Mask, *, rng: np.random.Generator | None = None
) -> Image:
    """`image` with the whole colour distribution of the reference's foreground, and its own grain.

    Arguments and errors as `transfer_reinhard`. `rng` draws the rotations; None is a fixed generator, so that the result is fixed too.
    Source: Pitie et al., "Automated Colour Grading Using Colour Distribution Transfer", CVIU 2007.
    """
    box = bounding_box(mask)
    crop = image[box].astype(np.float32)
    target, wanted = region_pixels(image, mask), region_pixels(reference, reference_mask)
    change = match_pitie(crop.reshape(-1, 3), target, wanted, rng=rng).reshape(crop.shape) - crop
    return paste(image, mask, box, crop + regrain(image[box], change, mask[box] > 0))


TRANSFERS: dict[str, Transfer] = {
    "reinhard": transfer_reinhard,
    "xiao_ma": transfer_xiao_ma,
    "fecker": transfer_fecker,
    "pitie": transfer_pitie,
}


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around `mask > 0`; TooFewPixels if there is nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise TooFewPixels(f"the mask is empty: at least {MIN_PIXELS} foreground pixels are needed")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def region_pixels(image: Image, mask: Mask) -> Pixels:
    """The foreground's values, where `mask` is foreground, in [0, 255]; of a large region an even sample.

    Raises ValueError if the sizes differ, TooFewPixels if there are fewer than `MIN_PIXELS`.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"the mask is {mask.shape[1]}x{mask.shape[0]} px, its image {image.shape[1]}x{image.shape[0]} px")
    found = np.take(image.reshape(-1, 3), np.flatnonzero(mask >= FOREGROUND_LEVEL), axis=0)
    if len(found) < MIN_PIXELS:
        raise TooFewPixels(f"the mask has {len(found)} foreground pixels: at least {MIN_PIXELS} are needed")
    return _sampled(found, MAX_STATISTICS_PIXELS).astype(np.float32)


def paste(image: Image, mask: Mask, box: tuple[slice, slice], changed: Float32[np.ndarray, "h w 3"]) -> Image:
    """`image` with `changed` (values of the box, unclipped) blended in by the mask; bit-exact where the mask is 0."""
    alpha = cv2.merge([mask[box].astype(np.float32) / 255.0] * 3)
    original = image[box].astype(np.float32)
    # A value and a weight of 0 give the original exactly, in float32 too: no special case for the background.
    blended = original + (np.clip(changed, 0.0, 255.0) - original) * alpha
    result = image.copy()
    result[box] = np.rint(blended).astype(np.uint8)
    return result


def _transfer_pointwise(match: Match, image: Image, mask: Mask, reference: Image, reference_mask: Mask) -> Image:
    box = bounding_box(mask)
    crop = image[box]
    target, wanted = region_pixels(image, mask), region_pixels(reference, reference_mask)
    return paste(image, mask, box, match(crop.reshape(-1, 3).astype(np.float32), target, wanted).reshape(crop.shape))


def _sampled(pixels: np.ndarray, limit: int) -> np.ndarray:
    return pixels[:: -(-len(pixels) // limit)]


def _affine(pixels: Pixels, matrix: Matrix) -> Pixels:
    """Each pixel times a 3x3 matrix, or 3x4 with an offset."""
    product: np.ndarray = cv2.transform(np.ascontiguousarray(pixels)[:, None], matrix)
    return product[:, 0]


# --- Reinhard ---------------------------------------------------------------------------------------------------------------------------


def match_reinhard(pixels: Pixels, target: Pixels, reference: Pixels) -> Pixels:
    """`pixels` in [0, 255] under `x' = (x - mean_t) sd_r / sd_t + mean_r` per channel of l-alpha-beta; unclipped.

    Black has no logarithm: it counts neither for means nor for deviations. TooFewPixels if fewer than `MIN_PIXELS` are not black.
    """
    (mean_t, deviation_t), (mean_r, deviation_r) = _lab_statistics(target), _lab_statistics(reference)
    gain = deviation_r / deviation_t
    return rgb_from_lab(_affine(lab_from_rgb(pixels), np.column_stack([np.diag(gain), mean_r - gain * mean_t])))


def lab_from_rgb(pixels: Pixels) -> Pixels:
    """l-alpha-beta (Reinhard's, log10) of RGB in [0, 255]; LMS below `MIN_LMS` is raised to it."""
    lms = np.maximum(_affine(pixels, LMS / 255.0), MIN_LMS)
    return _affine(cv2.log(lms), OPPONENT / np.log(10.0))


def rgb_from_lab(lab: Pixels) -> Pixels:
    """RGB in [0, 255], unclipped, of l-alpha-beta."""
    return _affine(cv2.exp(_affine(lab, np.linalg.inv(OPPONENT) * np.log(10.0))), np.linalg.inv(LMS) * 255.0)


def _lab_statistics(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    seen = np.take(pixels, np.flatnonzero(pixels[:, 0] + pixels[:, 1] + pixels[:, 2] > 0.0), axis=0)
    if len(seen) < MIN_PIXELS:
        raise TooFewPixels(f"the mask has {len(seen)} foreground pixels that are not black: at least {MIN_PIXELS} are needed")
    mean, deviation = cv2.meanStdDev(lab_from_rgb(seen)[:, None])
    return mean[:, 0], np.maximum(deviation[:, 0], MIN_LAB_DEVIATION)


# --- Means and covariances --------------------------------------------------------------------------------------------------------------


def match_xiao_ma(pixels: Pixels, target: Pixels, reference: Pixels) -> Pixels:
    """`pixels` in [0, 255] with `target`'s mean and covariance taken to `reference`'s by `xiao_ma_map`; unclipped."""
    return _match_gaussian(pixels, target, reference, xiao_ma_map(_covariance(target), _covariance(reference)))


def match_monge_kantorovich(pixels: Pixels, target: Pixels, reference: Pixels) -> Pixels:
    """`pixels` in [0, 255] with `target`'s mean and covariance taken to `reference`'s by `monge_kantorovich_map`; unclipped."""
    return _match_gaussian(pixels, target, reference, monge_kantorovich_map(_covariance(target), _covariance(reference)))


def xiao_ma_map(target: Matrix, reference: Matrix) -> Matrix:
    """The 3x3 map that takes covariance `target` to `reference`, the axis of rank k to the axis of rank k.

    `U_r L_r^1/2 L_t^-1/2 U_t^T`. Eigenvectors have no sign of their own, and a flipped pair turns colours into their complements: here
    each axis of the reference points to the same side as its partner, which makes the map the same for every eigensolver.
    """
    values_t, axes_t = np.linalg.eigh(target)
    values_r, axes_r = np.linalg.eigh(reference)
    signs = np.where(np.sum(axes_r * axes_t, axis=0) < 0.0, -1.0, 1.0)
    return np.asarray((axes_r * signs * np.sqrt(values_r / values_t)) @ axes_t.T)


def monge_kantorovich_map(target: Matrix, reference: Matrix) -> Matrix:
    """The symmetric 3x3 map that takes covariance `target` to `reference`: `T = t^-1/2 (t^1/2 r t^1/2)^1/2 t^-1/2`.

    Every `r^1/2 Q t^-1/2` with Q orthogonal takes `target` to `reference`; Xiao and Ma's Q is `U_r U_t^T`, this one's makes T positive
    definite, and so moves the colours least (the optimal transport between Gaussians). The two are equal where both covariances have
    the same axes in the same order; where the axes differ, or swap ranks, Xiao and Ma's turns hues and this one does not.
    """
    root, inverse = _matrix_power(target, 0.5), _matrix_power(target, -0.5)
    return np.asarray(inverse @ _matrix_power(root @ reference @ root, 0.5) @ inverse)


def _matrix_power(matrix: Matrix, exponent: float) -> Matrix:
    values, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * values**exponent) @ axes.T)


def _covariance(pixels: Pixels) -> Matrix:
    measured, _ = cv2.calcCovarMatrix(pixels, None, cv2.COVAR_NORMAL | cv2.COVAR_ROWS | cv2.COVAR_SCALE, ctype=cv2.CV_64F)
    values, axes = np.linalg.eigh(measured)
    return np.asarray((axes * np.maximum(values, ROUNDING_VARIANCE)) @ axes.T)


def _match_gaussian(pixels: Pixels, target: Pixels, reference: Pixels, matrix: Matrix) -> Pixels:
    mean_t, mean_r = (np.asarray(cv2.mean(region[:, None])[:3]) for region in (target, reference))
    return _affine(pixels, np.column_stack([matrix, mean_r - matrix @ mean_t]))


# --- Cumulative histograms --------------------------------------------------------------------------------------------------------------


def match_fecker(pixels: Pixels, target: Pixels, reference: Pixels) -> Pixels:
    """`pixels` in [0, 255] with `target`'s histograms taken to `reference`'s by `histogram_map`, per channel of YCbCr; unclipped.

    The tables are read between their entries too, so that no rounding to YCbCr adds bands of its own.
    """
    mapped = _affine(pixels, YCBCR)
    index = np.rint(mapped * FECKER_STEPS_PER_BIN).astype(np.int32)
    counts_t, counts_r = _ycbcr_histograms(target), _ycbcr_histograms(reference)
    for channel in range(3):
        bins, values = histogram_map(counts_t[channel], counts_r[channel])
        change = np.interp(np.arange(256 * FECKER_STEPS_PER_BIN) / FECKER_STEPS_PER_BIN, bins, values - bins).astype(np.float32)
        mapped[:, channel] += change[index[:, channel]]
    inverse = np.linalg.inv(YCBCR[:, :3])
    return _affine(mapped, np.column_stack([inverse, -inverse @ YCBCR[:, 3]]))


def histogram_map(target: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bins that `target` occupies, and what each is mapped to: never decreasing, within `reference`'s occupied range.

    target, reference: counts per unit bin, int64. `M(v) = max {u : CDF_r(u) <= CDF_t(v)}`, else the first bin; the first and last bin go
    to the centre of mass of the share of the reference that they stand for (they hold what a sensor clipped).
    Departure: u runs over occupied bins only. With empty ones, equal histograms would not give the identity.
    """
    bins_t, bins_r = np.flatnonzero(target), np.flatnonzero(reference)
    # Counts times the other's total: whole numbers, so that equal shares compare as equal.
    cdf_t = np.cumsum(target[bins_t]) * reference.sum()
    cdf_r = np.cumsum(reference[bins_r]) * target.sum()
    values = bins_r[np.maximum(np.searchsorted(cdf_r, cdf_t, side="right") - 1, 0)].astype(np.float64)
    values[-1] = _centre_of_mass(bins_r, cdf_r, int(cdf_t[-2]) if len(cdf_t) > 1 else 0, int(cdf_t[-1]))
    values[0] = _centre_of_mass(bins_r, cdf_r, 0, int(cdf_t[0]))
    return bins_t.astype(np.float64), np.maximum.accumulate(values)


def _centre_of_mass(bins: np.ndarray, cdf: np.ndarray, low: int, high: int) -> float:
    """The mean bin of the share of a cumulative histogram between two of its levels."""
    share = np.clip(cdf, low, high) - np.clip(np.concatenate([[0], cdf[:-1]]), low, high)
    return float(np.sum(bins * share) / np.sum(share))


def _ycbcr_histograms(pixels: Pixels) -> list[np.ndarray]:
    bins = np.rint(_affine(pixels, YCBCR)).astype(np.int64)
    return [np.bincount(bins[:, channel], minlength=256) for channel in range(3)]


# --- Iterative distribution transfer ----------------------------------------------------------------------------------------------------


def match_pitie(
    pixels: Pixels, target: Pixels, reference: Pixels, *, rng: np.random.Generator | None = None, num_iterations: int = IDT_ITERATIONS
) -> Pixels:
    """`pixels` in [0, 255] with `target`'s distribution moved to `reference`'s, six projections at a time; unclipped.

    rng: draws the rotations; None is a fixed generator.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    sample = _sampled(target, MAX_IDT_PIXELS)
    wanted = np.ascontiguousarray(_sampled(reference, MAX_IDT_PIXELS).T)
    points = np.concatenate([sample, pixels]).T.copy()
    for iteration in range(num_iterations):
        axes = (IDT_AXES if iteration == 0 else IDT_AXES @ _random_rotation(rng)).astype(np.float32)
        along, along_wanted = axes @ points, axes @ wanted
        for axis in range(len(axes)):
            along[axis] = _marginal_change(along[axis], along_wanted[axis], len(sample))
        points += 0.5 * (axes.T @ along)
    return np.ascontiguousarray(points[:, len(sample) :].T)


def _random_rotation(rng: np.random.Generator) -> Matrix:
    orthogonal, triangle = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(orthogonal * np.sign(np.diagonal(triangle)))  # uniform over the orthogonal matrices only with this sign


def _marginal_change(values: np.ndarray, wanted: np.ndarray, num_sample: int) -> np.ndarray:
    """What to add to `values` so that the first `num_sample` of them are distributed as `wanted`."""
    low = float(min(values[:num_sample].min(), wanted.min()))
    high = float(max(values[:num_sample].max(), wanted.max()))
    width = max(high - low, 1e-3) / IDT_BINS
    steps = IDT_BINS * IDT_STEPS_PER_BIN
    index = np.clip((values - low) * (IDT_STEPS_PER_BIN / width), 0, steps - 1).astype(np.int32)
    index_wanted = np.clip((wanted - low) / width, 0, IDT_BINS - 1).astype(np.int32)
    edges = np.arange(IDT_BINS + 1, dtype=np.float64)
    centres = edges[:-1] + 0.5
    cdf = _strict_cdf(index[:num_sample] // IDT_STEPS_PER_BIN)
    # A bin goes to the middle of its share, not to an end: one bin of clipped or flat colour may stand for half the reference.
    moved = np.interp(0.5 * (cdf[1:] + cdf[:-1]), _strict_cdf(index_wanted), edges) - centres
    table = np.interp((np.arange(steps) + 0.5) / IDT_STEPS_PER_BIN, centres, moved * width).astype(np.float32)
    return np.asarray(table[index])


def _strict_cdf(index: np.ndarray) -> np.ndarray:
    """The cumulative histogram at the bins' edges, from 0 to 1, rising in empty bins too so that it can be inverted."""
    counts = np.bincount(index, minlength=IDT_BINS) + 1e-6 * len(index)
    cdf = np.concatenate([[0.0], np.cumsum(counts)])
    return np.asarray(cdf / cdf[-1])


# --- Regraining -------------------------------------------------------------------------------------------------------------------------


def regrain(crop: Image, change: Float32[np.ndarray, "H W 3"], inside: np.ndarray) -> Float32[np.ndarray, "H W 3"]:
    """`change` made smooth where `crop` is smooth, so that the transfer neither adds grain nor bands.

    crop: the original. change: what the transfer adds to it, in grey levels. inside: bool HW; outside has no say and stays 0.
    Solves, coarse to fine by damped Jacobi sweeps, `psi (e - change) = sum over neighbours of phi (e_k - e)`: Pitie's energy written for
    the difference to the original, in which the original's gradient cancels.
    """
    levels = [(crop.astype(np.float32) / 255.0, change * inside[..., None], inside.astype(np.float32))]
    while len(levels) < len(REGRAIN_SWEEPS) and min(levels[-1][2].shape) >= 2 * REGRAIN_MIN_SIDE:
        levels.append(_halved(*levels[-1]))
    solved = levels[-1][1]
    for level in reversed(range(len(levels))):
        original, wanted, weight = levels[level]
        if solved.shape != wanted.shape:
            solved = cv2.resize(solved, (wanted.shape[1], wanted.shape[0]), interpolation=cv2.INTER_LINEAR)
        solved = _jacobi(original, wanted, weight, solved, level)
    return np.asarray(solved * inside[..., None])


def _halved(original: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One level coarser: the change averaged over the region's own pixels."""
    size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
    smaller = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (original, wanted * weight[..., None], weight)]
    return smaller[0], smaller[1] / np.maximum(smaller[2], 1e-6)[..., None], smaller[2]


def _jacobi(original: np.ndarray, wanted: np.ndarray, weight: np.ndarray, start: np.ndarray, level: int) -> np.ndarray:
    """`REGRAIN_SWEEPS[level]` damped sweeps from `start`."""
    padded = cv2.copyMakeBorder(original, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    steps = np.square(padded[1:-1, 2:] - padded[1:-1, :-2]) + np.square(padded[2:, 1:-1] - padded[:-2, 1:-1])
    gradient = 0.5 * np.sqrt(steps.sum(axis=2))
    psi = np.minimum(gradient * (256.0 / 5.0), 1.0) * weight
    phi = 30.0 / (1.0 + 10.0 * gradient) * 0.5**level * weight
    phi = cv2.copyMakeBorder(phi, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0.0)
    known = cv2.copyMakeBorder(weight, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0.0) > 0.0
    before, here, after = slice(0, -2), slice(1, -1), slice(2, None)
    neighbours = [(after, here), (before, here), (here, after), (here, before)]
    links = [np.where(known[at], 0.5 * (phi[1:-1, 1:-1] + phi[at]), 0.0) for at in neighbours]
    share = (1.0 - REGRAIN_DAMPING) / np.maximum(psi + sum(links), 1e-6)
    channels = [np.repeat((link * share)[..., None], 3, axis=2).astype(np.float32) for link in links]
    fixed = (wanted * (psi * share)[..., None]).astype(np.float32)
    solved = cv2.copyMakeBorder(start, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0.0)
    inner = solved[1:-1, 1:-1]
    for _ in range(REGRAIN_SWEEPS[level]):
        update = fixed + REGRAIN_DAMPING * inner
        for link, at in zip(channels, neighbours, strict=True):
            update += link * solved[at]
        inner[...] = update
    return np.ascontiguousarray(inner)
