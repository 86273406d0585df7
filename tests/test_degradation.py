"""Pictures made worse: composite and target alike, colours as they were, and nothing where nothing is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.training.degradation import Degradation, degrade, draw_degradation

COUNT, SIZE = 24, 48


@pytest.fixture
def images() -> np.ndarray:
    """Patches of one colour each, so that a blur changes their edges alone, away from black and white."""
    colors = np.random.default_rng(5).uniform(0.3, 0.7, (COUNT, 3, 4, 4)).astype(np.float32)
    return colors.repeat(SIZE // 4, 2).repeat(SIZE // 4, 3)


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.zeros((COUNT, 1, SIZE, SIZE), np.float32)
    masks[..., 12:36, 12:36] = 1
    return masks


def _drawn(share: float, seed: int = 0) -> Degradation:
    return draw_degradation(share, COUNT, np.random.default_rng(seed))


def _degraded(images: np.ndarray, masks: np.ndarray, degradation: Degradation) -> np.ndarray:
    result = images.copy()
    degrade(result, masks, degradation)
    return result


def _only(**what: float) -> Degradation:
    """One kind of degradation, of every sample."""
    none = {"softness": 0.0, "region_noise": 0.0, "scale": 1.0, "noise": 0.0, "quality": 0}
    drawn = _drawn(1.0)
    return replace(drawn, **{name: np.full_like(getattr(drawn, name), value) for name, value in {**none, **what}.items()})


def test_equal_images_stay_equal_so_that_photographs_still_need_no_change(images: np.ndarray, masks: np.ndarray) -> None:
    degradation = _drawn(1.0)
    np.testing.assert_array_equal(_degraded(images, masks, degradation), _degraded(images, masks, degradation))


def test_a_share_of_none_leaves_every_bit(images: np.ndarray, masks: np.ndarray) -> None:
    np.testing.assert_array_equal(_degraded(images, masks, _drawn(0.0)), images)


def test_a_share_of_half_degrades_about_half(images: np.ndarray, masks: np.ndarray) -> None:
    degradation = _drawn(0.5)
    changed = (_degraded(images, masks, degradation) != images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, degradation.degraded)
    assert COUNT / 4 < changed.sum() < COUNT * 3 / 4


def test_other_seeds_degrade_otherwise(images: np.ndarray, masks: np.ndarray) -> None:
    assert not np.array_equal(_degraded(images, masks, _drawn(1.0, 1)), _degraded(images, masks, _drawn(1.0, 2)))


def test_results_are_whole_grey_levels(images: np.ndarray, masks: np.ndarray) -> None:
    levels = _degraded(images, masks, _drawn(1.0)) * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert levels.min() >= 0
    assert levels.max() <= 255


@pytest.mark.parametrize("what", [
    {"softness": 1.5}, {"region_noise": 6.0}, {"scale": 0.4}, {"noise": 6.0}, {"quality": 50},
    {"softness": 1.5, "region_noise": 6.0, "scale": 0.4, "noise": 6.0, "quality": 50},
])
def test_colours_stay_on_average(images: np.ndarray, masks: np.ndarray, what: dict[str, float]) -> None:
    degraded = _degraded(images, masks, _only(**what))
    assert np.abs(degraded.mean(axis=(2, 3)) - images.mean(axis=(2, 3))).max() < 2 / 255


@pytest.mark.parametrize("what", [{"softness": 1.5}, {"region_noise": 6.0}])
def test_a_regions_degradation_stays_in_that_region(images: np.ndarray, masks: np.ndarray, what: dict[str, float]) -> None:
    degradation = _only(**what)
    changed = np.abs(_degraded(images, masks, degradation) - images).max(axis=1) > 0.6 / 255  # more than rounding
    inside = masks[:, 0] > 0
    region = np.where(degradation.in_front[:, None, None], inside, ~inside)
    assert not (changed & ~region).any()
    assert all((changed & region).any(axis=(1, 2)))


def test_noise_is_as_strong_as_was_drawn(images: np.ndarray, masks: np.ndarray) -> None:
    noise = (_degraded(images, masks, _only(noise=5.0)) - images) * 255
    assert noise.std() == pytest.approx(5.0, rel=0.03)
