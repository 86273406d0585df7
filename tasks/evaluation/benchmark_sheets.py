"""Test images as pictures: a sheet per benchmark, each picture with the file's own aspect."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.evaluation.baselines import lab_shift
from tasks.evaluation.case_files import Case
from tasks.evaluation.evaluation_report import BenchmarkReport, RealReport
from tasks.evaluation.measurements import COMPOSITE, HARMONIZED, Changed, Scored
from tasks.sheets import Cell, Row, write_sheet

MAX_TILE = 256  # px, a picture on a sheet


def write_pair_sheet(path: Path, report: BenchmarkReport) -> None:
    """The benchmark's cases: composite, mask, harmonized, target."""
    rows = []
    for case in report.cases:
        assert isinstance(case.measured, Scored)
        assert case.target is not None
        before, after = case.measured.fmse(COMPOSITE), case.measured.fmse(HARMONIZED)
        rows.append(_row(case.label, {
            f"fMSE {before:.0f}": case.composite, _share_of(case): case.mask,
            f"fMSE {after:.0f}  ({after / max(before, 1e-9):.2f} of the composite's)": case.harmonized,
            str(case.measured.row["key"]): case.target,
        }))
    note = f"{len(report.found)} test pairs. {report.protocol} fMSE: mean squared error inside the mask, squared grey levels of 255."
    write_sheet(path, rows, columns=("composite", "mask", "harmonized", "target"), title=report.name, note=note, side=MAX_TILE)


def write_real_sheet(path: Path, report: RealReport) -> None:
    """The benchmark's real composites beside a simple correction of them, from those changed least to those changed most."""
    rows = []
    for case in report.cases:
        assert isinstance(case.measured, Changed)
        changes = case.measured.changes
        rows.append(_row("", {
            str(case.measured.row["key"]): case.composite, _share_of(case): case.mask,
            f"changed by {changes['lab_shift']:.1f}": lab_shift(case.composite, case.mask),
            f"changed by {changes[HARMONIZED]:.1f}": case.harmonized,
        }))
    note = f"{len(report.found)} real composites, without ground truth. {report.protocol} Changes: mean CIEDE2000 inside the mask."
    columns = ("composite", "mask", "half a mean shift in Lab", "harmonized")
    write_sheet(path, rows, columns=columns, title=report.name, note=note, side=MAX_TILE)


def _share_of(case: Case) -> str:
    return f"{case.measured.row['fg_ratio']:.1%} of the image"


def _row(label: str, pictures: Mapping[str, np.ndarray]) -> Row:
    return Row(label=label, cells=tuple(Cell(picture, caption) for caption, picture in pictures.items()))
