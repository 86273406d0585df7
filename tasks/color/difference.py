"""Differences of colour: as grey levels say (the home of fMSE), and as eyes see them (CIELAB and CIEDE2000).

Both in the precision of what comes in: in float32 the mean CIEDE2000 over a region is within 1e-6 of the one in float64, at a quarter of
the time.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from attune.foreground import FOREGROUND_LEVEL
from tasks.color.error_kernel import squared_error_sums
from tasks.color.recolor import XYZ, decode_srgb

Lab = Float[np.ndarray, "N 3"]
Picture = UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"]  # 0..255
Mask = UInt8[np.ndarray, "H W"]

_TO_LMS = (XYZ / XYZ.sum(axis=1)[:, None]).T  # relative to the white
_LINEAR = decode_srgb(np.arange(256) / 255.0)
_TURN = 2.0 * np.pi


@dataclass(frozen=True)
class SquaredErrors:
    """Two images' squared differences, in squared grey levels, summed over all values and over the foreground's."""

    whole: float
    foreground: float
    num_values: int
    num_foreground: int  # values, three per pixel

    @property
    def mse(self) -> float:
        """The mean over the image."""
        return self.whole / self.num_values

    @property
    def fmse(self) -> float:
        """The mean over the foreground; 0 where there is none."""
        return self.foreground / max(1, self.num_foreground)

    @property
    def bmse(self) -> float:
        """The mean over the background; 0 where there is none."""
        return (self.whole - self.foreground) / max(1, self.num_values - self.num_foreground)


def squared_errors(first: Picture, second: Picture, mask: Mask) -> SquaredErrors:
    """The squared differences of two images of one type. Exact for uint8."""
    if first.dtype == np.uint8:
        whole, inside, count = squared_error_sums(first.reshape(-1), second.reshape(-1), mask.reshape(-1))
    else:
        hard = (mask >= FOREGROUND_LEVEL).view(np.uint8)
        whole, inside = (cv2.norm(first, second, cv2.NORM_L2SQR, chosen) for chosen in (None, hard))
        count = cv2.countNonZero(hard)
    return SquaredErrors(float(whole), float(inside), first.size, 3 * int(count))


def foreground_mse(first: Picture, second: Picture, mask: Mask) -> float:
    """fMSE: the mean squared difference, in squared grey levels, over the three channels where `mask` is foreground; 0 where nothing is.

    `models.losses.foreground_errors` is the same in torch.
    """
    return squared_errors(first, second, mask).fmse


def lab_from_srgb(pixels: UInt8[np.ndarray, "N 3"], dtype: type[np.floating] = np.float64) -> Lab:
    """CIELAB (D65, 2 degrees) of sRGB-encoded values."""
    ratio = np.take(_LINEAR.astype(dtype), pixels) @ _TO_LMS.astype(dtype)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * ((29 / 6) ** 2 / 3) + 4 / 29).T
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=1)


def delta_e_2000(first: Lab, second: Lab) -> Float[np.ndarray, " N"]:
    """CIEDE2000 between two lists of CIELAB colours, all weights 1.

    Source: Sharma et al., "The CIEDE2000 Color-Difference Formula: Implementation Notes", CR&A 2005.
    """
    (light_1, a_1, b_1), (light_2, a_2, b_2) = np.ascontiguousarray(first.T), np.ascontiguousarray(second.T)
    stretch = 1.5 - 0.5 * _saturating(0.5 * (_length(a_1, b_1) + _length(a_2, b_2)))
    a_1, a_2 = a_1 * stretch, a_2 * stretch
    chroma_1, chroma_2 = _length(a_1, b_1), _length(a_2, b_2)
    product = chroma_1 * chroma_2
    hue_1, hue_2 = _hue(a_1, b_1), _hue(a_2, b_2)
    grey = product == 0.0
    apart = np.where(grey, 0.0, hue_2 - hue_1)
    far = np.abs(apart) > np.pi  # the shorter arc crosses 0; hues exactly opposite do not count as far, in either order
    turn = np.where(far, apart - np.sign(apart) * _TURN, apart)
    light, chroma = 0.5 * (light_1 + light_2), 0.5 * (chroma_1 + chroma_2)
    middle = 0.5 * (hue_1 + hue_2)
    hue = np.where(grey, hue_1 + hue_2, np.where(far, middle + np.pi, middle))  # half-way along the shorter arc
    weight = (
        1.0
        - 0.17 * np.cos(hue - np.pi / 6.0)
        + 0.24 * np.cos(2.0 * hue)
        + 0.32 * np.cos(3.0 * hue + np.pi / 30.0)
        - 0.20 * np.cos(4.0 * hue - 63.0 * np.pi / 180.0)
    )
    centre = np.square(light - 50.0)
    terms_l = (light_2 - light_1) / (1.0 + 0.015 * centre / np.sqrt(20.0 + centre))
    terms_c = (chroma_2 - chroma_1) / (1.0 + 0.045 * chroma)
    terms_h = 2.0 * np.sqrt(product) * np.sin(0.5 * turn) / (1.0 + 0.015 * chroma * weight)
    degrees = np.where(hue >= _TURN, hue - _TURN, hue) * (180.0 / np.pi)
    blue = (np.pi / 3.0) * np.exp(-np.square((degrees - 275.0) / 25.0))
    rotation = -2.0 * np.sin(blue) * _saturating(chroma)
    squared = np.square(terms_l) + np.square(terms_c) + np.square(terms_h) + rotation * terms_c * terms_h
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))  # the last term may round below 0


def _length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(a * a + b * b))


def _hue(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    angle = np.arctan2(b, a)
    return np.asarray(np.where(angle < 0.0, angle + _TURN, angle))


def _saturating(chroma: np.ndarray) -> np.ndarray:
    seventh = np.square(chroma * chroma * chroma) * chroma
    return np.asarray(np.sqrt(seventh / (seventh + 25.0**7)))
