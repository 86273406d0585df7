"""An edit for other tools: the curves as .cube tables, the shading as a 16-bit picture, all of it as JSON that `attune` reads back.

The order is curves, then shading, then the mask: `result = picture + mask * (min(gain * curve(picture), white) - picture)`. So elsewhere:
the table on a copy of the layer, the shading picture above it in the mode "multiply", brightened by `shading_scale`, all below the mask.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt16

from attune.edits import edit_to_json
from attune.files import write_bytes, write_json
from attune.photo_writing import encode_png16
from attune.render import EditArrays, shading_gains

CUBE, CUBE_1D, SHADING, EDIT = "curves.cube", "curves_1d.cube", "shading.png", "edit.json"
MAX_CUBE = 65  # nodes per side that most readers take, Pillow among them
WHITE = 65535


def export_edit(folder: Path, edit: EditArrays, height: int, width: int) -> float:
    """Write `edit` to `folder` for other tools, for a picture of `height` x `width` px; the 3D table's largest error, of white = 1.

    `curves.cube` is a 3D table: exact (0) wherever it has a node at every knot, that is up to 65 knots; with more, as drawn curves have, it
    errs between them. `curves_1d.cube` is always exact. `shading.png` holds `gain / shading_scale`, full scale 65535. `edit.json` is the
    edit as `attune harmonize --params` takes it, with `shading_scale` beside it.
    """
    nodes = min(edit.curves.shape[1], MAX_CUBE)
    scale = shading_scale(edit)
    write_bytes(folder / CUBE, cube_3d(edit, nodes).encode())
    write_bytes(folder / CUBE_1D, cube_1d(edit).encode())
    write_bytes(folder / SHADING, encode_png16(shading_levels(edit, height, width)))
    write_json(folder / EDIT, edit_to_json(edit) | {"shading_scale": scale, "shading_map": SHADING})
    return cube_error(edit, nodes)


def cube_3d(edit: EditArrays, nodes: int) -> str:
    """The curves as a 3D table of `nodes` per side in the .cube format: red fastest, values in [0, 1]."""
    red, green, blue = _at_nodes(edit, nodes)
    rows = (f"{r:.9g} {g:.9g} {b:.9g}" for b in blue for g in green for r in red)
    return "\n".join((f"LUT_3D_SIZE {nodes}", *_DOMAIN, *rows)) + "\n"


def cube_1d(edit: EditArrays) -> str:
    """The curves as a 1D table in the .cube format, a row per knot."""
    rows = (f"{r:.9g} {g:.9g} {b:.9g}" for r, g, b in edit.curves.T)
    return "\n".join((f"LUT_1D_SIZE {edit.curves.shape[1]}", *_DOMAIN, *rows)) + "\n"


def cube_error(edit: EditArrays, nodes: int) -> float:
    """The largest error, of white = 1, of a 3D table of `nodes` per side: found at the knots, since both are straight between."""
    at, knots = np.linspace(0.0, 1.0, edit.curves.shape[1]), np.linspace(0.0, 1.0, nodes)
    table = _at_nodes(edit, nodes)
    return max(float(np.abs(np.interp(at, knots, row) - curve).max()) for row, curve in zip(table, edit.curves, strict=True))


def shading_scale(edit: EditArrays) -> float:
    """What full scale of the shading picture means: the power of two that no gain exceeds."""
    return 1.0 if edit.shading == "darken" else float(2.0 ** np.ceil(np.log2(edit.shading_limit)))


def shading_levels(edit: EditArrays, height: int, width: int) -> UInt16[np.ndarray, "height width"]:
    """The gain of every pixel as `gain / shading_scale`, full scale 65535, rounded to nearest."""
    return np.asarray(np.rint(shading_gains(edit, height, width) / shading_scale(edit) * WHITE).astype(np.uint16))


_DOMAIN = ("DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1")


def _at_nodes(edit: EditArrays, nodes: int) -> Float[np.ndarray, "3 nodes"]:
    inputs, knots = np.linspace(0.0, 1.0, nodes), np.linspace(0.0, 1.0, edit.curves.shape[1])
    return np.stack([np.interp(inputs, knots, curve) for curve in edit.curves])
