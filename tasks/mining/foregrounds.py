"""Which objects may be cut out and which may be replaced: named rules, each with one reason code.

One object plays two parts: as a foreground it is cut out and pasted elsewhere; as a background it is what is removed and replaced.
The rules are measured in the frame (see tasks/mining/compositing.py).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from tasks.mining.compositing import grow_mask, mask_box, ring_around
from tasks.params import Mine


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
    PLATE_MISSING = "plate_missing"  # from here on: stays a foreground, is no background
    PLATE_UNREADABLE = "plate_unreadable"
    PLATE_UNLIKE = "plate_unlike"
    PLATE_POOR = "plate_poor"

    @property
    def bars_foreground(self) -> bool:
        """Whether the object may not be cut out either."""
        return not self.startswith("plate_")


def outline_contact(mask: Bool[np.ndarray, "S S"]) -> float:
    """The share of a mask's outline that lies on the image's border."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    edges = [np.count_nonzero(inner & ~padded[rows, columns]) for rows, columns in (
        (np.s_[:-2], np.s_[1:-1]), (np.s_[2:], np.s_[1:-1]), (np.s_[1:-1], np.s_[:-2]), (np.s_[1:-1], np.s_[2:]))]
    on_border = sum(np.count_nonzero(side) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return on_border / max(sum(edges), 1)


def first_fault(
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
        (Reason.BLURRED, sharpness(frame, mask), mine.min_sharpness, None),
        (Reason.CLIPPED, float(((pixels == 0).all(axis=1) | (pixels == 255).all(axis=1)).mean()), None, mine.max_clipped),
        (Reason.FLAT, float(cv2.cvtColor(np.ascontiguousarray(pixels)[None], cv2.COLOR_RGB2GRAY).std()), mine.min_spread, None),
        (Reason.GREYSCALE, chroma, mine.min_chroma, None),
    ])


def _hole_share(mask: Bool[np.ndarray, "S S"]) -> float:
    """Area of the holes over the area of the mask with its holes filled."""
    padded = np.pad(mask.astype(np.uint8), 1)
    outside = np.zeros((padded.shape[0] + 2, padded.shape[1] + 2), np.uint8)
    cv2.floodFill(padded, outside, (0, 0), 2)
    holes = np.count_nonzero(padded == 0)
    return holes / (holes + np.count_nonzero(mask))


def sharpness(frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"]) -> float:
    """Variance of the Laplacian inside the mask, 8 bit; the outline itself is left out where the object is wide enough."""
    inner = ~grow_mask(~mask, 2)
    laplacian = cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(laplacian[inner if np.count_nonzero(inner) >= 64 else mask].var(dtype=np.float64))


def mean_chroma(frame: UInt8[np.ndarray, "S S 3"]) -> float:
    lab = cv2.cvtColor(frame.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB).astype(np.float64)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())
