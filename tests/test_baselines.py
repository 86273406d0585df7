"""Witnesses of tasks.evaluation.baselines: scikit-image's Lab, the statistics that each one promises, and what none may touch."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from tasks.color.transfer import lab_from_rgb
from tasks.evaluation.baselines import BASELINES, lab_shift, monge_kantorovich, reinhard
from tasks.evaluation.metrics import score_pair


@pytest.fixture(scope="module")
def example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A composite whose foreground is darker and bluer than its photograph, a hard mask, and the photograph."""
    rng = np.random.default_rng(1)
    photograph = np.clip(rng.normal(130, 22, (60, 70, 3)) + rng.normal(0, 8, (60, 70, 1)), 30, 225).astype(np.uint8)
    mask = np.zeros((60, 70), np.uint8)
    mask[15:45, 20:50] = 255
    composite = photograph.copy()
    composite[mask > 0] = np.rint(photograph[mask > 0] * [0.7, 0.8, 1.05]).astype(np.uint8)
    return composite, mask, photograph


@pytest.mark.parametrize("name", BASELINES)
def test_the_background_is_bit_exact(name: str, example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    soft = mask.copy()
    soft[14, 20:50] = 90
    before = composite.copy()
    result = BASELINES[name](composite, soft)
    assert result.dtype == np.uint8
    assert np.array_equal(result[soft == 0], composite[soft == 0])
    assert np.array_equal(composite, before)
    assert np.array_equal(result, BASELINES[name](composite, soft))


def test_doing_nothing_changes_nothing(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    assert np.array_equal(BASELINES["composite"](composite, mask), composite)


def test_reinhard_gives_the_foreground_the_backgrounds_statistics(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    result = reinhard(composite, mask)
    inside, outside = (lab_from_rgb(result[region].astype(np.float32)) for region in (mask > 0, mask == 0))
    assert inside.mean(axis=0) == pytest.approx(outside.mean(axis=0), abs=2e-3)
    assert inside.std(axis=0) == pytest.approx(outside.std(axis=0), rel=0.02)


def test_monge_kantorovich_gives_the_foreground_the_backgrounds_covariance(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    result = monge_kantorovich(composite, mask)
    assert result[mask > 0].mean(axis=0) == pytest.approx(result[mask == 0].mean(axis=0), abs=0.3)
    assert np.cov(result[mask > 0].T) == pytest.approx(np.cov(result[mask == 0].T), rel=0.05, abs=5.0)


def test_lab_shift_equals_scikit_image(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    lab = rgb2lab(composite)
    moved = lab + 0.5 * (lab[mask == 0].mean(axis=0) - lab[mask > 0].mean(axis=0))
    wanted = np.where(mask[..., None] > 0, lab2rgb(moved) * 255, composite)
    assert np.abs(lab_shift(composite, mask) - wanted).max() < 0.75


def test_lab_shift_halves_the_distance_between_the_means(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example

    def gap(image: np.ndarray) -> np.ndarray:
        lab = rgb2lab(image)
        return np.asarray(lab[mask > 0].mean(axis=0) - lab[mask == 0].mean(axis=0))

    assert gap(lab_shift(composite, mask)) == pytest.approx(0.5 * gap(composite), abs=0.1)


def test_each_helps_where_a_cast_is_all_that_is_wrong(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, photograph = example
    untouched = score_pair(composite, photograph, mask).fmse
    for name in ("reinhard", "lab_shift", "monge_kantorovich"):
        assert score_pair(BASELINES[name](composite, mask), photograph, mask).fmse < 0.6 * untouched, name


@pytest.mark.parametrize("name", BASELINES)
def test_too_few_pixels_for_statistics_change_nothing(name: str, example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    for region in (slice(3, 5), slice(0, 60)):  # hardly any foreground; no background
        tiny = np.zeros_like(mask)
        tiny[region, : 4 if region.stop == 5 else None] = 255
        assert np.array_equal(BASELINES[name](composite, tiny), composite)


@pytest.mark.parametrize("name", ["reinhard", "lab_shift", "monge_kantorovich"])
@pytest.mark.usefixtures("unguarded")
def test_a_mask_of_another_size_is_refused(name: str, example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    composite, mask, _ = example
    with pytest.raises(ValueError, match="the mask is"):
        BASELINES[name](composite, mask[:-1])
