"""What was measured as something to read: one page, a sheet of pictures per benchmark, the tables as Markdown. Nothing is measured here."""

from pathlib import Path
from typing import Any

from attune.files import clear_folder, read_json, write_bytes
from attune.images import read_image
from tasks.evaluation.appearance import SUMMARY
from tasks.evaluation.appearance_findings import appearance_findings, eye_finding
from tasks.evaluation.benchmark_sheets import write_pair_sheet, write_real_sheet
from tasks.evaluation.case_files import read_cases
from tasks.evaluation.evaluation_report import BenchmarkReport, RealReport, Report, as_markdown
from tasks.evaluation.eye_sheet import TABLE, ForTheEye, read_eye_pictures, read_verdicts, write_eye_sheets, write_eye_table
from tasks.evaluation.findings import FOLDER, Finding, read_findings
from tasks.evaluation.measurements import CHANGED, SCORED, read_changed, read_scored
from tasks.evaluation.naturalness_findings import naturalness_findings
from tasks.evaluation.protocols import describe
from tasks.evaluation.report_audit import Audit
from tasks.evaluation.report_page.page import write_page
from tasks.evaluation.standings import compare_with_others, leaderboards_for
from tasks.params import Params


def make_report(params: Params) -> None:
    """Make the report's folder anew: the page `index.html`, a `sheet_<benchmark>.png` each, `summary.md`, and where there are real
    composites sheets to judge by eye (`eye_<n>.png`) with a table to fill in (`eye.csv`). Equal inputs give equal bytes.

    Read are what `evaluate` left (the folder of measures; `evaluate.json`, `naturalness.json` and `appearance.json` of the metrics), the
    findings beside them, and the contact sheets of mined composites. Raises ValueError naming a file that is missing or damaged.
    """
    summary, report = _read(params.paths.metrics / "evaluate.json"), read_report(params)
    by_eye = read_eye_pictures(params.paths.measures)
    folder = clear_folder(params.paths.report)
    for each in report.benchmarks:
        write_pair_sheet(folder / f"sheet_{each.name}.png", each)
    for real in report.real:
        write_real_sheet(folder / f"sheet_{real.name}.png", real)
    write_bytes(folder / "summary.md", as_markdown(summary, {each.name: each.protocol for each in report.benchmarks}).encode())
    write_page(folder / "index.html", report)
    if by_eye.keys:
        write_eye_sheets(folder, by_eye.pictures)
        write_eye_table(folder / TABLE, by_eye.keys, by_eye.model)


def read_report(params: Params) -> Report:
    """All that the page shows, from the files that were left. Raises ValueError as `make_report`."""
    measures, metrics, benchmarks = params.paths.measures, params.paths.metrics, params.evaluate.benchmarks
    scored, changed = read_scored(measures / SCORED), read_changed(measures / CHANGED)
    cases, summary = read_cases(measures, {**scored, **changed}), _read(metrics / "evaluate.json")
    natural, appearance = _read(metrics / "naturalness.json"), _read(metrics / SUMMARY)
    return Report(
        [
            BenchmarkReport(
                name, describe(benchmarks[name]), summary[name], found, cases[name],
                comparisons=compare_with_others(name, found, params.seed), leaderboards=leaderboards_for(benchmarks[name], found),
            )
            for name, found in scored.items()
        ],
        Audit(**_read(measures / "audit.json")),
        read_findings(metrics) | naturalness_findings(natural) | appearance_findings(appearance, natural["natural_photographs"])
        | _by_eye(metrics, read_eye_pictures(measures)),
        _read(measures / "provenance.json"),
        [RealReport(name, describe(benchmarks[name]), found, cases[name]) for name, found in changed.items()],
        {path.stem.removeprefix("sheet_"): read_image(path) for path in sorted(params.paths.mined.glob("sheet_*.png"))},
    )


def _by_eye(metrics: Path, shown: ForTheEye) -> dict[str, Finding]:
    judged = read_verdicts(metrics / FOLDER / TABLE)
    return {} if judged is None else {"eye": eye_finding(judged, shown.model)}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `dvc repro` makes it")
    found: dict[str, Any] = read_json(path)
    return found
