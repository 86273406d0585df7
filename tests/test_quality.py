"""What draws are worth: coverage, plausibility, diversity, each against a case whose answer is known."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from tasks.augmentation.pairs import Stacks
from tasks.augmentation.quality import BEST_OF, NUM_DRAWS, expected_best, foreground_errors, measure_quality, pairwise_difference
from tasks.augmentation.samplers import Images, Masks
from tasks.params import Params

Draw = Callable[..., np.ndarray]


@pytest.fixture
def pairs(photograph: Draw, object_mask: Draw) -> Stacks:
    target = np.stack([photograph(32, 32, number) for number in range(4)])
    mask = np.stack([object_mask(32, 32, 0.4)] * 4)
    return {"target": target, "mask": mask, "composite": np.where(mask[..., None] > 0, (target * 0.7).astype(np.uint8), target)}


def dimmed(photographs: Images, masks: Masks, number: int) -> Images:
    """A sampler whose draws are darker and darker; one of them is the fixture's composite."""
    gain = 0.4 + 0.05 * number if number != 6 else 0.7
    return np.where(masks[..., None] > 0, (photographs * gain).astype(np.uint8), photographs)


def test_a_sampler_that_hits_covers_more_with_more_draws(pairs: Stacks, configure: Callable[..., Params]) -> None:
    quality = measure_quality(dimmed, pairs, configure().ingest.synthesis)
    values = [quality.coverage[most] for most in BEST_OF]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0.0 < values[0]
    assert quality.background_exact


def test_a_sampler_that_changes_nothing_covers_nothing_and_does_not_differ(pairs: Stacks, configure: Callable[..., Params]) -> None:
    quality = measure_quality(lambda photographs, masks, number: photographs, pairs, configure().ingest.synthesis)
    assert list(quality.coverage.values()) == pytest.approx([1.0] * len(BEST_OF))
    assert (quality.strength, quality.diversity, quality.implausible["any"]) == (0.0, 0.0, 0.0)


def test_a_background_that_is_touched_is_told(pairs: Stacks, configure: Callable[..., Params]) -> None:
    def careless(photographs: Images, masks: Masks, number: int) -> Images:
        del masks, number
        return photographs ^ np.uint8(1)

    assert not measure_quality(careless, pairs, configure().ingest.synthesis).background_exact


def test_faults_are_counted_among_the_draws(pairs: Stacks, configure: Callable[..., Params]) -> None:
    def negatives(photographs: Images, masks: Masks, number: int) -> Images:
        return np.where((masks[..., None] > 0) & (number % 2 == 1), 255 - photographs, photographs)

    shares = measure_quality(negatives, pairs, configure().ingest.synthesis).implausible
    assert shares["turned"] == shares["any"] == 0.5
    assert shares["banded"] == 0.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=7), st.data())
def test_the_expected_best_is_the_mean_over_all_choices(errors: list[float], data: st.DataObject) -> None:
    most = data.draw(st.integers(1, len(errors)))
    exact = np.mean([min(choice) for choice in combinations(errors, most)])
    assert expected_best(np.array(errors)[:, None], most)[0] == pytest.approx(exact)


def test_foreground_errors_are_squared_grey_levels_inside_alone() -> None:
    image, mask = np.zeros((1, 2, 2, 3), np.uint8), np.array([[[255, 0], [0, 0]]], np.uint8)
    reference = np.full_like(image, 10)
    assert foreground_errors(image, reference, mask).tolist() == [100.0]
    assert foreground_errors(image, reference, np.zeros_like(mask)).tolist() == [0.0]


def test_differences_are_the_mean_ciede2000_over_all_pairs_of_draws_inside_the_mask() -> None:
    draws = [np.random.default_rng(seed).integers(0, 256, (2, 6, 6, 3), np.uint8) for seed in range(3)]
    mask = np.zeros((2, 6, 6), np.uint8)
    mask[:, 2:5, 1:] = 255
    labs = [rgb2lab(draw)[mask > 0].reshape(2, -1, 3) for draw in draws]
    expected = np.mean([deltaE_ciede2000(first, second).mean(axis=1) for first, second in combinations(labs, 2)], axis=0)
    np.testing.assert_allclose(pairwise_difference(draws, mask), expected, rtol=1e-3)
    assert max(BEST_OF) <= NUM_DRAWS


def test_pairs_without_a_foreground_worth_measuring_are_refused(pairs: Stacks, configure: Callable[..., Params]) -> None:
    none = {**pairs, "mask": np.zeros_like(pairs["mask"])}
    with pytest.raises(ValueError, match="none of 4 held-out pairs has a foreground of 24 px"):
        measure_quality(dimmed, none, configure().ingest.synthesis)
