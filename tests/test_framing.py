"""Laws of cutting, mirroring and resampling stacks of images: torch's interpolate is the reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from tasks.framing import Frame, draw_frames, resample
from tasks.tensors import to_tensor

SIDE = 40


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def _by_torch(images: np.ndarray, size: int, frame: Frame) -> torch.Tensor:
    part = to_tensor(images)[..., frame.top : frame.top + frame.side, frame.left : frame.left + frame.side]
    part = part.flip(-1) if frame.mirrored else part
    if frame.side > size:
        return interpolate(part, size=(size, size), mode="area")
    return interpolate(part, size=(size, size), mode="bilinear", align_corners=False)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_frames_at_any_size_are_what_torch_makes_of_them(images: np.ndarray, data: st.DataObject) -> None:
    size, frames = data.draw(st.integers(1, 2 * SIDE)), []
    for _ in images:
        side = data.draw(st.integers(1, SIDE))
        top, left = data.draw(st.integers(0, SIDE - side)), data.draw(st.integers(0, SIDE - side))
        frames.append(Frame(top, left, side, data.draw(st.booleans())))
    for stack in (images, images[..., 0]):
        expected = torch.cat([_by_torch(stack[[place]], size, frame) for place, frame in enumerate(frames)])
        torch.testing.assert_close(resample(stack, size, frames), expected, rtol=0, atol=1e-5)


def test_at_their_own_size_images_are_what_was_read(images: np.ndarray) -> None:
    torch.testing.assert_close(resample(images, SIDE), to_tensor(images), rtol=0, atol=1e-7)


def test_shrinking_by_a_whole_number_keeps_the_mean(images: np.ndarray) -> None:
    means = to_tensor(images).mean(dim=(2, 3))
    assert torch.allclose(resample(images, SIDE // 4).mean(dim=(2, 3)), means, atol=1e-6)


def test_slots_choose_and_order_the_images_and_leave_the_stack_alone(images: np.ndarray) -> None:
    before, whole = images.copy(), resample(images, 16)
    slots = np.array([4, 0, 4])
    assert torch.equal(resample(images, 16, slots=slots), whole[slots])
    assert torch.equal(resample(images[:, ::-1, ::-1], 16), resample(np.ascontiguousarray(images[:, ::-1, ::-1]), 16))
    np.testing.assert_array_equal(images, before)


@given(st.integers(0, 2**31), st.integers(1, 300), st.floats(0.01, 1.0))
def test_drawn_frames_lie_inside_and_are_as_large_as_they_must_be(seed: int, side: int, smallest: float) -> None:
    for frame in draw_frames(5, side, np.random.default_rng(seed), smallest=smallest):
        assert round(smallest * side) <= frame.side <= side
        assert 0 <= frame.top <= side - frame.side
        assert 0 <= frame.left <= side - frame.side


def test_drawn_frames_reach_every_edge_and_both_ways_round() -> None:
    frames = draw_frames(400, 10, np.random.default_rng(0), smallest=0.5)
    assert {frame.side for frame in frames} == {5, 6, 7, 8, 9, 10}
    assert {frame.top + frame.side for frame in frames} >= {5, 10}
    assert {frame.left for frame in frames} >= {0, 5}
    assert 150 < sum(frame.mirrored for frame in frames) < 250


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="4x6 px where square ones are needed"):
        resample(np.zeros((1, 4, 6, 3), np.uint8), 4)
