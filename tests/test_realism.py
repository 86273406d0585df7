from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tasks.compositing import Box, Contact, Placement, clean_plate, cut_object, paste
from tasks.realism import border_features, probe_auc


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = np.clip(120 + cv2.GaussianBlur(rng.normal(0, 60, (64, 64, 1)), (0, 0), 0.8)[..., None] * np.ones(3), 0, 255)
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, tuple(int(value) for value in rng.integers(26, 38, 2)), int(rng.integers(12, 18)), 255, -1)
    image[mask > 0] *= 0.7
    return image.round().astype(np.uint8), mask


def features(make: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], seeds: range) -> np.ndarray:
    return np.array([border_features(*make(*scene(seed))) for seed in seeds])


def untouched(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, mask


def repasted(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    plate = cv2.GaussianBlur(image, (0, 0), 2.0)
    plate = np.where(mask[..., None] > 0, plate, clean_plate(image, mask, method="telea", margin=3))
    box = Box(*(int(side) for side in (*np.argwhere(mask > 0).min(axis=0)[::-1], *(np.argwhere(mask > 0).max(axis=0)[::-1] + 1))))
    return paste(plate, cut_object(image, mask, placement=Placement(box, box, Contact()), choke=1.0, feather_sigma=1.0))


def test_the_probe_is_blind_to_equal_classes_and_sees_pasting() -> None:
    plain, pasted = features(untouched, range(80)), features(repasted, range(80))
    others, other_pasted = features(untouched, range(100, 160)), features(repasted, range(100, 160))
    half = plain[::2], plain[1::2]
    assert probe_auc((plain, pasted), (others, other_pasted), seed=0) > 0.9
    assert probe_auc(half, (others[::2], others[1::2]), seed=0) < 0.72  # 30 against 30: chance is 0.5 +- 0.08, of two tries the better


def test_the_features_ignore_contrast_and_smooth_fields() -> None:
    image, mask = scene(3)
    ramp = np.linspace(-20, 20, 64)[None, :, None]
    changed = np.clip(image * 0.8 + 20 + ramp, 0, 255).round().astype(np.uint8)
    before, after = border_features(image, mask), border_features(changed, mask)
    np.testing.assert_allclose(before, after, atol=0.12)


def test_the_features_are_those_of_grey_whatever_the_colour() -> None:
    image, mask = scene(4)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert border_features(image, mask) == pytest.approx(border_features(np.stack([grey] * 3, axis=2), mask), abs=0.02)
