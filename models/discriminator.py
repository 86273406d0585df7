"""A U-Net that says of every pixel whether it looks natural."""

from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

SMALL_STRIDES = (2, 2, 2, 2)
PAPER_STRIDES = (4, 4, 4, 2, 2, 2)  # 512 -> 128 -> 32 -> 8 -> 4 -> 2 -> 1
NUM_SKIPS = 2
SMALL_GAIN = 1.5
SLOPE = 0.2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The shape of a discriminator; `DiscriminatorConfig(size=512, width=16)` is the paper's."""

    size: int  # px, the side of the images it is trained on
    width: int  # channels at full resolution

    @property
    def strides(self) -> tuple[int, ...]:
        """One per level: the paper's chain needs its 512 px; smaller images get four halvings."""
        return PAPER_STRIDES if self.size >= 512 else SMALL_STRIDES

    @property
    def gain(self) -> float:
        """Of each activation. Spectral norm lets signals fade by half per layer: short trainings need them louder."""
        return 1.0 if self.strides == PAPER_STRIDES else SMALL_GAIN


class Discriminator(nn.Module):
    """Logits of "this pixel is natural", at the image's own resolution.

    It sees RGB only: no mask, no background. Channels double at each stride; the two coarsest levels above the bottom are joined across by
    addition, the finer ones are not, so that it judges tones in context rather than the paste's edges. Spectral norm on all convolutions
    but the first and the last. At paper size 17,477,201 parameters.
    Source: Wang et al., CVPR 2023, after Real-ESRGAN's (Wang et al., ICCVW 2021).
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        width, strides = config.width, config.strides
        self.gain = config.gain
        widths = [width * 2**level for level in range(len(strides) + 1)]
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(fine, coarse, 4, stride=stride, padding=1, bias=False))
            for (fine, coarse), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.up = nn.ModuleList(spectral_norm(nn.Conv2d(coarse, fine, 3, padding=1, bias=False)) for coarse, fine in pairwise(widths[::-1]))
        self.smooth = nn.ModuleList(spectral_norm(nn.Conv2d(width, width, 3, padding=1, bias=False)) for _ in range(2))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        """Logits for an image in [0, 1], sRGB-encoded. H and W: at least the product of the strides."""
        levels = [self._activate(self.first(image * 2 - 1))]
        for conv in self.down:
            levels.append(self._activate(conv(levels[-1])))
        features = levels.pop()
        for depth, conv in enumerate(self.up):
            across = levels.pop()
            features = interpolate(features, size=across.shape[-2:], mode="bilinear", align_corners=False)
            features = self._activate(conv(features))
            if depth < NUM_SKIPS:
                features = features + across
        for conv in self.smooth:
            features = self._activate(conv(features))
        logits: Tensor = self.last(features)
        return logits

    def _activate(self, features: Tensor) -> Tensor:
        return leaky_relu(features, SLOPE) * self.gain
