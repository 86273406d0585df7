"""An edit as a person handles it: weaker or stronger, a curve drawn by hand, saved as JSON and read back to the last bit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attune.files import read_json, write_json
from attune.model_files import OperatorOutput
from attune.render import EditArrays, ShadingMode

CHANNELS = ("red", "green", "blue")
LUMA = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709
MAX_STRENGTH = 2.0
HAND_LEVELS = 255  # a curve drawn by hand has its points at 8-bit levels
FORMAT, VERSION = "attune edit", 1
MAX_FILE_BYTES = 16 << 20
MAX_KNOTS, MAX_GRID = 65536, 1024
OPERATORS = ("curves", "shading")  # of an edit, in the order in which they are applied

Points = tuple[tuple[int, int], ...]  # (input, output) in 8-bit levels, inputs rising


def adjust_edit(
    edit: EditArrays, strength: float = 1.0, *, shading: float = 1.0, curves: Mapping[str, Points] | None = None
) -> EditArrays:
    """`edit`, weaker or stronger, with some of its curves replaced.

    strength: 0 is no change at all, 1 the edit bit for bit, 2 twice as far. It is a walk through edits, not a fade between two pictures:
    curves move straight from the identity, a symmetric gain moves geometrically (`gain ** strength`: half the strength is half the stops),
    a darkening one by `1 - strength * (1 - gain)`; so the result is an edit like any other, to be saved, exported and replayed.
    shading: a strength for the shading alone, on top. curves: by channel ("red", "green", "blue"), points that replace its curve,
    whatever the strength; straight between the points, flat beyond them.
    Raises ValueError naming the value and its limit.
    """
    for name, value in (("strength", strength), ("shading", shading)):
        if not 0 <= value <= MAX_STRENGTH:
            raise ValueError(f"{name} is {value:g}; it must be between 0 and {MAX_STRENGTH:g}")
    changed = _with_shading(edit, strength * shading)
    if strength != 1:
        identity = np.linspace(0.0, 1.0, edit.curves.shape[1])
        changed = replace(changed, curves=np.clip(identity + strength * (edit.curves - identity), 0.0, 1.0))
    return _with_curves(changed, curves) if curves else changed


def grey_edit(edit: EditArrays) -> EditArrays:
    """`edit` for a grey picture, which stays grey: all channels get the curve by which the luma of its result would move."""
    if (edit.curves == edit.curves[0]).all():
        return edit  # it does already, and must stay what it is to the last bit
    return replace(edit, curves=np.tile(LUMA @ edit.curves, (3, 1)).clip(0.0, 1.0))


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


def edit_of_outputs(operators: Sequence[OperatorOutput], outputs: Sequence[np.ndarray]) -> EditArrays:
    """The edit of one picture from what a released model puts out for each operator. ValueError for operators that nobody here applies."""
    found = {step.name: (step.settings, np.asarray(output, np.float64)) for step, output in zip(operators, outputs, strict=True)}
    if tuple(found) != OPERATORS:
        raise ValueError(f"the model's operators are {', '.join(found)}; this program applies {', '.join(OPERATORS)}, in this order")
    (_, curves), (settings, logits) = (found[name] for name in OPERATORS)
    return EditArrays(curves, logits, _mode(settings.get("mode")), float(settings["limit"]))


# --- JSON -------------------------------------------------------------------------------------------------------------------------------


def edit_to_json(edit: EditArrays) -> dict[str, Any]:
    """`edit` as JSON values; numbers keep every bit."""
    return {
        "format": FORMAT, "version": VERSION, "curves": dict(zip(CHANNELS, edit.curves.tolist(), strict=True)),
        "shading": {"mode": edit.shading, "limit": float(edit.shading_limit), "logits": edit.shading_logits.tolist()},
    }


def edit_from_json(value: Any, *, name: str) -> EditArrays:
    """What `edit_to_json` gave, bit for bit. Raises ValueError naming `name` and what is wrong with it."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{name}: not an edit (its \"format\" must be {FORMAT!r})")
    if value.get("version") != VERSION:
        raise ValueError(f"{name}: an edit of version {value.get('version')!r}; this program reads version {VERSION}")
    curves, shading = value.get("curves"), value.get("shading")
    if not isinstance(curves, dict) or set(curves) != set(CHANNELS):
        raise ValueError(f"{name}: \"curves\" must hold {', '.join(CHANNELS)}")
    if not isinstance(shading, dict) or set(shading) != {"mode", "limit", "logits"}:
        raise ValueError(f"{name}: \"shading\" must hold mode, limit and logits")
    limit = shading["limit"]
    if not _is_number(limit) or not math.isfinite(limit):
        raise ValueError(f"{name}: shading.limit is {limit!r}; it must be a number")
    rows = [_numbers(curves[channel], f"{name}: curves.{channel}", MAX_KNOTS) for channel in CHANNELS]
    if not isinstance(shading["logits"], list) or not 1 <= len(shading["logits"]) <= MAX_GRID:
        raise ValueError(f"{name}: shading.logits must be a list of 1 to {MAX_GRID} rows")
    logits = [_numbers(row, f"{name}: a row of shading.logits", MAX_GRID) for row in shading["logits"]]
    for what, lists in (("curves", rows), ("rows of shading.logits", logits)):
        if len({len(numbers) for numbers in lists}) != 1:
            raise ValueError(f"{name}: the {what} differ in length")
    try:
        return EditArrays(np.array(rows), np.array(logits), _mode(shading["mode"]), float(limit))
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


def _with_shading(edit: EditArrays, strength: float) -> EditArrays:
    if strength == 1:
        return edit
    limit = edit.shading_limit**strength if edit.shading == "symmetric" else 1 - strength * (1 - edit.shading_limit)
    if limit == 1:  # strength 0, or as good as
        return replace(edit, shading="symmetric", shading_limit=2.0, shading_logits=np.zeros_like(edit.shading_logits))
    if limit <= 0:
        most = 1 / (1 - edit.shading_limit)
        raise ValueError(f"shading strength is {strength:g}; with gains down to {edit.shading_limit:g} it must be below {most:.3g}")
    return replace(edit, shading_limit=limit)


def _with_curves(edit: EditArrays, curves: Mapping[str, Points]) -> EditArrays:
    if unknown := set(curves) - set(CHANNELS):
        raise ValueError(f"curves for {', '.join(sorted(unknown))}; channels are {', '.join(CHANNELS)}")
    # The fewest equally spaced knots that hold both the old knots and every 8-bit level: no corner is cut.
    inputs = np.linspace(0.0, 1.0, math.lcm(edit.curves.shape[1] - 1, HAND_LEVELS) + 1)
    rows: list[np.ndarray] = []
    for channel, curve in zip(CHANNELS, edit.curves, strict=True):
        if channel in curves:
            at, values = np.array(curves[channel], float).T / HAND_LEVELS
            rows.append(np.interp(inputs, at, values))
        else:
            rows.append(np.interp(inputs, np.linspace(0.0, 1.0, len(curve)), curve))
    return replace(edit, curves=np.stack(rows))


def _mode(value: Any) -> ShadingMode:
    if value not in ("darken", "symmetric"):
        raise ValueError(f"shading.mode is {value!r}; it must be 'darken' or 'symmetric'")
    return "darken" if value == "darken" else "symmetric"


def _numbers(value: Any, name: str, limit: int) -> list[float]:
    if not isinstance(value, list) or not 1 <= len(value) <= limit or not all(map(_is_number, value)):
        raise ValueError(f"{name} must be a list of 1 to {limit} numbers")
    try:
        return [float(number) for number in value]
    except OverflowError:
        raise ValueError(f"{name} has a number that is too large") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
