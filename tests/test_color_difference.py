"""Witnesses of tasks.color.difference: scikit-image, Sharma's published pairs, and laws of a distance."""

import numpy as np
import pytest
import skimage.color
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.color.difference import delta_e_2000, lab_from_srgb


def test_lab_is_that_of_scikit_image() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3000, 3), dtype=np.uint8)
    np.testing.assert_allclose(lab_from_srgb(values), skimage.color.rgb2lab(values / 255.0), atol=0.01)


def test_delta_e_2000_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(1)
    first, second = (np.column_stack([rng.uniform(0, 100, 5000), rng.uniform(-110, 110, (5000, 2))]) for _ in range(2))
    near = first + rng.normal(0, 2, first.shape)
    for other in (second, near):
        np.testing.assert_allclose(delta_e_2000(first, other), skimage.color.deltaE_ciede2000(first, other), atol=1e-9)


def test_delta_e_2000_of_pairs_published_by_sharma() -> None:
    pairs = np.array([
        [50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425], [50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669],
        [50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065], [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ])
    np.testing.assert_allclose(delta_e_2000(pairs[:, :3], pairs[:, 3:6]), pairs[:, 6], atol=1e-4)


Colour = tuple[float, float, float]
colours = st.tuples(st.floats(0, 100), st.floats(-100, 100), st.floats(-100, 100))


@given(colours, colours)
@settings(max_examples=60, deadline=None)
def test_delta_e_2000_is_symmetric_and_zero_only_for_equal_colours(first: Colour, second: Colour) -> None:
    a, b = np.array([first]), np.array([second])
    assert delta_e_2000(a, b)[0] == pytest.approx(delta_e_2000(b, a)[0], abs=1e-6)
    assert delta_e_2000(a, a)[0] == 0.0
    assert delta_e_2000(a, b)[0] >= 0.0


def test_the_mean_in_single_precision_is_that_in_double() -> None:
    rng = np.random.default_rng(2)
    first = rng.integers(0, 256, (4000, 3), dtype=np.uint8)
    second = np.clip(first + rng.integers(-9, 10, first.shape), 0, 255).astype(np.uint8)
    exact, single = (delta_e_2000(lab_from_srgb(first, real), lab_from_srgb(second, real)) for real in (np.float64, np.float32))
    assert single.dtype == np.float32
    assert single.mean(dtype=np.float64) == pytest.approx(exact.mean(), abs=1e-6)
    assert np.abs(single - exact).max() < 2e-3


def test_equal_colours_are_exactly_equal_in_single_precision() -> None:
    lab = lab_from_srgb(np.random.default_rng(3).integers(0, 256, (500, 3), dtype=np.uint8), np.float32)
    assert not delta_e_2000(lab, lab).any()
