"""A picture made small for a network's eyes: one named filter, "area", in training and in use alike."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from attune.render import Levels, MaskLevels

HALVED_TO = 4  # times the wanted size: while a picture is larger it is halved in its own depth, which is six times as fast


def shrink_area(picture: Levels | MaskLevels, size: int) -> Float32[np.ndarray, "size size *C"]:
    """`picture` squashed to `size` x `size`, as float32 in [0, 1]: each new pixel is the mean over the area that it covers.

    picture: uint8 or uint16. An axis that is shorter than `size` is stretched linearly. Large ones are halved first; see `halved`.
    """
    small = halved(picture, size)
    real = small.astype(np.float32) / np.float32(np.iinfo(small.dtype).max)
    height, width = real.shape[:2]
    if height > size or width > size:
        real = cv2.resize(real, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    if real.shape[:2] != (size, size):
        real = cv2.resize(real, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(real)


def halved(picture: Levels | MaskLevels, size: int) -> np.ndarray:
    """`picture` halved, in its own depth, until a side is under `HALVED_TO` times `size`; each halving rounds to whole levels.

    What `shrink_area` makes of it is bit for bit what it makes of `picture`. ValueError for other depths than 8 and 16 bit.
    """
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {picture.dtype}; they must be uint8 or uint16")
    small = np.ascontiguousarray(picture)
    height, width = small.shape[:2]
    while min(height, width) >= HALVED_TO * size:
        height, width = -(-height // 2), -(-width // 2)
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    return small


def in_eight_bits(picture: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """A uint8 or uint16 picture as uint8, rounded to nearest."""
    return picture if picture.dtype == np.uint8 else np.asarray(np.rint(picture / np.float32(257)).astype(np.uint8))
