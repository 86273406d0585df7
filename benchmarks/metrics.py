"""Metrics beside scikit-image and torchmetrics at 256 px and 4K, on one thread and on two: `python -m benchmarks.metrics`.

MSE, fMSE, PSNR and SSIM of pairs, by `tasks.evaluation.metrics.score_pair` (which gives more: see its `Scores`), then MSE and
fMSE alone beside NumPy.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from attune.foreground import FOREGROUND_LEVEL
from benchmarks.harness import Timings, close, measure, print_machine, print_table
from tasks.color.difference import squared_errors
from tasks.evaluation.metrics import psnr_of, score_flavours, score_pair

TARGET = 5.0
TARGET_ON_TWO, TARGET_ERRORS = 8.0, 40.0
TOLERANCE = 1e-7
NUM_PAIRS = {256: 8, 2160: 2}  # of a call, by height

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
Scorer = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, ...]]


def example(height: int, width: int) -> Pair:
    """A smooth random photograph, its foreground under another light, and a mask over 21 % of it."""
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    target = cv2.GaussianBlur(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (int(width * 0.26), int(height * 0.26)), 20, 0, 360, 255, -1)
    edited = np.clip(target * [1.1, 1.0, 0.85] + rng.normal(6, 3, target.shape), 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, edited, target), target, mask


def ours(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, ...]:
    """MSE, fMSE, PSNR and SSIM, as the evaluation computes them."""
    scores = score_pair(prediction, target, mask, colour=False)
    return scores.mse, scores.fmse, scores.psnr, scores.ssim


def everything(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, ...]:
    """What the evaluation computes of a pair: nine metrics in three flavours."""
    return tuple(scores.fmse for scores in score_flavours(prediction, target, mask).values())


def with_skimage(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, ...]:
    """The same four by scikit-image and NumPy."""
    mse, fmse = squared_errors_by_numpy(prediction, target, mask)
    ssim = structural_similarity(
        target, prediction, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
    )
    return mse, fmse, psnr_of(mse), float(ssim)


def with_torchmetrics(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, ...]:
    """The same four by torchmetrics and torch, float32 as it comes; its SSIM has the border in its mean."""
    ours, theirs = (torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (prediction, target))
    error = (ours - theirs).square()
    mse, fmse = float(error.mean()), float(error[:, :, torch.from_numpy(mask >= FOREGROUND_LEVEL)].mean())
    return mse, fmse, psnr_of(mse), float(structural_similarity_index_measure(ours, theirs, data_range=255.0))


def squared_errors_by_numpy(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """MSE and fMSE in float64, from one array of squared differences."""
    error = np.square(prediction.astype(np.float64) - target)
    return float(error.mean()), float(error[mask >= FOREGROUND_LEVEL].mean())


def compare_all(pair: Pair, *, num_pairs: int, num_rounds: int) -> tuple[Timings, Timings]:
    """Time the four metrics (every contender on `num_pairs` pairs), and MSE and fMSE alone, after checking that the values agree."""
    apart = max(abs(a - b) for a, b in zip(ours(*pair), with_skimage(*pair), strict=True))
    assert apart < TOLERANCE, f"the values differ from scikit-image's by {apart}"
    errors = squared_errors(*pair)
    assert (errors.mse, errors.fmse) == squared_errors_by_numpy(*pair), "MSE and fMSE are not exact"
    with ThreadPoolExecutor(2) as pool:

        def on_two_threads(score: Scorer) -> None:
            for future in [pool.submit(score, *pair) for _ in range(num_pairs)]:
                future.result()

        def on_one_thread(score: Scorer) -> None:
            for _ in range(num_pairs):
                score(*pair)

        whole = measure({
            "skimage": lambda: on_one_thread(with_skimage), "torchmetrics": lambda: on_one_thread(with_torchmetrics),
            "ours, one thread": lambda: on_one_thread(ours), "ours, two threads": lambda: on_two_threads(ours),
            "ours, all metrics and flavours": lambda: on_one_thread(everything),
        }, num_rounds=num_rounds)
    errors = measure({
        "numpy": lambda: squared_errors_by_numpy(*pair), "ours": lambda: squared_errors(*pair),
    }, num_rounds=3 * num_rounds)
    print(f"largest difference from skimage: {apart:.1e}; MSE and fMSE are exact")
    return whole, errors


def main(arguments: list[str]) -> None:
    """Print the tables, check that the values agree, and close with the ratio against scikit-image at 256 on one thread."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print_machine()
    ratios = {}
    for height, width in [(256, 256)] if "--small" in arguments else [(256, 256), (2160, 3840)]:
        num_pairs = NUM_PAIRS[height]
        whole, errors = compare_all(example(height, width), num_pairs=num_pairs, num_rounds=9 if height == 256 else 3)
        print_table(f"four metrics, {width}x{height}", whole, reference="skimage", units=num_pairs, unit="pair")
        print_table(f"MSE and fMSE, {width}x{height}", errors, reference="numpy", unit="pair")
        ratios[height] = [whole.ratio(f"ours, {threads}", "skimage") for threads in ("one thread", "two threads")]
        ratios[height].append(errors.ratio("ours", "numpy"))
    on_one, on_two, alone = ratios[256]
    close("metrics_two_threads", on_two, TARGET_ON_TWO)
    close("metrics_squared_errors", alone, TARGET_ERRORS)
    close("metrics", on_one, TARGET)


if __name__ == "__main__":
    main(sys.argv[1:])
