"""Colour transfers: statistics after equal statistics of the reference, equal ones change nothing, and the background is left alone."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import scipy.stats
import skimage.color
import skimage.exposure
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.color import transfer as color_transfer
from tasks.color.transfer import (
    MIN_PIXELS,
    TRANSFERS,
    TooFewPixels,
    histogram_map,
    match_fecker,
    match_monge_kantorovich,
    match_pitie,
    match_reinhard,
    match_xiao_ma,
    monge_kantorovich_map,
    paste,
    regrain,
    transfer_monge_kantorovich,
    xiao_ma_map,
)

ALL = {**TRANSFERS, "monge_kantorovich": transfer_monge_kantorovich}
seeds = st.integers(0, 2**32 - 1)


def picture(seed: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth colours with some grain, away from 0 and 255."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:1 : height * 1j, 0:1 : width * 1j]
    waves = rng.uniform(2, 7, (3, 2))
    smooth = np.stack([np.sin(a * rows + b * columns + k) for k, (a, b) in enumerate(waves)], axis=2)
    mixed = smooth @ rng.uniform(-25, 25, (3, 3)) + rng.uniform(95, 160, 3) + rng.normal(0, 4, (height, width, 3))
    return np.clip(mixed, 4, 251).astype(np.uint8)


def soft_ellipse(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.clip((0.75 - np.hypot(rows, columns)) * 1500 + 128, 0, 255).astype(np.uint8)


def pixels(seed: int, count: int = 600) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 3)) @ rng.uniform(-12, 12, (3, 3)) + rng.normal(0, 1.5, (count, 3)) + rng.uniform(90, 160, 3)
    return np.clip(values, 5, 250).astype(np.float32)


def covariance(seed: int) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(3, 3)) * 20
    return factor @ factor.T + np.eye(3)


# --- Laws that all transfers keep ---


@pytest.mark.parametrize("name", ALL)
def test_a_region_that_is_its_own_reference_stays(name):
    image, mask = picture(1), soft_ellipse()
    assert np.abs(ALL[name](image, mask, image, mask).astype(int) - image).max() <= 1


@pytest.mark.parametrize("match", [match_reinhard, match_xiao_ma, match_monge_kantorovich, match_fecker, match_pitie])
def test_equal_statistics_are_the_identity_whatever_the_pixels(match):
    target = pixels(70, 3000)
    shuffled = target[np.random.default_rng(0).permutation(len(target))]
    np.testing.assert_allclose(match(target, target, shuffled), target, atol=0.05 if match is not match_pitie else 0.6)  # half a bin
    if match in (match_xiao_ma, match_monge_kantorovich):
        mirrored = 2 * target.mean(0) - target  # other colours of the same mean and covariance
        np.testing.assert_allclose(match(pixels(71), target, mirrored), pixels(71), atol=0.1)


@pytest.mark.parametrize("name", ALL)
def test_the_background_is_bit_exact_and_no_argument_is_changed(name):
    image, reference, mask = picture(2), picture(3), soft_ellipse()
    kept = image.copy(), reference.copy(), mask.copy()
    result = ALL[name](image, mask, reference, mask)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert (result[mask == 255] != image[mask == 255]).mean() > 0.5
    assert all(np.array_equal(now, then) for now, then in zip((image, reference, mask), kept, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_two_calls_give_equal_bytes(name):
    image, reference, mask = picture(4), picture(5), soft_ellipse()
    first = ALL[name](image, mask, reference, mask, rng=np.random.default_rng(8))
    assert np.array_equal(first, ALL[name](image, mask, reference, mask, rng=np.random.default_rng(8)))
    assert np.array_equal(ALL[name](image, mask, reference, mask), ALL[name](image, mask, reference, mask))


@pytest.mark.parametrize("name", ALL)
def test_only_the_foregrounds_are_looked_at(name):
    image, reference, mask = picture(6), picture(7), soft_ellipse()
    other = reference.copy()
    other[mask <= 127] = 255 - other[mask <= 127]
    assert np.array_equal(ALL[name](image, mask, reference, mask), ALL[name](image, mask, other, mask))


@pytest.mark.parametrize("name", ALL)
def test_regions_too_small_for_statistics_are_refused(name):
    image, mask, tiny = picture(8), soft_ellipse(), np.zeros((48, 64), np.uint8)
    with pytest.raises(TooFewPixels, match=f"at least {MIN_PIXELS}"):
        ALL[name](image, tiny, image, mask)
    tiny[:7, :7] = 255  # 49 pixels
    with pytest.raises(TooFewPixels, match="49"):
        ALL[name](image, tiny, image, mask)
    with pytest.raises(TooFewPixels, match="49"):
        ALL[name](image, mask, image, tiny)
    tiny[7, 0] = 255
    ALL[name](image, tiny, image, mask)


@pytest.mark.parametrize("name", ALL)
def test_a_mask_of_another_size_is_refused(name):
    image, mask = picture(9), soft_ellipse()
    with pytest.raises(ValueError, match=r"64x40 px, its image 64x48"):
        ALL[name](image, mask, image, mask[:40])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("level", [1, 128, 255])
def test_flat_regions_take_the_reference_mean_without_blowing_up(name, level):
    flat, reference, mask = np.full((48, 64, 3), level, np.uint8), picture(10), np.full((48, 64), 255, np.uint8)
    result = ALL[name](flat, mask, reference, mask)
    assert np.ptp(result.reshape(-1, 3), axis=0).max() <= 1
    tolerance = 20 if name in ("fecker", "reinhard", "pitie") else 1.5  # a bin, a geometric mean, and a spread-out bin
    assert np.abs(result.mean((0, 1)) - reference.mean((0, 1))).max() < tolerance


def test_black_regions_have_no_logarithm():
    black, mask = np.zeros((48, 64, 3), np.uint8), soft_ellipse()
    with pytest.raises(TooFewPixels, match="not black"):
        TRANSFERS["reinhard"](black, mask, picture(1), mask)
    speckled = picture(1)
    speckled[::2] = 0
    result = TRANSFERS["reinhard"](speckled, mask, picture(2), mask)
    dark = result[::2][mask[::2] == 255]
    assert len(np.unique(dark, axis=0)) == 1


def test_a_large_region_is_sampled_at_even_steps(monkeypatch):
    image, reference, mask = picture(11), picture(12), soft_ellipse()
    whole = TRANSFERS["reinhard"](image, mask, reference, mask)
    monkeypatch.setattr(color_transfer, "MAX_STATISTICS_PIXELS", 300)
    sampled = TRANSFERS["reinhard"](image, mask, reference, mask)
    assert 0 < np.abs(sampled.astype(int) - whole).mean() < 6


def test_the_soft_edge_is_a_blend_by_hand():
    image = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 2:6] = [0, 51, 204, 255]
    result = paste(image, mask, (slice(2, 3), slice(2, 6)), np.full((1, 4, 3), 300.0, np.float32))
    assert result[2, 2:6, 0].tolist() == [100, 131, 224, 255]  # 300 is cut to 255 first: 100 + 155 * (0, .2, .8, 1)
    assert (result[mask == 0] == 100).all()


# --- Reinhard ---


def lab_by_hand(values: np.ndarray) -> np.ndarray:
    """The paper's formulas, in float64."""
    r, g, b = values.astype(np.float64).T / 255
    lms = [0.3811 * r + 0.5783 * g + 0.0402 * b, 0.1967 * r + 0.7244 * g + 0.0782 * b, 0.0241 * r + 0.1288 * g + 0.8444 * b]
    ell, m, s = np.log10(lms)
    return np.stack([(ell + m + s) / np.sqrt(3), (ell + m - 2 * s) / np.sqrt(6), (ell - m) / np.sqrt(2)], axis=1)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_reinhard_gives_the_mean_and_deviation_of_the_reference(seed):
    target, reference = pixels(seed), pixels(seed + 1)
    matched = match_reinhard(target, target, reference)
    found = color_transfer.lab_from_rgb(matched)  # unclipped values may be negative: checked by hand where they are not
    wanted = lab_by_hand(reference)
    inside = (matched > 1).all(axis=1)
    np.testing.assert_allclose(lab_by_hand(matched[inside]), found[inside], atol=2e-4)
    if inside.all():
        np.testing.assert_allclose(lab_by_hand(matched).mean(0), wanted.mean(0), atol=2e-4)
        np.testing.assert_allclose(lab_by_hand(matched).std(0), wanted.std(0), atol=2e-4)


def test_reinhard_is_the_published_formula_pixel_by_pixel():
    target, reference = pixels(60), pixels(61)
    wanted, (before, after) = lab_by_hand(target), (lab_by_hand(values) for values in (target, reference))
    moved = (wanted - before.mean(0)) * after.std(0) / before.std(0) + after.mean(0)
    opponent = np.array([[3**-0.5, 6**-0.5, 2**-0.5], [3**-0.5, 6**-0.5, -(2**-0.5)], [3**-0.5, -2 * 6**-0.5, 0.0]])  # lab -> log LMS
    lms = 10.0 ** (moved @ opponent.T)
    cones = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
    by_hand = 255 * np.linalg.solve(cones, lms.T).T
    np.testing.assert_allclose(match_reinhard(target, target, reference), by_hand, atol=0.1)


def test_the_inverse_matrix_is_the_published_one_up_to_its_rounding():
    published = [[4.4687, -3.5887, 0.1196], [-1.2197, 2.3831, -0.1626], [0.0585, -0.2611, 1.2057]]
    np.testing.assert_allclose(np.linalg.inv(color_transfer.LMS), published, atol=0.02)


# --- Covariances ---


@pytest.mark.parametrize("match", [match_xiao_ma, match_monge_kantorovich])
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_mean_and_covariance_become_those_of_the_reference(match, seed):
    target, reference = pixels(seed), pixels(seed + 1)
    matched = match(target, target, reference)
    np.testing.assert_allclose(matched.mean(0), reference.mean(0), atol=0.05)
    scale = np.abs(np.cov(reference.T)).max()
    np.testing.assert_allclose(np.cov(matched.T), np.cov(reference.T), atol=0.01 * scale + 0.2)


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_both_maps_take_one_covariance_to_the_other(seed):
    target, reference = covariance(seed), covariance(seed + 1)
    for matrix in (xiao_ma_map(target, reference), monge_kantorovich_map(target, reference)):
        np.testing.assert_allclose(matrix @ target @ matrix.T, reference, rtol=1e-6, atol=1e-6 * reference.max())


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_monge_kantorovich_is_the_closed_form_and_moves_colours_least(seed):
    target, reference = covariance(seed), covariance(seed + 1)
    matrix = monge_kantorovich_map(target, reference)
    root = scipy.linalg.sqrtm(target).real
    inverse = np.linalg.inv(root)
    np.testing.assert_allclose(matrix, inverse @ scipy.linalg.sqrtm(root @ reference @ root).real @ inverse, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9 * np.abs(matrix).max())
    assert np.linalg.eigvalsh(matrix).min() > 0

    def moved(transport):  # the expected squared displacement of a Gaussian
        return np.trace((transport - np.eye(3)) @ target @ (transport - np.eye(3)).T)

    assert moved(matrix) <= moved(xiao_ma_map(target, reference)) * (1 + 1e-9)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_xiao_ma_is_the_papers_chain_of_transforms(seed):
    target, reference = pixels(seed), pixels(seed + 1)
    first, second = (scipy.linalg.svd(np.cov(values.T, bias=True)) for values in (target, reference))  # the paper's own tool
    turned = second[0] * np.sign(np.sum(first[0] * second[0], axis=0))
    wanted = (target - target.mean(0)) @ first[0] / np.sqrt(first[1]) * np.sqrt(second[1]) @ turned.T + reference.mean(0)
    np.testing.assert_allclose(match_xiao_ma(target, target, reference), wanted, atol=0.05)


def test_xiao_ma_is_monge_kantorovich_where_the_axes_agree():
    axes, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    target, reference = axes @ np.diag([2.0, 30.0, 400.0]) @ axes.T, axes @ np.diag([5.0, 9.0, 900.0]) @ axes.T
    np.testing.assert_allclose(xiao_ma_map(target, reference), monge_kantorovich_map(target, reference), atol=1e-9)


def test_xiao_ma_does_not_depend_on_the_signs_of_the_eigenvectors(monkeypatch):
    target, reference = covariance(3), covariance(4)
    expected = xiao_ma_map(target, reference)
    solve, calls = np.linalg.eigh, []

    def flipped(matrix):
        calls.append(1)
        values, axes = solve(matrix)
        return values, axes * ([-1, 1, -1] if len(calls) % 2 else [1, -1, 1])

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    np.testing.assert_allclose(xiao_ma_map(target, reference), expected, atol=1e-12)


# --- Histograms ---


def test_ycbcr_is_the_studio_range_of_scikit_image():
    values = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.float32)
    np.testing.assert_allclose(color_transfer._affine(values, color_transfer.YCBCR), skimage.color.rgb2ycbcr(values / 255), atol=1e-3)


def test_histogram_map_by_hand():
    target, reference = np.zeros(8, int), np.zeros(8, int)
    target[[1, 2, 3, 5]] = [2, 2, 4, 2]  # cumulative .2 .4 .8 1
    reference[[0, 2, 4, 6, 7]] = [1, 3, 2, 1, 3]  # cumulative .1 .4 .6 .7 1
    bins, values = histogram_map(target, reference)
    assert bins.tolist() == [1, 2, 3, 5]
    # First: centre of [0, .2] = (0 * .1 + 2 * .1) / .2 = 1. Then the last bins at or below .4 and .8: 2 and 6. Last: [.8, 1] = 7.
    assert values.tolist() == [1.0, 2.0, 6.0, 7.0]


def histogram(seed: int) -> np.ndarray:
    """Counts of 256 bins: some dense, some with gaps, some of a few bins only."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 60, 256) * (rng.random(256) < rng.choice([0.02, 0.3, 1.0]))
    values[rng.integers(256)] += 1
    return values


@given(seeds, seeds)
@settings(max_examples=60, deadline=None)
def test_histogram_map_never_decreases_and_stays_in_the_reference_range(first, second):
    target, reference = histogram(first), histogram(second)
    bins, values = histogram_map(target, reference)
    occupied = np.flatnonzero(reference)
    assert (np.diff(values) >= 0).all()
    assert occupied[0] - 1e-9 <= values[0] <= values[-1] <= occupied[-1] + 1e-9
    assert np.array_equal(bins, np.flatnonzero(target))


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_equal_histograms_give_the_identity(seed):
    values = histogram(seed)
    bins, mapped = histogram_map(values, values * 3)
    np.testing.assert_allclose(mapped, bins, atol=1e-9)


def test_fecker_agrees_with_scikit_image_on_broad_histograms():
    target, reference = pixels(20, 20000), pixels(21, 20000)
    ours = color_transfer._affine(match_fecker(target, target, reference), color_transfer.YCBCR)
    before = np.rint(skimage.color.rgb2ycbcr(target / 255.0)).astype(np.uint8)
    wanted = np.rint(skimage.color.rgb2ycbcr(reference / 255.0)).astype(np.uint8)
    theirs = skimage.exposure.match_histograms(before, wanted, channel_axis=1)
    assert np.abs(ours - theirs).mean() < 1.0  # bins are 1 wide, and ours takes the bin at or below


# --- Iterative transfer ---


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean Wasserstein distance along directions that the transfer does not use."""
    directions = np.random.default_rng(99).normal(size=(12, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return float(np.mean([scipy.stats.wasserstein_distance(first @ axis, second @ axis) for axis in directions]))


@pytest.mark.parametrize("seed", [30, 40, 50])
def test_marginals_come_closer_with_every_iteration(seed):
    rng = np.random.default_rng(seed)
    target = pixels(seed, 1500)
    reference = np.concatenate([pixels(seed + 1, 500), pixels(seed + 2, 1000)])
    gaps = [distance(match_pitie(target, target, reference, rng=rng, num_iterations=count), reference) for count in (0, 1, 3, 10)]
    assert gaps[0] > gaps[1] > gaps[3]
    assert gaps[2] < 1.05 * gaps[1]
    assert gaps[3] < 0.1 * gaps[0]


@pytest.mark.parametrize("seed", [31, 41])
def test_every_colour_channel_comes_closer_and_stays_close(seed):
    target, reference = pixels(seed, 1500), np.concatenate([pixels(seed + 1, 500), pixels(seed + 2, 1000)])
    gaps = []
    for count in range(11):
        moved = match_pitie(target, target, reference, rng=np.random.default_rng(seed), num_iterations=count)
        gaps.append([scipy.stats.wasserstein_distance(moved[:, channel], reference[:, channel]) for channel in range(3)])
    totals = np.sum(gaps, axis=1)
    assert totals[10] < 0.05 * totals[0]
    assert (np.diff(totals) < 0.02 * totals[0]).all()  # six axes at a time: one channel may give way a little to the others


def test_one_axis_is_matched_as_by_quantiles():
    rng = np.random.default_rng(2)
    values, wanted = rng.gamma(3, 10, 4000).astype(np.float32), rng.normal(90, 12, 4000).astype(np.float32)
    moved = values + color_transfer._marginal_change(values, wanted, len(values))
    middle = slice(200, -200)
    np.testing.assert_allclose(np.sort(moved)[middle], np.sort(wanted)[middle], atol=0.6)  # a bin is about 0.5 wide


def test_idt_axes_are_a_tight_frame():
    np.testing.assert_allclose(np.linalg.pinv(color_transfer.IDT_AXES), 0.5 * color_transfer.IDT_AXES.T, atol=1e-12)


# --- Regraining ---


def test_regraining_keeps_an_even_change():
    crop, inside = picture(60), soft_ellipse() > 0
    change = np.full(crop.shape, (9.0, -4.0, 2.0), np.float32)
    smooth = regrain(crop, change, inside)
    np.testing.assert_allclose(smooth[inside], change[inside], atol=1e-3)
    assert (smooth[~inside] == 0).all()


def test_regraining_takes_grain_out_of_flat_areas_and_leaves_edges():
    rng = np.random.default_rng(0)
    crop = np.full((64, 64, 3), 90, np.uint8)
    crop[:, 32:] = 160
    change = np.where(np.arange(64)[None, :, None] < 32, -20.0, 20.0) + rng.normal(0, 4, (64, 64, 3))
    smooth = regrain(crop, change.astype(np.float32), np.ones((64, 64), bool))
    assert smooth[:, :24].std() < 0.35 * change[:, :24].std()
    assert smooth[8:-8, 33:36].mean() - smooth[8:-8, 28:31].mean() > 20


def test_the_exact_solution_is_a_fixed_point_of_the_sweeps():
    rng = np.random.default_rng(1)
    height, width, level = 6, 7, 1
    original = rng.random((height, width, 3)).astype(np.float32)
    wanted = rng.normal(size=(height, width, 3)).astype(np.float32)
    padded = np.pad(original.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    across, down = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    gradient = np.sqrt((across**2 + down**2).sum(2))
    psi, phi = np.minimum(gradient * 256 / 5, 1), 30 / (1 + 10 * gradient) / 2**level
    system, index = scipy.sparse.lil_matrix((height * width,) * 2), np.arange(height * width).reshape(height, width)
    for y in range(height):
        for x in range(width):
            system[index[y, x], index[y, x]] = psi[y, x]
            for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= v < height and 0 <= u < width:
                    link = (phi[y, x] + phi[v, u]) / 2
                    system[index[y, x], index[y, x]] += link
                    system[index[y, x], index[v, u]] = -link
    right = (psi[..., None] * wanted).reshape(-1, 3)
    solution = scipy.sparse.linalg.spsolve(system.tocsc(), right).reshape(height, width, 3).astype(np.float32)
    swept = color_transfer._jacobi(original, wanted, np.ones((height, width), np.float32), solution, level)
    np.testing.assert_allclose(swept, solution, atol=2e-5)
    assert np.abs(color_transfer._jacobi(original, wanted, np.ones((height, width), np.float32), wanted, level) - wanted).max() > 0.1
