"""Real composites to be judged by eye: drawn by lot, never chosen, each with its mask beside its harmonized version, and
a table to write verdicts into.

    measures/eye/<number>_composite.png, _mask.png, _harmonized.png, eye.json    the pictures, whose they are, and the model's hash
    report/eye_1.png, eye_2.png, ...   numbered sheets
    report/eye.csv                     number, key, model, verdict: someone fills in better, same or worse; the filled-in table belongs to
                                       the findings (`data/metrics/findings/eye.csv`), and its counts enter the next report
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from attune.files import read_json, write_bytes, write_json
from attune.images import encode_png, read_image, read_mask
from tasks.seeds import numpy_generator
from tasks.sheets import Cell, Row, write_sheet

VERDICTS = ("better", "same", "worse")  # than what was pasted
HEADER = ("number", "key", "model", "verdict")
TABLE = "eye.csv"
FOLDER, LIST = "eye", "eye.json"
PER_ROW, ROWS_PER_SHEET = 2, 5
SIDE = 300  # px, the longer side of a picture

_NAMES = ("composite", "mask", "harmonized")
COLUMNS = ("composite", "what was pasted", "harmonized")

Picture = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


@dataclass(frozen=True)
class Judged:
    """How many pictures someone found better, the same, or worse than what was pasted."""

    better: int
    same: int
    worse: int
    models: tuple[str, ...]  # whose pictures they were

    @property
    def num_images(self) -> int:
        """All that have a verdict."""
        return self.better + self.same + self.worse


def draw_for_the_eye(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """At most `count` of `rows` by lot, in the order in which they are numbered: the same for the same keys and seed."""
    ordered = sorted(rows, key=lambda row: str(row["key"]))
    return [ordered[place] for place in numpy_generator(seed, "eye").permutation(len(ordered))[:count]]


@dataclass(frozen=True)
class ForTheEye:
    """Pictures in their order, the keys of their rows, and a hash of the model that made them."""

    pictures: Sequence[tuple[Picture, Mask, Picture]]  # composite, mask, harmonized
    keys: Sequence[str]
    model: str


def write_eye_pictures(folder: Path, shown: ForTheEye) -> None:
    """Keep the pictures below `folder` as files, the list last."""
    for number, pictures in enumerate(shown.pictures, start=1):
        for name, picture in zip(_NAMES, pictures, strict=True):
            write_bytes(folder / FOLDER / f"{number:02}_{name}.png", encode_png(picture))
    write_json(folder / FOLDER / LIST, {"keys": list(shown.keys), "model": shown.model})


def read_eye_pictures(folder: Path) -> ForTheEye:
    """What `write_eye_pictures` wrote. ValueError names a file that is missing or damaged."""
    path = folder / FOLDER / LIST
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `dvc repro` makes it")
    about = read_json(path)
    pictures = []
    for number in range(1, len(about["keys"]) + 1):
        composite, mask, harmonized = (folder / FOLDER / f"{number:02}_{name}.png" for name in _NAMES)
        pictures.append((read_image(composite), read_mask(mask), read_image(harmonized)))
    return ForTheEye(pictures, about["keys"], about["model"])


def write_eye_sheets(folder: Path, pictures: Sequence[tuple[Picture, Mask, Picture]]) -> list[Path]:
    """Write (composite, mask, harmonized) as sheets `eye_<n>.png` of `PER_ROW * ROWS_PER_SHEET`, numbered from 1; their paths."""
    white = Cell(np.full((1, 1, 3), 255, np.uint8))
    cells = [(Cell(before, str(number)), Cell(mask), Cell(after)) for number, (before, mask, after) in enumerate(pictures, start=1)]
    each, paths = PER_ROW * ROWS_PER_SHEET, []
    for first in range(0, len(cells), each):
        page = cells[first : first + each]
        page += [(white, white, white)] * (-len(page) % PER_ROW)
        rows = [Row(tuple(chain(*page[start : start + PER_ROW]))) for start in range(0, len(page), PER_ROW)]
        path = folder / f"eye_{first // each + 1}.png"
        title = f"Real composites drawn by lot, {first + 1} to {min(first + each, len(cells))} of {len(cells)}"
        write_sheet(path, rows, columns=COLUMNS * PER_ROW, title=title, side=SIDE)
        paths.append(path)
    return paths


def write_eye_table(path: Path, keys: Sequence[str], model: str) -> None:
    """Write the table to fill in: a line per picture, the verdict empty. model: what the pictures were made by, a hash."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((number, key, model, "") for number, key in enumerate(keys, start=1))
    write_bytes(path, buffer.getvalue().encode())


def read_verdicts(path: Path) -> Judged | None:
    """The verdicts that someone wrote into the table at `path`; None if there is no such file, or no verdict in it.

    Raises ValueError naming file, line and value for what is no verdict, or a column that is missing.
    """
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        if missing := [name for name in HEADER if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{path}: no column {', '.join(missing)}; expected {', '.join(HEADER)}")
        found: list[tuple[str, str]] = []
        for line, row in enumerate(reader, start=2):
            verdict = (row["verdict"] or "").strip().lower()
            if verdict and verdict not in VERDICTS:
                raise ValueError(f"{path}, line {line}: verdict {verdict!r}; expected {', '.join(VERDICTS)}, or nothing")
            if verdict:
                found.append((verdict, row["model"] or ""))
    if not found:
        return None
    counts = {name: sum(verdict == name for verdict, _ in found) for name in VERDICTS}
    return Judged(**counts, models=tuple(sorted({model for _, model in found})))
