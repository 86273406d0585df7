"""Laws of the pairs made by looks: the same whatever else is there, and made of nothing but the photograph and its table."""

import json
from typing import Any

import numpy as np
import pytest

from tasks.evaluation.looks import LOOKS, make_look
from tasks.evaluation.looks_pairs import SOURCE, looked, looks_rows
from tasks.lut_kernel import apply_lut_uint8


def photograph(number: int, *, objects: int = 1) -> list[dict[str, Any]]:
    """The rows of a photograph's objects, as the index has them."""
    return [
        {
            "key": f"photos_{number:02}_{each}", "source": "photos", "subset": "dogs", "split": "test", "group": f"photos/{number}",
            "image_path": f"raw/{number}.jpg", "mask_path": f"raw/{number}_{each}.png", "width": 60, "height": 40, "fg_ratio": 0.2,
            "label": "dog",
        }
        for each in range(objects)
    ]


ALL = [row for number in range(12) for row in photograph(number, objects=1 + number % 3)]


def test_each_photograph_takes_part_once_with_so_many_looks() -> None:
    rows = looks_rows(ALL, num_photographs=8, per_photograph=2)
    assert len(rows) == 16
    assert len({row["group"] for row in rows}) == 8
    assert len({row["mask_path"] for row in rows}) == 8
    assert [row["key"] for row in rows] == sorted({row["key"] for row in rows})
    for row in rows:
        told = json.loads(row["method_params"])
        assert told["look"] in LOOKS
        assert told["look"].startswith(row["method"])
        assert row["source"] == SOURCE
        assert row["target_path"] == row["composite_path"]
    strengths = [json.loads(row["method_params"])["strength"] for row in rows]
    assert strengths.count(1.0) == strengths.count(0.8) == 8


def test_pairs_are_the_same_whatever_the_order_and_a_new_photograph_moves_none() -> None:
    rows = looks_rows(ALL, num_photographs=99, per_photograph=2)
    assert looks_rows(ALL[::-1], num_photographs=99, per_photograph=2) == rows
    more = looks_rows([*ALL, *photograph(50)], num_photographs=99, per_photograph=2)
    assert [row for row in more if row["group"] != "photos/50"] == rows
    few = looks_rows(ALL, num_photographs=3, per_photograph=2)
    assert {row["key"] for row in few} < {row["key"] for row in rows}


def test_a_composite_is_the_photograph_through_its_table_inside_the_mask() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), np.zeros((40, 60), np.uint8)
    mask[10:30, 10:40] = 255
    row = next(row for row in looks_rows(ALL, num_photographs=12, per_photograph=2) if '"strength": 1.0' in row["method_params"])
    composite = looked(image, mask, row)
    np.testing.assert_array_equal(composite[mask == 0], image[mask == 0])
    expected = apply_lut_uint8(image, make_look(json.loads(row["method_params"])["look"]), np.full_like(mask, 255))
    np.testing.assert_array_equal(composite[mask == 255], expected[mask == 255])
    assert (composite[mask == 255] != image[mask == 255]).any()


def test_more_looks_than_there_are_cannot_be_had() -> None:
    with pytest.raises(ValueError, match="37 looks per photograph, of 36"):
        looks_rows(ALL, num_photographs=1, per_photograph=37)


def test_without_photographs_there_are_no_pairs() -> None:
    assert looks_rows([], num_photographs=5, per_photograph=2) == []
