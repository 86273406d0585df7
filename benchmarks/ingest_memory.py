"""Peak memory of ingestion: ten times the photographs must not take much more of it.

`python -m benchmarks.ingest_memory [few many]`. Runs the stage itself, `python -m flows.ingest`, once on each number of small photographs
with a mask each (64 px, a composite of each), and reads the peak of its process from the kernel. Some minutes. The line at the end is the
few's peak over the many's: at least 1 / 1.3.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import yaml

from attune.images import encode_jpeg, encode_png
from benchmarks.harness import close, print_machine

MAX_GROWTH = 1.3
FEW, MANY = 5_000, 50_000
SIDE = 64
ROOT = Path(__file__).resolve().parents[1]


def write_photographs(folder: Path, count: int) -> None:
    """Write `count` different photographs of `SIDE` px and their masks, in the layout of the source photos."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[16:44, 20:50] = 255
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        coarse = np.random.default_rng(number).uniform(30, 225, (8, 8, 3)).astype(np.float32)
        image: np.ndarray = np.clip(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
        (folder / "images" / f"{number:06d}.jpg").write_bytes(encode_jpeg(image, 90))
        (folder / "masks" / f"{number:06d}.png").write_bytes(encode_png(mask))


def write_project(folder: Path) -> None:
    """A project in `folder` whose ingestion reads these photographs."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["paths"]["raw"] = "raw"
    values["ingest"] |= {"sources": ["photos"], "max_reject_fraction": 1.0, "min_side": 32}
    values["ingest"]["synthesis"] |= {"composites_per_object": 1, "composites_per_test_object": 1, "max_side": SIDE}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copy(ROOT / "pyproject.toml", folder)


def peak_megabytes(count: int) -> float:
    """The largest resident set of the stage's own process, in MB; prints it and the time the stage took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photographs(folder / "raw" / "photos", count)
        write_project(folder)
        began = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / ".prefect"), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-m", "flows.ingest"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise RuntimeError(f"flows.ingest ended with status {status}")
        megabytes = usage.ru_maxrss / 1024
        print(f"{count:>9} photographs  {megabytes:8.0f} MB  {time.monotonic() - began:8.0f} s", flush=True)
        return megabytes


def main() -> None:
    """Measure both and print the ratio."""
    few, many = (int(argument) for argument in sys.argv[1:3]) if len(sys.argv) > 2 else (FEW, MANY)
    print_machine()
    close("ingest_memory", peak_megabytes(few) / peak_megabytes(many), round(1 / MAX_GROWTH, 2))


if __name__ == "__main__":
    main()
