"""Witnesses of edit_export: Pillow applies the tables, OpenCV reads the map, and all of it together gives our own result."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter
from shapes import edit_of

from attune.edit_export import cube_1d, cube_3d, cube_error, export_edit
from attune.edits import read_edit
from attune.operators.curves import Curves, curve_tables
from attune.operators.operator import EditArrays
from attune.operators.shading import Shading
from attune.render import render_edit


def random_edit(knots: int, *, shading: str = "symmetric", limit: float = 1.6) -> EditArrays:
    rng = np.random.default_rng(knots)
    curves = np.clip(np.linspace(0, 1, knots) ** rng.uniform(0.6, 1.6, (3, 1)) + rng.normal(0, 0.01, (3, knots)), 0, 1)
    return edit_of(curves, rng.normal(0, 1, (4, 4)), shading, limit)  # type: ignore[arg-type]


def read_cube(text: str) -> tuple[str, int, np.ndarray]:
    head, *rows = [line for line in text.splitlines() if line and not line.startswith(("DOMAIN", "#"))]
    kind, size = head.split()
    return kind, int(size), np.array([[float(number) for number in row.split()] for row in rows])


@pytest.mark.parametrize("knots", [2, 16, 32])
def test_pillow_applies_the_3d_table_as_we_apply_the_curves(knots: int) -> None:
    edit = random_edit(knots)
    kind, size, table = read_cube(cube_3d(edit.get(Curves), knots))
    assert (kind, size, table.shape) == ("LUT_3D_SIZE", knots, (knots**3, 3))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(image).filter(ImageFilter.Color3DLUT(size, [tuple(row) for row in table])))
    exact = np.stack([row[image[..., channel]] for channel, row in enumerate(curve_tables(edit.get(Curves).values, 256))], axis=2)
    assert np.abs(theirs - exact).max() < 0.75  # rounding to a level, and Pillow's fixed-point numbers


@pytest.mark.parametrize("knots", [2, 16, 33])
def test_the_3d_table_holds_the_curves_at_and_between_knots(knots: int) -> None:
    edit = random_edit(knots)
    _, size, table = read_cube(cube_3d(edit.get(Curves), knots))
    cube = table.reshape(size, size, size, 3)  # blue, green, red
    levels, nodes = np.linspace(0, 1, 4001), np.linspace(0, 1, size)
    for channel, line in enumerate((cube[size // 2, size // 3, :, 0], cube[size // 2, :, size // 3, 1], cube[:, size // 2, size // 3, 2])):
        wanted = np.interp(levels, np.linspace(0, 1, knots), edit.get(Curves).values[channel])
        assert np.abs(np.interp(levels, nodes, line) - wanted).max() < 1e-8
    assert cube_error(edit.get(Curves), knots) == 0


def test_the_1d_table_holds_every_knot_and_the_3d_tables_error_is_told() -> None:
    edit = random_edit(256)
    kind, size, table = read_cube(cube_1d(edit.get(Curves)))
    assert (kind, size) == ("LUT_1D_SIZE", 256)
    assert pytest.approx(edit.get(Curves).values, abs=1e-8) == table.T
    _, _, coarse = read_cube(cube_3d(edit.get(Curves), 20))
    red = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, 20), coarse.reshape(20, 20, 20, 3)[0, 0, :, 0])
    assert np.abs(red - edit.get(Curves).values[0]).max() <= cube_error(edit.get(Curves), 20) + 1e-8
    assert cube_error(edit.get(Curves), 20) > 1e-4


@pytest.mark.parametrize(("shading", "limit", "scale"), [("darken", 0.5, 1.0), ("symmetric", 1.6, 2.0), ("symmetric", 2.5, 4.0)])
def test_the_shading_map_says_the_gains(tmp_path: Path, shading: str, limit: float, scale: float) -> None:
    edit = random_edit(16, shading=shading, limit=limit)
    assert edit.get(Shading).scale == scale
    assert np.abs(edit.get(Shading).levels(20, 30) / 65535 * scale - edit.get(Shading).gains(20, 30)).max() <= scale / 65535
    export_edit(tmp_path, edit, 20, 30)
    assert np.array_equal(cv2.imread(str(tmp_path / "shading.png"), cv2.IMREAD_UNCHANGED), edit.get(Shading).levels(20, 30))


def test_the_exported_files_together_repeat_the_edit(tmp_path: Path) -> None:
    """As another tool would: the 1D table, times the map, times its scale, below the mask."""
    edit, rng = random_edit(16), np.random.default_rng(3)
    image, mask = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8), rng.integers(0, 256, (40, 50)).astype(np.uint8)
    export_edit(tmp_path, edit, 40, 50)
    _, knots, table = read_cube((tmp_path / "curves_1d.cube").read_text())
    toned = np.stack([np.interp(image[..., c] / 255, np.linspace(0, 1, knots), table[:, c]) for c in range(3)], axis=2)
    gains = cv2.imread(str(tmp_path / "shading.png"), cv2.IMREAD_UNCHANGED) / 65535 * 2.0
    shaded = np.minimum(toned * gains[..., None], 1) * 255
    theirs = image + (mask / 255)[..., None] * (shaded - image)
    assert np.abs(render_edit(image, mask, edit) - theirs).max() < 0.51
    again = read_edit(tmp_path / "edit.json")
    assert np.array_equal(render_edit(image, mask, again), render_edit(image, mask, edit))
