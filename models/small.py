"""The small harmonizer and its two networks, for two cores and hundreds to thousands of photographs (ours)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from models.backbone import GROUP, NUM_DESCRIBED, PatchifyEncoder, check_width, describe, group_norm, masked_mean, shrunk, zeroed
from models.curves import identity_curves, scaled_cosines
from models.harmonizer import TwoNetConfig, TwoNetHarmonizer
from models.rim import RimEncoder

RIM_HEADS = 4
DARKEN_BIAS = 4.0  # of the darkening map's logits at the start: 98 % of the way to no change, yet with a gradient


@dataclass(frozen=True)
class SmallConfig(TwoNetConfig):
    """The shape of a small harmonizer."""

    architecture: ClassVar[str] = "small"

    width: int  # channels of the first layer
    encode_curves: bool  # whether curves are told from features too, or from colour statistics alone
    read_rim: bool  # whether curves are told from both sides of the mask's outline too
    encoder_size: int  # px: encoders see the input averaged down to it; statistics and rim are read at `size`

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        if min(self.size, self.encoder_size) < 32 or self.size % 2:
            raise ValueError(f"size is {self.size} and encoder_size {self.encoder_size}; they must be at least 32, and size even")

    def build(self) -> TwoNetHarmonizer:
        channels = 7 if self.plate else 4
        curve_net = SmallCurveNet(
            channels, self.width, self.num_knots, encode=self.encode_curves, encoder_size=self.encoder_size, read_rim=self.read_rim
        )
        bias = DARKEN_BIAS if self.shading == "darken" else 0.0
        shading_net = SmallShadingNet(channels + 3, self.width, self.grid, encoder_size=self.encoder_size, bias=bias)
        return TwoNetHarmonizer(self, curve_net, shading_net)

    @property
    def strength_fault(self) -> str:
        return "" if self.shading == "symmetric" else f"shading is {self.shading!r}; architecture 'small' takes a strength with 'symmetric'"

    def with_strength(self, model: Any, strength: float) -> TwoNetHarmonizer:
        """It is in the weights and the config: the curves' head is linear, and a gain is a power of `shading_limit`."""
        if self.strength_fault:
            raise ValueError(self.strength_fault)
        copy = replace(self, shading_limit=self.shading_limit**strength).build()
        copy.load_state_dict(model.state_dict())
        if isinstance(copy.curve_net, SmallCurveNet):
            with torch.no_grad():
                for weights in copy.curve_net.head.parameters():
                    weights.mul_(strength)
        return copy


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


def to_grid(logits: Float[Tensor, "B 1 h w"], grid: int) -> Float[Tensor, "B 1 {grid} {grid}"]:
    """`logits` on `grid` x `grid` cells: averaged down, or interpolated up."""
    if logits.shape[-1] >= grid:
        return interpolate(logits, size=(grid, grid), mode="area")
    return interpolate(logits, size=(grid, grid), mode="bilinear", align_corners=False)
