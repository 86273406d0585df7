"""What counts as implausible."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.augmentation.faults import find_faults, steps_turned
from tasks.params import Params

Draw = Callable[..., np.ndarray]


@pytest.fixture
def ramp() -> np.ndarray:
    """Every grey from 40 to 200, in steps of 20 from left to right."""
    return np.repeat(np.repeat(np.arange(40, 201, 20, dtype=np.uint8)[None, :, None], 9, axis=0), 3, axis=2)


FULL = np.full((9, 9), 255, np.uint8)


def test_each_fault_is_found_where_it_is_made(ramp: np.ndarray, configure: Callable[..., Params]) -> None:
    limits = configure().ingest.synthesis
    assert find_faults(ramp, ramp, FULL, limits) == set()
    assert find_faults(ramp, (ramp * 0.8).astype(np.uint8), FULL, limits) == set()
    assert "clipped" in find_faults(ramp, np.clip(ramp.astype(int) + 60, 0, 255).astype(np.uint8), FULL, limits)
    assert "banded" in find_faults(ramp, 120 + (ramp - 40) // 8, FULL, limits)
    assert "turned" in find_faults(ramp, 240 - ramp, FULL, limits)
    assert "absurd" in find_faults(ramp, ramp // 12, FULL, limits)


def test_turned_steps_are_a_share_of_the_distinct_ones_inside_the_mask(ramp: np.ndarray) -> None:
    changed = ramp.copy()
    changed[:, 4] = 40  # the step into it is turned round; the one out of it only grows
    assert steps_turned(ramp, changed, FULL) == pytest.approx(1 / 8)
    assert steps_turned(np.transpose(ramp, (1, 0, 2)), np.transpose(changed, (1, 0, 2)), FULL) == pytest.approx(1 / 8)
    assert steps_turned(ramp, changed, np.where(np.arange(9) >= 4, FULL, 0)) == 0.0
    assert steps_turned(ramp // 20, 240 - ramp, FULL) == 0.0  # steps that nobody sees may go anywhere


@settings(max_examples=30, deadline=None)
@given(st.floats(0.4, 2.5), st.floats(0.5, 1.5), st.integers(0, 2**31))
def test_no_tone_curve_turns_a_step_of_grey(gamma: float, gain: float, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (12, 12, 1), np.uint8).repeat(3, axis=2)
    curve = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    assert steps_turned(grey, curve[grey], np.full((12, 12), 255, np.uint8)) == 0.0


def test_a_foreground_too_small_to_say_has_no_faults(ramp: np.ndarray, configure: Callable[..., Params]) -> None:
    few = np.zeros((9, 9), np.uint8)
    few[0, :5] = 255
    assert find_faults(ramp, 240 - ramp, few, configure().ingest.synthesis) == set()
