"""The fast 3D table against torch's grid_sample, and its invariants."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.lut import apply_lut, identity_lut
from tasks.lut_kernel import apply_lut_uint8
from tasks.tensors import to_tensor, to_uint8

Draw = Callable[..., np.ndarray]


def reference(image: np.ndarray, lut: torch.Tensor, mask: np.ndarray) -> np.ndarray:
    """The same by torch: grid_sample, clip, blend in float, round."""
    before, level = to_tensor(image), to_tensor(mask)
    recolored = apply_lut(before, lut[None]).clamp(0, 1)
    result: np.ndarray = to_uint8(before + level * (recolored - before))[0]
    return result


@pytest.mark.parametrize("dim", [2, 9, 17, 33])
def test_the_kernel_agrees_with_grid_sample_within_a_level(dim: int) -> None:
    rng = np.random.default_rng(dim)
    image = rng.integers(0, 256, (37, 53, 3), np.uint8)
    mask = np.where(rng.random((37, 53)) < 0.5, rng.integers(0, 256, (37, 53)), 255).astype(np.uint8)
    lut = identity_lut(dim) + 0.4 * torch.randn(3, dim, dim, dim, generator=torch.Generator().manual_seed(dim))
    difference = np.abs(apply_lut_uint8(image, lut.numpy(), mask).astype(int) - reference(image, lut, mask))
    assert difference.max() <= 1
    assert (difference[mask == 255] == 0).mean() > 0.999


def test_every_colour_at_a_node_takes_the_nodes_value() -> None:
    lut = torch.rand(3, 6, 6, 6, generator=torch.Generator().manual_seed(0)).numpy()
    nodes = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    image = (nodes * 51).astype(np.uint8)
    expected = np.rint(lut.reshape(3, -1).T[None] * 255)
    assert np.abs(apply_lut_uint8(image, lut, np.full(image.shape[:2], 255, np.uint8)) - expected).max() <= 1


@pytest.mark.parametrize("dim", [2, 9, 17])
def test_the_identity_table_leaves_every_level_unchanged(dim: int) -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(apply_lut_uint8(image, identity_lut(dim).numpy(), mask), image)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12))
def test_the_background_is_copied_bit_for_bit(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (9, 11, 3), np.uint8)
    mask = rng.choice(np.array([0, 1, 128, 255], np.uint8), (9, 11))
    result = apply_lut_uint8(image, rng.normal(0.5, 1.0, (3, dim, dim, dim)).astype(np.float32), mask)
    np.testing.assert_array_equal(result[mask == 0], image[mask == 0])
    assert result.dtype == np.uint8


def test_arguments_stay_and_views_work(photograph: Draw, object_mask: Draw) -> None:
    image, mask = photograph(40, 60, 1), object_mask(40, 60)
    image.flags.writeable = mask.flags.writeable = False
    lut = (identity_lut(9) ** 2).numpy()
    whole = apply_lut_uint8(image, lut, mask)
    np.testing.assert_array_equal(apply_lut_uint8(image[:, ::-1], lut, mask[:, ::-1]), whole[:, ::-1])


@pytest.mark.usefixtures("unguarded")
def test_shapes_that_do_not_belong_together_are_refused() -> None:
    image, mask, lut = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8), np.zeros((3, 2, 2, 2), np.float32)
    for arguments in ((image[:3], lut, mask), (image, lut[:2], mask), (image, lut[..., :1], mask), (image, lut, mask[:, :4])):
        with pytest.raises(ValueError, match="do not belong together"):
            apply_lut_uint8(*arguments)
