"""The evaluation of the 7,404 test pairs of iHarmony4 at 256 px, projected from 500 measured: `python -m benchmarks.evaluation`.

Beside it the way in which published evaluators work: Pillow decodes, the network takes one image at a time, NumPy and scikit-image measure,
one after the other. Both have the same network (the default's, untrained), score it alone, and give MSE, fMSE, PSNR and SSIM.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from PIL import Image

from attune.images import encode_jpeg, encode_png
from benchmarks.harness import close, print_machine
from benchmarks.metrics import with_skimage
from models.architectures import harmonizer_config
from models.harmonizer import Harmonizer, build_harmonizer
from tasks.evaluation.baselines import BASELINES
from tasks.evaluation.measurements import HARMONIZED
from tasks.evaluation.measuring import measure
from tasks.evaluation.methods import Methods, harmonizer_alone
from tasks.evaluation.metrics import FLAVOURS, Flavour
from tasks.index import PAIRS, write_table
from tasks.params import Params
from tasks.tensors import to_tensor, to_uint8

TARGET = 2.2
NUM_ROUNDS = 5  # contenders take turns
NUM_PAIRS, NUM_BY_OTHERS, NUM_TEST_PAIRS = 100, 20, 7404  # of a round by ours, of a round by the usual way, of the test split
SIDE = 256
USUAL, ALONE = "one after the other", "ours, the harmonizer and doing nothing, raw"
BENCHMARK = {"source": "iharmony4", "subset": "*", "size": SIDE, "resize": "pillow_bilinear"}


def write_pairs(folder: Path, count: int) -> list[dict[str, object]]:
    """`count` pairs as JPEGs and PNG masks below `folder`, and their index in `folder/data/index`; its rows."""
    rng, rows = np.random.default_rng(3), []
    for number in range(count):
        coarse = cv2.resize(rng.integers(30, 220, (24, 24, 3), dtype=np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        target = np.clip(coarse + rng.normal(0, 5, coarse.shape), 0, 255).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        centre, axes = rng.integers(60, 196, 2).tolist(), rng.integers(15, 70, 2).tolist()
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        composite = np.where(mask[..., None] > 0, np.clip(target * [0.8, 1.0, 1.1], 0, 255), target).astype(np.uint8)
        files = {"composite": f"composite_{number}.jpg", "mask": f"mask_{number}.png", "target": f"target_{number}.jpg"}
        paths = {f"{name}_path": str(folder / file) for name, file in files.items()}
        Path(paths["composite_path"]).write_bytes(encode_jpeg(composite, 95))
        Path(paths["target_path"]).write_bytes(encode_jpeg(target, 95))
        Path(paths["mask_path"]).write_bytes(encode_png(mask))
        rows.append({
            "key": f"pair_{number:04}", "source": "iharmony4", "subset": "HCOCO", "split": "test", "group": f"{number}", **paths,
            "width": SIDE, "height": SIDE, "fg_ratio": float((mask > 0).mean()), "label": "", "method": "published", "composite_fmse": 1.0,
            "composite_sha256": "", "mask_sha256": "", "target_sha256": "",
        })
    write_table(folder / "data/index/pairs.parquet", rows, PAIRS)
    return rows


def seconds_of_ours(params: Params, methods: Methods, flavours: tuple[Flavour, ...]) -> float:
    """Seconds per pair of the project's own evaluation."""
    start = time.perf_counter()
    found = measure(params, methods, flavours, lambda done, total: None)
    return (time.perf_counter() - start) / len(found.scored["iharmony4"])


def seconds_of_others(rows: list[dict[str, object]], model: Harmonizer) -> float:
    """Seconds per pair, one thing after the other."""
    start = time.perf_counter()
    for row in rows:
        composite, target = (np.array(Image.open(str(row[f"{name}_path"])).convert("RGB")) for name in ("composite", "target"))
        mask = np.array(Image.open(str(row["mask_path"])).convert("L"))
        with torch.inference_mode():
            answer = to_uint8(model(to_tensor(composite), to_tensor(mask)).harmonized)[0]
        with_skimage(answer, target, mask)
    return (time.perf_counter() - start) / len(rows)


def main() -> None:
    """Print seconds per pair and for the whole test split, and close with the ratio to the usual way."""
    cv2.setNumThreads(1)
    print_machine()
    torch.manual_seed(0)
    model = build_harmonizer(harmonizer_config(
        "small", size=64, plate=False, num_knots=16, grid=8, shading="symmetric", shading_limit=1.6, edit="both", width=32,
        encode_curves=True, read_rim=False, encoder_size=64,
    )).eval()
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["evaluate"] |= {"benchmarks": {"iharmony4": BENCHMARK}, "competitors": {}, "champion": None}
    with tempfile.TemporaryDirectory() as folder:
        values["paths"]["index"] = os.fspath(Path(folder) / "data/index")
        params, rows = Params.model_validate(values), write_pairs(Path(folder), NUM_PAIRS)
        contenders: dict[str, Callable[[], float]] = {
            USUAL: lambda: seconds_of_others(rows[:NUM_BY_OTHERS], model),
            ALONE: lambda: seconds_of_ours(params, harmonizer_alone(model), ("raw",)),
            "ours, five methods, three flavours": lambda: seconds_of_ours(params, Methods(BASELINES, {}, {HARMONIZED: model}), FLAVOURS),
        }
        seconds_of_others(rows[:4], model)
        found = [{name: contender() for name, contender in contenders.items()} for _ in range(NUM_ROUNDS)]
    for name in contenders:
        each = statistics.median(one[name] for one in found)
        print(f"{name:<45} {each * 1e3:8.1f} ms/pair {each * NUM_TEST_PAIRS:8.0f} s for {NUM_TEST_PAIRS:,} pairs")
    close("evaluation", statistics.median(one[USUAL] / one[ALONE] for one in found), TARGET)


if __name__ == "__main__":
    main()
