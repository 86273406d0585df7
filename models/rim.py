"""What the outline of a mask tells: where it runs through one surface, the colours on its two sides differ by the edit that is sought.

Masks are drawn: many cut through a sky, a road, a lawn, or leave a rim of the object outside. There the step across the outline is the
composite's own error, seen directly; where the outline follows a real edge it is not, and a network has to tell the two apart.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, silu

NUM_SCALES = 3  # of the neighbourhoods on both sides: 3, 6 and 14 px
CELLS_WIDE = (3, 7)  # the two larger ones, in cells of 2 px
NUM_RIM_FEATURES = NUM_SCALES * 15 + 1
NUM_POINTS = 256  # of the outline that are looked at
MIN_CLOSENESS = 0.2  # of 1 for a point on the outline itself, 0 where one side alone is near
CLOSENESS_STEPS = 1024  # from 0 to 1; no mask of 0 and 1 is half-way between two
EPSILON = 1e-4


def rim_features(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> tuple[Float[Tensor, "B P F"], Float[Tensor, "B P"]]:
    """The colours on both sides of the mask's outline at `NUM_POINTS` points nearest to it, and each point's closeness in [0, 1].

    Per scale: mean colour inside, outside, their difference, the deviations inside and outside; then the closeness, 0 for points that fill
    up a short outline. image: sRGB-encoded in [0, 1]; H and W even. float32 whatever the autocast, since variances are differences.
    """
    with torch.autocast(image.device.type, enabled=False):
        image, mask = image.float().contiguous(), mask.float().contiguous()
        values = torch.cat([image, image.square(), torch.ones_like(mask)], dim=1)
        pooled = neighbourhoods(torch.cat([values * mask, values * (1 - mask)], dim=1))
        closeness = (4 * pooled[0][:, 6] * pooled[0][:, 13]).flatten(1)
        places = nearest_points(closeness, min(NUM_POINTS, closeness.shape[1]))
        nearest = (closeness * (closeness > MIN_CLOSENESS)).gather(1, places)
        places = places.unsqueeze(1).expand(-1, pooled[0].shape[1], -1)
        sides = [_sides(scale.flatten(2).gather(2, places)) for scale in pooled]
        return torch.cat([*sides, nearest.unsqueeze(1)], dim=1).transpose(1, 2), nearest


def nearest_points(closeness: Float[Tensor, "B N"], count: int) -> Int[Tensor, "B {count}"]:
    """The places of the `count` nearest points, equally near ones in the order of their places.

    Points along a straight outline are equally near but for rounding: which are taken must not depend on who computes it, so nearness is
    told in whole steps.
    """
    steps = (closeness * CLOSENESS_STEPS).round().to(torch.int32) * closeness.shape[1]
    return (steps - torch.arange(closeness.shape[1], device=closeness.device, dtype=torch.int32)).topk(count, dim=1).indices


def neighbourhoods(values: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B C H/2 W/2"]]:
    """The means of `values` over squares of 3, 6 and 14 px around every second pixel; of what lies inside the image, at its edge.

    Torch on a CPU: in a fifth of the time of three poolings. ONNX Runtime: poolings, in an eighth of the time of sums of shifted images.
    """
    square_sums = pooled_sums if torch.compiler.is_exporting() else shifted_sums
    sums, counts = square_sums(values), square_sums(torch.ones_like(values[:1, :1]))
    return [total / count for total, count in zip(sums, counts, strict=True)]


def pooled_sums(values: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B C H/2 W/2"]]:
    """The sums of `values` over those squares, nothing beyond the edge, by average poolings."""
    cells = 4 * avg_pool2d(values, 2)
    small = 9 * avg_pool2d(values, 3, stride=2, padding=1)
    return [small, *(width**2 * avg_pool2d(cells, width, stride=1, padding=width // 2) for width in CELLS_WIDE)]


def shifted_sums(values: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B C H/2 W/2"]]:
    """The same: squares are summed along columns, then along rows, and share their parts."""
    upper, lower = values[..., 0::2, :], values[..., 1::2, :]
    two = upper + lower
    three = two + pad(lower[..., :-1, :], (0, 0, 1, 0))
    small = three[..., 0::2] + three[..., 1::2] + pad(three[..., 1:-1:2], (1, 0))
    cells = two[..., 0::2] + two[..., 1::2]
    return [small, *(_summed(_summed(cells, width, -2), width, -1) for width in CELLS_WIDE)]


def _summed(values: Tensor, width: int, dim: int) -> Tensor:
    """The sums over `width` neighbours along `dim`, nothing beyond the edge."""
    count, beyond = values.shape[dim], width // 2
    padded = pad(values, (beyond, beyond) if dim == -1 else (0, 0, beyond, beyond))
    sums = padded.narrow(dim, 0, count).clone()
    for shift in range(1, width):
        sums += padded.narrow(dim, shift, count)
    return sums


def _sides(sums: Float[Tensor, "B 14 P"]) -> Float[Tensor, "B 15 P"]:
    inside, inside_spread = _moments(sums[:, :7])
    outside, outside_spread = _moments(sums[:, 7:])
    return torch.cat([inside, outside, 3 * (inside - outside), 3 * inside_spread, 3 * outside_spread], dim=1)


def _moments(sums: Float[Tensor, "B 7 P"]) -> tuple[Tensor, Tensor]:
    mean = sums[:, :3] / (sums[:, 6:] + EPSILON)
    variance = sums[:, 3:6] / (sums[:, 6:] + EPSILON) - mean.square()
    return mean, (variance.clamp_min(0) + 1e-5).sqrt()


class RimEncoder(nn.Module):
    """The whole outline as one description: each point judged by a small network that knows the image's colours, pooled by attention."""

    def __init__(self, num_context: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.read = nn.Linear(NUM_RIM_FEATURES, width)
        self.context = nn.Linear(num_context, width)
        self.judge = nn.Linear(width, width)
        self.attend = nn.Linear(width, num_heads)
        self.out_features = width * num_heads

    def forward(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], context: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B D"]:
        """`out_features` numbers; 0 where the mask has no outline."""
        return self.pooled(*rim_features(image, mask), context)

    def pooled(
        self, features: Float[Tensor, "B P F"], closeness: Float[Tensor, "B P"], context: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B D"]:
        """The same of an outline that `rim_features` has described already."""
        points = silu(self.read(features) + self.context(context).unsqueeze(1))
        points = silu(self.judge(points))
        shares = (self.attend(points) + torch.log(closeness + 1e-6).unsqueeze(2)).softmax(dim=1)
        pooled = torch.einsum("bph,bpc->bhc", shares, points).flatten(1)
        return pooled * (closeness.sum(dim=1, keepdim=True) > 0)
