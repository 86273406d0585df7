"""Witnesses of tasks.evaluation.metrics: scikit-image, torchmetrics, values worked out by hand, and each convention pinned."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_cie76, deltaE_ciede2000, rgb2lab
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from tasks.color.difference import squared_errors
from tasks.evaluation.metrics import (
    BUCKETS,
    FLAVOURS,
    MAX_PSNR,
    average,
    bucket_of,
    cie76_inside,
    do_no_harm_rate,
    medians,
    psnr_of,
    relative_to,
    score_flavours,
    score_pair,
)


@pytest.fixture(scope="module")
def example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth target, a prediction off by noise and a cast, and a mask with soft edges."""
    rng = np.random.default_rng(3)
    ramp = np.add.outer(np.linspace(20, 160, 37), np.linspace(0, 70, 45))
    target = np.clip(ramp[..., None] + rng.normal(0, 6, (37, 45, 3)), 0, 255).astype(np.uint8)
    prediction = np.clip(target + rng.normal(4, 9, target.shape) * [1.0, 0.5, 2.0], 0, 255).astype(np.uint8)
    mask = np.zeros((37, 45), np.uint8)
    mask[4:20, 30:45] = 255
    mask[3, 30:45], mask[20, 30:45], mask[4:20, 29] = 200, 100, 127
    return prediction, target, mask


def by_hand() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """12 x 12 px, equal but for two pixels: one of the foreground's four is off by (3, 0, 6), one of the background by (0, 12, 0)."""
    target = np.full((12, 12, 3), 100, np.uint8)
    prediction = target.copy()
    prediction[0, 0] += np.array([3, 0, 6], np.uint8)
    prediction[9, 9, 1] -= 12
    mask = np.zeros((12, 12), np.uint8)
    mask[:2, :2] = 255
    return prediction, target, mask


def skimage_ssim(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    mean, every = structural_similarity(
        target, prediction, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2, full=True
    )
    return float(mean), every


def test_values_worked_out_by_hand() -> None:
    scores = score_pair(*by_hand())
    assert scores.mse == (9 + 36 + 144) / (12 * 12 * 3)
    assert scores.fmse == (9 + 36) / (4 * 3)
    assert scores.bmse == 144 / (140 * 3)
    assert scores.mae == (3 + 6 + 12) / (12 * 12 * 3)
    assert scores.psnr == pytest.approx(10 * math.log10(255**2 / (189 / 432)), abs=1e-5)
    assert scores.fpsnr == pytest.approx(10 * math.log10(255**2 / 3.75), abs=1e-5)


def test_errors_equal_scikit_image(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    prediction, target, mask = example
    scores = score_pair(prediction, target, mask)
    inside = mask >= 128
    assert scores.mse == pytest.approx(mean_squared_error(target, prediction), rel=1e-14)
    assert scores.fmse == pytest.approx(mean_squared_error(target[inside], prediction[inside]), rel=1e-14)
    assert scores.psnr == pytest.approx(peak_signal_noise_ratio(target, prediction, data_range=255), abs=1e-6)
    assert scores.mae == pytest.approx(np.abs(prediction.astype(float) - target).mean(), rel=1e-14)


def test_colour_difference_equals_scikit_image(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    prediction, target, mask = example
    inside = mask >= 128
    wanted = deltaE_ciede2000(rgb2lab(target), rgb2lab(prediction))[inside].mean()
    for scores in score_flavours(prediction, target, mask).values():
        assert scores.delta_e == pytest.approx(wanted, abs=5e-4)  # its white point has fewer digits
    assert score_pair(prediction + 0.2, target.astype(float), mask).delta_e == score_pair(prediction, target, mask).delta_e


def test_similarity_equals_scikit_image(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    prediction, target, mask = example
    scores = score_pair(prediction, target, mask)
    mean, every = skimage_ssim(prediction, target)
    assert scores.ssim == pytest.approx(mean, abs=1e-9)
    assert scores.fssim == pytest.approx(every[mask >= 128].mean(), abs=1e-9)


def test_similarity_equals_torchmetrics(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    prediction, target, mask = example
    _, every = structural_similarity_index_measure(
        *(torch.from_numpy(image).permute(2, 0, 1)[None].double() for image in (prediction, target)),
        gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=255.0, return_full_image=True,
    )
    # Its own mean has the border in it, mirrored without repeating the edge; inside there is nothing to mirror.
    assert score_pair(prediction, target, mask).ssim == pytest.approx(float(every[..., 5:-5, 5:-5].mean()), abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(11, 30), width=st.integers(11, 30), seed=st.integers(0, 1000))
def test_similarity_equals_scikit_image_at_any_size(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    mask = rng.integers(0, 256, (height, width), dtype=np.uint8)
    mask[rng.integers(height), rng.integers(width)] = 255
    scores = score_flavours(prediction, target, mask)
    mean, every = skimage_ssim(prediction, target)
    assert scores["raw"].ssim == pytest.approx(mean, abs=1e-9)
    assert scores["issam"].fssim == pytest.approx((every.mean(axis=2) * mask).sum() / mask.sum(), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(top=st.integers(0, 39), left=st.integers(0, 39), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_masked_flavour_equals_scoring_the_pasted_image(top: int, left: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[top : top + height, left : left + width] = 255
    pasted = np.where(mask[..., None] > 0, prediction, target)
    masked, raw = score_pair(prediction, target, mask, flavour="masked"), score_pair(pasted, target, mask)
    for name in ("mse", "fmse", "bmse", "mae", "psnr", "fpsnr", "ssim", "fssim", "delta_e"):
        assert getattr(masked, name) == pytest.approx(getattr(raw, name), abs=1e-9), name


def test_equal_images_are_perfect(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, target, mask = example
    for scores in score_flavours(target, target, mask).values():
        assert (scores.mse, scores.fmse, scores.bmse, scores.mae, scores.delta_e) == (0.0, 0.0, 0.0, 0.0, 0.0)
        assert scores.ssim == pytest.approx(1.0, abs=1e-12)
        assert scores.fssim == pytest.approx(1.0, abs=1e-12)


def test_convention_a_perfect_image_has_100_db(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, target, mask = example
    assert score_pair(target, target, mask).psnr == MAX_PSNR == 100.0
    assert psnr_of(0.0) == 100.0


def test_convention_the_raw_peak_is_255_and_issams_the_targets_own() -> None:
    prediction, target, mask = by_hand()
    scores = score_flavours(prediction, target, mask)
    assert scores["raw"].psnr - scores["issam"].psnr == pytest.approx(20 * math.log10(255 / 100))
    assert scores["raw"].psnr != pytest.approx(psnr_of(scores["raw"].mse, peak=float(prediction.max()) - float(prediction.min())))


def test_convention_the_hard_mask_begins_at_one_half() -> None:
    prediction, target, mask = by_hand()
    mask[9, 9] = 127
    assert score_pair(prediction, target, mask).fmse == 45 / 12
    mask[9, 9] = 128
    assert score_pair(prediction, target, mask).fmse == (45 + 144) / 15


def test_convention_issam_weighs_the_squared_error_by_the_soft_mask_once() -> None:
    prediction, target, mask = by_hand()
    mask[9, 9] = 51
    assert score_pair(prediction, target, mask, flavour="issam").fmse == pytest.approx((45 + 0.2 * 144) / (3 * 4.2))


def test_convention_the_background_counts_in_raw_and_not_in_masked() -> None:
    scores = score_flavours(*by_hand())
    assert scores["raw"].mse == 189 / 432
    assert scores["masked"].mse == 45 / 432
    assert scores["masked"].bmse == 0.0
    assert scores["masked"].fmse == scores["raw"].fmse


def test_convention_the_mean_similarity_leaves_out_five_pixels_at_the_border() -> None:
    target = np.full((40, 40, 3), 90, np.uint8)
    prediction = target.copy()
    prediction[0, :] = 250  # no window of the interior, rows 5 and on, reaches beyond row 0
    mask = np.full((40, 40), 255, np.uint8)
    scores = score_pair(prediction, target, mask)
    _, every = skimage_ssim(prediction, target)
    assert scores.ssim == pytest.approx(every[5:-5, 5:-5].mean(), abs=1e-9)
    assert scores.fssim == pytest.approx(every.mean(), abs=1e-9)
    assert scores.fssim < scores.ssim - 0.01


def test_convention_the_similarity_is_not_the_uniform_7_px_one(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    prediction, target, mask = example
    uniform = structural_similarity(target, prediction, data_range=255, channel_axis=2)
    assert abs(score_pair(prediction, target, mask).ssim - uniform) > 1e-3


def test_float_predictions_are_not_rounded() -> None:
    prediction, target, mask = by_hand()
    assert score_pair(prediction.astype(np.float32) + 0.25, target, mask).mse == pytest.approx(
        np.square(prediction.astype(float) + 0.25 - target).mean()
    )
    for flavour in FLAVOURS:
        whole = score_pair(prediction.astype(np.float64), target, mask, flavour=flavour)
        assert whole.ssim == pytest.approx(score_pair(prediction, target, mask, flavour=flavour).ssim, abs=1e-12)


def test_squares_are_exact_where_32_bits_would_overflow() -> None:
    target = np.zeros((1500, 1500, 3), np.uint8)
    mask = np.full((1500, 1500), 255, np.uint8)
    errors = squared_errors(np.full_like(target, 255), target, mask)
    assert (errors.mse, errors.fmse, errors.bmse) == (65025.0, 65025.0, 0.0)


@pytest.mark.usefixtures("unguarded")
def test_impossible_inputs_are_named() -> None:
    prediction, target, mask = by_hand()
    with pytest.raises(ValueError, match=r"prediction \(12, 11, 3\)"):
        score_pair(prediction[:, :11], target, mask)
    with pytest.raises(ValueError, match="the mask is empty"):
        score_pair(prediction, target, np.full_like(mask, 127))
    with pytest.raises(ValueError, match="10x12 px are smaller than the 11 px window"):
        score_pair(prediction[:, :10], target[:, :10], mask[:, :10])
    with pytest.raises(ValueError, match="flavour is 'lpips'"):
        score_pair(prediction, target, mask, flavour="lpips")  # type: ignore[arg-type]


def test_averages_are_means_over_images() -> None:
    prediction, target, mask = by_hand()
    scores = [score_pair(prediction, target, mask), score_pair(target, target, mask), score_pair(target, target, mask)]
    assert average(scores)["fmse"] == pytest.approx(3.75 / 3)
    assert medians(scores)["fmse"] == 0.0
    assert relative_to({"fmse": 1.0}, {"fmse": 4.0}) == 0.25
    for empty in (average, medians):
        with pytest.raises(ValueError, match="no images"):
            empty([])


def test_convention_buckets_are_open_below_and_closed_above() -> None:
    assert [bucket_of(ratio) for ratio in (0.001, 0.05, 0.0501, 0.15, 0.1501, 1.0)] == ["0-5", "0-5", "5-15", "5-15", "15-100", "15-100"]
    assert list(BUCKETS) == ["0-5", "5-15", "15-100"]
    with pytest.raises(ValueError, match="not in"):
        bucket_of(0.0)


def test_convention_an_unchanged_image_is_not_counted_as_improved() -> None:
    assert do_no_harm_rate([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 5.0]) == 0.5


def test_cie76_inside_is_scikit_images_mean_over_the_hard_mask(example: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    after, before, mask = example
    apart = deltaE_cie76(rgb2lab(before), rgb2lab(after))[mask >= 128]
    assert cie76_inside(before, after, mask) == pytest.approx(apart.mean(), rel=1e-3)
    assert cie76_inside(before, after, mask) == pytest.approx(cie76_inside(after, before, mask))
    assert cie76_inside(before, before, mask) == 0.0
    with pytest.raises(ValueError, match="mask"):
        cie76_inside(before, after, np.minimum(mask, 127))
