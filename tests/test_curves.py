import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample

from models.curves import apply_curves, identity_curves


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def separable_grid_sample(image: torch.Tensor, curves: torch.Tensor, *, align_corners: bool) -> torch.Tensor:
    """The published formulation: curves broadcast to a K x K x K table, sampled trilinearly."""
    batch, _, knots = curves.shape
    table = torch.stack(
        [
            curves[:, 0].view(batch, 1, 1, knots).expand(batch, knots, knots, knots),
            curves[:, 1].view(batch, 1, knots, 1).expand(batch, knots, knots, knots),
            curves[:, 2].view(batch, knots, 1, 1).expand(batch, knots, knots, knots),
        ],
        dim=1,
    )
    points = (image * 2 - 1).permute(0, 2, 3, 1).unsqueeze(1)
    return grid_sample(table, points, padding_mode="border", align_corners=align_corners).squeeze(2)


@settings(deadline=None, max_examples=20)
@given(knots=st.integers(2, 40), seed=st.integers(0, 1000))
def test_identity_curves_leave_the_image_unchanged(knots: int, seed: int) -> None:
    image = images(1, 3, 7, 5, seed=seed)
    torch.testing.assert_close(apply_curves(image, identity_curves(knots, like=image)), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("half_pixel", [False, True])
def test_curves_equal_the_published_table_lookup(half_pixel: bool) -> None:
    image, curves = images(2, 3, 16, 12), images(2, 3, 11, seed=1)
    expected = separable_grid_sample(image, curves, align_corners=not half_pixel)
    torch.testing.assert_close(apply_curves(image, curves, half_pixel=half_pixel), expected, atol=1e-6, rtol=0)


def test_convention_knots_stand_at_both_ends() -> None:
    curves = images(1, 3, 5, seed=2)
    image = torch.linspace(0, 1, 5).expand(1, 3, 1, 5).contiguous()
    torch.testing.assert_close(apply_curves(image, curves), curves.unsqueeze(2))
    assert not torch.allclose(apply_curves(image, curves, half_pixel=True), curves.unsqueeze(2), atol=1e-3)


def test_published_convention_misses_the_identity_by_half_a_knot_at_the_ends() -> None:
    image = torch.linspace(0, 1, 1025).expand(1, 3, 1, 1025).contiguous()
    error = (apply_curves(image, identity_curves(32, like=image), half_pixel=True) - image).abs().max()
    assert error.item() == pytest.approx(1 / 64, abs=1e-3)


def test_values_outside_the_range_take_the_end_knots() -> None:
    curves = images(1, 3, 4, seed=3)
    image = torch.tensor([-0.5, 1.5]).expand(1, 3, 1, 2).contiguous()
    torch.testing.assert_close(apply_curves(image, curves)[:, :, 0], curves[:, :, [0, -1]])


@pytest.mark.parametrize("half_pixel", [False, True])
def test_gradients_are_exact(half_pixel: bool) -> None:
    # Points well inside the segments: the curve has no derivative at a knot.
    segment = torch.randint(1, 4, (1, 3, 3, 2), generator=torch.Generator().manual_seed(0)).double()
    image = (segment + 0.2 + 0.6 * images(1, 3, 3, 2, dtype=torch.float64)) / (6 if half_pixel else 5)
    image = image + (0.5 / 6 if half_pixel else 0)
    curves = images(1, 3, 6, seed=1, dtype=torch.float64)
    function = lambda image, curves: apply_curves(image, curves, half_pixel=half_pixel)  # noqa: E731
    assert torch.autograd.gradcheck(function, (image.requires_grad_(), curves.requires_grad_()))


def test_every_channel_and_every_image_has_its_own_curve() -> None:
    image = torch.full((2, 3, 1, 1), 0.5)
    curves = torch.arange(6.0).view(2, 3, 1).expand(2, 3, 3).contiguous()
    assert apply_curves(image, curves).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_one_knot_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 knots, not 1"):
        apply_curves(images(1, 3, 2, 2), torch.zeros(1, 3, 1))
