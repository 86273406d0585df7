"""The operators there are, by name, in the order in which they are applied: a new one is a file here, its torch form, and a line."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from attune.operators.color_matrix import ColorMatrix
from attune.operators.curves import Curves
from attune.operators.operator import EditArrays, Operator
from attune.operators.shading import Shading

OPERATORS: dict[str, type[Operator]] = {
    "color_matrix": ColorMatrix,
    "curves": Curves,
    "shading": Shading,
}


def edit_from_numbers(steps: Iterable[tuple[str, np.ndarray, Mapping[str, Any]]]) -> EditArrays:
    """The edit from what a network predicts: of each operator, in order, its name, its numbers and its settings.

    Raises ValueError naming an operator that is not known, and as operators do.
    """
    edit = EditArrays(tuple(find_operator(name).from_numbers(numbers, settings) for name, numbers, settings in steps))
    names = [step.name for step in edit.steps]
    if names != [name for name in OPERATORS if name in names]:
        raise ValueError(f"the operators are {', '.join(names)}; they are applied in the order {', '.join(OPERATORS)}")
    return edit


def find_operator(name: str) -> type[Operator]:
    """The operator of a name. Raises ValueError naming those there are."""
    if name not in OPERATORS:
        raise ValueError(f"operator {name!r} is not known; there are {', '.join(OPERATORS)}")
    return OPERATORS[name]
