"""What `dvc plots` draws: a point per pair, a bar per benchmark and method."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attune.files import write_bytes
from tasks.evaluation.measurements import HARMONIZED, Scored, Summary


def write_plots(folder: Path, results: Mapping[str, Sequence[Scored]], summary: Summary) -> None:
    """Two tables for `dvc plots`: a point per pair (untouched against harmonized error), a bar per benchmark and method."""
    points = [
        [name, scored.row["key"], f"{scored.fmse('composite'):.2f}", f"{scored.fmse(HARMONIZED):.2f}"]
        for name, found in results.items() for scored in found
    ]
    write_csv(folder / "evaluate_scatter.csv", ["benchmark", "key", "composite_fmse", "harmonized_fmse"], points)
    bars = [
        [name, method, *(f"{values[metric]:.4f}" for metric in ("mse", "fmse", "psnr", "ssim"))]
        for name, methods in summary.items() for method, values in methods.items()
    ]
    write_csv(folder / "evaluate_methods.csv", ["benchmark", "method", "mse", "fmse", "psnr", "ssim"], bars)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file with a header, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())
