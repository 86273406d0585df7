"""The two networks of the small harmonizer, for two cores and hundreds to thousands of photographs (ours)."""

import math
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from models.backbone import GROUP, NUM_STATISTICS, PatchifyEncoder, group_norm, masked_mean, region_statistics
from models.curves import identity_curves
from models.rim import RimEncoder

NUM_DESCRIBED = 2 * NUM_STATISTICS + 1
RIM_HEADS = 4

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class SmallCurveNet(nn.Module):
    """Curves from three kinds of knowledge: both regions' colour statistics, features pooled over foreground and background apart, and the
    mask's rim.

    Without features (`encode=False`) and rim (`read_rim=False`) from the statistics alone: with a handful of photographs to learn from,
    features come to recognise each of them, and the statistics carry over to new ones better.

    The head gives smooth departures from the identity: coefficients of cosines, the fine ones scaled down. It starts at zero, so that an
    untrained model changes nothing; it sees all channels, since a cast of one is told from the others.
    """

    cosines: Tensor

    def __init__(self, in_channels: int, width: int, num_knots: int, *, encode: bool, encoder_size: int, read_rim: bool) -> None:
        super().__init__()
        self.encoder_size = encoder_size
        self.encoder = PatchifyEncoder(in_channels, width) if encode else None
        self.rim = RimEncoder(NUM_DESCRIBED, width, RIM_HEADS) if read_rim else None
        pooled = 0 if self.encoder is None else 2 * sum(self.encoder.channels[2:])
        known = pooled + NUM_DESCRIBED + (0 if self.rim is None else self.rim.out_features)
        hidden = 8 * width
        self.body = nn.Sequential(nn.Linear(known, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.head = zeroed(nn.Linear(hidden, 3 * num_knots))
        self.register_buffer("cosines", scaled_cosines(num_knots), persistent=False)

    def forward(
        self, known: Float[Tensor, "B C H W"], composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 K"]:
        described = describe(composite, mask)
        levels = [] if self.encoder is None else self.encoder(shrunk(known, self.encoder_size) * 2 - 1)[2:]
        features = [masked_mean(level, region) for level in levels for region in (mask, 1 - mask)]
        features.append(described)
        if self.rim is not None:
            features.append(self.rim(composite, mask, described))
        coefficients = self.head(self.body(torch.cat(features, dim=1))).unflatten(1, (3, -1))
        curves: Tensor = identity_curves(self.cosines.shape[0], like=self.cosines) + coefficients.float() @ self.cosines
        return curves.clamp(0, 1)


class SmallShadingNet(nn.Module):
    """Shading logits from features at 1/16 and 1/32, joined by the toned image's colour statistics. They start at `bias`."""

    def __init__(self, in_channels: int, width: int, grid: int, *, encoder_size: int, bias: float) -> None:
        super().__init__()
        self.grid, self.encoder_size = grid, encoder_size
        self.encoder = PatchifyEncoder(in_channels, max(GROUP, width // 2 // GROUP * GROUP))
        channels = self.encoder.channels[2]
        self.context = nn.Linear(NUM_DESCRIBED, channels)
        self.body = nn.Sequential(
            nn.Conv2d(sum(self.encoder.channels[2:]), channels, 3, padding=1, bias=False), group_norm(channels)
        )
        self.head = zeroed(nn.Conv2d(channels, 1, 3, padding=1), bias=bias)

    def forward(
        self, known: Float[Tensor, "B C H W"], toned: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 1 g g"]:
        *_, middle, coarse = self.encoder(shrunk(known, self.encoder_size) * 2 - 1)
        coarse = interpolate(coarse, size=middle.shape[-2:], mode="bilinear", align_corners=False)
        context = self.context(describe(toned, mask))[:, :, None, None]
        logits: Tensor = self.head(silu(self.body(torch.cat([middle, coarse], dim=1)) + context))
        return to_grid(logits, self.grid)


def describe(image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B S"]:
    """The colour statistics of the foreground and of the background, and the foreground's share of the image."""
    statistics = region_statistics(image, torch.cat([mask, 1 - mask], dim=1))
    return torch.cat([statistics.flatten(1), mask.mean(dim=(1, 2, 3)).unsqueeze(1)], dim=1)


def shrunk(image: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C size size"]:
    """`image` averaged down to `size` square; itself where it is no larger."""
    return image if image.shape[-1] <= size else interpolate(image, size=(size, size), mode="area")


def scaled_cosines(num_knots: int) -> Float[Tensor, "K K"]:
    """The orthogonal cosines over K knots as rows, coarse first, row j scaled by `1 / (1 + j)`: equal steps of the coefficients shift a
    curve before they bend it."""
    knots = (torch.arange(num_knots) + 0.5) / num_knots
    orders = torch.arange(num_knots).unsqueeze(1)
    return torch.cos(math.pi * orders * knots) / (1 + orders)


def to_grid(logits: Float[Tensor, "B 1 h w"], grid: int) -> Float[Tensor, "B 1 {grid} {grid}"]:
    """`logits` on `grid` x `grid` cells: averaged down, or interpolated up."""
    if logits.shape[-1] >= grid:
        return interpolate(logits, size=(grid, grid), mode="area")
    return interpolate(logits, size=(grid, grid), mode="bilinear", align_corners=False)


def zeroed(layer: Layer, *, bias: float = 0.0) -> Layer:
    """`layer`, made to give `bias` whatever its input."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer
