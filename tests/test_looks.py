"""Laws of the photographic looks, and of their steps against OpenCV and closed forms."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation import looks
from tasks.evaluation.looks import LOOKS, LUMA, NODES, at_strength, make_look
from tasks.lut_kernel import apply_lut_uint8
from tasks.seeds import numpy_generator

GREYS = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
EVERYWHERE = np.full((1, 256), 255, np.uint8)
COLORS = np.random.default_rng(5).uniform(0.0, 1.0, (500, 3))


def picture_of(colors: np.ndarray) -> np.ndarray:
    """Colours as a float picture of one row, for OpenCV."""
    return colors[None].astype(np.float32)


def test_there_are_thirty_six_looks_of_twelve_recipes() -> None:
    assert len(set(LOOKS)) == 36
    assert {name.rpartition("_")[0] for name in LOOKS} == set(looks.RECIPES)


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_is_bounded_and_keeps_the_order_of_greys_but_changes_the_middle(name: str) -> None:
    table = make_look(name)
    assert table.dtype == np.float32
    assert table.shape[1:] == (table.shape[-1],) * 3
    assert table.shape[-1] in NODES
    assert table.min() >= 0.0
    assert table.max() <= 1.0
    axis = np.arange(table.shape[-1])
    assert (np.diff(LUMA @ table[:, axis, axis, axis]) > 0).all(), "between nodes a table is linear: order there is order everywhere"
    identity = at_strength(table, 0.0)
    assert np.abs(table - identity).mean() > 8 / 255, "a look that hardly changes anything measures nothing"


@pytest.mark.parametrize("name", LOOKS[::5])
def test_at_strength_0_a_look_changes_nothing_and_at_1_all_of_it(name: str) -> None:
    table = make_look(name)
    image = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    everywhere = np.full((40, 40), 255, np.uint8)
    np.testing.assert_array_equal(apply_lut_uint8(image, at_strength(table, 0.0), everywhere), image)
    np.testing.assert_allclose(at_strength(table, 1.0), table, atol=1e-7)


@given(st.sampled_from(LOOKS), st.floats(0.0, 1.0))
def test_strength_interpolates_from_the_identity(name: str, strength: float) -> None:
    table = make_look(name)
    expected = (1 - strength) * at_strength(table, 0.0).astype(np.float64) + strength * table
    np.testing.assert_allclose(at_strength(table, strength), expected, atol=1e-6)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        at_strength(make_look(LOOKS[0]), strength)


def test_a_look_is_a_function_of_its_name_alone() -> None:
    first = make_look("film_a")
    make_look("hues_b")
    np.testing.assert_array_equal(make_look("film_a"), first)
    tables = {make_look(name).tobytes() for name in LOOKS}
    assert len(tables) == len(LOOKS)


def test_an_unknown_look_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'sepia' is no look; there are: film_a"):
        make_look("sepia")


def test_a_table_holds_its_recipe_at_its_nodes() -> None:
    """The nodes by three loops, red slowest: the order that `apply_lut_uint8` reads."""
    table = make_look("matte_b")
    dim = table.shape[-1]
    red, green, blue = 3, dim - 2, dim // 2
    color = np.array([[red, green, blue]]) / (dim - 1)
    rng = numpy_generator(0, "look", "matte_b")
    rng.choice(NODES)
    expected = np.clip(looks.RECIPES["matte"](looks.grade(color, rng), rng), 0, 1)
    np.testing.assert_allclose(table[:, red, green, blue], expected[0], atol=1e-6)


# --- Steps ------------------------------------------------------------------------------------------------------------------------------


def test_turning_hues_by_an_angle_is_a_rotation_of_opencvs_chroma() -> None:
    angle = 0.7
    turned = looks.turn_hues(COLORS, np.full(6, angle), np.full(6, 0.5))
    before, after = (cv2.cvtColor(picture_of(colors), cv2.COLOR_RGB2YCrCb)[0].astype(np.float64) for colors in (COLORS, turned))
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=1e-3)
    cb, cr = (before[:, 2] - 0.5, before[:, 1] - 0.5)
    np.testing.assert_allclose(after[:, 2] - 0.5, 0.5 * (np.cos(angle) * cb - np.sin(angle) * cr), atol=1e-3)
    np.testing.assert_allclose(after[:, 1] - 0.5, 0.5 * (np.sin(angle) * cb + np.cos(angle) * cr), atol=1e-3)


def test_no_turn_and_no_stretch_leave_colours_as_they_are() -> None:
    np.testing.assert_allclose(looks.turn_hues(COLORS, np.zeros(6), np.ones(6)), COLORS, atol=1e-9)


def test_each_of_the_six_hues_takes_its_own_turn() -> None:
    turns = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    for place, turn in enumerate(turns):
        hue = place * np.pi / 3
        blue, red = 0.1 * np.cos(hue), 0.1 * np.sin(hue)
        green = -(0.299 * 1.402 * red + 0.114 * 1.772 * blue) / 0.587
        turned = looks.turn_hues(0.5 + np.array([[1.402 * red, green, 1.772 * blue]]), turns, np.ones(6))
        light = turned @ LUMA
        after = np.arctan2((turned[0, 0] - light[0]) / 1.402, (turned[0, 2] - light[0]) / 1.772)
        assert (after - hue - turn + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0.0, abs=1e-9)


def test_mixed_channels_keep_greys_and_a_swap_is_a_swap() -> None:
    cross = np.random.default_rng(1).uniform(-0.3, 0.3, (3, 3))
    greys = np.linspace(0, 1, 7)[:, None].repeat(3, 1)
    np.testing.assert_allclose(looks.mix_channels(greys, cross), greys, atol=1e-12)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], float)
    np.testing.assert_allclose(looks.mix_channels(COLORS, swap), COLORS[:, [1, 0, 2]], atol=1e-12)


def test_split_toning_keeps_black_white_and_luma() -> None:
    toned = looks.split_tone(COLORS, np.array([0.3, -0.1, 0.2]), np.array([-0.2, 0.1, 0.4]))
    np.testing.assert_allclose(toned @ LUMA, COLORS @ LUMA, atol=1e-12)
    ends = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(looks.split_tone(ends, np.ones(3), np.arange(3.0)), ends, atol=1e-12)


def test_an_s_curve_keeps_its_ends_rises_and_is_steepest_at_its_pivot() -> None:
    levels = np.linspace(0, 1, 101)[:, None].repeat(3, 1)
    curved = looks.s_curve(levels, np.array([2.0, 5.0, 8.0]), np.array([0.3, 0.5, 0.6]))
    np.testing.assert_allclose(curved[[0, -1]], [[0, 0, 0], [1, 1, 1]], atol=1e-12)
    assert (np.diff(curved, axis=0) > 0).all()
    np.testing.assert_allclose(np.diff(curved, axis=0).argmax(axis=0) / 100, [0.3, 0.5, 0.6], atol=0.011)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_saturation_is_a_share_of_the_distance_to_grey(factor: float) -> None:
    grey = (COLORS @ LUMA)[:, None]
    np.testing.assert_allclose(looks.saturate(COLORS, factor) - grey, factor * (COLORS - grey), atol=1e-12)


def test_greys_through_a_whole_table_on_bytes_never_fall_in_luma() -> None:
    for name in LOOKS:
        shown = apply_lut_uint8(GREYS, make_look(name), EVERYWHERE)[0]
        assert (np.diff(shown @ LUMA) > -0.6).all(), f"{name}: more than the rounding of three channels"
