import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.shading import apply_shading, check_shading_limit, shading_map


def logits(grid: int, *, scale: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return scale * torch.randn(2, 1, grid, grid, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0, 100), seed=st.integers(0, 1000))
def test_gains_stay_in_the_range_whatever_the_logits(scale: float, seed: int) -> None:
    darker = shading_map(logits(6, scale=scale, seed=seed), 20, 30, mode="darken", limit=0.5)
    either = shading_map(logits(6, scale=scale, seed=seed), 20, 30, mode="symmetric", limit=1.5)
    assert darker.shape == either.shape == (2, 1, 20, 30)
    assert 0.5 - 1e-6 <= darker.min() <= darker.max() <= 1 + 1e-6
    assert 1 / 1.5 - 1e-6 <= either.min() <= either.max() <= 1.5 + 1e-6


@pytest.mark.parametrize(("height", "width"), [(20, 30), (128, 128), (301, 7), (3, 5)])
def test_the_grid_is_interpolated_as_torch_does_bicubic(height: int, width: int) -> None:
    grid = logits(8, seed=3)
    smooth = torch.nn.functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
    found = shading_map(grid, height, width, mode="symmetric", limit=1.6)
    torch.testing.assert_close(found, torch.exp(torch.tanh(smooth) * math.log(1.6)), atol=1e-5, rtol=0)


def test_the_map_is_float32_under_autocast() -> None:
    grid = logits(8, seed=3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = shading_map(grid, 32, 32, mode="symmetric", limit=1.6)
    torch.testing.assert_close(inside, shading_map(grid, 32, 32, mode="symmetric", limit=1.6), atol=1e-6, rtol=0)


def test_zero_logits_are_exactly_no_change_in_the_symmetric_range() -> None:
    assert torch.equal(shading_map(torch.zeros(1, 1, 8, 8), 17, 23, mode="symmetric", limit=1.6), torch.ones(1, 1, 17, 23))


def test_both_ranges_are_reached() -> None:
    ends = [(1, "darken", 0.6, 1.0), (-1, "darken", 0.6, 0.6), (1, "symmetric", 1.5, 1.5), (-1, "symmetric", 1.5, 1 / 1.5)]
    for sign, mode, limit, reached in ends:
        gains = shading_map(torch.full((1, 1, 4, 4), 30.0 * sign), 5, 5, mode=mode, limit=limit)
        torch.testing.assert_close(gains, torch.full_like(gains, reached))


def test_opposite_logits_undo_each_other_in_the_symmetric_range() -> None:
    there, back = (shading_map(sign * logits(5), 16, 16, mode="symmetric", limit=1.8) for sign in (1, -1))
    torch.testing.assert_close(there * back, torch.ones_like(there))


@pytest.mark.parametrize("mode", ["darken", "symmetric"])
def test_the_map_holds_no_frequencies_above_the_grids(mode: str) -> None:
    grid, size = 8, 128
    limit = 0.5 if mode == "darken" else 1.6
    gains = shading_map(logits(grid, scale=1.0), size, size, mode=mode, limit=limit)
    # Mirrored, so that the jump from one border to the other is no frequency of the map's.
    mirrored = torch.cat([gains, gains.flip(2)], dim=2)
    mirrored = torch.cat([mirrored, mirrored.flip(3)], dim=3) - gains.mean(dim=(2, 3), keepdim=True)
    energy = torch.fft.fft2(mirrored).abs().square()
    frequency = torch.fft.fftfreq(2 * size, d=1 / size).abs()
    above = torch.maximum(frequency[:, None], frequency[None, :]) > grid
    share = (energy * above).sum() / energy.sum()
    assert share < 0.01
    # A guard that cannot fail guards nothing: the same energy as pixel noise is nearly all above.
    noise = torch.fft.fft2(torch.randn(2 * size, 2 * size, generator=torch.Generator().manual_seed(0))).abs().square()
    assert (noise * above).sum() / noise.sum() > 0.9


def test_the_map_of_a_larger_image_shows_the_same_shading() -> None:
    small = shading_map(logits(8, scale=0.4), 64, 64, mode="symmetric", limit=1.5)
    large = shading_map(logits(8, scale=0.4), 256, 256, mode="symmetric", limit=1.5)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (shrunk - small).abs().max() < 2 / 255


@pytest.mark.parametrize(("mode", "limit"), [("darken", 0.5), ("symmetric", 1.6)])
def test_gradients_are_exact(mode: str, limit: float) -> None:
    values = logits(3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: shading_map(x, 5, 4, mode=mode, limit=limit), values)


def test_shading_multiplies_and_cuts_at_white() -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    shaded = apply_shading(image, torch.full((1, 1, 1, 1), 1.5))
    torch.testing.assert_close(shaded.flatten(), torch.tensor([0.3, 0.75, 1.0]))


@pytest.mark.parametrize(("mode", "limit", "message"), [
    ("darken", 1.0, "shading_limit is 1;.*between 0 and 1"),
    ("symmetric", 0.9, "shading_limit is 0.9;.*more than 1"),
    ("brighten", 1.5, "shading is 'brighten'"),
])  # fmt: skip
def test_a_limit_that_does_not_fit_is_named(mode: str, limit: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_shading_limit(mode, limit)
