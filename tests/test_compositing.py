import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.mining.compositing import (
    Box,
    Contact,
    Placement,
    clean_plate,
    cut_object,
    grow_mask,
    mask_box,
    mask_contact,
    matte_in_frame,
    paste,
    plate_quality,
    resample,
    to_frame,
)

NO_CONTACT = Contact()


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 216, (height, width, 3), dtype=np.uint8)


def ellipse(height: int, width: int, *, centre: tuple[float, float] = (0.5, 0.5), radius: tuple[float, float] = (0.3, 0.2)) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    inside = ((rows - centre[0] * height) / (radius[0] * height)) ** 2 + ((columns - centre[1] * width) / (radius[1] * width)) ** 2 <= 1
    return inside.astype(np.uint8) * 255


def test_shrinking_by_a_whole_factor_averages_the_pixels_of_each_block() -> None:
    image = textured(24, 32).astype(np.float32)
    blocks = image.reshape(8, 3, 8, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resample(image, 8, 8), blocks, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(4, 40), width=st.integers(4, 40), level=st.integers(0, 255))
def test_resampling_keeps_a_constant_image_at_any_size(height: int, width: int, level: int) -> None:
    resampled = resample(np.full((17, 23, 3), level, np.uint8), height, width)
    assert resampled.shape == (height, width, 3)
    assert (resampled == level).all()


def test_pixels_outside_the_matte_are_the_plates_to_the_bit() -> None:
    plate, image, mask = textured(48, 48, 1), textured(60, 80, 2), ellipse(60, 80)
    box = mask_box(mask > 0)
    placement = Placement(box, Box(10, 12, 34, 40), NO_CONTACT)
    composite, matte = paste(plate, cut_object(image, mask, placement=placement, choke=0.5, feather_sigma=0.8))
    assert (composite[matte == 0] == plate[matte == 0]).all()
    assert (matte == 0).any()
    assert (composite[matte > 128] != plate[matte > 128]).any()


def test_a_full_matte_shows_the_object_and_a_half_matte_the_mean_rounded() -> None:
    plate = np.full((8, 8, 3), 100, np.uint8)
    colour = np.full((2, 2, 3), 201, np.uint8)
    from tasks.mining.compositing import Cutout

    composite, matte = paste(plate, Cutout(colour, np.array([[255, 128], [1, 0]], np.uint8), left=3, top=2))
    expected = [np.rint((alpha * 201 + (255 - alpha) * 100) / 255) for alpha in (255, 128, 1, 0)]
    assert composite[2:4, 3:5, 0].reshape(-1).tolist() == expected
    assert np.count_nonzero(matte) == 3


def test_cutting_and_pasting_in_place_gives_the_photograph_inside_the_mask() -> None:
    image, mask = textured(40, 40), ellipse(40, 40)
    box = mask_box(mask > 0)
    cutout = cut_object(image, mask, placement=Placement(box, box, NO_CONTACT), choke=0.0, feather_sigma=0.0)
    composite, matte = paste(image, cutout)
    assert (composite == image).all()
    assert (matte == mask).all()


def test_no_colour_of_the_objects_own_background_travels_along() -> None:
    mask = ellipse(90, 90)
    image = np.where(mask[..., None] > 0, np.uint8(60), np.uint8(250)) * np.ones(3, np.uint8)
    placement = Placement(mask_box(mask > 0), Box(8, 9, 27, 31), NO_CONTACT)
    cutout = cut_object(image, mask, placement=placement, choke=0.0, feather_sigma=1.0)
    assert (cutout.colour[cutout.matte > 0] == 60).all()


def test_the_choke_draws_the_matte_in_by_about_its_pixels() -> None:
    image, mask = textured(160, 160), ellipse(160, 160, radius=(0.4, 0.4))
    placement = Placement(mask_box(mask > 0), Box(0, 0, 40, 40), NO_CONTACT)
    areas = [cut_object(image, mask, placement=placement, choke=choke, feather_sigma=0.0).matte.sum() / 255 for choke in (0.0, 1.0, 2.0)]
    radii = np.sqrt(np.array(areas) / np.pi)
    np.testing.assert_allclose(np.diff(radii), [-1.0, -1.0], atol=0.15)


def test_a_matte_does_not_fade_at_the_side_where_its_object_is_cut_off() -> None:
    image, mask = textured(64, 64), np.zeros((64, 64), np.uint8)
    mask[30:, 20:44] = 255
    box = mask_box(mask > 0)
    contact = mask_contact(box, 64, 64)
    assert contact == Contact(bottom=True)
    faded, kept = (
        matte_in_frame(cut_object(image, mask, placement=Placement(box, Box(8, 15, 20, 32), side), choke=1.0, feather_sigma=1.0), 32)
        for side in (NO_CONTACT, contact)
    )
    assert kept[31, 14] == 255
    assert faded[31, 14] < 200


def test_the_affine_maps_the_corners_of_the_source_box_onto_those_of_the_target() -> None:
    placement = Placement(Box(3, 5, 43, 25), Box(-2, 7, 18, 22), NO_CONTACT)
    a, b, c, d, e, f = placement.affine
    for source, target in (((3, 5), (-2, 7)), ((43, 25), (18, 22))):
        assert (a * source[0] + b * source[1] + c, d * source[0] + e * source[1] + f) == pytest.approx(target)


def test_an_object_that_hangs_over_the_edge_is_cut_off_and_one_outside_leaves_the_plate() -> None:
    plate, image, mask = textured(32, 32, 3), textured(40, 40, 4), ellipse(40, 40)
    box = mask_box(mask > 0)
    for target, shows in ((Box(-8, -6, 10, 14), True), (Box(60, 60, 80, 80), False)):
        composite, matte = paste(plate, cut_object(image, mask, placement=Placement(box, target, NO_CONTACT), choke=0.0, feather_sigma=0.5))
        assert composite.shape == plate.shape
        assert matte.any() == shows
        assert (composite != plate).any() == shows


@pytest.mark.parametrize("method", ["telea", "navier_stokes"])
def test_a_plate_differs_from_the_frame_inside_the_grown_mask_only(method: str) -> None:
    frame, mask = textured(48, 48), ellipse(48, 48)
    plate = clean_plate(frame, mask, method=method, margin=3)
    hole = grow_mask(mask > 0, 3)
    assert (plate[~hole] == frame[~hole]).all()
    assert (plate[hole] != frame[hole]).any(axis=1).mean() > 0.9


def test_a_plate_forgets_the_object_and_continues_a_smooth_ramp() -> None:
    ramp = np.linspace(60, 180, 64).round().astype(np.uint8)[None, :, None] * np.ones((64, 1, 3), np.uint8)
    mask = ellipse(64, 64)
    frame = np.where(mask[..., None] > 0, np.uint8(255), ramp)
    plate = clean_plate(frame, mask, method="telea", margin=2)
    assert np.abs(plate.astype(int) - ramp).mean() < 3
    assert plate.max() < 200


def test_a_plates_fill_has_grain_like_its_surroundings_where_inpainting_alone_is_smooth() -> None:
    rng = np.random.default_rng(0)
    frame = np.clip(120 + rng.normal(0, 12, (64, 64, 1)), 0, 255).round().astype(np.uint8) * np.ones(3, np.uint8)
    mask = ellipse(64, 64)
    grained = clean_plate(frame, mask, method="telea", margin=2)
    hole = grow_mask(mask > 0, 2)
    smooth = np.where(hole[..., None], cv2.inpaint(frame, hole.astype(np.uint8), 3.0, cv2.INPAINT_TELEA), frame)
    scores = [plate_quality(plate, mask, margin=2, ring_width=6).score for plate in (grained, smooth)]
    assert scores[0] > 0.7
    assert scores[0] > scores[1] + 0.2


def test_a_plate_of_another_colour_scores_low() -> None:
    frame, mask = textured(48, 48), ellipse(48, 48)
    wrong = np.where(grow_mask(mask > 0, 3)[..., None], np.uint8(255), frame)
    assert plate_quality(wrong, mask, margin=3, ring_width=6).score < 0.10


def test_a_mask_over_the_whole_frame_has_no_plate() -> None:
    with pytest.raises(ValueError, match="covers everything"):
        clean_plate(textured(16, 16), np.full((16, 16), 255, np.uint8), method="telea", margin=2)
    with pytest.raises(ValueError, match="mask is empty"):
        mask_box(np.zeros((4, 4), bool))


def test_the_frame_is_the_whole_photograph_squashed() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, 30:] = 200
    frame = to_frame(image, 20)
    assert frame.shape == (20, 20, 3)
    assert (frame[:, :10] == 0).all()
    assert (frame[:, 10:] == 200).all()
