"""MSE, fMSE, PSNR, SSIM and fSSIM of a pair on one thread, beside scikit-image and torchmetrics: `python -m benchmarks.metrics [--4k]`."""

import sys

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.harness import close, measure, print_machine, print_table
from tasks.metrics import psnr_of, score_pair, squared_errors

TARGET = 5.0


def example(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth random photograph, its foreground under another light, and a mask over 21 % of it."""
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    target = cv2.GaussianBlur(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (int(width * 0.26), int(height * 0.26)), 20, 0, 360, 255, -1)
    edited = np.clip(target * [1.1, 1.0, 0.85] + rng.normal(6, 3, target.shape), 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, edited, target), target, mask


def with_skimage(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, ...]:
    """The same five metrics by scikit-image and NumPy."""
    error = np.square(prediction.astype(np.float64) - target)
    inside = mask >= 128
    mean, every = structural_similarity(
        target, prediction, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2, full=True
    )
    return float(error.mean()), float(error[inside].mean()), psnr_of(float(error.mean())), float(mean), float(every[inside].mean())


def with_torchmetrics(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, ...]:
    """The same five by torchmetrics and torch, float32 as it comes."""
    ours, theirs = (torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (prediction, target))
    error = (ours - theirs).square()
    inside = torch.from_numpy(mask >= 128)
    mean, every = structural_similarity_index_measure(ours, theirs, data_range=255.0, return_full_image=True)
    mse, fmse = float(error.mean()), float(error[:, :, inside].mean())
    return mse, fmse, psnr_of(mse), float(mean), float(every[:, :, inside].mean())


def squared_errors_by_numpy(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """MSE and fMSE in float64."""
    error = np.square(prediction.astype(np.float64) - target)
    return float(error.mean()), float(error[mask >= 128].mean())


def main(arguments: list[str]) -> None:
    """Print both tables, check that the values are equal, and close with the ratio against scikit-image at 256."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print_machine()
    sizes = [(256, 256), (2160, 3840)] if "--4k" in arguments else [(256, 256)]
    ratios = []
    for height, width in sizes:
        prediction, target, mask = example(height, width)
        ours, reference = score_pair(prediction, target, mask), with_skimage(prediction, target, mask)
        apart = max(abs(a - b) for a, b in zip((ours.mse, ours.fmse, ours.psnr, ours.ssim, ours.fssim), reference, strict=True))
        assert apart < 1e-7, f"the values differ by {apart}"
        timings = measure({
            "skimage": lambda: with_skimage(prediction, target, mask),  # noqa: B023
            "torchmetrics": lambda: with_torchmetrics(prediction, target, mask),  # noqa: B023
            "ours": lambda: score_pair(prediction, target, mask),  # noqa: B023
        }, num_rounds=9 if height == 256 else 3)
        print_table(f"five metrics, {width}x{height}", timings, reference="skimage", unit="pair")
        print(f"largest difference from skimage: {apart:.1e}")
        ratios.append(timings.ratio("ours", "skimage"))
        errors = measure({
            "numpy": lambda: squared_errors_by_numpy(prediction, target, mask),  # noqa: B023
            "ours": lambda: squared_errors(prediction, target, mask),  # noqa: B023
        }, num_rounds=9 if height == 256 else 3)
        print_table(f"MSE and fMSE, {width}x{height}", errors, reference="numpy", unit="pair")
    close("metrics", ratios[0], TARGET)


if __name__ == "__main__":
    main(sys.argv[1:])
