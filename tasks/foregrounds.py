"""Which objects may be cut out and which may be replaced: named rules, and the numbers that pairing needs of each object.

One object plays two parts: as a foreground it is cut out and pasted elsewhere; as a background it is what is removed and replaced.
Rules and statistics are measured in the frame (see tasks/compositing.py); the source box in the photograph shrunk to `mine.max_side`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, UInt8

from tasks.compositing import clean_plate, grow_mask, mask_box, mask_contact, plate_quality, resample, ring_around, to_frame
from tasks.images import shrink_to
from tasks.params import Mine

HISTOGRAM_BINS = 32  # of L* over 0..100
SHAPE_SIDE = 8  # the mask's coarse shape: coverage on SHAPE_SIDE x SHAPE_SIDE cells of its box
_HALF = 128  # a mask value from here on is foreground


class Reason(StrEnum):
    """Why an object is not used. The vocabulary is closed; `rejects.parquet` holds nothing else."""

    UNREADABLE = "unreadable"
    SIZE_MISMATCH = "size_mismatch"
    LABEL = "label"
    EMPTY = "empty"
    AREA_SMALL = "area_small"
    AREA_LARGE = "area_large"
    SIDE_SMALL = "side_small"
    BOX_SHAPED = "box_shaped"
    BORDER_CONTACT = "border_contact"
    COMPONENTS = "components"
    LARGEST_COMPONENT = "largest_component"
    HOLES = "holes"
    OCCLUDED = "occluded"
    BLURRED = "blurred"
    CLIPPED = "clipped"
    FLAT = "flat"
    GREYSCALE = "greyscale"
    PLATE = "plate"  # stays a foreground, is no background

    @property
    def bars_foreground(self) -> bool:
        """Whether the object may not be cut out either."""
        return self is not Reason.PLATE


@dataclass(frozen=True)
class Colours:
    """Statistics of a region: mean and standard deviation of CIELAB, chromaticity and histogram of L*.

    chromaticity: (ln R/G, ln B/G) of the mean of linear light. histogram: shares, HISTOGRAM_BINS over L* 0..100.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    chromaticity: tuple[float, float]
    histogram: tuple[float, ...]


_floats = pa.list_(pa.float32())
_colours = [pa.field("mean", _floats), pa.field("std", _floats), pa.field("chromaticity", _floats), pa.field("histogram", _floats)]

# One row per object, also the rejected ones (whose numbers may be null); a cache, not an output.
ANALYSIS = pa.schema([
    pa.field("key", pa.string()), pa.field("reason", pa.string()), pa.field("detail", pa.string()),
    pa.field("width", pa.int32()), pa.field("height", pa.int32()), pa.field("fg_ratio", pa.float32()),
    pa.field("source_box", pa.list_(pa.int32())), pa.field("frame_box", _floats), pa.field("contact", pa.list_(pa.bool_())),
    pa.field("shape", _floats),
    *(pa.field(f"{region}_{field.name}", field.type) for region in ("fg", "ring") for field in _colours),
    pa.field("sharpness", pa.float32()), pa.field("plate_detail", pa.float32()), pa.field("plate_offset", pa.float32()),
    pa.field("plate_score", pa.float32()),
])


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


def outline_contact(mask: Bool[np.ndarray, "S S"]) -> float:
    """The share of a mask's outline that lies on the image's border."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    edges = [np.count_nonzero(inner & ~padded[rows, columns]) for rows, columns in (
        (np.s_[:-2], np.s_[1:-1]), (np.s_[2:], np.s_[1:-1]), (np.s_[1:-1], np.s_[:-2]), (np.s_[1:-1], np.s_[2:]))]
    on_border = sum(np.count_nonzero(side) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return on_border / max(sum(edges), 1)


def analyse_photograph(
    rows: Sequence[Mapping[str, Any]], image: UInt8[np.ndarray, "H W 3"], masks: Sequence[UInt8[np.ndarray, "H W"]], mine: Mine
) -> list[dict[str, Any]]:
    """One ANALYSIS row per object of a photograph; `masks` in the order of `rows`.

    The masks of the other objects say what is occluded; so all objects of a photograph are analysed together.
    """
    if any(mask.shape != image.shape[:2] for mask in masks):
        sizes = ", ".join(f"{mask.shape[1]}x{mask.shape[0]}" for mask in masks)
        return [rejected(row, Reason.SIZE_MISMATCH, f"image {image.shape[1]}x{image.shape[0]}, masks {sizes}") for row in rows]
    image = shrink_to(image, mine.max_side)
    masks = [shrink_to(mask, mine.max_side) for mask in masks]
    frame = to_frame(image, mine.size)
    frames = [to_frame(mask, mine.size) >= _HALF for mask in masks]
    chroma = _mean_chroma(frame)
    results = []
    for index, (row, mask, flat) in enumerate(zip(rows, masks, frames, strict=True)):
        # A mask that holds this one (a person, its dress) counts as well: such a part cannot be cut out alone.
        others = np.any([np.zeros_like(flat), *(other & ~flat for number, other in enumerate(frames) if number != index)], axis=0)
        found = _first_fault(row, frame, flat, others=others, chroma=chroma, mine=mine)
        if found:
            results.append(rejected(row, *found) | _frame_box(flat))
        else:
            results.append(_accepted(row, image, mask, frame=frame, flat=flat, mine=mine))
    return results


def rejected(row: Mapping[str, Any], reason: Reason, detail: str) -> dict[str, Any]:
    """The ANALYSIS row of an object that is not used."""
    return {"key": row["key"], "reason": str(reason), "detail": detail}


def _frame_box(flat: Bool[np.ndarray, "S S"]) -> dict[str, Any]:
    """The box as shares of the frame, which the statistics of the labels need of rejected objects too."""
    if not flat.any():
        return {}
    box, size = mask_box(flat), flat.shape[0]
    return {"frame_box": [box.left / size, box.top / size, box.right / size, box.bottom / size]}


def _first_fault(
    row: Mapping[str, Any], frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"], *,
    others: Bool[np.ndarray, "S S"], chroma: float, mine: Mine,
) -> tuple[Reason, str] | None:
    """The first rule that the object breaks, cheapest first, and what was measured."""
    label = row["label"] or ""
    if (mine.labels and label not in mine.labels) or label in mine.excluded_labels:
        return Reason.LABEL, label
    if not mask.any():
        return Reason.EMPTY, "no mask pixel is left in the frame"
    return _shape_fault(mask, others, mine) or _colour_fault(frame, mask, chroma, mine)


def _shape_fault(mask: Bool[np.ndarray, "S S"], others: Bool[np.ndarray, "S S"], mine: Mine) -> tuple[Reason, str] | None:
    area, pixels, box = float(mask.mean()), np.count_nonzero(mask), mask_box(mask)
    num_labels, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    ring = ring_around(mask, width=mine.ring_width // 2, gap=1)
    return _first_broken([
        (Reason.AREA_SMALL, area, mine.min_fg_ratio, None),
        (Reason.AREA_LARGE, area, None, mine.max_fg_ratio),
        (Reason.SIDE_SMALL, min(box.width, box.height), mine.min_box_side, None),
        (Reason.BOX_SHAPED, pixels / (box.width * box.height), None, mine.max_box_fill),
        (Reason.BORDER_CONTACT, outline_contact(mask), None, mine.max_border_contact),
        (Reason.COMPONENTS, num_labels - 1, None, mine.max_components),
        (Reason.LARGEST_COMPONENT, float(stats[1:, cv2.CC_STAT_AREA].max()) / pixels, mine.min_largest_component, None),
        (Reason.HOLES, _hole_share(mask), None, mine.max_holes),
        (Reason.OCCLUDED, float(others[ring].mean()) if ring.any() else 0.0, None, mine.max_occlusion),
    ])


def _first_broken(rules: Sequence[tuple[Reason, float, float | None, float | None]]) -> tuple[Reason, str] | None:
    """The first rule (reason, value, least, most) that its value breaks."""
    for reason, value, least, most in rules:
        if least is not None and value < least:
            return reason, f"{value:.4g} < {least:g}"
        if most is not None and value > most:
            return reason, f"{value:.4g} > {most:g}"
    return None


def _colour_fault(
    frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"], chroma: float, mine: Mine
) -> tuple[Reason, str] | None:
    pixels = frame[mask]
    return _first_broken([
        (Reason.BLURRED, _sharpness(frame, mask), mine.min_sharpness, None),
        (Reason.CLIPPED, float(((pixels == 0).all(axis=1) | (pixels == 255).all(axis=1)).mean()), None, mine.max_clipped),
        (Reason.FLAT, float(cv2.cvtColor(np.ascontiguousarray(pixels)[None], cv2.COLOR_RGB2GRAY).std()), mine.min_spread, None),
        (Reason.GREYSCALE, chroma, mine.min_chroma, None),
    ])


def _accepted(
    row: Mapping[str, Any], image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"], *,
    frame: UInt8[np.ndarray, "S S 3"], flat: Bool[np.ndarray, "S S"], mine: Mine,
) -> dict[str, Any]:
    height, width = mask.shape
    box = mask_box(mask >= _HALF) if (mask >= _HALF).any() else mask_box(mask > 0)
    contact = mask_contact(box, height, width)
    ring = ring_around(flat, width=mine.ring_width, gap=1)
    foreground, surroundings = region_colours(frame, flat), region_colours(frame, ring if ring.any() else ~flat)
    crop = (mask[box.top : box.bottom, box.left : box.right] >= _HALF).astype(np.float32)
    result = {
        "key": row["key"], "reason": "", "detail": "", "width": width, "height": height, "fg_ratio": float(flat.mean()),
        "source_box": [box.left, box.top, box.right, box.bottom],
        "frame_box": [box.left / width, box.top / height, box.right / width, box.bottom / height],
        "contact": [contact.left, contact.top, contact.right, contact.bottom],
        "shape": resample(crop, SHAPE_SIDE, SHAPE_SIDE).reshape(-1).tolist(), "sharpness": _sharpness(frame, flat),
    }
    for region, colours in (("fg", foreground), ("ring", surroundings)):
        result |= {f"{region}_mean": colours.mean, f"{region}_std": colours.std, f"{region}_chromaticity": colours.chromaticity,
                   f"{region}_histogram": colours.histogram}
    return result | _plate_columns(frame, flat, mine)


def _plate_columns(frame: UInt8[np.ndarray, "S S 3"], flat: Bool[np.ndarray, "S S"], mine: Mine) -> dict[str, Any]:
    if mine.plate in ("none", "precomputed"):  # nothing is filled, or the user vouches for it
        return {"plate_detail": 1.0, "plate_offset": 0.0, "plate_score": 1.0}
    plate = clean_plate(frame, flat.astype(np.uint8) * 255, method=mine.plate, margin=mine.plate_margin)
    quality = plate_quality(plate, flat.astype(np.uint8) * 255, margin=mine.plate_margin, ring_width=mine.ring_width)
    columns: dict[str, Any] = {"plate_detail": quality.detail, "plate_offset": quality.offset, "plate_score": quality.score}
    if quality.score < mine.min_plate_score:
        columns |= {"reason": str(Reason.PLATE), "detail": f"{quality.score:.3f} < {mine.min_plate_score}"}
    return columns


def _hole_share(mask: Bool[np.ndarray, "S S"]) -> float:
    """Area of the holes over the area of the mask with its holes filled."""
    padded = np.pad(mask.astype(np.uint8), 1)
    outside = np.zeros((padded.shape[0] + 2, padded.shape[1] + 2), np.uint8)
    cv2.floodFill(padded, outside, (0, 0), 2)
    holes = np.count_nonzero(padded == 0)
    return holes / (holes + np.count_nonzero(mask))


def _sharpness(frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"]) -> float:
    """Variance of the Laplacian inside the mask, 8 bit; the outline itself is left out where the object is wide enough."""
    inner = ~grow_mask(~mask, 2)
    laplacian = cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(laplacian[inner if np.count_nonzero(inner) >= 64 else mask].var(dtype=np.float64))


def _mean_chroma(frame: UInt8[np.ndarray, "S S 3"]) -> float:
    lab = cv2.cvtColor(frame.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB).astype(np.float64)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())
