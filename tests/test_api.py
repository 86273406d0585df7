"""Witnesses of the Python API: every kind in and out, the pixels of the command line, examples that run, and a light import."""

import doctest
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from released_models import write_released_model

import attune
from attune import api, chosen_model
from attune.cli import main
from attune.photo_files import read_photo
from attune.render import render_edit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def bench(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, photograph: Callable[..., np.ndarray],
    object_mask: Callable[..., np.ndarray],
) -> None:
    """The current folder holds pasted.png and mask.png; the model inside the package is a small one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chosen_model, "EMBEDDED", folder / "model.json")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.fromarray(photograph(60, 80, 5)).save("pasted.png")
    Image.fromarray(object_mask(60, 80)).save("mask.png")


@pytest.fixture
def wanted() -> np.ndarray:
    """What the command line makes of the picture."""
    with pytest.raises(SystemExit):
        main(["harmonize", "pasted.png", "mask.png", "-o", "wanted.png"])
    return read_photo(Path("wanted.png")).pixels


def test_the_examples_of_the_documentation_run() -> None:
    found = doctest.testmod(api)
    assert found.failed == 0
    assert found.attempted >= 15


def test_the_kind_that_is_given_is_the_kind_that_comes_back(wanted: np.ndarray) -> None:
    with Image.open("pasted.png") as opened:
        image = opened.copy()
    array, before = np.array(image), np.array(image)
    path = attune.harmonize(Path("pasted.png"), "mask.png")
    assert path == Path("pasted_harmonized.png")
    assert attune.harmonize("pasted.png", "mask.png", out="other.png") == "other.png"
    data = attune.harmonize(Path("pasted.png").read_bytes(), Path("mask.png").read_bytes())
    fitted = attune.harmonize(image, Image.open("mask.png"))
    assert isinstance(data, bytes)
    assert isinstance(fitted, Image.Image)
    mask = np.array(Image.open("mask.png"))
    answers = [np.array(Image.open(path)), np.array(Image.open("other.png")), np.array(Image.open(io.BytesIO(data))), np.array(fitted)]
    answers += [attune.harmonize(array, mask), attune.harmonize(array, mask > 0), attune.harmonize(array, mask.astype(np.uint16) * 257)]
    assert all(np.array_equal(answer, wanted) for answer in answers)
    assert np.array_equal(array, before), "what was given is left alone"
    assert np.array_equal(np.array(image), before)


def test_depth_channels_and_shape_are_kept() -> None:
    array, mask = np.array(Image.open("pasted.png")), np.array(Image.open("mask.png"))
    deep = attune.harmonize(array.astype(np.uint16) * 257, mask)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - attune.harmonize(array, mask)).max() < 0.51
    layered = np.dstack([array, np.full(mask.shape, 200, np.uint8)])
    assert np.array_equal(attune.harmonize(layered, mask)[..., 3], layered[..., 3])
    assert attune.harmonize(array[..., 0], mask).shape == mask.shape
    assert attune.harmonize(array[..., :1], mask).shape == (*mask.shape, 1)
    for mode in ("L", "LA", "RGBA"):
        assert attune.harmonize(Image.fromarray(array).convert(mode), "mask.png").mode == mode


def test_an_edit_goes_step_by_step(wanted: np.ndarray) -> None:
    model = attune.load()
    assert model.origin == "embedded in the package"
    edit = model.predict("pasted.png", "mask.png")
    array, mask = np.array(Image.open("pasted.png")), np.array(Image.open("mask.png"))
    assert np.array_equal(attune.apply(edit, array, mask), wanted)
    assert np.array_equal(attune.apply(edit.scaled(0), array, mask), array)
    assert np.array_equal(attune.apply(edit.scaled(0.5), array, mask), attune.harmonize(array, mask, strength=0.5))
    edit.save("edit.json")
    assert attune.read_edit("edit.json") == edit
    assert attune.read_edit("edit.json") != edit.scaled(0.5)
    assert np.array_equal(render_edit(array, mask, edit.arrays), wanted)


@pytest.mark.parametrize(("picture", "mask", "said"), [
    (np.zeros((9, 9, 3)), "mask.png", "the picture is float64"),
    (np.zeros((9, 9, 5), np.uint8), "mask.png", "with 1 to 4 channels"),
    ("nowhere.png", "mask.png", "nowhere.png: no such file"),
    (b"no picture", "mask.png", "the bytes: not a picture"),
    ("pasted.png", np.zeros((60, 80), np.float32), "the mask is float32"),
    ("pasted.png", np.zeros((60, 80), np.uint8), "the mask holds no foreground"),
    ("pasted.png", np.ones((80, 60), bool), "the mask: the mask is 60x80 px and the picture 80x60"),
    (Image.new("F", (80, 60)), "mask.png", "the image's mode is F"),
])
def test_what_cannot_be_used_is_named(picture: Any, mask: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        attune.harmonize(picture, mask)


@pytest.mark.usefixtures("unguarded")
def test_what_is_no_picture_at_all_is_named() -> None:
    with pytest.raises(ValueError, match="the picture is a int; it must be a path"):
        attune.harmonize(7, "mask.png")  # type: ignore[type-var]


def test_a_result_never_replaces_what_it_is_made_of() -> None:
    with pytest.raises(ValueError, match="would overwrite"):
        attune.harmonize("pasted.png", "mask.png", out="pasted.png")
    with pytest.raises(ValueError, match="the picture is no path"):
        attune.harmonize(np.array(Image.open("pasted.png")), "mask.png", out="x.png")  # type: ignore[type-var]


def test_importing_loads_nothing_else_and_names_are_listed(repository: Path) -> None:
    code = "import sys, attune; print(sorted({'numpy', 'cv2', 'onnxruntime', 'PIL', 'numba'} & set(sys.modules)), dir(attune))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout == "[] ['Edit', 'Model', 'apply', 'harmonize', 'load', 'read_edit']\n"
    with pytest.raises(AttributeError, match="no attribute 'enhance'"):
        attune.enhance  # noqa: B018
