import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.lut import apply_lut, fuse_luts, identity_lut, lut_monotonicity, lut_smoothness, smooth_noise


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def direct_lookup(color: list[float], lut: torch.Tensor) -> torch.Tensor:
    """One colour through one table, corner by corner."""
    dim = lut.shape[-1]
    places = [value * (dim - 1) for value in color]
    lower = [min(int(place), dim - 2) for place in places]
    result = torch.zeros(3, dtype=lut.dtype)
    for corner in itertools.product((0, 1), repeat=3):
        weight = 1.0
        for place, low, up in zip(places, lower, corner, strict=True):
            weight *= (place - low) if up else 1 - (place - low)
        red, green, blue = (low + up for low, up in zip(lower, corner, strict=True))
        result += weight * lut[:, red, green, blue]
    return result


@settings(deadline=None, max_examples=10)
@given(dim=st.integers(2, 33), seed=st.integers(0, 100))
def test_the_identity_table_leaves_colours_unchanged(dim: int, seed: int) -> None:
    image = draw(2, 3, 5, 6, seed=seed)
    luts = identity_lut(dim).expand(2, -1, -1, -1, -1)
    torch.testing.assert_close(apply_lut(image, luts), image, atol=1e-6, rtol=0)


def test_lookup_equals_eight_corners_summed_by_hand() -> None:
    image, luts = draw(2, 3, 4, 5, dtype=torch.float64), draw(2, 3, 6, 6, 6, seed=1, dtype=torch.float64)
    result = apply_lut(image, luts)
    for index, row, column in itertools.product(range(2), range(4), range(5)):
        expected = direct_lookup(image[index, :, row, column].tolist(), luts[index])
        torch.testing.assert_close(result[index, :, row, column], expected)


def test_convention_axes_are_red_green_blue() -> None:
    luts = identity_lut(5).unsqueeze(0).clone()
    luts[:, :, 4, 0, 0] = torch.tensor([0.1, 0.2, 0.3])  # the node of pure red
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(apply_lut(red, luts).flatten(), torch.tensor([0.1, 0.2, 0.3]))


def test_convention_nodes_are_corner_aligned() -> None:
    """Half-pixel sampling of the same 17 nodes is off by 7.5 grey levels at the ends."""
    black = torch.zeros(1, 3, 1, 1)
    assert apply_lut(black, identity_lut(17).unsqueeze(0)).abs().max() == 0


def test_colours_outside_the_range_take_the_borders() -> None:
    luts = draw(1, 3, 4, 4, 4)
    outside, border = (torch.tensor(color).view(1, 3, 1, 1) for color in ([-1.0, 2.0, 0.5], [0.0, 1.0, 0.5]))
    torch.testing.assert_close(apply_lut(outside, luts), apply_lut(border, luts))


def test_gradients_are_exact() -> None:
    cells = torch.randint(0, 3, (1, 3, 2, 2), generator=torch.Generator().manual_seed(0)).double()
    image = ((cells + 0.2 + 0.6 * draw(1, 3, 2, 2, dtype=torch.float64)) / 3).requires_grad_()
    luts = draw(1, 3, 4, 4, 4, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(apply_lut, (image, luts))


def test_fusing_is_a_weighted_sum_and_commutes_with_lookup() -> None:
    basis, weights = draw(3, 3, 4, 4, 4), draw(2, 3, seed=1)
    fused = fuse_luts(weights, basis)
    expected = sum(weights[0, index] * basis[index] for index in range(3))
    torch.testing.assert_close(fused[0], expected)
    image = draw(2, 3, 3, 3, seed=2)
    separate = sum(weights[:, i, None, None, None] * apply_lut(image, basis[i].expand(2, -1, -1, -1, -1)) for i in range(3))
    torch.testing.assert_close(apply_lut(image, fused), separate)


def test_one_hot_weights_pick_a_table() -> None:
    basis = draw(3, 3, 4, 4, 4)
    torch.testing.assert_close(fuse_luts(torch.eye(3), basis), basis)


def test_smoothness_of_the_identity_has_its_closed_form() -> None:
    for dim in (3, 9, 17):
        expected = (1 + 2 / (dim - 1)) / (dim - 1) ** 2
        assert lut_smoothness(identity_lut(dim).unsqueeze(0)).item() == pytest.approx(expected, rel=1e-5)
    assert lut_smoothness(torch.full((2, 3, 5, 5, 5), 0.7)) == 0


def test_smoothness_rises_with_noise() -> None:
    smooth = identity_lut(9).unsqueeze(0)
    assert lut_smoothness(smooth + 0.5 * draw(1, 3, 9, 9, 9)) > 2 * lut_smoothness(smooth)


@pytest.mark.parametrize("cross_channel", [True, False])
def test_monotonicity_is_zero_for_rising_tables_and_counts_falls(cross_channel: bool) -> None:
    identity = identity_lut(5).unsqueeze(0)
    assert lut_monotonicity(identity, cross_channel=cross_channel) == 0
    falling = lut_monotonicity(1 - identity, cross_channel=cross_channel).item()
    # Each of the three axes falls by 1/4 per step, for one of the three channels.
    assert falling == pytest.approx(3 * 0.25 * (1 / 3 if cross_channel else 1))


def test_saturation_falls_across_channels_only() -> None:
    grey = identity_lut(5).mean(dim=0, keepdim=True)
    saturated = (grey + 1.5 * (identity_lut(5) - grey)).unsqueeze(0)
    assert lut_monotonicity(saturated, cross_channel=True) > 0
    assert lut_monotonicity(saturated, cross_channel=False) == 0


def test_smooth_noise_has_its_scale_zero_mean_and_no_fine_detail() -> None:
    torch.manual_seed(0)
    noise = smooth_noise(20, 17, scale=0.1)
    assert noise.shape == (20, 3, 17, 17, 17)
    assert noise.mean(dim=0).abs().max() < 1e-6
    assert 0.03 < noise.std() < 0.11
    assert noise.diff(dim=2).diff(dim=2)[:, :, ::4].abs().max() < 1e-6  # linear between its 5 nodes


def test_a_table_of_one_node_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 nodes"):
        identity_lut(1)
