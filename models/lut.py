"""3D look-up tables: colour to colour, by interpolation between nodes.

A table is indexed `lut[channel, red, green, blue]`, node i at input `i / (D - 1)`: corner-aligned, so that the identity is exact.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, relu


def identity_lut(dim: int) -> Float[Tensor, "3 D D D"]:
    """The table with `dim` nodes a side that leaves colours unchanged. Raises ValueError if dim < 2."""
    if dim < 2:
        raise ValueError(f"a lookup table needs at least 2 nodes per side, not {dim}")
    axis = torch.linspace(0, 1, dim)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))


def apply_lut(image: Float[Tensor, "B 3 H W"], luts: Float[Tensor, "B 3 D D D"]) -> Float[Tensor, "B 3 H W"]:
    """Pass each image through its own table, trilinearly.

    image: sRGB-encoded in [0, 1]; values outside take the border's. The result is in the range of the tables' values: not clamped.
    Differentiable in both arguments. Convention: corner-aligned (see the module's head).
    Source: Zeng et al., "Learning Image-adaptive 3D Lookup Tables", TPAMI 2020.
    """
    # grid_sample reads a point as (x, y, z) = (last axis, middle, first), hence (blue, green, red).
    points = (image.flip(1) * 2 - 1).permute(0, 2, 3, 1).unsqueeze(1)
    return grid_sample(luts, points.to(luts.dtype), mode="bilinear", padding_mode="border", align_corners=True).squeeze(2)


def fuse_luts(weights: Float[Tensor, "B L"], basis: Float[Tensor, "L 3 D D D"]) -> Float[Tensor, "B 3 D D D"]:
    """One table per row of `weights`: the basis tables' weighted sum."""
    return torch.einsum("bl,lcrgy->bcrgy", weights, basis)


def smooth_noise(count: int, dim: int, *, scale: float, nodes: int = 5) -> Float[Tensor, "count 3 D D D"]:
    """Zero-mean random offsets for `count` tables: normal with deviation `scale` on `nodes` nodes a side, interpolated to `dim`.

    Drawn from torch's default generator, as all initialisation is.
    """
    coarse = scale * torch.randn(count, 3, nodes, nodes, nodes)
    coarse = coarse - coarse.mean(dim=0, keepdim=True) if count > 1 else coarse
    return interpolate(coarse, size=(dim, dim, dim), mode="trilinear", align_corners=True)


def lut_smoothness(luts: Float[Tensor, "L 3 D D D"]) -> Float[Tensor, ""]:
    """Mean squared step between neighbouring nodes, summed over the three axes; steps at the border count twice, as in the source.

    The identity with D nodes has `(1 + 2 / (D - 1)) / (D - 1) ** 2`: not zero, so weigh it lightly. Source: Zeng et al., TPAMI 2020.
    """
    total = luts.new_zeros(())
    for axis in (2, 3, 4):
        steps = luts.diff(dim=axis).square()
        count = steps.shape[axis]
        twice = steps.narrow(axis, 0, 1).sum() + steps.narrow(axis, count - 1, 1).sum()
        total = total + (steps.sum() + twice) / steps.numel()
    return total


def lut_monotonicity(luts: Float[Tensor, "L 3 D D D"], *, cross_channel: bool = True) -> Float[Tensor, ""]:
    """Mean fall between neighbouring nodes, summed over the three axes; 0 where nothing ever falls.

    cross_channel: as in the source, no output may fall as any input rises. That also resists saturation, which lowers one channel as
    another rises; False looks at each output along its own input only. Source: Zeng et al., TPAMI 2020.
    """
    total = luts.new_zeros(())
    for channel, axis in enumerate((2, 3, 4)):
        falls = relu(-luts.diff(dim=axis))
        total = total + (falls if cross_channel else falls[:, channel]).mean()
    return total
