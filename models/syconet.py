"""SycoNet: from a photograph, a mask and a random code to a plausible synthetic composite, by a mixture of learned lookup tables.

Source: Niu et al., "Deep Image Harmonization with Learnable Augmentation", ICCV 2023. Only its inference code was published: the
reconstruction branch follows the paper's figure and BicycleGAN's residual encoder.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from attune.foreground import FOREGROUND
from models.lut import apply_lut, fuse_luts, identity_lut, smooth_noise

SLOPE = 0.2
BASIS_NOISE = 0.05  # deviation that tells the basis tables apart at the start; equal tables would get equal gradients for ever


@dataclass(frozen=True)
class SycoNetConfig:
    """The shape of a SycoNet. `PAPER` is the published one."""

    size: int  # px, the encoders' input, square
    latent_dim: int
    num_luts: int
    lut_dim: int  # nodes per side
    width: int  # channels of the first layer

    def __post_init__(self) -> None:
        if self.size < 16 or self.size & (self.size - 1):
            raise ValueError(f"syconet.size is {self.size}; it must be a power of two, at least 16")


PAPER = SycoNetConfig(size=256, latent_dim=32, num_luts=20, lut_dim=17, width=64)


class Posterior(NamedTuple):
    """A diagonal normal over latent codes."""

    mean: Float[Tensor, "B Z"]
    log_variance: Float[Tensor, "B Z"]


class SycoNet(nn.Module):
    """Both branches over one generator: `generate` (photograph, mask, code -> table) and `encode` (photograph, mask, composite -> code).

    At paper size 3,299,796 parameters in the generation encoder and 294,780 in the tables, which start near the identity.
    """

    def __init__(self, config: SycoNetConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = ResidualEncoder(4, config.num_luts, config)
        self.posterior = ResidualEncoder(7, 2 * config.latent_dim, config, with_code=False)
        offsets = smooth_noise(config.num_luts, config.lut_dim, scale=BASIS_NOISE)
        self.basis = nn.Parameter(identity_lut(config.lut_dim) + offsets)

    def weigh(
        self, photograph: Float[Tensor, "B 3 h w"], mask: Float[Tensor, "B 1 h w"], code: Float[Tensor, "B Z"]
    ) -> Float[Tensor, "B L"]:
        """The weights of the basis tables: positive, of sum 1."""
        logits: Tensor = self.generator(torch.cat([photograph, mask], dim=1), code)
        return logits.softmax(dim=1)

    def generate(
        self, photograph: Float[Tensor, "B 3 h w"], mask: Float[Tensor, "B 1 h w"], code: Float[Tensor, "B Z"]
    ) -> Float[Tensor, "B 3 D D D"]:
        """One table per photograph and code. photograph, mask: `config.size` square, in [0, 1]; code: drawn from N(0, 1), or `encode`'s."""
        return fuse_luts(self.weigh(photograph, mask, code), self.basis)

    def encode(
        self, photograph: Float[Tensor, "B 3 h w"], mask: Float[Tensor, "B 1 h w"], composite: Float[Tensor, "B 3 h w"]
    ) -> Posterior:
        """Where in code space the table lies that turns `photograph` into `composite`; all `config.size` square, in [0, 1]."""
        mean, log_variance = self.posterior(torch.cat([photograph, mask, composite], dim=1)).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-10, 10))


def recolor_foreground(
    luts: Float[Tensor, "B 3 D D D"], image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 3 H W"]:
    """`image` at any resolution with its foreground passed through `luts`, in [0, 1]; pixels with mask < 0.5 are copied bit for bit."""
    return torch.where(mask >= FOREGROUND, apply_lut(image, luts).clamp(0, 1), image)


def draw_code(posterior: Posterior, generator: torch.Generator | None = None) -> Float[Tensor, "B Z"]:
    """A random code from `posterior`, differentiable in it. The noise is drawn on the CPU: a seed means the same on every device."""
    noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
    return posterior.mean + torch.exp(0.5 * posterior.log_variance) * noise


class ResidualEncoder(nn.Module):
    """Images to a vector: a strided convolution, residual blocks that halve, an average, a linear head.

    With a code, it is tiled over the pixels and joined to the input and to each block's: a code that enters once is easily ignored.
    """

    def __init__(self, in_channels: int, out_features: int, config: SycoNetConfig, *, with_code: bool = True) -> None:
        super().__init__()
        extra = config.latent_dim if with_code else 0
        # Four blocks take the paper's 256 px to 8; smaller inputs get fewer, so that at least 4 x 4 places are left to average.
        num_blocks = min(4, max(1, int(math.log2(config.size)) - 3))
        widths = [config.width * min(block + 1, 4) for block in range(num_blocks + 1)]
        self.first = nn.Conv2d(in_channels + extra, widths[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width + extra, widths[i + 1]) for i, width in enumerate(widths[:-1]))
        self.head = nn.Linear(widths[-1], out_features)

    def forward(self, image: Float[Tensor, "B C h w"], code: Float[Tensor, "B Z"] | None = None) -> Float[Tensor, "B out"]:
        features = self.first(_join(image, code))
        for block in self.blocks:
            features = block(_join(features, code))
        result: Tensor = self.head(leaky_relu(features, SLOPE).mean(dim=(2, 3)))
        return result


class ResidualBlock(nn.Module):
    """Half the resolution, `out_channels` channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(in_channels), nn.LeakyReLU(SLOPE), nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.BatchNorm2d(in_channels), nn.LeakyReLU(SLOPE), nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D _h _w"]:
        result: Tensor = avg_pool2d(self.body(features), 2) + self.shortcut(avg_pool2d(features, 2))
        return result


def _join(features: Tensor, code: Tensor | None) -> Tensor:
    if code is None:
        return features
    tiled = code[:, :, None, None].expand(-1, -1, *features.shape[-2:])
    return torch.cat([features, tiled], dim=1)
