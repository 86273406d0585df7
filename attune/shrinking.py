"""A picture made small for a network's eyes."""

import cv2
import numpy as np

from attune.render import Levels, MaskLevels

OVERSAMPLING = 4  # the network's own antialiased shrinking starts from a picture of at most so many times its size


def shrink_levels(picture: Levels | MaskLevels, side: int) -> np.ndarray:
    """`picture` as uint8, squashed by area averaging so that no side is over `side` px; never enlarged.

    While it is far larger it is halved, which is six times as fast as one step; each halving rounds, so that noise may end two levels off.
    """
    height, width = picture.shape[:2]
    small = np.ascontiguousarray(picture)
    while min(height, width) >= 2 * side:
        height, width = -(-height // 2), -(-width // 2)
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    if max(height, width) > side:
        small = cv2.resize(small, (min(width, side), min(height, side)), interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint16:
        return np.asarray(np.rint(small / np.float32(257)).astype(np.uint8))
    if small.dtype != np.uint8:
        raise ValueError(f"pixels are {small.dtype}; they must be uint8 or uint16")
    return small
