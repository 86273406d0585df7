import math

import pytest
import torch

from models.backbone import NUM_BINS, NUM_STATISTICS, PatchifyEncoder, ResNet50, masked_mean, region_statistics


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_pyramid_halves_and_widens() -> None:
    encoder = PatchifyEncoder(4, 8)
    levels = encoder(draw(2, 4, 64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [(8, 16, 24), (16, 8, 12), (32, 4, 6), (64, 2, 3)]
    assert encoder.channels == (8, 16, 32, 64)


def test_an_image_is_encoded_alone_as_in_a_batch() -> None:
    encoder = PatchifyEncoder(3, 8)
    images = draw(3, 3, 64, 64)
    for together, alone in zip(encoder(images), encoder(images[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "parameters"), [(3, 23_508_032), (7, 23_520_576)])
def test_resnet_50_has_its_published_size(channels: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(ResNet50(channels)) == parameters


def test_resnet_50_ends_at_one_thirty_second_with_fan_out_weights() -> None:
    torch.manual_seed(0)
    network = ResNet50(4)
    with torch.no_grad():
        assert network.eval()(draw(1, 4, 64, 64)).shape == (1, 2048, 2, 2)
    weight = network.layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.02)


def test_masked_mean_sees_its_region_only() -> None:
    features = torch.cat([torch.full((1, 2, 8, 4), 3.0), torch.full((1, 2, 8, 4), 5.0)], dim=3)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    torch.testing.assert_close(masked_mean(features, mask), torch.full((1, 2), 3.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(masked_mean(features, 1 - mask), torch.full((1, 2), 5.0), atol=1e-3, rtol=0)


def test_statistics_of_a_flat_region_are_its_colour() -> None:
    image = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 16, 16).clone()
    image[..., 8:] = 0.9
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    found = region_statistics(image, mask)[0, 0]
    luma = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    mean = torch.tensor([0.2, 0.4, 0.6, math.log2(luma + 0.05) / 4, -0.2, -0.3])
    assert found.shape == (NUM_STATISTICS,)
    torch.testing.assert_close(found[:6], mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[6:12], torch.full((6,), 1e-3), atol=2e-3, rtol=0)


def test_statistics_equal_torchs_over_a_whole_image() -> None:
    image = draw(2, 3, 32, 32)
    found = region_statistics(image, torch.ones(2, 1, 32, 32))[:, 0]
    read = image[:, :, ::2, ::2].flatten(2)
    torch.testing.assert_close(found[:, :3], read.mean(dim=2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, 6:9], read.std(dim=2, unbiased=False), atol=1e-4, rtol=0)


def test_histograms_are_shares_and_follow_the_colours() -> None:
    histogram = region_statistics(draw(1, 3, 32, 32), torch.ones(1, 1, 32, 32))[0, 0, 12:].view(3, NUM_BINS)
    torch.testing.assert_close(histogram.sum(dim=1), torch.ones(3), atol=1e-4, rtol=0)
    dark = region_statistics(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32))[0, 0, 12:].view(3, NUM_BINS)
    torch.testing.assert_close(dark[:, 0], torch.ones(3), atol=1e-4, rtol=0)


def test_statistics_forget_where_the_pixels_were() -> None:
    image = draw(1, 3, 16, 16).repeat_interleave(2, 2).repeat_interleave(2, 3)
    whole = torch.ones(1, 1, 32, 32)
    torch.testing.assert_close(region_statistics(image, whole), region_statistics(image.flip(2, 3), whole), atol=1e-5, rtol=0)


def test_an_empty_region_has_finite_statistics_and_gradients() -> None:
    image = draw(1, 3, 16, 16).requires_grad_()
    found = region_statistics(image, torch.zeros(1, 1, 16, 16))
    found.sum().backward()
    assert found.abs().max() < 0.01
    assert image.grad is not None
    assert image.grad.isfinite().all()
