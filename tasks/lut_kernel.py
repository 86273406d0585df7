"""The trilinear 3D table on uint8 images, as shard writing needs it: one pass, foreground only, without the GIL."""

import numba
import numpy as np
from jaxtyping import Float32, UInt8

_NEXT = np.uint64(3)  # from a node to the next one in blue
_ONE, _HALF, _ZERO, _PEAK = np.float32(1.0), np.float32(0.5), np.float32(0.0), np.float32(255.0)


def apply_lut_uint8(
    image: UInt8[np.ndarray, "H W 3"], lut: Float32[np.ndarray, "3 D D D"], mask: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """`image` with its foreground passed through `lut`, blended by the mask's level; where the mask is 0 it is copied bit for bit.

    image: sRGB-encoded. lut: values of [0, 1], indexed [channel, red, green, blue], node i at input i / (D - 1) (as `models.lut`);
    interpolated values outside [0, 1] are clipped, then rounded to nearest. mask: 255 is foreground; between 0 and 255 the result is
    `image + mask / 255 * (recoloured - image)`: a soft edge is mixed once, as if a hard composite had been resized with its mask.
    The same bytes on every machine and for any number of callers. Raises ValueError if shapes do not belong together.
    """
    dim = lut.shape[-1]
    if image.shape != (*mask.shape, 3) or lut.shape != (3, dim, dim, dim) or dim < 2:
        raise ValueError(f"image {image.shape}, mask {mask.shape} and table {lut.shape} do not belong together")
    nodes = np.ascontiguousarray(np.moveaxis(lut, 0, 3) * _PEAK)  # the three channels of a node lie together
    position = np.arange(256) * (dim - 1) / 255.0
    below = np.minimum(position.astype(np.uint64), np.uint64(dim - 2))
    fractions = (position - below).astype(np.float32)
    offsets = below * np.array([[3 * dim * dim], [3 * dim], [3]], np.uint64)  # of a level's lower node, by channel
    flat = _interpolate(np.ascontiguousarray(image).reshape(-1, 3), np.ascontiguousarray(mask).reshape(-1), nodes, offsets, fractions)
    return np.asarray(flat.reshape(image.shape))


# Indices are unsigned: signed ones are checked for being negative at each load, which halves the speed. No fastmath: it would let the
# compiler fuse operations where the processor can, and bytes would depend on the machine.
@numba.njit(nogil=True, cache=True)
def _interpolate(pixels, mask, nodes, offsets, fractions):  # type: ignore[no-untyped-def]  # pragma: no cover
    result = np.empty_like(pixels)
    flat = nodes.reshape(-1)
    to_green = np.uint64(3 * nodes.shape[0])
    to_red = to_green * np.uint64(nodes.shape[0])
    for pixel in range(pixels.shape[0]):
        level = mask[pixel]
        red, green, blue = pixels[pixel, 0], pixels[pixel, 1], pixels[pixel, 2]
        if level == 0:
            result[pixel, 0], result[pixel, 1], result[pixel, 2] = red, green, blue
            continue
        along_red, along_green, along_blue = fractions[red], fractions[green], fractions[blue]
        w11 = along_red * along_green
        w10, w01 = along_red - w11, along_green - w11
        w00 = _ONE - along_red - w01
        node = offsets[0, red] + offsets[1, green] + offsets[2, blue]
        for channel in range(3):
            low = w00 * flat[node] + w01 * flat[node + to_green] + w10 * flat[node + to_red] + w11 * flat[node + to_red + to_green]
            upper = node + _NEXT
            high = w00 * flat[upper] + w01 * flat[upper + to_green] + w10 * flat[upper + to_red] + w11 * flat[upper + to_red + to_green]
            value = min(max(low + along_blue * (high - low), _ZERO), _PEAK)
            result[pixel, channel] = np.uint8(value + _HALF)
            node += np.uint64(1)
        if level != 255:
            share = np.float32(level) / _PEAK
            for channel in range(3):
                before = np.float32(pixels[pixel, channel])
                result[pixel, channel] = np.uint8(before + share * (np.float32(result[pixel, channel]) - before) + _HALF)
    return result
