"""Witnesses of rendering: the torch form, float64 arithmetic, and what must not change, for the compiled and the OpenCV form alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import edit_of, shape_of

from attune import render
from attune.operators.curves import Curves, curve_tables
from attune.operators.operator import EditArrays
from attune.operators.shading import Shading
from attune.render import render_edit
from models.curves import apply_curves
from models.harmonizer import Edit, ParametricConfig, ParametricHarmonizer, build_harmonizer
from models.shading import shading_map
from tasks.harmonize import edit_arrays
from tasks.tensors import to_tensor, to_uint8

FORMS = ["compiled", "opencv"]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two forms renders."""
    if request.param == "opencv":
        monkeypatch.setattr(render, "COMPILED", False)
    return str(request.param)


def example(height: int = 60, width: int = 90, *, dtype: type = np.uint8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and a mask with nothing, soft edges and everything in it."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 :, width // 3 :] = rng.integers(0, 256, (height - height // 4, width - width // 3))
    mask[height // 2 :, width // 2 :] = 255
    return image, mask


def random_edit(*, seed: int = 0, knots: int = 16, grid: int = 8, shading: str = "symmetric", limit: float = 1.6) -> EditArrays:
    """Curves that bend and logits that swing."""
    rng = np.random.default_rng(seed)
    curves = np.clip(np.linspace(0, 1, knots) ** rng.uniform(0.6, 1.6, (3, 1)) + rng.normal(0, 0.02, (3, knots)), 0, 1)
    return edit_of(curves, rng.normal(0, 2.0, (grid, grid)), shading, limit)  # type: ignore[arg-type]


def exact(image: np.ndarray, mask: np.ndarray, edit: EditArrays) -> np.ndarray:
    """The edit in float64, unrounded, by interpolation at every pixel: no tables."""
    white = np.iinfo(image.dtype).max
    curves, shading = edit.get(Curves).values, edit.get(Shading)
    knots = np.linspace(0, 1, curves.shape[1])
    toned = np.stack([np.interp(image[..., channel] / white, knots, curves[channel]) for channel in range(3)], axis=2) * white
    gains = shading_map(
        torch.from_numpy(shading.logits)[None, None], *mask.shape, mode=shading.mode, limit=shading.limit
    )[0, 0].numpy()
    alpha = (mask / np.iinfo(mask.dtype).max)[..., None]
    return np.asarray(image + (np.minimum(toned * gains[..., None], white) - image) * alpha)


@pytest.mark.parametrize(("shading", "limit"), [("symmetric", 1.6), ("symmetric", 6.0), ("darken", 0.5), ("darken", 0.9)])
@pytest.mark.parametrize(("dtype", "bound"), [(np.uint8, 0.501), (np.uint16, 0.51)])
def test_results_are_exact_arithmetic_rounded(form: str, shading: str, limit: float, dtype: type, bound: float) -> None:
    image, mask = example(dtype=dtype)
    edit = random_edit(shading=shading, limit=limit)
    assert np.abs(render_edit(image, mask, edit) - exact(image, mask, edit)).max() <= bound


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), grid=st.integers(1, 20), knots=st.integers(2, 40), seed=st.integers(0, 99))
def test_results_are_exact_at_any_size(height: int, width: int, grid: int, knots: int, seed: int) -> None:
    image, mask = example(height, width, seed=seed)
    edit = random_edit(seed=seed, grid=grid, knots=knots)
    assert np.abs(render_edit(image, mask, edit) - exact(image, mask, edit)).max() <= 0.501


def test_results_equal_the_torch_form_within_a_level_of_rounding(form: str) -> None:
    model = build_harmonizer(shape_of(num_knots=16, grid=8))
    assert isinstance(model, ParametricHarmonizer)
    edit = random_edit()
    torch.manual_seed(0)
    curves, logits = torch.from_numpy(edit.get(Curves).values).float(), torch.from_numpy(edit.get(Shading).logits).float()
    tensors = Edit({"curves": curves[None], "shading": logits[None, None]})
    image, mask = example()
    theirs = to_uint8(model.render(tensors, to_tensor(image), to_tensor(mask)).harmonized)[0]
    ours = render_edit(image, mask, edit_arrays(tensors, model.config))
    apart = np.abs(ours.astype(int) - theirs)
    assert apart.max() <= 1  # where exact arithmetic lies halfway between two levels
    assert (apart > 0).mean() < 1e-3


def test_the_published_models_curves_are_carried_exactly() -> None:
    config = shape_of("published", size=256, width=32, num_knots=32, grid=16, shading="darken", shading_limit=0.6)
    assert isinstance(config, ParametricConfig)
    knots = torch.rand(1, 3, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.linspace(0, 1, 256, dtype=torch.float64).expand(1, 3, 256)[:, :, None]
    wanted = apply_curves(levels, knots, half_pixel=True)[0, :, 0].numpy() * 255
    edit = edit_arrays(Edit({"curves": knots, "shading": torch.zeros(1, 1, 16, 16)}), config)
    assert curve_tables(edit.get(Curves).values, 256) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_background_is_bit_exact(form: str, dtype: type) -> None:
    image, mask = example(70, 1100, dtype=dtype)
    before = image.copy()
    result = render_edit(image, mask, random_edit())
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert np.array_equal(image, before)
    assert np.array_equal(render_edit(image, np.zeros_like(mask), random_edit()), image)


def test_the_identity_edit_changes_nothing(form: str) -> None:
    for dtype in (np.uint8, np.uint16):
        image, mask = example(dtype=dtype)
        identity = edit_of(np.tile(np.linspace(0, 1, 16), (3, 1)), np.zeros((8, 8)), "symmetric", 1.6)
        assert np.array_equal(render_edit(image, mask, identity), image)


def test_gains_above_one_saturate_at_white(form: str) -> None:
    image, mask = np.full((20, 20, 3), 250, np.uint8), np.full((20, 20), 255, np.uint8)
    bright = edit_of(np.tile([0.0, 1.0], (3, 1)), np.full((2, 2), 9.0), "symmetric", 2.0)
    assert (render_edit(image, mask, bright) == 255).all()


def test_the_number_of_threads_and_a_given_result_change_nothing(form: str) -> None:
    image, mask = example(133, 77)
    edit = random_edit()
    once = render_edit(image, mask, edit, num_threads=1)
    out = np.full_like(image, 7)
    for threads in (2, 3, 200):
        assert render_edit(image, mask, edit, out=out, num_threads=threads) is out
        assert np.array_equal(out, once)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_may_be_rendered_in_its_own_memory(form: str, dtype: type) -> None:
    image, mask = example(70, 1100, dtype=dtype)
    wanted = render_edit(image, mask, random_edit())
    assert render_edit(image, mask, random_edit(), out=image) is image
    assert np.array_equal(image, wanted)


def test_both_forms_agree_and_strided_input_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = example(64, 700)
    edit = random_edit()
    flipped = render_edit(image[:, ::-1], mask[:, ::-1], edit)
    assert np.array_equal(flipped, render_edit(np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1]), edit))
    compiled = render_edit(image, mask, edit)
    monkeypatch.setattr(render, "COMPILED", False)
    assert np.abs(compiled.astype(int) - render_edit(image, mask, edit)).max() <= 1


@pytest.mark.parametrize(("shading", "limit"), [("symmetric", 1.6), ("darken", 0.4)])
def test_gains_equal_the_models_shading_map(shading: str, limit: float) -> None:
    edit = random_edit(grid=5, shading=shading, limit=limit)
    wanted = shading_map(torch.from_numpy(edit.get(Shading).logits)[None, None], 31, 87, mode=shading, limit=limit)[0, 0].numpy()
    assert edit.get(Shading).gains(31, 87) == pytest.approx(wanted, abs=1e-12)


def test_convention_tables_have_knots_at_both_ends() -> None:
    tables = curve_tables(np.array([[0.0, 0.5, 1.0], [0.2, 0.2, 0.2], [1.0, 0.5, 0.0]]), 256)
    assert tables[0] == pytest.approx(np.arange(256.0))
    assert tables[1] == pytest.approx(np.full(256, 51.0))
    assert tables[2] == pytest.approx(255 - np.arange(256.0))


@pytest.mark.usefixtures("unguarded")
def test_impossible_inputs_are_named() -> None:
    image, mask = example()
    edit = random_edit()
    with pytest.raises(ValueError, match="do not belong together"):
        render_edit(image, mask[:-1], edit)
    with pytest.raises(ValueError, match="image is float32"):
        render_edit(image.astype(np.float32), mask, edit)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="memory of its own"):
        render_edit(image[:-1], mask[:-1], edit, out=image[1:])
    with pytest.raises(ValueError, match="it must be uint8"):
        render_edit(image, mask, edit, out=np.empty_like(image)[:, ::-1])
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        Curves(edit.get(Curves).values - 0.5)
    with pytest.raises(ValueError, match="at least 2 knots"):
        Curves(edit.get(Curves).values[:, :1])
    with pytest.raises(ValueError, match="not all finite"):
        replace(edit.get(Shading), logits=edit.get(Shading).logits * np.nan)
    with pytest.raises(ValueError, match="they must be a grid"):
        replace(edit.get(Shading), logits=edit.get(Shading).logits[0])
    with pytest.raises(ValueError, match="shading_limit"):
        replace(edit.get(Shading), limit=1e4)
