"""An edit as a person handles it: weaker or stronger, a curve drawn by hand, saved as JSON and read back to the last bit."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attune.files import read_json, write_json
from attune.operators.color_matrix import ColorMatrix
from attune.operators.curves import CHANNELS, Curves
from attune.operators.operator import EditArrays
from attune.operators.registry import find_operator
from attune.operators.shading import Shading

MAX_STRENGTH = 2.0
HAND_LEVELS = 255  # a curve drawn by hand has its points at 8-bit levels
FORMAT, VERSION = "attune edit", 2
FIRST_VERSION = 1  # knew curves and shading alone, as keys of its own
MAX_FILE_BYTES = 16 << 20
MAX_STEPS = 16

Points = tuple[tuple[int, int], ...]  # (input, output) in 8-bit levels, inputs rising


def adjust_edit(
    edit: EditArrays, strength: float = 1.0, *, shading: float = 1.0, curves: Mapping[str, Points] | None = None
) -> EditArrays:
    """`edit`, weaker or stronger, with some of its curves replaced.

    strength: 0 is no change at all, 1 the edit bit for bit, 2 twice as far. It is a walk through edits, not a fade between two pictures:
    each operator knows its own way from no change (`Operator.scaled`), so that the result is an edit like any other, to be saved, exported
    and replayed. shading: a strength for the shading alone, on top. curves: by channel ("red", "green", "blue"), points that replace its
    curve, whatever the strength; straight between the points, flat beyond them.
    Raises ValueError naming the value and its limit.
    """
    for name, value in (("strength", strength), ("shading", shading)):
        if not 0 <= value <= MAX_STRENGTH:
            raise ValueError(f"{name} is {value:g}; it must be between 0 and {MAX_STRENGTH:g}")
    changed = edit.each(lambda step: step.scaled(strength * (shading if isinstance(step, Shading) else 1.0)))
    return _with_curves(changed, curves) if curves else changed


def grey_edit(edit: EditArrays) -> EditArrays:
    """`edit` for a grey picture, which stays grey: all channels move as the luma of the result would."""
    return edit.each(lambda step: step.for_grey())


def parse_points(text: str, *, name: str) -> Points:
    """A curve drawn by hand, "0,0 128,140 255,255": input,output pairs in 8-bit levels. Two points at least, inputs rising.

    Raises ValueError naming `name`, the pair and what it must be.
    """
    points = []
    for pair in text.split():
        first, _, second = pair.partition(",")
        if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
            raise ValueError(f"{name}: {pair!r} is no input,output pair of whole levels, such as 128,140")
        points.append((int(first), int(second)))
    if len(points) < 2:
        raise ValueError(f"{name}: {text!r} has {len(points)} points; a curve needs at least 2, such as '0,0 255,255'")
    if max(max(point) for point in points) > HAND_LEVELS:
        raise ValueError(f"{name}: {text!r} has levels above {HAND_LEVELS}")
    if any(left[0] >= right[0] for left, right in pairwise(points)):
        raise ValueError(f"{name}: the inputs of {text!r} must rise from point to point")
    return tuple(points)


# --- JSON -------------------------------------------------------------------------------------------------------------------------------


def edit_to_json(edit: EditArrays) -> dict[str, Any]:
    """`edit` as JSON values, its operators in order; numbers keep every bit."""
    return {
        "format": FORMAT, "version": VERSION, "operators": [{"name": step.name, **step.to_json()} for step in edit.steps],
    }


def edit_from_json(value: Any, *, name: str) -> EditArrays:
    """What `edit_to_json` gave, bit for bit, or an older version did. Raises ValueError naming `name` and what is wrong with it."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{name}: not an edit (its \"format\" must be {FORMAT!r})")
    if value.get("version") == FIRST_VERSION:
        operators: Any = [_named("curves", value.get("curves")), _named("shading", value.get("shading"))]
    elif value.get("version") == VERSION:
        operators = value.get("operators")
    else:
        raise ValueError(f"{name}: an edit of version {value.get('version')!r}; this program reads versions {FIRST_VERSION} and {VERSION}")
    if not isinstance(operators, list) or len(operators) > MAX_STEPS or not all(isinstance(step, dict) for step in operators):
        raise ValueError(f"{name}: \"operators\" must be a list of at most {MAX_STEPS} operators")
    steps = []
    for step in operators:
        numbers = {key: item for key, item in step.items() if key != "name"}
        try:
            steps.append(find_operator(str(step.get("name"))).from_json(numbers, name=name))
        except ValueError as error:
            raise ValueError(str(error) if str(error).startswith(name) else f"{name}: {error}") from error
    try:
        return EditArrays(tuple(steps))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def write_edit(path: Path, edit: EditArrays) -> None:
    """Write `edit` as JSON, whole or not at all; equal edits give equal bytes."""
    write_json(path, edit_to_json(edit))


def read_edit(path: Path) -> EditArrays:
    """The edit of a JSON file. Raises ValueError naming the file if it is missing, too large, or no edit."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{path}: {size} bytes; an edit has at most {MAX_FILE_BYTES}")
    try:
        value = read_json(path)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({type(error).__name__})") from error
    return edit_from_json(value, name=str(path))


# --- Inside -----------------------------------------------------------------------------------------------------------------------------


def _named(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, **(value if isinstance(value, dict) else {})}


def _with_curves(edit: EditArrays, curves: Mapping[str, Points]) -> EditArrays:
    if unknown := set(curves) - set(CHANNELS):
        raise ValueError(f"curves for {', '.join(sorted(unknown))}; channels are {', '.join(CHANNELS)}")
    own = edit.find(Curves) or Curves.identity()
    # The fewest equally spaced knots that hold both the old knots and every 8-bit level: no corner is cut.
    inputs = np.linspace(0.0, 1.0, math.lcm(own.values.shape[1] - 1, HAND_LEVELS) + 1)
    rows: list[np.ndarray] = []
    for channel, curve in zip(CHANNELS, own.values, strict=True):
        if channel in curves:
            at, values = np.array(curves[channel], float).T / HAND_LEVELS
            rows.append(np.interp(inputs, at, values))
        else:
            rows.append(np.interp(inputs, np.linspace(0.0, 1.0, len(curve)), curve))
    drawn = Curves(np.stack(rows))
    if edit.find(Curves) is not None:
        return edit.each(lambda step: drawn if isinstance(step, Curves) else step)
    first = sum(isinstance(step, ColorMatrix) for step in edit.steps)
    return EditArrays((*edit.steps[:first], drawn, *edit.steps[first:]))
