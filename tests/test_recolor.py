"""Retouches and measured illuminants: the identity is bit-exact, tones keep their order, light does what physics says."""

import io
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import skimage.color
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.color import recolor
from tasks.color.recolor import (
    IDENTITY,
    LARGEST_RATIO,
    STEPS_PER_LEVEL,
    IlluminantChange,
    Illuminants,
    Retouch,
    apply_illuminant_change,
    apply_retouch,
    blackbody_xy,
    decode_srgb,
    encode_srgb,
    light_stops,
    load_illuminants,
    map_illuminant,
    random_illuminant_change,
    random_retouch,
    tone_tables,
    white_balance_matrix,
)

seeds = st.integers(0, 2**32 - 1)


def every_value() -> np.ndarray:
    """An image that holds every 8-bit value in every channel, in several combinations."""
    levels = np.arange(256, dtype=np.uint8)
    return np.stack([np.stack([levels, np.roll(levels, 85), np.roll(levels, 170)], axis=1), np.stack([levels] * 3, axis=1)])


def grey(level: int = 128, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


# --- Retouches ---


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_the_identity_leaves_every_image_bit_exact(seed):
    image = np.random.default_rng(seed).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    assert np.array_equal(apply_retouch(image, IDENTITY), image)
    assert np.array_equal(apply_retouch(every_value(), IDENTITY), every_value())
    assert np.array_equal(apply_retouch(image, random_retouch(np.random.default_rng(seed), strength=0.0)), image)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_a_random_retouch_is_repeatable_valid_and_survives_json(seed):
    retouch = random_retouch(np.random.default_rng(seed), strength=1.5)
    assert retouch == random_retouch(np.random.default_rng(seed), strength=1.5)
    stored = json.loads(json.dumps(asdict(retouch)))
    stored["curves"], stored["light"] = (tuple(tuple(row) for row in stored[name]) for name in ("curves", "light"))
    assert Retouch(**stored) == retouch
    tables = tone_tables(retouch)
    assert (np.diff(tables, axis=1) >= 0).all()
    assert tables.min() >= 0
    assert tables.max() <= 1


@given(seeds, st.floats(0.2, 1.5))
@settings(max_examples=60, deadline=None)
def test_no_drawn_retouch_flattens_its_tones(seed, strength):
    retouch = random_retouch(np.random.default_rng(seed), strength=strength)
    for curve in retouch.curves:
        steps = np.diff(curve)
        assert steps.max() <= LARGEST_RATIO * steps.min() * (1 + 1e-9)
    tables, window = tone_tables(retouch), 16 * STEPS_PER_LEVEL
    slopes = (tables[:, window:] - tables[:, :-window]) * 255 / 16
    assert slopes.min() > 0.1  # over any 16 grey levels; 1 is the identity's


def test_curves_are_bent_none_the_less():
    curves = [random_retouch(np.random.default_rng(k)).curves[0] for k in range(200)]
    bent = [max(abs(value - place / 4) for place, value in enumerate(curve)) for curve in curves]
    assert np.quantile(bent, 0.9) > 0.08


def test_strength_is_how_far_a_retouch_goes():
    image = np.random.default_rng(0).integers(20, 230, (16, 16, 3), dtype=np.uint8)

    def change(strength):
        changes = [apply_retouch(image, random_retouch(np.random.default_rng(k), strength=strength)).astype(int) - image for k in range(25)]
        return float(np.mean(np.square(changes)))

    assert 0 < change(0.3) < 0.5 * change(0.7) < change(1.2)


def test_srgb_is_that_of_scikit_image():
    encoded = np.linspace(0, 1, 300).reshape(100, 3)
    np.testing.assert_allclose(decode_srgb(encoded) @ recolor.XYZ.T, skimage.color.rgb2xyz(encoded), atol=1e-4)
    np.testing.assert_allclose(encode_srgb(decode_srgb(encoded[None]).astype(np.float32))[0], encoded, atol=2e-6)


def test_one_stop_less_is_half_the_light_and_one_more_rolls_off():
    image = every_value()
    linear = decode_srgb(image / 255)
    for stops, expected in ((-1.0, linear / 2), (1.0, 2 * linear / (1 + linear))):
        by_hand = np.where(expected <= 0.0031308, 12.92 * expected, 1.055 * expected ** (1 / 2.4) - 0.055) * 255
        assert np.abs(apply_retouch(image, replace(IDENTITY, exposure=stops)) - by_hand).max() <= 0.55
    assert (apply_retouch(image, replace(IDENTITY, exposure=1.0))[image <= 250] < 255).all()


def test_white_balance_scales_light_so_it_does_not_depend_on_the_level():
    warm = replace(IDENTITY, temperature=40.0)
    ratios = []
    for level in (60, 120, 180):
        pixel = decode_srgb(apply_retouch(grey(level), warm)[0, 0] / 255) / decode_srgb(grey(level)[0, 0] / 255)
        ratios.append(pixel)
    np.testing.assert_allclose(ratios[0], ratios[1], rtol=0.03)
    np.testing.assert_allclose(ratios[1], ratios[2], rtol=0.03)
    assert ratios[1][0] > 1 > ratios[1][2]  # warmer: more red, less blue


def planck_xy(kelvin: float) -> np.ndarray:
    """Planck's law seen by the CIE 1931 observer, as approximated by Wyman et al. (JCGT 2013)."""
    nm = np.arange(360.0, 831.0)
    power = nm**-5 / np.expm1(1.438777e7 / (nm * kelvin))

    def lobe(height, centre, below, above):
        return height * np.exp(-0.5 * ((nm - centre) / np.where(nm < centre, below, above)) ** 2)

    x = lobe(1.056, 599.8, 37.9, 31.0) + lobe(0.362, 442.0, 16.0, 26.7) - lobe(0.065, 501.1, 20.4, 26.2)
    y = lobe(0.821, 568.8, 46.9, 40.5) + lobe(0.286, 530.9, 16.3, 31.1)
    z = lobe(1.217, 437.0, 11.8, 36.0) + lobe(0.681, 459.0, 26.0, 13.8)
    total = np.array([(power * curve).sum() for curve in (x, y, z)])
    return total[:2] / total.sum()


@pytest.mark.parametrize("kelvin", [2000.0, 2856.0, 4000.0, 5003.0, 6504.0, 10000.0, 20000.0])
def test_the_blackbody_locus_is_planck_law_seen_by_the_standard_observer(kelvin):
    np.testing.assert_allclose(blackbody_xy(kelvin), planck_xy(kelvin), atol=0.005)


def test_the_blackbody_locus_meets_illuminant_a_and_refuses_what_it_does_not_know():
    np.testing.assert_allclose(blackbody_xy(2856.0), (0.4476, 0.4074), atol=1e-3)
    for kelvin in (1666.0, 25001.0):
        with pytest.raises(ValueError, match=r"1667\.\.25000"):
            blackbody_xy(kelvin)


@given(st.floats(-120, 120), st.floats(-12, 12))
@settings(max_examples=40, deadline=None)
def test_white_balance_moves_the_white_of_the_locus_and_keeps_its_luminance(temperature, tint):
    x, y = blackbody_xy(recolor.WHITE_KELVIN)
    white = np.linalg.inv(recolor.XYZ) @ [x / y, 1.0, (1 - x - y) / y]
    moved = recolor.XYZ @ white_balance_matrix(temperature, tint) @ white
    assert moved[1] == pytest.approx(1.0, abs=1e-9)
    if abs(tint) < 1e-9 and 1e6 / recolor.WHITE_KELVIN + temperature > 42:
        expected = blackbody_xy(1e6 / (1e6 / recolor.WHITE_KELVIN + temperature))
        np.testing.assert_allclose(moved[:2] / moved.sum(), expected, atol=1e-6)
    u, v = 4 * moved[0] / (moved @ [1, 15, 3]), 6 * moved[1] / (moved @ [1, 15, 3])
    on_locus = recolor._white_xyz(temperature, 0.0)
    there = np.array([4 * on_locus[0], 6 * on_locus[1]]) / (on_locus @ [1, 15, 3])
    assert np.hypot(*(np.array([u, v]) - there)) == pytest.approx(abs(tint) * 1e-3, abs=1e-7)  # the definition of Duv


def test_more_tint_is_greener():
    green = apply_retouch(grey(), replace(IDENTITY, tint=8.0))[0, 0].astype(int)
    assert green[1] > green[0]
    assert green[1] > green[2]


def test_contrast_turns_around_mid_grey_and_keeps_the_ends():
    image = every_value()
    result = apply_retouch(image, replace(IDENTITY, contrast=0.8)).astype(int)
    assert ((result <= image)[image <= 127]).all()
    assert ((result >= image)[image >= 128]).all()
    assert (result[image == 0] == 0).all()
    assert (result[image == 255] == 255).all()
    quarter = 64 / 255
    assert result[1, 64, 0] == round(255 * (quarter + 0.8 * quarter * (1 - quarter) * (2 * quarter - 1)))


def test_curves_pass_through_their_knots():
    curve = (0.1, 0.2, 0.6, 0.7, 0.9)
    tables = tone_tables(replace(IDENTITY, curves=(curve,) * 3))
    steps = (tables.shape[1] - 1) // 4
    np.testing.assert_allclose(tables[:, ::steps], [curve] * 3, atol=1e-6)


def test_no_saturation_is_luma_by_hand():
    image = np.array([[[200, 100, 50], [0, 255, 0]]], np.uint8)
    result = apply_retouch(image, replace(IDENTITY, saturation=0.0))
    luma = 0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50
    assert result[0, 0].tolist() == [round(luma)] * 3
    assert result[0, 1].tolist() == [round(0.7152 * 255)] * 3


@given(seeds, st.integers(2, 40), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_light_is_a_surface_within_its_control_points(seed, height, width):
    rng = np.random.default_rng(seed)
    light = tuple(tuple(float(v) for v in row) for row in rng.normal(size=(3, 3)))
    surface = light_stops(light, height, width)
    assert surface.shape == (height, width)
    assert min(map(min, light)) - 1e-6 <= surface.min() <= surface.max() <= max(map(max, light)) + 1e-6
    np.testing.assert_allclose(surface[[0, 0, -1, -1], [0, -1, 0, -1]], [light[0][0], light[0][2], light[2][0], light[2][2]], atol=1e-6)
    plane = light_stops(((0.0, 0.5, 1.0), (1.0, 1.5, 2.0), (2.0, 2.5, 3.0)), height, width)
    expected = 2 * np.linspace(0, 1, height)[:, None] + np.linspace(0, 1, width)
    np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_a_gradient_of_light_multiplies_linear_light():
    lit = apply_retouch(grey(180, 33, 33), replace(IDENTITY, light=((-2.0, -1.0, 0.0),) * 3))
    linear = decode_srgb(lit[..., 1] / 255) / decode_srgb(grey(180, 33, 33)[..., 1] / 255)
    np.testing.assert_allclose(linear, np.tile(2.0 ** np.linspace(-2, 0, 33), (33, 1)), rtol=0.03)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"contrast": 1.5}, "contrast"),
        ({"saturation": -0.1}, "saturation"),
        ({"curves": ((0.0, 0.5, 1.0), (0.0, 0.6, 0.6), (0.0, 0.5, 1.0))}, "the G curve"),
        ({"curves": ((0.0, 0.5, 1.1), (0.0, 0.6), (0.0, 0.5, 1.0))}, "the R curve"),
        ({"light": ((0.0, 1.0), (0.0,))}, "light"),
    ],
)
def test_a_retouch_that_would_change_the_order_of_tones_is_refused(fault, words):
    with pytest.raises(ValueError, match=words):
        replace(IDENTITY, **fault)


# --- Measured illuminants ---


def gains(r: float, g: float, b: float) -> np.ndarray:
    values = np.zeros((3, 11))
    values[[0, 1, 2], [0, 1, 2]] = r, g, b
    return values


def write_zip(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=True)
            archive.writestr(f"folder/{name}.npy", buffer.getvalue())
    return path


def two_lights() -> Illuminants:
    warm, cool = (1.2, 1.0, 0.7), (0.9, 1.0, 1.2)
    return Illuminants(
        names=("cool", "warm"),
        to_standard=np.stack([gains(*(1 / np.array(cool))), gains(*(1 / np.array(warm)))]),
        from_standard=np.stack([gains(*cool), gains(*warm)]),
    )


def test_the_eleven_terms_are_in_ccharmonys_order():
    values = np.array([[2.0, 3.0, 5.0]], np.float32)
    terms = np.array([2, 3, 5, 6, 10, 15, 4, 9, 25, 30, 1.0])
    for k in range(11):
        coefficients = np.zeros((3, 11))
        coefficients[:, k] = 1, 2, -1
        np.testing.assert_allclose(recolor._polynomial(values, coefficients), [[terms[k], 2 * terms[k], -terms[k]]])


def test_there_and_back_is_the_same_picture_and_gains_are_by_hand():
    lights, image = two_lights(), np.array([[[100, 90, 80], [10, 200, 60]]], np.uint8)
    back = IlluminantChange("warm", "warm", lights.to_standard[1], lights.from_standard[1])
    assert np.array_equal(apply_illuminant_change(image, back), image)
    change = IlluminantChange("warm", "cool", lights.to_standard[1], lights.from_standard[0])
    assert apply_illuminant_change(image, change)[0, 0].tolist() == [75, 90, round(80 * 1.2 / 0.7)]


def test_a_change_is_drawn_only_if_it_suits_the_pixels():
    lights, rng = two_lights(), np.random.default_rng(0)
    middle = rng.uniform(60, 130, (500, 3)).astype(np.float32)
    change = random_illuminant_change(lights, middle, rng=rng)
    assert change is not None
    assert 8 <= np.abs(map_illuminant(middle, change) - middle).mean() <= 45
    assert random_illuminant_change(lights, middle * 0.02, rng=rng) is None  # moves too little
    bright = np.full((500, 3), 240, np.float32)
    assert random_illuminant_change(lights, bright, rng=np.random.default_rng(1)) is None  # every change clips a channel
    folded = replace(lights, from_standard=lights.from_standard - 2 * gains(0, 1, 0))  # green falls as green rises
    folded.from_standard[:, 1, 10] = 190.0
    assert random_illuminant_change(folded, middle, rng=rng) is None


def test_the_zip_is_read_by_name_and_without_folders(tmp_path):
    arrays = {"b": gains(1, 1, 1), "b_reverse": gains(2, 2, 2), "a_reverse": gains(4, 4, 4), "a": gains(3, 3, 3)}
    found = load_illuminants(write_zip(tmp_path / "some.zip", arrays))
    assert found.names == ("a", "b")
    assert np.array_equal(found.to_standard[0], gains(3, 3, 3))
    assert np.array_equal(found.from_standard[1], gains(2, 2, 2))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": gains(1, 1, 1)}, "no a_reverse"),
        ({"a": gains(1, 1, 1)[:, :9], "a_reverse": gains(1, 1, 1)}, r"a\.npy is float64 \(3, 9\)"),
        ({"a": gains(1, 1, 1), "a_reverse": gains(1, np.nan, 1)}, "finite"),
        ({"a": np.array([{"not": "numbers"}]), "a_reverse": gains(1, 1, 1)}, "not a zip of .npy arrays"),
        ({"a_reverse": gains(1, 1, 1)}, r"no NAME\.npy"),
        ({}, r"no NAME\.npy"),
    ],
)
def test_a_zip_of_anything_else_is_refused_by_name(tmp_path, arrays, words):
    path = write_zip(tmp_path / "bad.zip", arrays)
    with pytest.raises(ValueError, match=words) as caught:
        load_illuminants(path)
    assert "bad.zip" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 but no more", b"hello", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}."])
def test_a_file_that_is_no_zip_is_refused_by_name(tmp_path, data):
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.zip"):
        load_illuminants(tmp_path / "bad.zip")


def test_a_missing_file_names_the_key_that_asks_for_it(tmp_path):
    with pytest.raises(ValueError, match=r"none\.zip: .*ingest\.synthesis\.weights\.illuminant"):
        load_illuminants(tmp_path / "none.zip")


def test_measured_illuminants_undo_themselves_and_change_skin_plausibly(real_data):
    lights = load_illuminants(real_data / "illuminants" / "ccharmony_coefficients.zip")
    assert len(lights.names) == 350
    skin = np.random.default_rng(0).normal((190, 150, 125), 12, (400, 3)).astype(np.float32)
    errors = [
        np.abs(map_illuminant(skin, IlluminantChange("", "", there, back)) - skin).mean()
        for there, back in zip(lights.to_standard[::10], lights.from_standard[::10], strict=True)
    ]
    assert np.median(errors) < 12
    drawn = [random_illuminant_change(lights, skin, rng=np.random.default_rng(k)) for k in range(20)]
    assert sum(change is not None for change in drawn) >= 18
