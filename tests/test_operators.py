"""The edit as a list of operators: a colour matrix before the curves, and edits of before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import edit_of

from attune import render
from attune.edit_export import CUBE, CUBE_1D, EDIT, export_edit
from attune.edits import adjust_edit, edit_from_json, edit_to_json, grey_edit, read_edit
from attune.operators.color_matrix import IDENTITY, ColorMatrix
from attune.operators.curves import Curves
from attune.operators.operator import EditArrays, Window
from attune.operators.shading import Shading
from attune.render import render_edit
from models.color_matrix import ColorMatrix as TorchColorMatrix
from tasks.tensors import to_tensor, to_uint8

MIXED = np.array([[0.8, 0.25, -0.05, 0.02], [0.1, 0.9, 0.05, -0.03], [-0.1, 0.2, 0.95, 0.0]])


def edit_with_matrix(seed: int = 0) -> EditArrays:
    rng = np.random.default_rng(seed)
    curves = np.clip(np.linspace(0, 1, 16) ** np.array([[0.8], [1.1], [1.3]]), 0, 1)
    return EditArrays((ColorMatrix(MIXED), Curves(curves), Shading(rng.normal(0, 1, (4, 4)), "symmetric", 1.6)))


def example(dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    image = rng.integers(0, np.iinfo(dtype).max + 1, (37, 600, 3)).astype(dtype)
    mask = np.zeros((37, 600), np.uint8)
    mask[5:30, 20:500] = rng.integers(0, 256, (25, 480))
    return image, mask


# --- The colour matrix --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["compiled", "operator by operator"])
@pytest.mark.parametrize(("dtype", "near"), [(np.uint8, 0.6), (np.uint16, 2.0)])
def test_a_matrix_is_applied_before_the_curves_and_cut(dtype: type, near: float, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form != "compiled":
        monkeypatch.setattr(render, "COMPILED", False)
    (image, mask), edit, white = example(dtype), edit_with_matrix(), np.iinfo(dtype).max
    pixels = np.clip(image / white @ MIXED[:, :3].T + MIXED[:, 3], 0, 1)
    curves = edit.get(Curves).values
    toned = np.stack([np.interp(pixels[..., c], np.linspace(0, 1, 16), curves[c]) for c in range(3)], axis=-1)
    wanted = np.minimum(toned * edit.get(Shading).gains(*mask.shape)[..., None], 1) * white
    exact = image + mask[..., None] / 255 * (wanted - image)
    assert np.abs(render_edit(image, mask, edit) - exact).max() < near


def test_the_torch_form_renders_what_the_tool_does() -> None:
    (image, mask), edit = example(), edit_with_matrix()
    picture = TorchColorMatrix().apply(to_tensor(image), torch.from_numpy(edit.get(ColorMatrix).values).float()[None])
    matrix_alone = render_edit(image, np.full_like(mask, 255), EditArrays(edit.steps[:1]))
    assert np.abs(to_uint8(picture)[0].astype(int) - matrix_alone).max() <= 1


def test_the_identity_matrix_changes_no_bit() -> None:
    image, mask = example()
    plain = edit_of(edit_with_matrix().get(Curves).values, np.zeros((2, 2)), "symmetric", 1.5)
    assert np.array_equal(render_edit(image, mask, EditArrays((ColorMatrix(IDENTITY), *plain.steps))), render_edit(image, mask, plain))


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 2))
def test_a_matrix_goes_straight_from_the_identity(strength: float) -> None:
    scaled = adjust_edit(edit_with_matrix(), strength).get(ColorMatrix).values
    np.testing.assert_allclose(scaled - IDENTITY, strength * (MIXED - IDENTITY), atol=1e-12)


def test_a_grey_picture_stays_grey_under_a_matrix() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    grey = render_edit(ramp, np.full((1, 256), 255, np.uint8), grey_edit(edit_with_matrix()))
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_a_matrix_goes_into_the_table_together_with_the_curves(tmp_path: Path) -> None:
    edit = edit_with_matrix()
    exported = export_edit(tmp_path, edit, 20, 30)
    assert set(exported.files) == {CUBE, EDIT, "shading.png"}
    assert not (tmp_path / CUBE_1D).exists()
    lines = (tmp_path / CUBE).read_text().splitlines()
    nodes = int(lines[0].split()[1])
    table = np.array([line.split() for line in lines[3:]], float).reshape(nodes, nodes, nodes, 3)
    color = np.array([[[8, 16, 24]]]) / (nodes - 1)  # a node
    window = Window(1, 1, slice(None), slice(None))
    np.testing.assert_allclose(table[24, 16, 8], edit.steps[1].apply(edit.steps[0].apply(color, window), window)[0, 0], atol=1e-8)
    assert 0 < exported.error < 0.02
    assert read_edit(tmp_path / EDIT).get(ColorMatrix).values.tolist() == MIXED.tolist()


@pytest.mark.parametrize(("rows", "said"), [
    ([[1, 0, 0, 0]] * 2, "3 rows"), ([[1, 0, 0]] * 3, "4 numbers"), ([[99, 0, 0, 0]] * 3, "at most 16"), ("x", "3 rows"),
])  # fmt: skip
def test_a_matrix_that_is_none_is_named(rows: Any, said: str) -> None:
    value = {"format": "attune edit", "version": 2, "operators": [{"name": "color_matrix", "rows": rows}]}
    with pytest.raises(ValueError, match=f"some.json: .*{said}"):
        edit_from_json(value, name="some.json")


# --- JSON ---------------------------------------------------------------------------------------------------------------------------------


def test_an_edit_of_before_is_read() -> None:
    former = {
        "format": "attune edit", "version": 1, "curves": {channel: [0.0, 0.4, 1.0] for channel in ("red", "green", "blue")},
        "shading": {"mode": "darken", "limit": 0.5, "logits": [[1.0, 2.0], [3.0, 4.0]]},
    }  # fmt: skip
    edit = edit_from_json(former, name="old.json")
    assert [step.name for step in edit.steps] == ["curves", "shading"]
    assert edit_to_json(edit)["version"] == 2
    assert edit.get(Shading).logits.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(("operators", "said"), [
    ([{"name": "glow"}], "operator 'glow' is not known; there are color_matrix, curves, shading"),
    ([{"name": "color_matrix", "rows": IDENTITY.tolist()}] * 2, "each must be there once"), ({}, "must be a list"), ([3], "must be a list"),
])  # fmt: skip
def test_a_list_of_operators_that_is_none_is_named(operators: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"some.json: .*{said}"):
        edit_from_json({"format": "attune edit", "version": 2, "operators": operators}, name="some.json")
