"""Test images as pictures: a sheet per benchmark, each picture with the file's own aspect."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attune.images import resize_image
from models.harmonizer import Harmonizer
from tasks.evaluation.baselines import lab_shift
from tasks.evaluation.evaluation_report import chosen_cases
from tasks.evaluation.measurements import COMPOSITE, HARMONIZED, Changed, Scored
from tasks.evaluation.methods import harmonize_examples
from tasks.evaluation.protocols import describe, read_example
from tasks.params import Benchmark
from tasks.sheets import Cell, Row, write_sheet

MAX_TILE = 256  # px, a picture on a sheet


def write_pair_sheet(
    path: Path, found: Sequence[Scored], model: Harmonizer, benchmark: Benchmark, *,
    name: str, num_rows: int, max_megapixels: float, rng: np.random.Generator,
) -> None:
    """At most `num_rows` of the best, middle and worst pairs: composite, mask, harmonized, target."""
    rows = []
    for label, scored in chosen_cases(found, num_rows, rng):
        example = read_example(scored.row, benchmark, max_megapixels=max_megapixels)
        answer = harmonize_examples(model, [example], native=benchmark.size == "native")[0]
        assert example.target is not None
        before, after = scored.fmse(COMPOSITE), scored.fmse(HARMONIZED)
        rows.append(_row(label, scored.row, {
            f"fMSE {before:.0f}": example.composite, f"{scored.row['fg_ratio']:.1%} of the image": example.mask,
            f"fMSE {after:.0f}  ({after / max(before, 1e-9):.2f} of the composite's)": answer, str(scored.row["key"]): example.target,
        }))
    note = f"{len(found)} test pairs. {describe(benchmark)} fMSE: mean squared error inside the mask, squared grey levels of 255."
    write_sheet(path, rows, columns=("composite", "mask", "harmonized", "target"), title=name, note=note, side=MAX_TILE)


def write_real_sheet(
    path: Path, found: Sequence[Changed], model: Harmonizer, benchmark: Benchmark, *, name: str, num_rows: int, max_megapixels: float
) -> None:
    """At most `num_rows` real composites, evenly from those that the harmonizer changes least to those it changes most."""
    ranked = sorted(found, key=lambda changed: (changed.changes[HARMONIZED], changed.row["key"]))
    chosen = np.unique(np.linspace(0, len(ranked) - 1, min(num_rows, len(ranked))).round().astype(int))
    rows = []
    for changed in (ranked[index] for index in chosen):
        example = read_example(changed.row, benchmark, max_megapixels=max_megapixels)
        answer = harmonize_examples(model, [example], native=benchmark.size == "native")[0]
        rows.append(_row("", changed.row, {
            str(changed.row["key"]): example.composite, f"{changed.row['fg_ratio']:.1%} of the image": example.mask,
            f"changed by {changed.changes['lab_shift']:.1f}": lab_shift(example.composite, example.mask),
            f"changed by {changed.changes[HARMONIZED]:.1f}": answer,
        }))
    note = f"{len(found)} real composites, without ground truth. {describe(benchmark)} Changes: mean CIEDE2000 inside the mask."
    write_sheet(path, rows, columns=("composite", "mask", "half a mean shift in Lab", "harmonized"), title=name, note=note, side=MAX_TILE)


def _row(label: str, row: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> Row:
    cells: Iterable[Cell] = (Cell(_unsquashed(image, row), caption) for caption, image in pictures.items())
    return Row(label=label, cells=tuple(cells))


def _unsquashed(image: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
    """`image` with the file's own aspect: its longer side is that of a tile."""
    scale = MAX_TILE / max(row["width"], row["height"])
    return resize_image(image, max(1, round(row["height"] * scale)), max(1, round(row["width"] * scale)))
