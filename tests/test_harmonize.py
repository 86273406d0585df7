"""Witnesses of tasks.harmonize: the model's own answer, what must not change, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from shapes import shape_of

from attune.operators.curves import Curves
from attune.operators.shading import Shading
from models.harmonizer import Harmonizer, build_harmonizer
from tasks.harmonize import harmonize_image, predict_edit
from tasks.tensors import to_tensor, to_uint8

SIZE = 32


def eager_model(**changes: object) -> Harmonizer:
    """A harmonizer whose heads are random, not zero: its edits are seen."""
    torch.manual_seed(0)
    model = build_harmonizer(shape_of(**{"size": SIZE, "num_knots": 16, **changes}))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".head." in name:
                tensor.normal_(0, 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Harmonizer:
    return eager_model()


@pytest.fixture
def scene(photograph: Callable[..., np.ndarray], object_mask: Callable[..., np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return photograph(90, 120, 3), object_mask(90, 120)


def test_a_picture_near_the_networks_size_gets_the_models_own_answer(model: Harmonizer, scene: tuple[np.ndarray, np.ndarray]) -> None:
    composite, mask = scene
    with torch.inference_mode():
        wanted = to_uint8(model(to_tensor(composite), to_tensor(mask)).harmonized)[0]
    ours = harmonize_image(model, composite, mask)
    assert np.abs(ours.astype(int) - wanted).max() <= 1
    assert (ours != wanted).mean() < 1e-3
    assert np.abs(ours.astype(int) - composite).max() > 10


def test_the_edit_hardly_depends_on_the_resolution(model: Harmonizer, scene: tuple[np.ndarray, np.ndarray]) -> None:
    composite, mask = scene
    small = predict_edit(model, composite, mask)
    large = predict_edit(model, composite.repeat(8, axis=0).repeat(8, axis=1), mask.repeat(8, axis=0).repeat(8, axis=1))
    assert np.abs(small.get(Curves).values - large.get(Curves).values).max() < 0.01
    assert np.abs(small.get(Shading).logits - large.get(Shading).logits).max() < 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_background_is_bit_exact_and_strength_0_changes_nothing(
    model: Harmonizer, scene: tuple[np.ndarray, np.ndarray], dtype: type
) -> None:
    composite, mask = scene
    composite = composite.astype(dtype) * (257 if dtype == np.uint16 else 1)
    harmonized = harmonize_image(model, composite, mask)
    assert harmonized.dtype == dtype
    assert np.array_equal(harmonized[mask == 0], composite[mask == 0])
    assert not np.array_equal(harmonized, composite)
    assert np.array_equal(harmonize_image(model, composite, mask, strength=0.0), composite)


def test_16_bits_get_the_same_edit_as_8(model: Harmonizer, scene: tuple[np.ndarray, np.ndarray]) -> None:
    composite, mask = scene
    deep = harmonize_image(model, composite.astype(np.uint16) * 257, mask.astype(np.uint16) * 257)
    assert np.abs(deep / 257 - harmonize_image(model, composite, mask)).max() < 0.51


def test_a_plate_of_any_size_is_looked_at_and_never_pasted(scene: tuple[np.ndarray, np.ndarray]) -> None:
    composite, mask = scene
    model = eager_model(plate=True)
    dark, light = (harmonize_image(model, composite, mask, plate=np.full((50, 70, 3), level, np.uint8)) for level in (20, 230))
    assert not np.array_equal(dark, light)
    assert np.array_equal(dark[mask == 0], composite[mask == 0])
    with pytest.raises(ValueError, match="needs a plate"):
        harmonize_image(model, composite, mask)


@pytest.mark.usefixtures("unguarded")
def test_impossible_inputs_are_named(model: Harmonizer, scene: tuple[np.ndarray, np.ndarray]) -> None:
    composite, mask = scene
    with pytest.raises(ValueError, match="do not belong together"):
        harmonize_image(model, composite, mask[:-1])
    with pytest.raises(ValueError, match="no foreground"):
        harmonize_image(model, composite, np.zeros_like(mask))
    with pytest.raises(ValueError, match="covers the whole picture"):
        harmonize_image(model, composite, np.full_like(mask, 255))
    with pytest.raises(ValueError, match="must be uint8 or uint16"):
        harmonize_image(model, composite.astype(np.float64), mask)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="strength is 3"):
        harmonize_image(model, composite, mask, strength=3.0)
    with pytest.raises(ValueError, match="paints pixels"):
        harmonize_image(eager_model(architecture="pixel"), composite, mask)
