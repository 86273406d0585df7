"""An index of a million rows: written, read whole, and filtered, in seconds.

`python -m benchmarks.index`. The line at the end is `MAX_SECONDS` over the time of reading and filtering.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.harness import close, print_machine
from tasks.index import PHOTOGRAPHS, read_index, write_table

NUM_ROWS = 1_000_000
MAX_SECONDS = 10.0
SPREAD = 0x9E3779B97F4A7C15  # odd: multiples of it look like hashes


def rows() -> Iterator[dict[str, Any]]:
    """`NUM_ROWS` rows as a large data set has them, in no order."""
    for place in range(NUM_ROWS):
        number = place * 7919 % NUM_ROWS
        name = f"{number:09d}"
        yield {
            "key": f"coco_{name}", "source": "coco", "subset": "coco", "split": ("train", "val", "test")[max(0, number % 20 - 17)],
            "group": f"coco/{number // 8}",
            "image_path": f"data/raw/coco/train2017/{name}.jpg", "mask_path": f"data/prepared/coco/{name}.png",
            "width": 640, "height": 480, "fg_ratio": number % 79 / 100, "label": f"label {number % 80}",
            "image_phash": number * SPREAD % 2**64, "licence": "",
            "image_sha256": f"{number * SPREAD**4 % 2**256:064x}", "mask_sha256": f"{(number + NUM_ROWS) * SPREAD**4 % 2**256:064x}",
        }


def timed(title: str, began: float, detail: str = "") -> float:
    """Print and return the seconds since `began`."""
    seconds = time.perf_counter() - began
    print(f"{title:<28} {seconds:7.2f} s  {detail}", flush=True)
    return seconds


def main() -> None:
    """Time writing, reading and filtering."""
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "photographs.parquet"
        began = time.perf_counter()
        write_table(path, rows(), PHOTOGRAPHS)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        timed("write, sorted", began, f"{path.stat().st_size / 1e6:.0f} MB, peak {peak:.0f} MB")
        began = time.perf_counter()
        table = pq.read_table(path)
        spent = timed("read whole, as columns", began, f"{table.num_rows} rows, {table.nbytes / 1e6:.0f} MB")
        began = time.perf_counter()
        found = read_index(path.parent, "photographs", split="test", label="label 19")
        spent += timed("filter, as rows", began, f"{len(found)} rows")
    close("index", MAX_SECONDS / spent, 1.0)


if __name__ == "__main__":
    main()
