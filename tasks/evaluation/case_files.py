"""The cases of a report as files: pictures as PNG, the edit as JSON, and a list of them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from attune.edits import read_edit, write_edit
from attune.files import read_json, write_bytes, write_json
from attune.images import encode_png, read_image, read_mask
from attune.operators.operator import EditArrays
from tasks.evaluation.measurements import Changed, Scored

LIST, FOLDER = "cases.json", "cases"


@dataclass(frozen=True)
class Case:
    """A test image to look at: pictures at the file's own aspect, all of one size, and the edit that was predicted."""

    label: str  # what it stands for: "best tenth", ...
    measured: Scored | Changed
    composite: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]
    harmonized: UInt8[np.ndarray, "H W 3"]
    target: UInt8[np.ndarray, "H W 3"] | None  # None of a real composite
    edit: EditArrays | None  # None where the model is not parametric


def write_cases(folder: Path, cases: Mapping[str, Sequence[Case]]) -> None:
    """Write each benchmark's cases below `folder`: `cases/<benchmark>/<number>_<picture>.png`, `..._edit.json`, and the list last."""
    listed = {}
    for name, each in cases.items():
        listed[name] = [_write_case(folder / FOLDER / name / f"{number:02}", case) for number, case in enumerate(each, start=1)]
    write_json(folder / LIST, listed)


def read_cases(folder: Path, found: Mapping[str, Sequence[Scored | Changed]]) -> dict[str, list[Case]]:
    """The cases that `write_cases` wrote, by benchmark, each with what was measured of it. found: that of every test image.

    Raises ValueError naming a file that is missing or damaged.
    """
    if not (folder / LIST).is_file():
        raise ValueError(f"{folder / LIST}: no such file; `dvc repro` makes it")
    cases: dict[str, list[Case]] = {}
    for name, listed in read_json(folder / LIST).items():
        measured = {each.row["key"]: each for each in found[name]}
        cases[name] = [
            _read_case(folder / FOLDER / name / f"{number:02}", about, measured[about["key"]])
            for number, about in enumerate(listed, start=1)
        ]
    return cases


def _write_case(stem: Path, case: Case) -> dict[str, Any]:
    pictures = {"composite": case.composite, "mask": case.mask, "harmonized": case.harmonized, "target": case.target}
    for name, picture in pictures.items():
        if picture is not None:
            write_bytes(_file(stem, f"{name}.png"), encode_png(picture))
    if case.edit is not None:
        write_edit(_file(stem, "edit.json"), case.edit)
    return {"label": case.label, "key": case.measured.row["key"], "target": case.target is not None, "edit": case.edit is not None}


def _read_case(stem: Path, about: Mapping[str, Any], measured: Scored | Changed) -> Case:
    target = read_image(_file(stem, "target.png")) if about["target"] else None
    edit = read_edit(_file(stem, "edit.json")) if about["edit"] else None
    composite, mask, harmonized = (
        read(_file(stem, f"{name}.png")) for name, read in (("composite", read_image), ("mask", read_mask), ("harmonized", read_image))
    )
    return Case(about["label"], measured, composite, mask, harmonized, target, edit)


def _file(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}_{name}")
