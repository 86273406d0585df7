"""A photograph's perceptual hash: 64 bits that survive re-encoding and resizing, and differ in few bits where two photographs are alike.

The hash is pHash as the ImageHash library has it (the 8 x 8 lowest frequencies of a cosine transform, each above their median or not), but
for the shrinking: the frame is sampled at 128 x 128 places, bilinearly and in integers, and the mean of 4 x 4 of them is one of 32 x 32
cells. That is a fifth of the time of averaging every pixel, and copies of a photograph come out as near to it (mean 0.5 bits). A photograph
decoded at a fraction of its size, with `SAMPLES` px a side or more, is half a bit away in the mean.
"""

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

SAMPLES = 128  # per axis
SIDE = 32  # px of the square that the frame is squeezed into
FREQUENCIES = 8  # per axis, from the lowest on
NUM_BITS = FREQUENCIES * FREQUENCIES
_DIGITS = 6  # of the coefficients: below them is rounding, which must not decide a flat picture's bits


def perceptual_hash(grey: UInt8[np.ndarray, "H W"]) -> int:
    """The hash of an image of any size, given as sRGB-encoded luma, as an unsigned 64-bit number; its first bit is the mean's."""
    sampled = cv2.resize(grey, (SAMPLES, SAMPLES), interpolation=cv2.INTER_LINEAR_EXACT)
    return hash_square(cv2.resize(sampled, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def hash_square(grey: UInt8[np.ndarray, "S S"]) -> int:
    """The hash of a grey square of `SIDE` px."""
    coefficients = np.round(_COSINES @ grey.astype(np.float64) @ _COSINES.T, _DIGITS)
    ordered = np.sort(coefficients, axis=None)
    median = (ordered[NUM_BITS // 2 - 1] + ordered[NUM_BITS // 2]) / 2.0
    return int.from_bytes(np.packbits(coefficients > median).tobytes(), "big")


def hash_distance(first: int, second: int) -> int:
    """In how many of the 64 bits two hashes differ."""
    return (first ^ second).bit_count()


def _cosines() -> Float64[np.ndarray, "F S"]:
    places, frequencies = np.arange(SIDE) + 0.5, np.arange(FREQUENCIES)
    return 2.0 * np.cos(np.pi / SIDE * frequencies[:, None] * places[None, :])


_COSINES = _cosines()
