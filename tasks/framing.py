"""Stacks of square uint8 images as float tensors of another size and framing, in one pass: cut, mirrored, resampled, divided by 255.

Downwards each pixel is the mean of the source pixels that it touches, upwards a bilinear mixture: `torch.nn.functional.interpolate` with
mode "area" and mode "bilinear". Threads run it side by side: it needs no GIL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8, UInt32
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """A square part of square images, in their pixels."""

    top: int
    left: int
    side: int
    mirrored: bool = False


def draw_frames(count: int, side: int, rng: np.random.Generator, *, smallest: float = 1.0) -> list[Frame]:
    """A random square of at least `smallest` of `side` for each of `count` images, mirrored half the time."""
    widths, tops, lefts, mirrors = rng.random((4, count))
    parts = np.round(side * (smallest + (1 - smallest) * widths)).astype(int)
    tops, lefts = ((edges * (side - parts + 1)).astype(int) for edges in (tops, lefts))
    columns = (column.tolist() for column in (tops, lefts, parts, mirrors < 0.5))
    return [Frame(*row) for row in zip(*columns, strict=True)]


def resample(
    stack: UInt8[np.ndarray, "N H W 3"] | UInt8[np.ndarray, "N H W"], size: int, frames: Sequence[Frame] | None = None,
    slots: Int[np.ndarray, " B"] | None = None, *, wanted: Bool[np.ndarray, " B"] | None = None,
) -> Float[Tensor, "B C size size"]:
    """The images at `slots` of `stack` (all of them where None), of each what its frame shows (all of it where None), as float32 in [0, 1].

    wanted: those of them that are made at all (all where None); the others' values are whatever the memory held.
    Raises ValueError if the images are not square.
    """
    images = stack if stack.ndim == 4 else stack[..., None]
    count, height, width, channels = images.shape
    if height != width:
        raise ValueError(f"images of {height}x{width} px where square ones are needed")
    chosen = np.arange(count) if slots is None else slots
    shown = [Frame(0, 0, height)] * len(chosen) if frames is None else frames
    made = np.ones(len(chosen), np.bool_) if wanted is None else wanted
    result = np.empty((len(chosen), channels, size, size), np.float32)
    lines = np.ascontiguousarray(images).reshape(count, height, width * channels)
    for place in np.flatnonzero(made).tolist():
        frame = shown[place]
        taps, weights = _taps(frame.side, size)
        across, weights_across = (taps[::-1], weights[::-1]) if frame.mirrored else (taps, weights)
        part = lines[chosen[place], frame.top : frame.top + frame.side, frame.left * channels : (frame.left + frame.side) * channels]
        _resample(part, taps, weights / np.float32(255), across, weights_across, result[place])
    return torch.from_numpy(result)


@lru_cache(maxsize=256)
def _taps(side: int, size: int) -> tuple[UInt32[np.ndarray, "size T"], Float32[np.ndarray, "size T"]]:
    """Along one axis: the source pixels that each of `size` pixels is made of, and their weights."""
    places = np.arange(size)
    if side > size:
        first, end = places * side // size, -(-(places + 1) * side // size)
        offsets = np.arange((end - first).max())
        counts = (end - first)[:, None]
        return np.minimum(first[:, None] + offsets, side - 1).astype(np.uint32), ((offsets < counts) / counts).astype(np.float32)
    centres = np.maximum((places + 0.5) * side / size - 0.5, 0.0)
    below = centres.astype(np.uint32)
    above = np.minimum(below + 1, side - 1).astype(np.uint32)
    share = centres - below
    return np.stack([below, above], axis=1), np.stack([1 - share, share], axis=1).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _resample(  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    lines, down, weights_down, across, weights_across, result,
):
    channels, size = result.shape[0], result.shape[1]
    mixed = np.empty(lines.shape[1], np.float32)  # of the source's lines that make up one line of the result
    for row in range(size):
        for tap in range(down.shape[1]):
            weight, line = weights_down[row, tap], lines[down[row, tap]]
            if tap == 0:
                for index in range(len(mixed)):
                    mixed[index] = weight * line[index]
            else:
                for index in range(len(mixed)):
                    mixed[index] += weight * line[index]
        for channel in range(channels):
            for column in range(size):
                total = np.float32(0)
                for tap in range(across.shape[1]):
                    total += weights_across[column, tap] * mixed[across[column, tap] * np.uint32(channels) + np.uint32(channel)]
                result[channel, row, column] = total
