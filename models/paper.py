"""The published harmonizer and its two networks, at its sizes.

Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from models.backbone import ResNet50, check_width
from models.harmonizer import TwoNetConfig, TwoNetHarmonizer

PAPER_WIDTH, PAPER_GRID = 32, 16


@dataclass(frozen=True)
class PaperConfig(TwoNetConfig):
    """The shape of a harmonizer of the published kind."""

    architecture: ClassVar[str] = "paper"

    width: int  # channels of the shading network's first layer

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        if self.size not in (256, 512) or self.grid != PAPER_GRID:
            raise ValueError(f"size is {self.size} and grid {self.grid}; architecture 'paper' has size 256 or 512 and grid {PAPER_GRID}")

    def build(self) -> TwoNetHarmonizer:
        channels = 7 if self.plate else 4
        shading_net = PaperShadingNet(channels + 3, self.width, self.size, published=self.published)
        return TwoNetHarmonizer(self, PaperCurveNet(channels, self.num_knots), shading_net)


@dataclass(frozen=True)
class PublishedConfig(PaperConfig):
    """The same with the conventions of the authors' checkpoint; see `models.published`."""

    architecture: ClassVar[str] = "published"
    published: ClassVar[bool] = True


def paper_config(*, size: int = 512, plate: bool = True) -> PaperConfig:
    """The published model: with a plate 93,235,073 parameters at work.

    The published count, 93,641,314, holds 406,241 more, of decoder levels that no output depends on; they are not built here.
    """
    return PaperConfig(
        size=size, plate=plate, num_knots=32, grid=PAPER_GRID, shading="darken", shading_limit=0.5, edit="both", width=PAPER_WIDTH
    )


class PaperCurveNet(nn.Module):
    """ResNet-50, average, 3 x K sigmoids: no identity to start from, as published. 23,717,280 parameters with 7 channels and 32 knots."""

    def __init__(self, in_channels: int, num_knots: int) -> None:
        super().__init__()
        self.encoder = ResNet50(in_channels)
        self.head = nn.Linear(self.encoder.out_channels, 3 * num_knots)

    def forward(
        self, known: Float[Tensor, "B C H W"], composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 K"]:
        del composite, mask
        curves: Tensor = self.head(self.encoder(known).mean(dim=(2, 3))).float().sigmoid()
        return curves.view(len(curves), 3, -1)


class PaperShadingNet(nn.Module):
    """The published shading network: down to one place, up again to 16 x 16, one convolution to a logit. 69,517,793 parameters with 10
    channels.

    512 -> 128 -> 32 -> 16 -> 4 -> 2 -> 1 -> 2 -> 4 -> 16. Departure: the last convolution comes before the upsampling to the image, not
    after, which keeps the low-frequency constraint and costs a quarter; a 256-px model halves where a 512-px one quarters, as the
    published option does.
    """

    def __init__(self, in_channels: int, width: int, size: int, *, published: bool) -> None:
        super().__init__()
        self.published = published
        widths = [width * 2**level for level in range(7)]
        strides = (4 if size == 512 else 2, 4, 2, 4, 2, 2)
        self.first = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(fine, coarse, 4, stride=stride, padding=1, bias=False), nn.BatchNorm2d(coarse))
            for fine, coarse, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, fine, 3, padding=1, bias=False), nn.BatchNorm2d(fine))
            for coarse, fine in pairwise(widths[:2:-1])
        )
        self.head = nn.Conv2d(widths[3], 1, 3, padding=1)

    def forward(
        self, known: Float[Tensor, "B C H W"], toned: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 1 G G"]:
        del toned, mask
        levels = [relu(self.first(known))]
        for layer in self.down:
            levels.append(relu(layer(levels[-1])))
        features = levels.pop()
        for layer in self.up:
            across = levels.pop()
            features = interpolate(features, size=across.shape[-2:], mode="bilinear", align_corners=False)
            features = relu(layer(features)) + across
        if self.published:
            features = interpolate(features, size=known.shape[-2:], mode="bicubic", align_corners=False)
        logits: Tensor = self.head(features)
        return logits
