"""Witnesses of tasks.report: it is made of what `evaluate` left, and of nothing else; what is read back is what was measured."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluate import AT_48, save_model, save_pairs, silent

from attune.operators.curves import Curves
from attune.operators.shading import Shading
from tasks.evaluate import evaluate
from tasks.evaluation.case_files import read_cases, write_cases
from tasks.evaluation.eye_sheet import read_eye_pictures
from tasks.evaluation.measurements import INDEX_COLUMNS, SCORED, Scored, read_scored
from tasks.evaluation.measuring import measure
from tasks.evaluation.methods import load_methods
from tasks.evaluation.metrics import FLAVOURS
from tasks.evaluation.report_cases import make_cases
from tasks.index import COMPOSITES, read_index, write_table
from tasks.params import Params
from tasks.report import make_report


@pytest.fixture
def params(project: Path, configure: Callable[..., Params]) -> Params:
    """A project with eight test pairs, measured."""
    params = configure({
        "evaluate.sheet_rows": 4, "evaluate.batch_size": 3, "evaluate.benchmarks": {"all": AT_48, "scenes": AT_48 | {"subset": "scenes"}},
    })
    save_pairs(project, 8)
    save_model(params.paths.harmonizer, gain=1.2)
    evaluate(params, silent)
    return params


def test_the_report_needs_nothing_but_what_was_measured(project: Path, params: Params) -> None:
    for folder in (params.paths.raw, params.paths.index, params.paths.harmonizer):
        shutil.rmtree(project / folder)
    make_report(params)
    assert {path.name for path in params.paths.report.iterdir()} == {"index.html", "sheet_all.png", "sheet_scenes.png", "summary.md"}
    with Image.open(params.paths.report / "sheet_all.png") as sheet:
        assert sheet.width > 4 * 48
    assert "| harmonized |" in (params.paths.report / "summary.md").read_text()
    assert "monge_kantorovich" in (params.paths.report / "summary.md").read_text()


def test_every_score_is_read_back_as_it_was_measured(params: Params) -> None:
    measured = measure(params, load_methods(params), FLAVOURS, silent).scored

    def seen(found: Scored) -> object:
        return [found.row[name] for name in (*INDEX_COLUMNS, "method")], found.scores, found.width, found.height, found.num_foreground

    read = read_scored(params.paths.measures / SCORED)
    assert {name: list(map(seen, each)) for name, each in read.items()} == {name: list(map(seen, each)) for name, each in measured.items()}


def test_cases_are_read_back_to_the_last_bit(params: Params, tmp_path: Path) -> None:
    methods = load_methods(params)
    found = measure(params, methods, FLAVOURS, silent).scored["all"]
    benchmark, rng = params.evaluate.benchmarks["all"], np.random.default_rng(0)
    cases = make_cases(methods.networks["harmonized"], found, benchmark, num_cases=3, max_megapixels=1.0, rng=rng)
    write_cases(tmp_path / "cases", {"all": cases})
    again = read_cases(tmp_path / "cases", {"all": found})["all"]
    assert len(again) == len(cases) == 3
    for case, other in zip(cases, again, strict=True):
        assert (other.label, other.measured) == (case.label, case.measured)
        for name in ("composite", "mask", "harmonized", "target"):
            assert np.array_equal(getattr(other, name), getattr(case, name)), name
        assert case.edit is not None
        assert other.edit is not None
        assert np.array_equal(other.edit.get(Curves).values, case.edit.get(Curves).values)
        assert np.array_equal(other.edit.get(Shading).logits, case.edit.get(Shading).logits)


@pytest.mark.parametrize("name", ["measures/per_image.parquet", "measures/cases.json", "measures/audit.json", "metrics/evaluate.json"])
def test_a_file_that_is_missing_is_named_and_the_last_report_left_alone(params: Params, name: str) -> None:
    make_report(params)
    before = (params.paths.report / "index.html").read_bytes()
    (Path("data") / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: no such \w+; `dvc repro` makes it"):
        make_report(params)
    assert (params.paths.report / "index.html").read_bytes() == before


def test_real_composites_become_sheets_and_a_table_and_a_filled_in_one_enters_the_page(project: Path, params: Params) -> None:
    pairs = read_index(params.paths.index, "pairs")
    columns = [name for name in COMPOSITES.names if name not in ("composite_phash", "composite_sha256", "mask_sha256")]
    composites = [{**{name: row[name] for name in columns}, "source": "composites", "subset": "composites"} for row in pairs[:5]]
    judged = {**composites[0], "key": "judged", "source": "realism_labels"}
    write_table(params.paths.index / "composites.parquet", [*composites, judged], COMPOSITES)
    evaluate(params, silent)
    shown = read_eye_pictures(params.paths.measures)
    assert sorted(shown.keys) == [row["key"] for row in composites], "those that people judged already are for measuring alone"
    for composite, mask, harmonized in shown.pictures:
        assert composite.shape == harmonized.shape == (*mask.shape, 3)
        assert np.array_equal(composite[mask == 0], harmonized[mask == 0])
        assert not np.array_equal(composite, harmonized)
    make_report(params)
    assert (params.paths.report / "eye_1.png").is_file()
    assert "Real composites by eye" not in (params.paths.report / "index.html").read_text()
    table = (params.paths.report / "eye.csv").read_text()
    (params.paths.metrics / "findings").mkdir(parents=True, exist_ok=True)
    (params.paths.metrics / "findings/eye.csv").write_text(table.replace(f"{shown.model},", f"{shown.model},better"))
    make_report(params)
    page = (params.paths.report / "index.html").read_text()
    assert "Real composites by eye" in page
    assert "5 better, 0 same, 0 worse" in page
    assert "another model" not in page
