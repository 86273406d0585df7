"""What is done of an edit: small ones fade out, sizes are evened, blacks stay black."""

import math
from itertools import pairwise

import pytest
import torch

from models.restraint import STRONGEST, Restraint, edit_strength, excess_black


def colors(level: float) -> torch.Tensor:
    return torch.full((1, 3, 50), level)


def test_an_edit_of_the_least_size_is_halved_and_a_large_one_is_kept():
    restraint = Restraint(least_size=0.05, softness=0.1)
    strengths = [
        edit_strength(colors(0.4), colors(0.4 + size), torch.ones(1, 50), torch.zeros(1), restraint).item() for size in (0.005, 0.05, 0.3)
    ]
    assert strengths[0] < 1e-6
    assert strengths[1] == pytest.approx(0.5, abs=1e-3)
    assert strengths[2] > 1 - 1e-6


def test_strength_rises_with_the_size_of_the_edit_and_with_the_expected_error():
    restraint = Restraint(least_size=0.05, softness=0.5, doubt_weight=1.0)
    sizes = [0.02, 0.04, 0.08]
    doubts = [math.log(error) for error in (0.02, 0.05, 0.2)]
    table = [
        [edit_strength(colors(0.4), colors(0.4 + size), torch.ones(1, 50), torch.tensor([doubt]), restraint).item() for doubt in doubts]
        for size in sizes
    ]
    assert all(first < second for row in table for first, second in pairwise(row))
    assert all(first < second for upper, lower in pairwise(table) for first, second in zip(upper, lower, strict=True))


def strength_of(size: float, restraint: Restraint) -> float:
    return edit_strength(colors(0.2), colors(0.2 + size), torch.ones(1, 50), torch.zeros(1), restraint).item()


@pytest.mark.parametrize("size", [0.05, 0.1, 0.2, 0.4])
def test_the_logarithms_of_sizes_are_drawn_towards_that_of_the_usual_one(size):
    done = size * strength_of(size, Restraint(usual_size=0.1, evenness=0.25))
    assert math.log(done / 0.1) == pytest.approx(0.75 * math.log(size / 0.1), abs=1e-3)


def test_evening_makes_no_edit_stronger_than_the_limit():
    assert strength_of(0.001, Restraint(usual_size=0.2, evenness=0.5)) == pytest.approx(STRONGEST)


def test_an_edit_that_fades_is_evened_too():
    fading, evening = Restraint(least_size=0.05, softness=0.5), Restraint(usual_size=0.1, evenness=0.25)
    both = Restraint(least_size=0.05, softness=0.5, usual_size=0.1, evenness=0.25)
    assert strength_of(0.07, both) == pytest.approx(strength_of(0.07, fading) * strength_of(0.07, evening))


def test_only_the_foreground_counts_for_the_size():
    before, after, weights = colors(0.4), colors(0.4), torch.zeros(1, 50)
    after[:, :, 10:] += 0.5
    weights[:, :10] = 1
    assert edit_strength(before, after, weights, torch.zeros(1), Restraint(least_size=0.05, softness=0.1)).item() < 1e-6


def test_the_defaults_restrain_nothing():
    assert edit_strength(colors(0.4), colors(0.4001), torch.ones(1, 50), torch.zeros(1), Restraint()).item() == 1
    picture = torch.rand(1, 3, 16, 16)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    now, allowed = excess_black(picture, (picture + 0.3).clamp(0, 1), mask, Restraint())
    assert torch.equal(now, allowed)


@pytest.mark.parametrize(("behind", "allowed"), [(0.0, 0.12), (0.3, 0.32)])
def test_blacks_may_rise_a_little_or_to_a_little_above_the_backgrounds(behind, allowed):
    before = torch.full((1, 3, 16, 16), behind)
    before[..., :8] = 0.1
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    after = torch.where(mask > 0, torch.tensor(0.5), before)
    now, most = excess_black(before, after, mask, Restraint(most_lift=0.02, most_haze=0.02))
    assert now.item() == pytest.approx(0.5, abs=1e-5)
    assert most.item() == pytest.approx(allowed, abs=1e-5)


@pytest.mark.parametrize("wrong", [{"least_size": -0.1}, {"softness": 0.0}, {"most_lift": 1.5}, {"usual_size": 0.0}, {"evenness": 1.0}])
def test_a_number_out_of_range_is_refused_by_its_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Restraint(**wrong)
