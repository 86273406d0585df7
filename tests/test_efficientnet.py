"""Pretrained features: the folded network against the layers that it was folded from."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from models.efficientnet import BLOCKS, FEATURE_CHANNELS, NORM_EPSILON, EfficientNetLite0Features, SameConv, folded_weights


def test_features_lie_at_strides_4_8_and_16():
    levels = EfficientNetLite0Features()(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [(2, 24, 16, 24), (2, 40, 8, 12), (2, 112, 4, 6)]
    assert FEATURE_CHANNELS == (24, 40, 112)


@pytest.mark.parametrize(("kernel", "stride", "before", "after"), [(3, 1, 1, 1), (5, 1, 2, 2), (3, 2, 0, 1), (5, 2, 1, 2)])
def test_padding_is_tensorflows_same(kernel, stride, before, after):
    layer, values = SameConv(2, 3, kernel, stride=stride), torch.rand(1, 2, 8, 8)
    wanted = conv2d(pad(values, (before, after, before, after)), layer.weight, layer.bias, stride=stride)
    torch.testing.assert_close(layer(values), wanted)
    assert layer(values).shape[-1] == -(-8 // stride)


def test_folded_weights_do_what_convolution_and_batch_norm_did():
    published = published_weights()
    network = EfficientNetLite0Features().double().eval()
    network.load_state_dict(folded_weights(published))
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        folded, unfolded = network(image), unfolded_features(published, image)
    for ours, theirs in zip(folded, unfolded, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_state_dict_of_another_network_is_refused_by_the_first_name_it_lacks():
    published = published_weights()
    del published["_blocks.3._bn1.running_var"]
    with pytest.raises(ValueError, match=r"_blocks\.3\._bn1\.running_var"):
        folded_weights(published)


def published_weights() -> dict[str, torch.Tensor]:
    """A state dict in the port's names, random, with statistics as wild as real ones."""
    weights: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(1)

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        weights[f"{conv}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5 / shape[2]
        for part, low, high in (("weight", 0.5, 2.0), ("bias", -1.0, 1.0), ("running_mean", -1.0, 1.0), ("running_var", 0.05, 3.0)):
            weights[f"{norm}.{part}"] = low + (high - low) * torch.rand(shape[0], generator=generator)

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    channels = 32
    for number, (kernel, _, expansion, out_channels, _) in enumerate(BLOCKS):
        name, wide = f"_blocks.{number}.", channels * expansion
        if expansion > 1:
            add(name + "_expand_conv", name + "_bn0", (wide, channels, 1, 1))
        add(name + "_depthwise_conv", name + "_bn1", (wide, 1, kernel, kernel))
        add(name + "_project_conv", name + "_bn2", (out_channels, wide, 1, 1))
        channels = out_channels
    return weights


def unfolded_features(published: dict[str, torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """The witness: convolutions and torch's own batch norm, one after the other, in float64."""
    def layer(values: torch.Tensor, conv: str, norm: str, *, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = published[f"{conv}.weight"].double()
        total = weight.shape[-1] - stride
        edges = (total // 2, total - total // 2) if stride > 1 else (weight.shape[-1] // 2,) * 2
        values = conv2d(pad(values, (*edges, *edges)), weight, stride=stride, groups=groups)
        batch_norm = nn.BatchNorm2d(len(weight), eps=NORM_EPSILON).double().eval()
        batch_norm.load_state_dict({
            part: published[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        } | {"num_batches_tracked": torch.tensor(0)})
        return batch_norm(values)

    values = layer((image * 255 - 127) / 128, "_conv_stem", "_bn0", stride=2).clamp(0, 6)
    levels = []
    for number, (_, stride, expansion, out_channels, is_feature) in enumerate(BLOCKS):
        name, before = f"_blocks.{number}.", values
        if expansion > 1:
            values = layer(values, name + "_expand_conv", name + "_bn0").clamp(0, 6)
        values = layer(values, name + "_depthwise_conv", name + "_bn1", stride=stride, groups=values.shape[1]).clamp(0, 6)
        values = layer(values, name + "_project_conv", name + "_bn2")
        if stride == 1 and before.shape[1] == out_channels:
            values = values + before
        if is_feature:
            levels.append(values)
    return levels
