"""Laws of other light and tones; the reference is the same arithmetic by torch, without tables."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.tones import Tones, apply_tones, draw_tones

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(3).random((6, 3, 24, 32), np.float32)


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    masks = np.zeros((6, 1, 24, 32), np.float32)
    masks[..., 4:20, 4:20] = 1
    masks[..., 4:20, 20] = 0.25
    return masks


def _by_torch(images: np.ndarray, tones: Tones) -> Tensor:
    image = torch.from_numpy(images).clamp_min(1e-4)
    gamma, gain, contrast, saturation, angle, slope = (torch.from_numpy(values)[..., None, None] for values in vars(tones).values())
    result = (image**gamma * gain - 0.45) * contrast + 0.45
    luma = (result * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    result = luma + (result - luma) * saturation
    rows, columns = torch.linspace(-1, 1, image.shape[2]).view(-1, 1), torch.linspace(-1, 1, image.shape[3])
    return (result * torch.exp(slope * (rows * torch.sin(angle) + columns * torch.cos(angle)))).clamp(0, 1)


def _draw(count: int = 6, seed: int = 0, **options: float) -> Tones:
    return draw_tones(count, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("seed", range(8))
def test_the_kernel_is_the_formula_to_a_small_part_of_a_grey_level(images: np.ndarray, seed: int) -> None:
    tones = _draw(seed=seed)
    difference = (torch.from_numpy(apply_tones(images, tones)) - _by_torch(images, tones)).abs()
    assert difference.mean() < 0.1 * LEVEL
    assert difference[:, :, (torch.from_numpy(images) > 0.05).all(dim=1).all(dim=0)].max() < LEVEL  # the table is coarse near black


def test_inside_masks_it_is_a_mixture_and_outside_them_nothing_changes(images: np.ndarray, masks: np.ndarray) -> None:
    tones = _draw()
    inside, everywhere = apply_tones(images, tones, masks), apply_tones(images, tones)
    np.testing.assert_allclose(inside, images + masks * (everywhere - images), atol=1e-6)
    outside = np.broadcast_to(masks == 0, images.shape)
    np.testing.assert_array_equal(inside[outside], images[outside])


def test_strength_zero_changes_nothing_but_the_table_s_rounding(images: np.ndarray) -> None:
    assert np.abs(apply_tones(images, _draw(strength=0.0)) - images).max() < 0.15 * LEVEL


def test_tones_are_drawn_by_the_seed_and_images_take_each_their_own(images: np.ndarray) -> None:
    tones = _draw()
    whole = apply_tones(images, tones)
    np.testing.assert_array_equal(apply_tones(images, _draw()), whole)
    assert not np.array_equal(apply_tones(images, _draw(seed=1)), whole)
    np.testing.assert_array_equal(apply_tones(images[2:4], tones[2:4]), whole[2:4])


def test_how_far_tones_are_drawn() -> None:
    tones = _draw(100_000)
    moments = {name: (values.mean(), values.std()) for name, values in vars(tones).items()}
    # of exp(normal) with the deviations of a common and a channel's own part, cut at 2.5 of each
    expected = {
        "gamma": (1.067, 0.397), "gain": (1.020, 0.205), "contrast": (1.016, 0.182), "saturation": (1.031, 0.258),
        "angle": (np.pi, 2 * np.pi / np.sqrt(12)), "slope": (0.8 / 6, 0.2309),
    }
    for name, values in expected.items():
        assert moments[name] == pytest.approx(values, rel=0.02), name
    assert (tones.slope > 0).mean() == pytest.approx(1 / 3, abs=0.01)
    assert np.corrcoef(np.log(tones.gamma).T)[0, 1] == pytest.approx(0.35**2 / (0.35**2 + 0.11**2), abs=0.01)


def test_strength_scales_the_logarithms() -> None:
    whole, half = _draw(1000), _draw(1000, strength=0.5)
    for name in ("gamma", "gain", "contrast", "saturation"):
        np.testing.assert_allclose(getattr(half, name), np.sqrt(getattr(whole, name)), rtol=1e-5)
    np.testing.assert_allclose(half.slope, whole.slope / 2, rtol=1e-5)


def test_a_gradient_lights_one_side(images: np.ndarray) -> None:
    still = {name: np.ones_like(values) for name, values in vars(_draw()).items()}
    tones = dataclasses.replace(Tones(**still), angle=np.zeros((6, 1), np.float32), slope=np.full((6, 1), 0.5, np.float32))
    grey = np.full_like(images, 0.4)
    across = apply_tones(grey, tones)[:, :, 0]
    np.testing.assert_allclose(across[..., -1], 0.4 * np.exp(0.5), rtol=1e-3)
    np.testing.assert_allclose(across[..., 0], 0.4 * np.exp(-0.5), rtol=1e-3)
    assert (np.diff(across, axis=-1) > 0).all()
