"""Laws of the share of the error that is left, kind by kind."""

import numpy as np
import pytest

from tasks.evaluation.error_left import FEWEST, error_left


def left(kinds: list[str], after: list[float], before: list[float]) -> dict[str, float]:
    """The shares alone, each image a photograph of its own."""
    groups = [f"g{number}" for number in range(len(kinds))]
    return {kind: each.share for kind, each in error_left(kinds, after, before, np.random.default_rng(0), groups=groups).items()}


def test_doing_nothing_leaves_all_of_every_kind() -> None:
    before = list(np.random.default_rng(0).uniform(100, 900, 20))
    assert left(["a", "b"] * 10, before, before) == {"a": 1.0, "b": 1.0}


def test_a_kind_is_measured_by_its_own_images_alone() -> None:
    kinds, before = ["retouch"] * 10 + ["transfer"] * 10, [100.0] * 10 + [400.0] * 10
    after = [20.0] * 10 + [300.0] * 10
    assert left(kinds, after, before) == {"retouch": pytest.approx(0.2), "transfer": pytest.approx(0.75)}
    rng = np.random.default_rng(0)
    found = error_left(kinds, after, before, rng, groups=[str(number) for number in range(20)])
    assert (found["retouch"].fmse, found["retouch"].composite_fmse, found["retouch"].num_images) == (20.0, 100.0, 10)


def test_the_whole_is_the_kinds_weighed_by_their_composites_error() -> None:
    rng = np.random.default_rng(4)
    before, kinds = list(rng.uniform(50, 900, 60)), list(rng.choice(["a", "b", "c"], 60))
    after = list(np.array(before) * rng.uniform(0, 1.5, 60))
    parts = left(kinds, after, before)
    weights = {kind: sum(one for one, own in zip(before, kinds, strict=True) if own == kind) for kind in parts}
    assert sum(parts[kind] * weights[kind] for kind in parts) / sum(weights.values()) == pytest.approx(sum(after) / sum(before))


def test_improved_counts_images_and_a_tie_is_no_gain() -> None:
    found = error_left(["a"] * 5, [1.0, 5.0, 9.0, 2.0, 7.0], [5.0] * 5, np.random.default_rng(0), groups=list("vwxyz"))
    assert found["a"].improved == 0.4
    assert found["a"].low <= found["a"].share <= found["a"].high


def test_of_few_images_and_of_composites_without_error_nothing_is_said() -> None:
    assert left(["a"] * (FEWEST - 1) + ["b"] * FEWEST, [1.0] * (2 * FEWEST - 1), [2.0] * (2 * FEWEST - 1)) == {"b": 0.5}
    assert left(["a"] * 9, [1.0] * 9, [0.0] * 9) == {}


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        error_left(["a"] * 6, [1.0] * 5, [1.0] * 6, np.random.default_rng(0), groups=list("abcdef"))
