"""Encoders and colour statistics: from images to features. Nothing here knows what the features are for."""

from itertools import pairwise
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu, silu

LUMA = (0.299, 0.587, 0.114)  # Rec. 601, of sRGB-encoded values
NUM_BINS = 8  # of the soft histograms
NUM_STATISTICS = 2 * 6 + 3 * NUM_BINS  # of one region
NUM_DESCRIBED = 2 * NUM_STATISTICS + 1  # of an image and its mask
GROUP = 8  # channels per group of a group norm

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class PatchifyEncoder(nn.Module):
    """Feature maps at 1/4, 1/8, 1/16 and 1/32 of the input, with `channels` channels each.

    Dense convolutions, and none at full resolution: few bytes moved per multiplication, which a CPU and a GPU both want (channels_last).
    No normalisation: it would divide away how bright and how tinted an image is, which is what a harmonizer must see (on held-out
    photographs the fMSE left over fell from 0.655 to 0.62 of the composites' without it).
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 8 * width)
        stem = nn.Conv2d(in_channels, width, 4, stride=4)
        halvings = [nn.Conv2d(fine, coarse, 4, stride=2, padding=1) for fine, coarse in pairwise(self.channels)]
        self.stages = nn.ModuleList([stem, *halvings])

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Feature maps, finest first. H and W: at least 32."""
        levels: list[Tensor] = []
        for stage in self.stages:
            levels.append(silu(stage(levels[-1] if levels else image)))
        return levels


class ResNet50(nn.Module):
    """The last feature map of a ResNet-50, 2048 channels at 1/32, for any number of input channels.

    Batch norm; Kaiming initialisation by fan-out; no pretrained weights. 23,520,576 parameters with 7 input channels.
    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    out_channels = 2048

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _bottlenecks(64, 64, count=3, stride=1)
        self.layer2 = _bottlenecks(256, 128, count=4, stride=2)
        self.layer3 = _bottlenecks(512, 256, count=6, stride=2)
        self.layer4 = _bottlenecks(1024, 512, count=3, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 2048 h w"]:
        features = relu(self.bn1(self.conv1(image)))
        features = nn.functional.max_pool2d(features, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
        return features


class Bottleneck(nn.Module):
    """Narrow to `width`, 3 x 3 there, widen to four times `width`; added to the input."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D _h _w"]:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = relu(self.bn1(self.conv1(features)))
        features = relu(self.bn2(self.conv2(features)))
        return relu(self.bn3(self.conv3(features)) + shortcut)


def _bottlenecks(in_channels: int, width: int, *, count: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Bottleneck(in_channels, width, stride), *(Bottleneck(4 * width, width, 1) for _ in range(count - 1)))


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm in groups of 8 channels; `channels` is a multiple of 8."""
    return nn.GroupNorm(channels // GROUP, channels)


def masked_mean(features: Float[Tensor, "B C h w"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C"]:
    """Each map's mean over the region, the mask averaged down to the maps' size; near 0 where the region is empty."""
    weights = interpolate(mask, size=features.shape[-2:], mode="area")
    return (features * weights).sum(dim=(2, 3)) / (weights.sum(dim=(2, 3)) + 1e-3)


def region_statistics(image: Float[Tensor, "B 3 H W"], regions: Float[Tensor, "B R H W"]) -> Float[Tensor, "B R S"]:
    """`NUM_STATISTICS` numbers that tell the colours of each of an image's `regions`, given as masks.

    Of R, G, B, log luma and two opponents the means and the deviations; of R, G and B soft histograms of 8 bins.

    image: sRGB-encoded in [0, 1]. Every other row and column is read: statistics of a region barely change, and cost a quarter. float32
    whatever the autocast, since variances are differences. All are near 0 for an empty region.
    """
    with torch.autocast(image.device.type, enabled=False):
        colors, weights = (stack[:, :, ::2, ::2].float().contiguous().flatten(2) for stack in (image, regions))
        shares = (weights / (weights.sum(dim=2, keepdim=True) + 1e-3)).transpose(1, 2)
        red, green, blue = colors.unbind(1)
        luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        channels = torch.stack([red, green, blue, torch.log2(luma + 0.05) / 4, red - green, 0.5 * (red + green) - blue], dim=1)
        bins = torch.cat([relu(1 - (colors * (NUM_BINS - 1) - centre).abs()) for centre in range(NUM_BINS)], dim=1)
        means = torch.cat([channels, channels.square(), bins], dim=1) @ shares
        mean, square = means[:, :6], means[:, 6:12]
        variance = (square - (2 - shares.sum(dim=1, keepdim=True)) * mean.square()).clamp_min(0)
        histogram = means[:, 12:].unflatten(1, (NUM_BINS, 3)).transpose(1, 2).flatten(1, 2)
        return torch.cat([mean, (variance + 1e-6).sqrt(), histogram], dim=1).transpose(1, 2)


def describe(image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B S"]:
    """The colour statistics of the foreground and of the background, and the foreground's share of the image."""
    statistics = region_statistics(image, torch.cat([mask, 1 - mask], dim=1))
    return torch.cat([statistics.flatten(1), mask.mean(dim=(1, 2, 3)).unsqueeze(1)], dim=1)


def shrunk(image: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C size size"]:
    """`image` averaged down to `size` square; itself where it is no larger."""
    return image if image.shape[-1] <= size else interpolate(image, size=(size, size), mode="area")


def zeroed(layer: Layer, *, bias: float = 0.0) -> Layer:
    """`layer`, made to give `bias` whatever its input."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


def check_width(width: int) -> None:
    """Raise ValueError unless `width` channels can be normalised in groups."""
    if width < GROUP or width % GROUP:
        raise ValueError(f"width is {width}; it must be a multiple of {GROUP}")
