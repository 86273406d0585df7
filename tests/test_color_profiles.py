"""Witnesses of attune.color_profiles: LittleCMS on neutral colours, the law that carries an edit, and damaged profiles."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms
from shapes import edit_of

from attune.color_profiles import NUM_SAMPLES, carry_edit, to_srgb, tone_curves
from attune.operators.curves import Curves
from attune.operators.operator import EditArrays
from attune.operators.shading import Shading

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LEVELS = np.linspace(0, 1, 256)


def an_edit(*, shading: str = "symmetric", limit: float = 1.6) -> EditArrays:
    curves = np.linspace(0, 1, 16) ** np.array([[0.7], [1.0], [1.4]])
    return edit_of(curves, np.array([[-3.0, 0.4], [0.1, 2.0]]), shading, limit)  # type: ignore[arg-type]


def apply(curves: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(row, np.linspace(0, 1, len(curve)), curve) for row, curve in zip(values, curves, strict=True)])


@pytest.fixture(params=["adobe", "prophoto", "gamma_table"])
def profile(request: pytest.FixtureRequest, icc_profile: Callable[[str], bytes]) -> bytes:
    return icc_profile(request.param)


def test_tone_curves_are_littlecmss_on_neutral_colours(profile: bytes) -> None:
    neutral = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    wanted = to_srgb(neutral, profile)[0].T / 255
    tone = tone_curves(profile)
    assert tone is not None
    ours = apply(tone, np.stack([LEVELS] * 3))
    assert np.abs(ours - wanted).max() * 255 < 1.2  # its own rounding, and 8 bits
    assert np.abs(ours - wanted).mean() * 255 < 0.4


def test_neutral_colours_come_out_as_they_would_in_srgb(profile: bytes) -> None:
    tone, edit = tone_curves(profile), an_edit()
    assert tone is not None
    carried = carry_edit(edit, profile)
    assert np.abs(carried.get(Curves).values[1] - np.linspace(0, 1, 256)).max() < 1e-3  # the identity stays one
    here = apply(tone, apply(carried.get(Curves).values, np.stack([LEVELS] * 3)))
    there = apply(edit.get(Curves).values, apply(tone, np.stack([LEVELS] * 3)))
    assert np.abs(here - there).max() * 255 < 0.25


@pytest.mark.parametrize(("shading", "limit"), [("symmetric", 1.6), ("darken", 0.5)])
def test_gains_become_the_power_that_fits_at_mid_grey(icc_profile: Callable[[str], bytes], shading: str, limit: float) -> None:
    profile, edit = icc_profile("prophoto"), an_edit(shading=shading, limit=limit)
    tone = tone_curves(profile)
    assert tone is not None
    carried = carry_edit(edit, profile)
    before, after = edit.get(Shading).gains(2, 2), carried.get(Shading).gains(2, 2)
    middle = np.interp(0.5, np.linspace(0, 1, NUM_SAMPLES), tone[0])
    assert np.log(after) / np.log(before) == pytest.approx(np.log(0.5) / np.log(middle), rel=0.02)


def test_profiles_with_srgbs_tone_leave_an_edit_as_it_is(icc_profile: Callable[[str], bytes]) -> None:
    edit = an_edit()
    for same in (None, SRGB, icc_profile("p3")):
        assert carry_edit(edit, same) is edit


def test_the_network_sees_srgb(icc_profile: Callable[[str], bytes]) -> None:
    green = np.full((4, 4, 3), (0, 255, 0), np.uint8)
    assert to_srgb(green, None) is green
    seen = to_srgb(np.full((4, 4, 3), (120, 180, 90), np.uint8), icc_profile("adobe"))[0, 0]
    assert seen[0] < 120  # a wider gamut's colour is a stronger one in sRGB
    grey = to_srgb(np.full((4, 4, 3), 128, np.uint8), icc_profile("grey"))
    assert abs(int(grey[0, 0, 0]) - round(255 * (1.055 * (128 / 255) ** (1.8 / 2.4) - 0.055))) <= 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 500), st.integers(1, 40))
def test_damaged_profiles_count_as_srgb(junk: bytes, at: int, length: int) -> None:
    edit = an_edit()
    assert tone_curves(junk) is None
    damaged = SRGB[:at] + b"\xff" * length + SRGB[at + length :]
    for profile in (junk, SRGB[:at], damaged):
        assert to_srgb(np.full((2, 2, 3), 90, np.uint8), profile).shape == (2, 2, 3)
        assert carry_edit(edit, profile).get(Curves).values.shape[0] == 3


def test_a_profile_without_a_rising_curve_is_left_alone(icc_profile: Callable[[str], bytes]) -> None:
    profile = icc_profile("falling")
    assert tone_curves(profile) is None
    edit = an_edit()
    assert carry_edit(edit, profile) is edit
