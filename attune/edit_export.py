"""An edit for other tools: what depends on a pixel's colour alone as .cube tables, the rest as each operator knows (shading: a 16-bit
picture), all of it as JSON that `attune` reads back.

The order is colours, then shading, then the mask: `result = picture + mask * (min(gain * table(picture), white) - picture)`. So elsewhere:
the table on a copy of the layer, the shading picture above it in the mode "multiply", brightened by `shading_scale`, all below the mask.
"""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from attune.edits import edit_to_json
from attune.files import write_bytes, write_json
from attune.operators.curves import Curves
from attune.operators.operator import EditArrays, Operator, Window

CUBE, CUBE_1D, EDIT = "curves.cube", "curves_1d.cube", "edit.json"
MAX_CUBE = 65  # nodes per side that most readers take, Pillow among them
MIXED_CUBE = 33  # nodes per side where channels are mixed, so that no size is exact
PROBES = 64  # colours per side that a table of mixed channels is held against


@dataclass(frozen=True)
class Exported:
    """What was written for other tools."""

    error: float  # the 3D table's largest, of white = 1
    files: dict[str, str]  # name, and what it is


def export_edit(folder: Path, edit: EditArrays, height: int, width: int) -> Exported:
    """Write `edit` to `folder` for other tools, for a picture of `height` x `width` px; what was written.

    `curves.cube` is a 3D table of the first operators, those for which a pixel's own colour is enough. Of curves alone it is exact (0)
    wherever it has a node at every knot, that is up to 65 knots; with more, as drawn curves have, and behind a colour matrix, it errs
    between its nodes. `curves_1d.cube` is always exact, and there where curves are all. `edit.json` is the edit as
    `attune harmonize --params` takes it, and what further operators say of the files that they add.
    """
    colors = list(takewhile(lambda step: step.is_pointwise, edit.steps))
    curves = _curves_alone(colors)
    (folder / CUBE_1D).unlink(missing_ok=True)
    if curves is None:
        table = color_table(colors, MIXED_CUBE)
        write_bytes(folder / CUBE, cube_of(table).encode())
        error = table_error(colors, table)
        names = " and ".join(step.name.replace("_", " ") for step in colors)
        files = {CUBE: f"{names} as a 3D table, within {255 * error:.2f} of 255 levels"}
    else:
        nodes = min(curves.values.shape[1], MAX_CUBE)
        write_bytes(folder / CUBE, cube_3d(curves, nodes).encode())
        write_bytes(folder / CUBE_1D, cube_1d(curves).encode())
        error = cube_error(curves, nodes)
        says = "exact at every knot and between" if error == 0 else f"within {error * 255:.2f} of 255 levels; {CUBE_1D} is exact"
        files = {CUBE: f"the curves as a 3D table, {says}", CUBE_1D: "the curves as a 1D table"}
    facts: dict[str, Any] = {}
    for step in edit.steps:
        added, said = step.export(folder, height, width)
        files, facts = files | added, facts | said
    write_json(folder / EDIT, edit_to_json(edit) | facts)
    return Exported(error, files | {EDIT: "the edit itself, for `attune harmonize --params`"})


def _curves_alone(colors: list[Operator]) -> Curves | None:
    if not colors:
        return Curves.identity()
    return colors[0] if len(colors) == 1 and isinstance(colors[0], Curves) else None


def color_table(colors: list[Operator], nodes: int) -> Float[np.ndarray, "nodes nodes nodes 3"]:
    """What `colors` make of every node's colour; axes blue, green, red, as .cube files have them."""
    at = np.linspace(0.0, 1.0, nodes)
    return _applied(colors, np.stack(np.meshgrid(at, at, at, indexing="ij")[::-1], axis=-1))


def table_error(colors: list[Operator], table: Float[np.ndarray, "nodes nodes nodes 3"]) -> float:
    """The largest error, of white = 1, of a table read trilinearly, over `PROBES` colours per side."""
    at = np.linspace(0.0, 1.0, PROBES)
    wanted = _applied(colors, np.stack(np.meshgrid(at, at, at, indexing="ij")[::-1], axis=-1))
    found = table
    for axis in range(3):  # straight between nodes, along one axis after another
        weights = _tents(PROBES, table.shape[0])
        found = np.moveaxis(np.tensordot(weights, found, axes=(1, axis)), 0, axis)
    return float(np.abs(found - wanted).max())


def cube_of(table: Float[np.ndarray, "nodes nodes nodes 3"]) -> str:
    """A 3D table in the .cube format: red fastest, values in [0, 1]."""
    rows = (f"{r:.9g} {g:.9g} {b:.9g}" for r, g, b in table.reshape(-1, 3))
    return "\n".join((f"LUT_3D_SIZE {len(table)}", *_DOMAIN, *rows)) + "\n"


def cube_3d(curves: Curves, nodes: int) -> str:
    """The curves as a 3D table of `nodes` per side in the .cube format."""
    red, green, blue = _at_nodes(curves, nodes)
    rows = (f"{r:.9g} {g:.9g} {b:.9g}" for b in blue for g in green for r in red)
    return "\n".join((f"LUT_3D_SIZE {nodes}", *_DOMAIN, *rows)) + "\n"


def cube_1d(curves: Curves) -> str:
    """The curves as a 1D table in the .cube format, a row per knot."""
    rows = (f"{r:.9g} {g:.9g} {b:.9g}" for r, g, b in curves.values.T)
    return "\n".join((f"LUT_1D_SIZE {curves.values.shape[1]}", *_DOMAIN, *rows)) + "\n"


def cube_error(curves: Curves, nodes: int) -> float:
    """The largest error, of white = 1, of a 3D table of `nodes` per side: found at the knots, since both are straight between."""
    at, knots = np.linspace(0.0, 1.0, curves.values.shape[1]), np.linspace(0.0, 1.0, nodes)
    table = _at_nodes(curves, nodes)
    return max(float(np.abs(np.interp(at, knots, row) - curve).max()) for row, curve in zip(table, curves.values, strict=True))


_DOMAIN = ("DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1")


def _applied(colors: list[Operator], nodes: np.ndarray) -> np.ndarray:
    pixels = nodes.reshape(1, -1, 3)
    for step in colors:
        pixels = step.apply(pixels, Window(1, pixels.shape[1], slice(None), slice(None)))
    return pixels.reshape(nodes.shape)


def _tents(count: int, nodes: int) -> Float[np.ndarray, "count nodes"]:
    places = np.linspace(0.0, nodes - 1.0, count)[:, None]
    return np.asarray(np.clip(1 - np.abs(places - np.arange(nodes)), 0.0, 1.0))


def _at_nodes(curves: Curves, nodes: int) -> Float[np.ndarray, "3 nodes"]:
    inputs, knots = np.linspace(0.0, 1.0, nodes), np.linspace(0.0, 1.0, curves.values.shape[1])
    return np.stack([np.interp(inputs, knots, curve) for curve in curves.values])
