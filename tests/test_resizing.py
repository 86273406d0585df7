"""Witnesses of models.resizing: the tool's own filter (OpenCV), block means, and what a network is asked for."""

import numpy as np
import pytest
import torch

from attune.shrinking import shrink_area
from models.resizing import area_weights, squash_area


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 50), (100, 120), (20, 90), (16, 8)])
def test_training_and_use_shrink_pictures_alike(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    np.testing.assert_allclose(squash_area(image, 32)[0].permute(1, 2, 0).numpy(), shrink_area(picture, 32), atol=2e-6)


def test_whole_ratios_are_block_means_and_every_row_sums_to_1() -> None:
    image = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(squash_area(image, 32), image.unflatten(3, (32, 2)).unflatten(2, (32, 3)).mean(dim=(3, 5)))
    for length in (7, 32, 33, 500):
        torch.testing.assert_close(area_weights(length, 32, like=image).sum(dim=1), torch.ones(32))


def test_an_image_of_the_wanted_size_is_itself() -> None:
    image = torch.rand(1, 3, 32, 32)
    assert squash_area(image, 32) is image
