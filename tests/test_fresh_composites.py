"""Composites drawn anew: what stays, what changes, and how strongly."""

import numpy as np
import pytest

from tasks.seeds import numpy_generator
from tasks.training.fresh_composites import MATCHES, MAX_FMSE, FreshComposites

EVERY_MATCH = dict.fromkeys(MATCHES, 1.0)


def picture(seed: int, size: int = 48) -> np.ndarray:
    """A smooth photograph-like image in [0, 1]: two ramps and grain."""
    rng = numpy_generator(seed, "picture")
    ramp = np.linspace(0.2, 0.8, size, dtype=np.float32)
    planes = [ramp[None, :] * rng.uniform(0.5, 1.0) + ramp[:, None] * rng.uniform(0.0, 0.4) for _ in range(3)]
    return np.clip(np.stack(planes) + 0.03 * rng.standard_normal((3, size, size)), 0.02, 0.98).astype(np.float32)


def disc(size: int = 48) -> np.ndarray:
    """A soft disc in the middle."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip(size / 3 - np.hypot(rows, columns), 0, 1).astype(np.float32)[None]


def fresh(weights: dict[str, float], *, kin_share: float = 0.0, rescaled_share: float = 0.0, count: int = 6) -> FreshComposites:
    pixels = np.stack([
        np.rint(255 * picture(100 + number)).astype(np.uint8).reshape(3, -1).T[:1024] for number in range(count)
    ])
    kin = [np.array([0, 2]), np.array([1]), np.array([0, 2]), *(np.array([number]) for number in range(3, count))]
    return FreshComposites(pixels, kin, weights, kin_share, rescaled_share)


@pytest.mark.parametrize("name", [*MATCHES, "retouch"])
def test_the_background_stays_bit_for_bit_and_the_foreground_does_not(name):
    target, mask = picture(1), disc()
    composite = fresh({name: 1.0}).draw(target, mask, 0, numpy_generator(3, name))
    outside = mask[0] == 0
    assert np.array_equal(composite[:, outside], target[:, outside])
    assert np.abs(composite - target)[:, mask[0] == 1].mean() > 2 / 255
    assert composite.min() >= 0
    assert composite.max() <= 1


def test_the_same_generator_draws_the_same_composite():
    way = fresh({**EVERY_MATCH, "retouch": 1.0}, kin_share=0.5, rescaled_share=0.5)
    assert np.array_equal(*(way.draw(picture(1), disc(), 0, numpy_generator(9, "draw")) for _ in range(2)))


def test_soft_edges_are_mixtures_of_before_and_after():
    target, mask = picture(1), np.full((1, 48, 48), 0.75, np.float32)
    soft = fresh({"reinhard": 1.0}).draw(target, mask, 0, numpy_generator(4, "soft"))
    hard = fresh({"reinhard": 1.0}).draw(target, np.ones_like(mask), 0, numpy_generator(4, "soft"))
    np.testing.assert_allclose(soft - target, 0.75 * (hard - target), atol=2e-6)


def test_a_foreground_too_small_for_statistics_is_left_as_it_is():
    mask = np.zeros((1, 48, 48), np.float32)
    mask[0, :3, :3] = 1
    assert np.array_equal(fresh({"reinhard": 1.0}).draw(picture(1), mask, 0, numpy_generator(1, "tiny")), picture(1))


def test_changes_span_what_the_fields_data_sets_span():
    inside, way = disc()[0] > 0.5, fresh({**EVERY_MATCH, "retouch": 2.0}, kin_share=0.5, rescaled_share=0.5)
    errors = []
    for seed in range(80):
        target = picture(seed)
        composite = way.draw(target, disc(), seed % 6, numpy_generator(seed, "span"))
        errors.append(float(np.square(255 * (composite - target))[:, inside].mean()))
    assert np.percentile(errors, 10) < 600
    assert np.percentile(errors, 90) > 2000
    assert max(errors) < 2 * MAX_FMSE


def test_kin_are_taken_where_there_are_some_and_asked_for():
    rng, always, never = numpy_generator(1, "kin"), fresh({}, kin_share=1.0), fresh({})
    kin = {always.palettes[number].astype(np.float32).tobytes() for number in (0, 2)}
    assert {always.reference(0, rng).tobytes() for _ in range(30)} == kin
    assert len({never.reference(0, rng).tobytes() for _ in range(60)}) == len(never.palettes)
    assert len({always.reference(1, rng).tobytes() for _ in range(60)}) > 1
