"""A pixel-to-pixel peer after Sofiiuk et al., WACV 2021, that has no edit to show."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.backbone import NUM_DESCRIBED, check_width, describe, group_norm, zeroed
from models.harmonizer import Harmonization, Harmonizer, HarmonizerConfig, blend, known_inputs


@dataclass(frozen=True)
class PixelConfig(HarmonizerConfig):
    """The shape of a pixel-to-pixel harmonizer. It works at the input's resolution: `size` says only what it is trained on."""

    architecture: ClassVar[str] = "pixel"
    is_parametric: ClassVar[bool] = False

    width: int  # channels of the first layer

    def __post_init__(self) -> None:
        check_width(self.width)
        if self.size < 32 or self.size % 2:
            raise ValueError(f"size is {self.size}; it must be even and at least 32")

    def build(self) -> "PixelHarmonizer":
        return PixelHarmonizer(self)


class PixelHarmonizer(Harmonizer):
    """A compact encoder-decoder that paints the foreground anew, blended with the composite by an attention map that it predicts.

    The painting starts as the composite: an untrained model changes nothing.
    """

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width, 2 * config.width, 4 * config.width, 8 * config.width]
        self.first = _unit(nn.Conv2d(7 if config.plate else 4, widths[0], 3, padding=1, bias=False))
        self.down = nn.ModuleList(
            _unit(nn.Conv2d(fine, coarse, 4, stride=2, padding=1, bias=False)) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(
            _unit(nn.Conv2d(coarse + fine, fine, 3, padding=1, bias=False)) for coarse, fine in pairwise(widths[::-1])
        )
        self.context = nn.Linear(NUM_DESCRIBED, widths[-1])
        self.paint = zeroed(nn.Conv2d(widths[0], 3, 3, padding=1))
        self.attention = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Harmonization:
        known = known_inputs(self.config, composite, mask, plate)
        levels = [self.first(torch.cat(known, dim=1) * 2 - 1)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        features = levels.pop() + self.context(describe(composite, mask))[:, :, None, None]
        for layer in self.up:
            across = levels.pop()
            features = interpolate(features, size=across.shape[-2:], mode="bilinear", align_corners=False)
            features = layer(torch.cat([features, across], dim=1))
        painted = (composite + self.paint(features).float()).clamp(0, 1)
        kept = self.attention(features).float().sigmoid()
        behind = known[2] if self.config.plate else composite
        return Harmonization(blend(kept * composite + (1 - kept) * painted, mask, behind))


def _unit(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, group_norm(conv.out_channels), nn.SiLU())
