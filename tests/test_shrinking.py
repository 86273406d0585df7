"""Witnesses of attune.shrinking: block means, a closed form for broken ratios, the halvings' error, and what is refused."""

import numpy as np
import pytest

from attune.shrinking import HALVED_TO, halved, in_eight_bits, shrink_area


def area_matrix(length: int, size: int) -> np.ndarray:
    """Row i: how much of each of `length` pixels lies in the i-th of `size` equal parts."""
    edges, pixels = np.arange(size + 1) * length / size, np.arange(length)
    overlap = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    return overlap.clip(0) * size / length


@pytest.mark.parametrize(("height", "width"), [(64, 32), (61, 50), (100, 127)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_convention_a_pixel_is_the_mean_over_the_area_that_it_covers(height: int, width: int, dtype: type) -> None:
    white = np.iinfo(dtype).max
    picture = np.random.default_rng(0).integers(0, white + 1, (height, width, 3)).astype(dtype)
    wanted = np.einsum("ih,jw,hwc->ijc", area_matrix(height, 32), area_matrix(width, 32), picture / white)
    np.testing.assert_allclose(shrink_area(picture, 32), wanted, atol=2e-6)
    np.testing.assert_allclose(shrink_area(picture[..., 0], 32), wanted[..., 0], atol=2e-6)


def test_large_pictures_are_halved_first_and_stay_within_a_level() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (512, 1024, 3)).astype(np.uint8)
    apart = 255 * shrink_area(picture, 32) - picture.reshape(32, 16, 32, 32, 3).mean(axis=(1, 3))
    assert np.abs(apart).max() < 1
    assert abs(apart.mean()) < 0.5
    small = halved(picture[:511, :1023], 32)
    assert 2 * 32 <= min(small.shape[:2]) < HALVED_TO * 32
    assert np.array_equal(shrink_area(small, 32), shrink_area(picture[:511, :1023], 32))


def test_a_picture_of_the_networks_size_is_only_divided() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    assert np.array_equal(shrink_area(picture, 32), picture.astype(np.float32) / np.float32(255))


def test_a_short_axis_is_stretched_linearly() -> None:
    ramp = np.linspace(0, 255, 8).round().astype(np.uint8)[None].repeat(64, axis=0)
    found = shrink_area(ramp, 32)[5] * 255
    assert (np.diff(found) >= -1e-4).all()
    assert (found[0], found[-1]) == (0, 255)


def test_eight_bits_are_rounded() -> None:
    assert in_eight_bits(np.array([0, 128, 129, 65535], np.uint16)).tolist() == [0, 0, 1, 255]


@pytest.mark.usefixtures("unguarded")
def test_other_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels are float64; they must be uint8 or uint16"):
        shrink_area(np.zeros((4, 4)), 2)  # type: ignore[arg-type]
