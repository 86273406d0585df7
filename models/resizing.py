"""A picture squashed to a network's size: one filter, "area", as the tool uses it on the way to a released model."""

import torch
from jaxtyping import Float
from torch import Tensor


def squash_area(image: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C {size} {size}"]:
    """`image` at `size` x `size`: each new pixel is the mean over the area that it covers; itself where it is of that size.

    An axis that is shorter than `size` is stretched linearly, pixel centres at half pixels. In float32 whatever the autocast.
    """
    height, width = image.shape[-2:]
    if (height, width) == (size, size):
        return image
    with torch.autocast(image.device.type, enabled=False):
        rows, columns = (area_weights(length, size, like=image.float()) for length in (height, width))
        return (rows @ image.float() @ columns.T).to(image.dtype)


def area_weights(length: int, size: int, *, like: Tensor) -> Float[Tensor, "{size} {length}"]:
    """How much each of `length` pixels counts for each of `size` along one axis, of `like`'s dtype and device; rows sum to 1."""
    pixels, cells = torch.arange(length, dtype=torch.float64), torch.arange(size, dtype=torch.float64)[:, None]
    if length >= size:
        first, last = cells * length / size, (cells + 1) * length / size
        weights = (torch.minimum(pixels + 1, last) - torch.maximum(pixels, first)).clamp(min=0) * size / length
    else:
        centres = ((cells + 0.5) * length / size - 0.5).clamp(0, length - 1)
        weights = (1 - (pixels - centres).abs()).clamp(min=0)
    return weights.to(like)
