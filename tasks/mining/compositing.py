"""Cut, scale, feather, paste, and the clean plate: one path for every composite and every natural sample.

Two spaces: the *photograph* (its own pixels and aspect) and the *frame* (a square, the photograph squashed into it). An object goes
from the photograph to the frame in ONE resampling, so that it is as sharp as the plate beneath it, which also was resampled once.
A box is half-open in whole pixels, so the map from `Placement.source` to `Placement.target` is an exact affine and replays exactly.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped, UInt8

from attune.foreground import FOREGROUND

PlateMethod = Literal["telea", "navier_stokes", "precomputed", "none"]
PLATE_METHODS: tuple[PlateMethod, ...] = get_args(PlateMethod)

_INPAINT_RADIUS = 3.0  # px; larger radii only smear further at frame sizes
_GRAIN_SIGMA = 1.5  # px; what is finer than this is grain or texture and is carried into the hole


@dataclass(frozen=True)
class Box:
    """Half-open pixel rectangle; it may hang over the edge of what it is a box in."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


@dataclass(frozen=True)
class Contact:
    """The sides at which an object runs out of its photograph: there it is cut off, and must stay on the frame's edge."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False


@dataclass(frozen=True)
class Placement:
    """Where an object comes from (box in the photograph) and where it goes (box in the frame)."""

    source: Box
    target: Box
    contact: Contact

    @property
    def affine(self) -> tuple[float, float, float, float, float, float]:
        """Rows (a, b, c, d, e, f) of the map x' = a x + b y + c, y' = d x + e y + f; pixel i covers [i, i + 1)."""
        scale_x = self.target.width / self.source.width
        scale_y = self.target.height / self.source.height
        return (scale_x, 0.0, self.target.left - scale_x * self.source.left, 0.0, scale_y, self.target.top - scale_y * self.source.top)


@dataclass(frozen=True)
class Cutout:
    """An object in the frame's pixels with its matte; `left`, `top` may be negative."""

    colour: UInt8[np.ndarray, "h w 3"]
    matte: UInt8[np.ndarray, "h w"]
    left: int
    top: int


@dataclass(frozen=True)
class PlateQuality:
    """How well a plate's filled region matches the ring around it.

    detail: gradient energy of the fill over that of the ring, 1 is alike, 0 is smeared. offset: distance of the mean Lab colours.
    score: in [0, 1], 1 is best: the product of min(detail, 1 / detail) and exp(-offset / 20).
    """

    detail: float
    offset: float
    score: float


def mask_box(mask: Bool[np.ndarray, "H W"]) -> Box:
    """The tight box of a mask; ValueError if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("the mask is empty")
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def mask_contact(box: Box, height: int, width: int) -> Contact:
    """The sides of an image of `height` x `width` that `box` touches; hand-drawn masks stop short of the edge by up to a hundredth."""
    x, y = width // 100, height // 100
    return Contact(left=box.left <= x, top=box.top <= y, right=box.right >= width - x, bottom=box.bottom >= height - y)


def resample(image: Shaped[np.ndarray, "..."], height: int, width: int) -> Shaped[np.ndarray, "..."]:
    """`image` (uint8 or float32; HW or HWC) at another size: area average along an axis that shrinks, linear along one that grows."""
    shrinks = (height < image.shape[0], width < image.shape[1])
    steps = [(height, width)] if shrinks[0] == shrinks[1] else [(height, image.shape[1]), (height, width)]  # one rounding where one will do
    for step_height, step_width in steps:
        smaller = step_height < image.shape[0] or step_width < image.shape[1]
        image = cv2.resize(image, (step_width, step_height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return image


def to_frame(image: UInt8[np.ndarray, "..."], size: int) -> UInt8[np.ndarray, "..."]:
    """The photograph (HWC) or mask (HW) squashed into the square frame."""
    squashed: np.ndarray = resample(image, size, size)
    return squashed


def cut_object(
    image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"], *, placement: Placement, choke: float, feather_sigma: float
) -> Cutout:
    """The object under `mask`, resampled once to its target box, with a feathered matte.

    choke: px of the frame by which the mask is drawn in first, because a drawn mask takes a rim of its own background along.
    The colours are averaged under the mask only (premultiplied), and carried outwards below the feather: no colour of the object's own
    background travels along. At a side of `placement.contact` the matte does not fade: the object goes on behind the frame's edge.
    """
    source, target = placement.source, placement.target
    crop = np.s_[source.top : source.bottom, source.left : source.right]
    coverage = _choked(mask[crop], choke, placement).astype(np.float32) / 255.0
    premultiplied = image[crop].astype(np.float32) * coverage[..., None]
    margin = math.ceil(3.0 * feather_sigma) + 1
    coverage = _pad(resample(coverage, target.height, target.width), margin, placement.contact)
    premultiplied = _pad(resample(premultiplied, target.height, target.width), margin, placement.contact)
    soft, spread = _blur(coverage, feather_sigma), _blur(premultiplied, max(feather_sigma, 0.5))
    weight = _blur(coverage, max(feather_sigma, 0.5))
    inside = (coverage > FOREGROUND)[..., None]
    own = premultiplied / np.maximum(coverage, 1e-6)[..., None]
    carried = spread / np.maximum(weight, 1e-6)[..., None]
    matte = np.rint(255.0 * soft).clip(0, 255).astype(np.uint8)
    colour = np.rint(np.where(inside, own, carried)).clip(0, 255).astype(np.uint8)
    return Cutout(colour=colour, matte=matte, left=target.left - margin, top=target.top - margin)


def matte_in_frame(cutout: Cutout, size: int) -> UInt8[np.ndarray, "S S"]:
    """The matte where it lies in the frame; what hangs over the edge is cut off."""
    matte = np.zeros((size, size), np.uint8)
    inner, outer = _overlap(cutout, size)
    matte[outer] = cutout.matte[inner]
    return matte


def paste(plate: UInt8[np.ndarray, "S S 3"], cutout: Cutout) -> tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]:
    """The plate with the object on it, and the matte in the frame. Where the matte is 0 the pixels are the plate's, to the bit.

    Integer arithmetic, rounded to nearest. Both of the discriminator's classes are made by `cut_object` and this function.
    """
    inner, outer = _overlap(cutout, plate.shape[0])
    weight = cutout.matte[inner].astype(np.uint32)[..., None]
    composite = plate.copy()
    composite[outer] = (weight * cutout.colour[inner] + (255 - weight) * plate[outer] + 127) // 255
    return composite, matte_in_frame(cutout, plate.shape[0])


def grow_mask(mask: Bool[np.ndarray, "H W"], radius: int) -> Bool[np.ndarray, "H W"]:
    """The mask dilated by a disc of `radius` px."""
    if radius == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    grown: np.ndarray = cv2.dilate(mask.astype(np.uint8), disc).astype(bool)
    return grown


def ring_around(mask: Bool[np.ndarray, "H W"], *, width: int, gap: int) -> Bool[np.ndarray, "H W"]:
    """The band of `width` px around a mask, `gap` px away from it."""
    ring: np.ndarray = grow_mask(mask, gap + width) & ~grow_mask(mask, gap)
    return ring


def clean_plate(
    frame: UInt8[np.ndarray, "S S 3"], mask: UInt8[np.ndarray, "S S"], *, method: PlateMethod, margin: int
) -> UInt8[np.ndarray, "S S 3"]:
    """The frame with its object removed: the mask grown by `margin` px is inpainted, and the surroundings' grain laid over the fill.

    method: "telea", "navier_stokes" (OpenCV) or "none" (the frame itself); "precomputed" plates are read, not made. Outside the grown
    mask the pixels are the frame's, to the bit. Sources: Telea, J. Graphics Tools 2004; Bertalmio, Bertozzi, Sapiro, CVPR 2001.
    """
    if method == "none":
        return frame
    if method == "precomputed":
        raise ValueError("plate: precomputed plates are read from mine.plate_folder, they cannot be computed")
    hole = grow_mask(mask > 0, margin)
    if hole.all() or not hole.any():
        raise ValueError(f"the mask grown by {margin} px covers {'everything' if hole.any() else 'nothing'}: no plate can be made")
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    filled = cv2.inpaint(frame, hole.astype(np.uint8), _INPAINT_RADIUS, flag)
    grained = np.rint(filled.astype(np.float32) + _mirrored_grain(frame, hole)).clip(0, 255).astype(np.uint8)
    plate: np.ndarray = np.where(hole[..., None], grained, frame)
    return plate


def plate_quality(
    plate: UInt8[np.ndarray, "S S 3"], mask: UInt8[np.ndarray, "S S"], *, margin: int, ring_width: int
) -> PlateQuality:
    """How alike the filled region and the ring around it are, in detail and in colour."""
    hole = grow_mask(mask > 0, margin)
    ring = ring_around(hole, width=ring_width, gap=0)
    if not ring.any() or not hole.any():
        return PlateQuality(detail=0.0, offset=100.0, score=0.0)
    lab = cv2.cvtColor(plate.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    lightness = np.ascontiguousarray(lab[..., 0])
    energy = cv2.Sobel(lightness, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(lightness, cv2.CV_32F, 0, 1) ** 2
    detail = math.sqrt(float(energy[hole].mean(dtype=np.float64) + 1e-6) / float(energy[ring].mean(dtype=np.float64) + 1e-6))
    offset = float(np.linalg.norm(lab[hole].mean(axis=0, dtype=np.float64) - lab[ring].mean(axis=0, dtype=np.float64)))
    return PlateQuality(detail=detail, offset=offset, score=min(detail, 1.0 / detail) * math.exp(-offset / 20.0))


def _overlap(cutout: Cutout, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a cutout that lies in the frame: as slices of the cutout and of the frame."""
    inner, outer = [], []
    for start, length in ((cutout.top, cutout.matte.shape[0]), (cutout.left, cutout.matte.shape[1])):
        first, stop = max(start, 0), max(min(start + length, size), 0)
        inner.append(slice(first - start, max(stop, first) - start))
        outer.append(slice(first, max(stop, first)))
    return (inner[0], inner[1]), (outer[0], outer[1])


def _choked(mask: UInt8[np.ndarray, "h w"], choke: float, placement: Placement) -> UInt8[np.ndarray, "h w"]:
    """The mask in its source box eroded by `choke` px of the frame; the sides at which the object is cut off stay."""
    radius_x = round(choke * placement.source.width / placement.target.width)
    radius_y = round(choke * placement.source.height / placement.target.height)
    if radius_x == radius_y == 0:
        return mask
    margin = max(radius_x, radius_y) + 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_x + 1, 2 * radius_y + 1))
    eroded: np.ndarray = cv2.erode(_pad(mask, margin, placement.contact), ellipse)[margin:-margin, margin:-margin]
    return eroded if eroded.any() else mask  # an object thinner than twice the choke keeps its rim


def _mirrored_grain(frame: UInt8[np.ndarray, "S S 3"], hole: Bool[np.ndarray, "S S"]) -> Float32[np.ndarray, "S S 3"]:
    """The frame's fine detail reflected into the hole across its outline; 0 where the reflection falls into the hole again.

    Inpainting fills smoothly; a smooth patch beside a pasted object would give every composite away.
    """
    known = ~hole
    weight = _blur(known.astype(np.float32), _GRAIN_SIGMA)[..., None]
    coarse = _blur(frame.astype(np.float32) * known[..., None], _GRAIN_SIGMA) / np.maximum(weight, 1e-6)
    grain = np.where(known[..., None], frame.astype(np.float32) - coarse, 0.0).astype(np.float32)
    _, labels = cv2.distanceTransformWithLabels(hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(known)
    nearest = np.zeros((labels.max() + 1, 2), np.int64)
    nearest[labels[rows, columns]] = np.stack([rows, columns], axis=1)
    inside = np.argwhere(hole)
    reflected = _reflect(2 * nearest[labels[inside[:, 0], inside[:, 1]]] - inside, hole.shape)
    laid = np.zeros_like(grain)
    laid[inside[:, 0], inside[:, 1]] = grain[reflected[:, 0], reflected[:, 1]]
    return laid


def _reflect(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Points brought back into an image of `shape` by reflection at its edges."""
    limits = np.array(shape) - 1
    folded = np.abs(points) % np.maximum(2 * limits, 1)
    unfolded: np.ndarray = np.where(folded > limits, 2 * limits - folded, folded)
    return unfolded


def _blur(values: Float[np.ndarray, "..."], sigma: float) -> Float[np.ndarray, "..."]:
    if sigma == 0.0:
        return values
    side = 2 * math.ceil(3.0 * sigma) + 1
    blurred: np.ndarray = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred


def _pad(values: Shaped[np.ndarray, "..."], margin: int, contact: Contact) -> Shaped[np.ndarray, "..."]:
    """`values` with `margin` px more on each side: zeros, or at a side of contact the outermost values repeated."""
    kept = [(0, 0)] * (values.ndim - 2)
    for axis, before, after in ((0, contact.top, contact.bottom), (1, contact.left, contact.right)):
        for side, repeated in ((0, before), (1, after)):
            amount = [(0, 0), (0, 0), *kept]
            amount[axis] = (margin, 0) if side == 0 else (0, margin)
            values = np.pad(values, amount, mode="edge" if repeated else "constant")
    return values
