"""The edit as a list of operators: a colour matrix before the curves, edits of before, and a toy that is registered by one line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import edit_of
from torch import Tensor, nn

from attune import render
from attune.edit_export import CUBE, CUBE_1D, EDIT, export_edit
from attune.edits import adjust_edit, edit_from_json, edit_to_json, grey_edit, read_edit, write_edit
from attune.files import write_bytes
from attune.operators.color_matrix import IDENTITY, ColorMatrix
from attune.operators.curves import Curves
from attune.operators.operator import EditArrays, Operator, Window
from attune.operators.registry import OPERATORS
from attune.operators.shading import Shading
from attune.photo_writing import encode_png16
from attune.render import render_edit
from models.architectures import ARCHITECTURES
from models.harmonizer import Edit, ParametricConfig, ParametricHarmonizer, build_harmonizer, known_inputs
from models.operators import TorchOperator
from tasks.harmonize import edit_arrays, harmonize_image, predict_edit
from tasks.harmonizer_files import load_harmonizer, save_harmonizer
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
    config = ToyConfig(size=32, plate=False, width=8)
    numbers = {step.name: torch.from_numpy(value).float()[None] for step, value in zip(edit.steps, _values(edit), strict=True)}
    names = {operator.name: operator for operator in config.operators}
    picture = to_tensor(image)
    for name in ("color_matrix",):
        picture = names[name].apply(picture, numbers[name])
    matrix_alone = render_edit(image, np.full_like(mask, 255), EditArrays(edit.steps[:1]))
    assert np.abs(to_uint8(picture)[0].astype(int) - matrix_alone).max() <= 1


def _values(edit: EditArrays) -> list[np.ndarray]:
    return [edit.get(ColorMatrix).values, edit.get(Curves).values, edit.get(Shading).logits]


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


# --- A toy: one class for each building, one line in each list ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Vignette(Operator):
    """Darkens towards the frame's corners."""

    name: ClassVar[str] = "vignette"
    is_pointwise: ClassVar[bool] = False

    amount: float

    @classmethod
    def from_numbers(cls, numbers: np.ndarray, settings: Mapping[str, Any]) -> "Vignette":
        return cls(float(numbers[0]) * settings["most"])

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str) -> "Vignette":
        if set(value) != {"amount"}:
            raise ValueError(f"{name}: a vignette holds an amount")
        return cls(float(value["amount"]))

    def to_json(self) -> dict[str, Any]:
        return {"amount": self.amount}

    def scaled(self, strength: float) -> "Vignette":
        return Vignette(self.amount * strength)

    def gains(self, height: int, width: int) -> np.ndarray:
        down, across = (np.linspace(-1, 1, side) for side in (height, width))
        return np.asarray(1 - self.amount * (down[:, None] ** 2 + across**2) / 2)

    def apply(self, pixels: np.ndarray, window: Window) -> np.ndarray:
        return np.asarray(pixels * self.gains(window.height, window.width)[window.rows, window.columns, None], pixels.dtype)

    def describe(self) -> str:
        return f"a vignette takes {self.amount:.0%} off the corners"

    def export(self, folder: Path, height: int, width: int) -> tuple[dict[str, str], dict[str, Any]]:
        write_bytes(folder / "vignette.png", encode_png16(np.rint(self.gains(height, width) * 65535).astype(np.uint16)))
        return {"vignette.png": "the vignette"}, {"vignette_map": "vignette.png"}


@dataclass(frozen=True)
class TorchVignette(TorchOperator):
    name: ClassVar[str] = "vignette"
    is_pointwise: ClassVar[bool] = False

    most: float = 0.8

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def identity(self, like: Tensor) -> Tensor:
        return like.new_zeros(1, 1)

    def apply(self, image: Tensor, numbers: Tensor) -> Tensor:
        down, across = (torch.linspace(-1, 1, side) for side in image.shape[-2:])
        return image * (1 - self.most * numbers[..., None, None] * (down[:, None] ** 2 + across**2) / 2)

    def settings(self) -> dict[str, Any]:
        return {"most": self.most}


@dataclass(frozen=True)
class ToyConfig(ParametricConfig):
    """A harmonizer that knows the picture's mean colour and predicts a matrix and a vignette."""

    architecture: ClassVar[str] = "toy"

    width: int

    @property
    def operators(self) -> tuple[TorchOperator, ...]:
        from models.color_matrix import ColorMatrix as TorchColorMatrix

        return TorchColorMatrix(), TorchVignette()

    def build(self) -> "Toy":
        return Toy(self)


class Toy(ParametricHarmonizer):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.net = nn.Sequential(nn.Linear(6, config.width), nn.SiLU(), nn.Linear(config.width, 13))

    def predict(self, composite: Tensor, mask: Tensor, plate: Tensor | None = None) -> Edit:
        image, region = (self.squash(one) for one in known_inputs(self.config, composite, mask, plate))
        means = [(image * part).mean(dim=(2, 3)) for part in (region, 1 - region)]
        numbers = self.net(torch.cat(means, dim=1)).float()
        matrix = self.config.operators[0].identity(numbers) + 0.1 * numbers[:, :12].view(-1, 3, 4)
        return Edit({"color_matrix": matrix, "vignette": numbers[:, 12:].sigmoid()})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setitem(OPERATORS, "vignette", Vignette)
    monkeypatch.setitem(ARCHITECTURES, "toy", ToyConfig)
    torch.manual_seed(0)
    model = build_harmonizer(ToyConfig(size=32, plate=False, width=8)).eval()
    assert isinstance(model, Toy)
    return model


def test_a_toy_architecture_with_a_toy_operator_is_saved_predicts_renders_and_exports(toy: Toy, tmp_path: Path) -> None:
    save_harmonizer(tmp_path / "model", toy, toy.config, {})
    model, _ = load_harmonizer(tmp_path / "model")
    assert isinstance(model, Toy)
    image, mask = example()
    with torch.inference_mode():
        rendered = to_uint8(model(to_tensor(image), to_tensor(mask)).harmonized)[0].astype(int)
        own = edit_arrays(model.predict(to_tensor(image), to_tensor(mask)), model.config)
    assert np.abs(render_edit(image, mask, own) - rendered).max() <= 1, "the two forms differ"
    assert np.array_equal(harmonize_image(model, image, mask), render_edit(image, mask, predict_edit(model, image, mask)))
    write_edit(tmp_path / "edit.json", own)
    assert edit_to_json(read_edit(tmp_path / "edit.json")) == edit_to_json(own)
    assert np.abs(render_edit(image, mask, adjust_edit(own, 0.0)).astype(int) - image).max() == 0
    assert "vignette.png" in export_edit(tmp_path / "out", own, 20, 30).files
    assert json.loads((tmp_path / "out" / EDIT).read_text())["vignette_map"] == "vignette.png"
    assert [step.describe() for step in own.steps][1].startswith("a vignette takes")
