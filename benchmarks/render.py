"""An edit applied at full resolution, uint8, two threads, beside the paper's form: `python -m benchmarks.render [1080p] [4k] [8k]`.

The paper's form: per-channel curves as a separable 32^3 table through torch's grid_sample, the shading map resized, float images.
"""

import sys
from collections.abc import Callable
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch.nn.functional import grid_sample, interpolate

from attune import render
from attune.operators.curves import Curves, curve_tables
from attune.operators.operator import EditArrays
from attune.operators.shading import Shading
from attune.render import render_edit
from benchmarks.harness import close, measure, print_machine, print_table
from tasks.tensors import to_tensor, to_uint8

TARGET = 40.0
SIZES = {"1080p": (1080, 1920), "4k": (2160, 3840), "8k": (4320, 7680)}
PAPER_MAP = 512  # px: the published model's shading map


def example(height: int, width: int) -> tuple[np.ndarray, np.ndarray, EditArrays]:
    """A smooth random photograph, an elliptic soft mask over 21 % of it, and an edit with 32 knots and 16 x 16 cells."""
    rng = np.random.default_rng(11)
    image = cv2.resize(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (int(width * 0.26), int(height * 0.26)), 20, 0, 360, 255, -1)
    curves = np.linspace(0, 1, 32) ** np.array([[0.8], [0.9], [1.15]])
    return image, cv2.GaussianBlur(mask, (0, 0), 2), EditArrays((Curves(curves), Shading(rng.normal(0, 1.5, (16, 16)), "darken", 0.5)))


def papers_form(image: np.ndarray, mask: np.ndarray, edit: EditArrays) -> np.ndarray:
    """The edit as the published script applies it, from uint8 to uint8."""
    grids = torch.meshgrid(*(torch.from_numpy(curve).float() for curve in edit.get(Curves).values), indexing="ij")
    table = torch.stack(grids)[None]  # indexed [channel, red, green, blue]
    composite, matte = to_tensor(image), to_tensor(mask)
    small = torch.from_numpy(edit.get(Shading).gains(PAPER_MAP, PAPER_MAP)).float()[None, None]
    shading = interpolate(small, size=composite.shape[-2:], mode="bilinear", align_corners=False)
    points = (composite.flip(1) * 2 - 1).permute(0, 2, 3, 1)[:, None]
    toned = grid_sample(table, points, mode="bilinear", padding_mode="border", align_corners=False)[:, :, 0]
    toned = matte * toned + (1 - matte) * composite
    rendered: np.ndarray = to_uint8(matte * (toned * shading) + (1 - matte) * composite)[0]
    return rendered


def numpy_form(image: np.ndarray, mask: np.ndarray, edit: EditArrays) -> np.ndarray:
    """The edit by one table per channel and whole-image NumPy arithmetic, float32."""
    tables = curve_tables(edit.get(Curves).values, 256).astype(np.float32)
    toned = np.stack([table[image[..., channel]] for channel, table in enumerate(tables)], axis=2)
    shaded = np.minimum(toned * edit.get(Shading).gains(*mask.shape).astype(np.float32)[..., None], 255)
    blended = image + (shaded - image) * (mask[..., None] / np.float32(255))
    return np.asarray(np.rint(blended).astype(np.uint8))


def without_numba(image: np.ndarray, mask: np.ndarray, edit: EditArrays, out: np.ndarray) -> np.ndarray:
    """`render_edit` as it runs where numba is not installed."""
    with patch.object(render, "COMPILED", False):
        return render_edit(image, mask, edit, out=out)


def largest_error(image: np.ndarray, mask: np.ndarray, edit: EditArrays, result: np.ndarray) -> float:
    """Grey levels between `result` and float64 arithmetic, by strips."""
    tables, worst, step = curve_tables(edit.get(Curves).values, 256), 0.0, 128
    gains = edit.get(Shading).gains(*mask.shape)
    for top in range(0, len(image), step):
        rows = slice(top, top + step)
        toned = np.stack([np.take(table, image[rows, :, channel]) for channel, table in enumerate(tables)], axis=2)
        exact = image[rows] + (np.minimum(toned * gains[rows, :, None], 255) - image[rows]) * (mask[rows, :, None] / 255)
        worst = max(worst, float(np.abs(exact - result[rows]).max()))
    return worst


WANTED = {  # at least, of (contender, mask): times the paper's form at 4K
    ("ours", "100 %"): TARGET, ("ours", "21 %"): 80.0, ("without numba", "100 %"): 8.0,
}


def main(arguments: list[str]) -> None:
    """Print a table per size and mask, check the errors, and close with the full mask's ratio at 4K (or at the last size asked for)."""
    cv2.setNumThreads(1)  # the OpenCV form brings its own two
    torch.set_num_threads(2)
    print_machine()
    ratio = 0.0
    sizes = [name for name in arguments if name in SIZES] or list(SIZES)
    for size in sizes:
        image, soft, edit = example(*SIZES[size])
        for share, mask in (("21 %", soft), ("100 %", np.full_like(soft, 255))):
            out = np.empty_like(image)
            timings = measure(contenders(image, mask, edit, out), num_rounds=3)
            print_table(f"{size}, mask {share}", timings, reference="paper", unit="image")
            errors = {
                "ours": largest_error(image, mask, edit, render_edit(image, mask, edit)),
                "without numba": largest_error(image, mask, edit, without_numba(image, mask, edit, out)),
                "paper": largest_error(image, mask, edit, papers_form(image, mask, edit)),
            }
            print("largest error, grey levels: " + ", ".join(f"{name} {error:.3f}" for name, error in errors.items()))
            assert max(errors["ours"], errors["without numba"]) <= 0.51
            for (name, of), wanted in WANTED.items():
                if size == "4k" and of == share:
                    print(f"{name}: {timings.ratio(name, 'paper'):.1f} times the paper's form, wanted {wanted:g}")
            if share == "100 %" and (size == "4k" or "4k" not in sizes):
                ratio = timings.ratio("ours", "paper")
    close("render", ratio, TARGET)


def contenders(image: np.ndarray, mask: np.ndarray, edit: EditArrays, out: np.ndarray) -> dict[str, Callable[[], object]]:
    """Everything that is measured beside everything else."""
    return {
        "paper": lambda: papers_form(image, mask, edit),
        "numpy": lambda: numpy_form(image, mask, edit),
        "without numba": lambda: without_numba(image, mask, edit, out),
        "ours": lambda: render_edit(image, mask, edit, out=out),
        "copy": lambda: np.copyto(out, image),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
