import cv2
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from tasks.mining.gap import (
    HISTOGRAM_BINS,
    appearance,
    difficulty_bins,
    difficulty_edges,
    gap_components,
    gap_size,
    measure_gap,
    region_colours,
    tercile_edges,
)


def stats_of(image: np.ndarray) -> dict:
    return vars(region_colours(image, np.ones(image.shape[:2], bool)))


def test_equal_regions_have_no_gap() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    region = appearance([stats_of(image)], prefix="")
    assert gap_components(region, region).tolist() == [[0.0] * 5]
    assert gap_size(np.zeros((1, 5))).tolist() == [0.0]


def test_the_wasserstein_component_agrees_with_scipy_to_a_bin() -> None:
    rng = np.random.default_rng(1)
    images = [np.clip(rng.normal(mean, 25, (64, 64, 1)), 0, 255).astype(np.uint8) * np.ones(3, np.uint8) for mean in (90, 140)]
    first, second = (appearance([stats_of(image)], prefix="") for image in images)
    lightness = [cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0].ravel() for image in images]
    assert gap_components(first, second)[0, 3] == pytest.approx(wasserstein_distance(*lightness), abs=100 / HISTOGRAM_BINS / 2)


def test_a_darker_object_has_a_lightness_gap_and_a_bluer_one_a_colour_gap() -> None:
    frame = np.random.default_rng(2).integers(100, 160, (48, 48, 3), dtype=np.uint8)
    mask = np.zeros((48, 48), bool)
    mask[16:32, 16:32] = True
    darker, bluer = frame.copy(), frame.copy()
    darker[mask] = darker[mask] // 2
    bluer[mask] = np.clip(bluer[mask].astype(int) + np.array([-20, 0, 60]), 0, 255).astype(np.uint8)
    same, dark, blue = (measure_gap(image, mask, ring_width=6) for image in (frame, darker, bluer))
    assert same[0] < 2
    assert dark[0] > 20
    assert blue[1] > 15 > dark[1]
    assert blue[4] > 0.2 > same[4]


def test_terciles_part_the_gaps_into_thirds() -> None:
    gaps = np.random.default_rng(3).gamma(2.0, 1.0, 3000)
    bins = difficulty_bins(gaps, tercile_edges(gaps))
    assert np.bincount(bins).tolist() == [1000, 1000, 1000]
    assert gaps[bins == 0].max() < gaps[bins == 2].min()
    assert tercile_edges(np.zeros(0)) == (0.0, 0.0)


def test_hard_means_as_hard_as_the_hardest_third_of_enough_real_composites() -> None:
    rng = np.random.default_rng(4)
    possible, brought = rng.gamma(4.0, 1.0, 3000), rng.gamma(2.0, 1.0, 300)
    assert np.bincount(difficulty_bins(brought, difficulty_edges(possible, brought))).tolist() == [100, 100, 100]
    assert difficulty_edges(possible, brought[:49]) == difficulty_edges(possible, brought[:0]) == tercile_edges(possible)
