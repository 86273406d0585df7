"""Pairs that no training knows the like of: test photographs whose object went through a photographic look (tasks/evaluation/looks.py).

A pair is a row as the index has them, source `looks`: its target and its composite are one file, and `looked` makes the composite from it.
Which photographs and which looks is a matter of their names alone, so that every run is measured on the same pairs.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tasks.evaluation.looks import LOOKS, Table, at_strength, make_look
from tasks.lut_kernel import apply_lut_uint8
from tasks.seeds import derive_seed, numpy_generator

SOURCE = "looks"
STRENGTHS = (1.0, 0.8)  # in turn
_SEED = 0  # not the run's

Row = Mapping[str, Any]


def looks_rows(photographs: Sequence[Row], *, num_photographs: int, per_photograph: int) -> list[dict[str, Any]]:
    """Pairs of at most `num_photographs` photographs with `per_photograph` looks each, sorted by key.

    photographs: rows of the index's table of that name. Of each photograph one object takes part. `subset` is the photograph's, `method`
    the recipe, `method_params` the look and its strength as JSON. Raises ValueError if there are fewer looks than `per_photograph`.
    """
    if per_photograph > len(LOOKS):
        raise ValueError(f"{per_photograph} looks per photograph, of {len(LOOKS)}")
    by_group: dict[str, Row] = {}
    for row in sorted(photographs, key=lambda row: _place(row["key"])):
        by_group.setdefault(row["group"], row)
    chosen = sorted(by_group.values(), key=lambda row: _place(row["group"]))[:num_photographs]
    return sorted((pair for row in chosen for pair in _pairs(row, per_photograph)), key=lambda pair: str(pair["key"]))


def looked(image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"], row: Row) -> UInt8[np.ndarray, "H W 3"]:
    """The composite of a row of `looks_rows`: its photograph with the look inside the mask (255 is foreground), blended at soft edges."""
    told = json.loads(row["method_params"])
    return apply_lut_uint8(image, _table(told["look"], told["strength"]), mask)


@lru_cache(maxsize=len(LOOKS) * len(STRENGTHS))
def _table(name: str, strength: float) -> Table:
    return at_strength(make_look(name), strength)


def _place(name: str) -> int:
    return derive_seed(_SEED, "looks", name)


def _pairs(row: Row, count: int) -> list[dict[str, Any]]:
    drawn = numpy_generator(_SEED, "looks of", row["key"]).permutation(len(LOOKS))[:count]
    kept = {name: row[name] for name in ("split", "group", "mask_path", "width", "height", "fg_ratio", "label", "subset")}
    return [
        {
            "key": f"{row['key']}_{LOOKS[look]}", "source": SOURCE, **kept, "plate_path": None,
            "composite_path": row["image_path"], "target_path": row["image_path"], "method": LOOKS[look].rpartition("_")[0],
            "method_params": json.dumps({"look": LOOKS[look], "strength": STRENGTHS[number % len(STRENGTHS)]}, sort_keys=True),
        }
        for number, look in enumerate(drawn)
    ]
