"""The first five stages of EfficientNet-Lite0 with its batch norms folded into the convolutions: features of photographs, pretrained.

Weights are not drawn here but read from elsewhere: `folded_weights` takes those of the usual PyTorch port, trained on ImageNet.
Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; "Lite" leaves out squeeze and
excitation and takes ReLU6 for swish (TensorFlow's model garden, 2020).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

# Kernel, stride, expansion, output channels of each block, and whether its output is one of the features.
BLOCKS = (
    (3, 1, 1, 16, False),
    (3, 2, 6, 24, False), (3, 1, 6, 24, True),
    (5, 2, 6, 40, False), (5, 1, 6, 40, True),
    (3, 2, 6, 80, False), (3, 1, 6, 80, False), (3, 1, 6, 80, False),
    (5, 1, 6, 112, False), (5, 1, 6, 112, False), (5, 1, 6, 112, True),
)
STEM_CHANNELS = 32
FEATURE_CHANNELS = (24, 40, 112)  # at strides 4, 8 and 16
FEATURE_STRIDES = (4, 8, 16)
NORM_EPSILON = 1e-3
MIDDLE, SCALE = 127.0, 128.0  # of 8-bit values: what the network was trained on


class EfficientNetLite0Features(nn.Module):
    """Feature maps of an image at strides 4, 8 and 16, `FEATURE_CHANNELS` of them; 693,904 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        channels, blocks = STEM_CHANNELS, []
        for kernel, stride, expansion, out_channels, _ in BLOCKS:
            blocks.append(InvertedBottleneck(channels, out_channels, kernel, stride=stride, expansion=expansion))
            channels = out_channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """image: sRGB-encoded in [0, 1]; H and W multiples of 16. Finest first."""
        values = self.stem((image * 255.0 - MIDDLE) / SCALE).clamp(0, 6)
        levels = []
        for block, (*_, is_feature) in zip(self.blocks, BLOCKS, strict=True):
            values = block(values)
            if is_feature:
                levels.append(values)
        return levels


class InvertedBottleneck(nn.Module):
    """Widen by 1 x 1, filter each channel, narrow by 1 x 1; added to the input where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self.project = nn.Conv2d(wide, out_channels, 1)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, values: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D _h _w"]:
        wide = values if self.expand is None else self.expand(values).clamp(0, 6)
        narrow: Tensor = self.project(self.depthwise(wide).clamp(0, 6))
        return values + narrow if self.adds else narrow


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "same" does for even sizes: with stride 2 one pixel more at the bottom and right."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=0 if stride > 1 else kernel // 2, groups=groups)
        self.before, self.after = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2

    def forward(self, values: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D _h _w"]:
        if self.stride[0] > 1:
            values = pad(values, (self.before, self.after, self.before, self.after))
        return super().forward(values)


def folded_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `EfficientNetLite0Features` from a state dict of the port that names its layers `_conv_stem`, `_bn0`, `_blocks.0...`.

    Raises ValueError naming the first tensor that is missing.
    """
    weights = _folded(published, "_conv_stem", "_bn0", "stem")
    for number, (_, _, expansion, _, _) in enumerate(BLOCKS):
        theirs, ours = f"_blocks.{number}.", f"blocks.{number}."
        if expansion > 1:
            weights |= _folded(published, theirs + "_expand_conv", theirs + "_bn0", ours + "expand")
        weights |= _folded(published, theirs + "_depthwise_conv", theirs + "_bn1", ours + "depthwise")
        weights |= _folded(published, theirs + "_project_conv", theirs + "_bn2", ours + "project")
    return weights


def _folded(published: Mapping[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    names = [f"{conv}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))]
    for wanted in names:
        if wanted not in published:
            raise ValueError(f"the published weights have no {wanted}: they are not EfficientNet-Lite0's")
    kernel, gain, bias, mean, variance = (published[wanted].double() for wanted in names)
    gain = gain / torch.sqrt(variance + NORM_EPSILON)
    return {f"{name}.weight": (kernel * gain[:, None, None, None]).float(), f"{name}.bias": (bias - mean * gain).float()}
