"""Witnesses of tasks.evaluation.report_cases: what is shown is the file at its own shape, changed by the very edit that was measured."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from shapes import shape_of

from attune.images import encode_png
from attune.render import render_edit
from models.harmonizer import Harmonizer, build_harmonizer
from tasks.evaluation.measurements import HARMONIZED, Changed, Scored
from tasks.evaluation.metrics import score_flavours
from tasks.evaluation.report_cases import MAX_SIDE, make_cases, make_real_cases
from tasks.params import Benchmark

BENCHMARK = Benchmark(source="photos", subset="*", size=48, resize="pillow_bilinear")


def build(architecture: str = "small") -> Harmonizer:
    """A harmonizer that does change something."""
    torch.manual_seed(0)
    model = build_harmonizer(shape_of(architecture, shading_limit=1.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def write_pair(folder: Path, height: int, width: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    target = cv2.resize(rng.integers(40, 220, (6, 6, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    composite = np.where(mask[..., None] > 0, target // 2, target)
    row: dict[str, Any] = {"key": "one", "group": "g", "label": "", "fg_ratio": 0.06, "width": width, "height": height}
    for name, image in (("composite", composite), ("mask", mask), ("target", target)):
        row[f"{name}_path"] = str(folder / f"{name}.png")
        (folder / f"{name}.png").write_bytes(encode_png(image))
    return row


def score(row: dict[str, Any]) -> Scored:
    grey = np.full((16, 16, 3), 90, np.uint8)
    found = score_flavours(grey, grey + np.uint8(9), np.full((16, 16), 255, np.uint8))
    return Scored(row, {"composite": found, HARMONIZED: found})


def test_a_case_is_the_file_at_its_own_shape_under_the_edit_that_was_measured(tmp_path: Path) -> None:
    row = write_pair(tmp_path, 90, 120)
    case = make_cases(build(), [score(row)], BENCHMARK, num_cases=3, max_megapixels=1.0, rng=np.random.default_rng(0))[0]
    assert case.composite.shape == case.harmonized.shape == (90, 120, 3)
    assert case.target is not None
    assert np.array_equal(case.target, cv2.cvtColor(cv2.imread(row["target_path"]), cv2.COLOR_BGR2RGB))
    assert case.edit is not None
    rendered = render_edit(case.composite, case.mask, case.edit)  # NumPy and numba, where the case was drawn by torch
    assert np.abs(rendered.astype(int) - case.harmonized).max() <= 1
    assert np.array_equal(case.harmonized[case.mask == 0], case.composite[case.mask == 0])
    assert (case.harmonized[case.mask > 0] != case.composite[case.mask > 0]).any()


def test_large_files_are_shrunk_to_what_a_page_can_show(tmp_path: Path) -> None:
    row = write_pair(tmp_path, 300, 1000)
    case = make_cases(build(), [score(row)], BENCHMARK, num_cases=1, max_megapixels=1.0, rng=np.random.default_rng(0))[0]
    assert case.composite.shape == (round(300 * MAX_SIDE / 1000), MAX_SIDE, 3)


def test_a_model_without_an_edit_is_shown_without_one(tmp_path: Path) -> None:
    row = write_pair(tmp_path, 64, 64)
    case = make_cases(build("pixel"), [score(row)], BENCHMARK, num_cases=1, max_megapixels=1.0, rng=np.random.default_rng(0))[0]
    assert case.edit is None
    assert case.harmonized.shape == (64, 64, 3)


@pytest.mark.parametrize(("num_cases", "wanted"), [(3, [0, 5, 10]), (1, [0]), (50, list(range(11)))])
def test_real_composites_are_chosen_evenly_by_how_far_they_were_changed(tmp_path: Path, num_cases: int, wanted: list[int]) -> None:
    row = write_pair(tmp_path, 40, 40) | {"target_path": ""}
    found = [Changed(row | {"key": f"{change:02}"}, {"composite": 0.0, HARMONIZED: float(change)}, 40, 40, 100) for change in range(11)]
    order = [found[place] for place in np.random.default_rng(0).permutation(len(found))]
    cases = make_real_cases(build(), order, BENCHMARK, num_cases=num_cases, max_megapixels=1.0)
    assert [int(case.measured.row["key"]) for case in cases] == wanted
    assert all(case.target is None for case in cases)
