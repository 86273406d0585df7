"""Laws of the agreement between changes and what people said."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tasks.evaluation.human_labels import FEWEST, JUDGEMENTS, NATURAL, REALISTIC, UNREALISTIC, Agreement, agreement


def agreed(**changes: list[float]) -> Agreement | None:
    """With a generator of its own."""
    return agreement(changes, np.random.default_rng(0))


def drawn(*means: float, count: int = 60) -> dict[str, list[float]]:
    """Changes of normal spread 1 around a mean for each judgement."""
    rng = np.random.default_rng(1)
    return {judgement: list(rng.normal(mean, 1.0, count)) for judgement, mean in zip(JUDGEMENTS, means, strict=True)}


def test_changing_everything_alike_tells_nothing_apart() -> None:
    found = agreed(**{judgement: [4.0] * 12 for judgement in JUDGEMENTS})
    assert found is not None
    assert (found.against_natural.value, found.against_realistic.value) == (0.5, 0.5)
    assert {change.median for change in found.changes.values()} == {4.0}


def test_a_method_that_changes_only_what_people_reject_agrees_in_full() -> None:
    found = agreed(**{UNREALISTIC: [9.0] * 20, REALISTIC: [1.0] * 15, NATURAL: [0.0] * 10})
    assert found is not None
    for area in (found.against_natural, found.against_realistic):
        assert (area.value, area.low, area.high) == (1.0, 1.0, 1.0)
    assert {judgement: change.num_images for judgement, change in found.changes.items()} == {UNREALISTIC: 20, REALISTIC: 15, NATURAL: 10}


def test_areas_are_those_of_scikit_learn_and_lie_in_their_intervals() -> None:
    changes = drawn(1.0, 0.6, 0.0)
    found = agreed(**changes)
    assert found is not None
    for other, area in ((NATURAL, found.against_natural), (REALISTIC, found.against_realistic)):
        truth = [1] * 60 + [0] * 60
        assert area.value == pytest.approx(roc_auc_score(truth, changes[UNREALISTIC] + changes[other]))
        assert area.low < area.value < area.high
    assert found.against_natural.value > found.against_realistic.value


def test_turning_all_changes_round_mirrors_the_areas() -> None:
    changes = drawn(1.0, 0.6, 0.0)
    found, mirrored = agreed(**changes), agreed(**{name: [-value for value in values] for name, values in changes.items()})
    assert found is not None
    assert mirrored is not None
    assert found.against_natural.value + mirrored.against_natural.value == pytest.approx(1.0)


def test_only_the_order_of_changes_counts_for_the_areas() -> None:
    changes = drawn(1.0, 0.6, 0.0)
    found, stretched = agreed(**changes), agreed(**{name: list(np.exp(values)) for name, values in changes.items()})
    assert found is not None
    assert stretched is not None
    assert (found.against_natural, found.against_realistic) == (stretched.against_natural, stretched.against_realistic)


def test_medians_lie_in_their_intervals_and_equal_draws_give_equal_numbers() -> None:
    found = agreed(**drawn(3.0, 2.0, 1.0))
    assert found is not None
    for change in found.changes.values():
        assert change.low <= change.median <= change.high
    assert found == agreed(**drawn(3.0, 2.0, 1.0))


def test_of_too_few_pictures_nothing_is_said() -> None:
    changes = drawn(1.0, 0.6, 0.0, count=FEWEST)
    assert agreed(**changes) is not None
    assert agreed(**changes | {REALISTIC: changes[REALISTIC][1:]}) is None
    assert agreed(**{UNREALISTIC: [1.0] * 50}) is None
