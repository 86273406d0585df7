"""What a harmonizer has to beat: four ways to make a foreground fit that learn nothing.

Each looks at the composite alone, as a harmonizer does: the background is the reference. Each blends its change in by the mask, and leaves
the background bit for bit as it was. Where there are too few pixels for statistics, nothing is changed.
"""

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import UInt8

from tasks.color.recolor import decode_srgb
from tasks.color.transfer import (
    TooFewPixels,
    Transfer,
    bounding_box,
    paste,
    region_pixels,
    transfer_monge_kantorovich,
    transfer_reinhard,
)

LAB_SHIFT = 0.5  # of the way from the foreground's mean to the background's

Image = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


@runtime_checkable
class Baseline(Protocol):
    """What every function in `BASELINES` is."""

    def __call__(self, composite: Image, mask: Mask) -> Image:
        """The composite with its foreground changed. composite: sRGB-encoded. mask: 255 is foreground, soft edges allowed."""
        ...


def do_nothing(composite: Image, mask: Mask) -> Image:
    """The composite as it is. `mask` is not used."""
    del mask
    return composite.copy()


def reinhard(composite: Image, mask: Mask) -> Image:
    """The foreground with the background's means and deviations, in l-alpha-beta. Source: Reinhard et al., CG&A 2001."""
    return _towards_background(transfer_reinhard, composite, mask)


def monge_kantorovich(composite: Image, mask: Mask) -> Image:
    """The foreground with the background's mean and covariance, in RGB. Source: Pitie and Kokaram, CVMP 2007."""
    return _towards_background(transfer_monge_kantorovich, composite, mask)


def lab_shift(composite: Image, mask: Mask) -> Image:
    """The foreground moved half the way from its mean to the background's in CIE Lab (D65).

    The strongest of the simple ones: half, because an object differs from its surroundings by its own colour too.
    """
    try:
        means = [_lab(region_pixels(composite, region)).mean(axis=0, dtype=np.float64) for region in (mask, 255 - mask)]
    except TooFewPixels:
        return composite.copy()
    box = bounding_box(mask)
    crop = composite[box]
    moved = _lab(crop.reshape(-1, 3).astype(np.float32)) + (LAB_SHIFT * (means[1] - means[0])).astype(np.float32)
    changed: np.ndarray = cv2.cvtColor(moved[None], cv2.COLOR_Lab2RGB)[0] * 255.0
    return paste(composite, mask, box, changed.reshape(crop.shape))


BASELINES: dict[str, Baseline] = {
    "composite": do_nothing,
    "reinhard": reinhard,
    "lab_shift": lab_shift,
    "monge_kantorovich": monge_kantorovich,
}


def _towards_background(transfer: Transfer, composite: Image, mask: Mask) -> Image:
    try:
        return transfer(composite, mask, composite, 255 - mask)
    except TooFewPixels:
        return composite.copy()


def _lab(pixels: np.ndarray) -> np.ndarray:
    """CIE Lab (D65) of (N, 3) float32 pixels with values 0..255. Decoded here: OpenCV's own way from encoded values is 0.3 units off."""
    linear = decode_srgb(np.arange(256) / 255.0).astype(np.float32)[pixels.astype(np.uint8)]
    found: np.ndarray = cv2.cvtColor(linear[None], cv2.COLOR_LRGB2Lab)[0]
    return found
