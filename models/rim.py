"""What the outline of a mask tells: where it runs through one surface, the colours on its two sides differ by the edit that is sought.

Masks are drawn: many cut through a sky, a road, a lawn, or leave a rim of the object outside. There the step across the outline is the
composite's own error, seen directly; where the outline follows a real edge it is not, and a network has to tell the two apart.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, silu

NUM_SCALES = 3  # of the neighbourhoods on both sides: 3, 6 and 14 px
NUM_RIM_FEATURES = NUM_SCALES * 15 + 1
NUM_POINTS = 256  # of the outline that are looked at
MIN_CLOSENESS = 0.2  # of 1 for a point on the outline itself, 0 where one side alone is near
EPSILON = 1e-4


def rim_features(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> tuple[Float[Tensor, "B P F"], Float[Tensor, "B P"]]:
    """The colours on both sides of the mask's outline at `NUM_POINTS` points nearest to it, and each point's closeness in [0, 1].

    Per scale: mean colour inside, outside, their difference, the deviations inside and outside; then the closeness, 0 for points that fill
    up a short outline. image: sRGB-encoded in [0, 1]; H and W even. float32 whatever the autocast, since variances are differences.
    """
    with torch.autocast(image.device.type, enabled=False):
        image, mask = image.float(), mask.float()
        outside = 1 - mask
        sums = torch.cat([image * mask, image.square() * mask, mask, image * outside, image.square() * outside, outside], dim=1)
        halved = avg_pool2d(sums, 2)
        pooled = [
            avg_pool2d(sums, 3, stride=2, padding=1, count_include_pad=False),
            avg_pool2d(halved, 3, stride=1, padding=1, count_include_pad=False),
            avg_pool2d(halved, 7, stride=1, padding=3, count_include_pad=False),
        ]
        closeness = 4 * pooled[0][:, 6] * pooled[0][:, 13]
        closeness = closeness * (closeness > MIN_CLOSENESS)
        features = torch.cat([*(_sides(scale) for scale in pooled), closeness.unsqueeze(1)], dim=1).flatten(2).transpose(1, 2)
        nearest, places = closeness.flatten(1).topk(min(NUM_POINTS, closeness[0].numel()), dim=1)
        return features.gather(1, places.unsqueeze(2).expand(-1, -1, features.shape[2])), nearest


def _sides(sums: Float[Tensor, "B 14 h w"]) -> Float[Tensor, "B 15 h w"]:
    inside, inside_spread = _moments(sums[:, :7])
    outside, outside_spread = _moments(sums[:, 7:])
    return torch.cat([inside, outside, 3 * (inside - outside), 3 * inside_spread, 3 * outside_spread], dim=1)


def _moments(sums: Float[Tensor, "B 7 h w"]) -> tuple[Tensor, Tensor]:
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
        features, closeness = rim_features(image, mask)
        points = silu(self.read(features) + self.context(context).unsqueeze(1))
        points = silu(self.judge(points))
        shares = (self.attend(points) + torch.log(closeness + 1e-6).unsqueeze(2)).softmax(dim=1)
        pooled = torch.einsum("bph,bpc->bhc", shares, points).flatten(1)
        return pooled * (closeness.sum(dim=1, keepdim=True) > 0)
