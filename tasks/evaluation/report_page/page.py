"""The page itself: the report's content through the templates beside this file, with style and script inside."""

import base64
import hashlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from attune.files import write_bytes
from tasks.evaluation.evaluation_report import Report
from tasks.evaluation.findings import Finding
from tasks.evaluation.report_audit import Audit
from tasks.evaluation.report_page.charts import IntervalRow, axis, interval, interval_chart
from tasks.evaluation.report_page.formats import counted, fixed, kind_of, label_of, number, sentence, share, slug, table_of, thousands
from tasks.evaluation.report_page.line_chart import line_chart
from tasks.evaluation.report_page.pictures import encode_cases, encode_sheet
from tasks.evaluation.report_page.views import benchmark_view, num_images, num_others, real_view

PAGE, STYLE, SCRIPT = "page.html", "page.css", "page.js"
INCLUDED = ("benchmark.html", "case.html", "macros.html", "real.html")  # by PAGE
FOLDER = Path(__file__).parent
SPLITS = ("train", "val", "test")


def write_page(path: Path, report: Report) -> None:
    """Write the report as one HTML file that opens from disk: no network, no other file, under 10 MB. Equal reports give equal bytes."""
    write_bytes(path, render_page(report).encode())


def render_page(report: Report) -> str:
    """The page's HTML. Every name and text is escaped; its policy lets no script run but its own, and nothing be fetched."""
    script, style = ("\n" + (FOLDER / name).read_text() for name in (SCRIPT, STYLE))
    cases = [*(case for each in report.benchmarks for case in each.cases), *(case for each in report.real for case in each.cases)]
    encoded = iter(encode_cases(cases))
    benchmarks = [benchmark_view(benchmark, [next(encoded) for _ in benchmark.cases]) for benchmark in report.benchmarks]
    real = [real_view(each, [next(encoded) for _ in each.cases]) for each in report.real]
    findings = _findings(list(report.findings.values()))
    return _environment().get_template(PAGE).render(
        benchmarks=benchmarks, real=real, findings=findings, audit=_audit(report.audit), provenance=report.provenance,
        mined=[encode_sheet(name, sheet) for name, sheet in report.mined.items()],
        contents=_contents([*benchmarks, *real], findings), num_baselines=num_others(report.benchmarks),
        num_images=num_images(report.benchmarks),
        style=Markup(style), script=Markup(script), script_hash=_script_hash(script),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(interval=interval, axis=axis)
    environment.filters.update(number=number, share=share, fixed=fixed, counted=counted, thousands=thousands, sentence=sentence)
    return environment


def _contents(benchmarks: Sequence[dict[str, Any]], findings: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        ("summary", "Summary"), *((view["id"], view["name"]) for view in benchmarks), *((part["id"], part["title"]) for part in findings),
        ("data", "Data audit"), ("conventions", "How it was measured"), ("provenance", "Versions and hashes"),
    ]


def _script_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings by section, each as a chart."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        said = {
            "title": finding.title, "note": finding.note.split("\n"), "measure": finding.measure, "better": finding.better,
            "command": finding.command,
        }
        if finding.axis:
            sections.setdefault(finding.section, []).append({**said, "lines": line_chart(finding)})
            continue
        groups = [
            (group, [
                IntervalRow(label_of(each.name), kind_of(each.name, otherwise="ink"), each.value, each.low, each.high, each.count)
                for each in members
            ])
            for group, members in groupby(finding.estimates, key=lambda estimate: estimate.group)
        ]
        chart = interval_chart(groups, unit=finding.measure, from_zero=False)
        sections.setdefault(finding.section, []).append({**said, "lines": None, "chart": chart})
    return [{"id": slug(name), "title": name.capitalize(), "findings": each} for name, each in sorted(sections.items(), reverse=True)]


def _audit(audit: Audit) -> dict[str, Any]:
    columns = {"source": "source", "subset": "sub-set", "photographs": "photographs", "objects": "objects"}
    return {
        "shared_groups": audit.shared_groups,
        "counts": table_of("Photographs, objects in them, and pairs by split.", columns | {s: f"{s} pairs" for s in SPLITS}, audit.counts),
        "rejects": table_of(
            "What was turned away, one reason each.",
            {"source": "source", "reason": "reason", "count": "count", "example": "for example"}, audit.rejects,
        ),
        "duplicates": table_of(
            "Photographs that are one by their perceptual hashes. moved: to the side on which the original stands; left_out: a list of "
            "others had named it to another side.",
            {"source": "source", "action": "what was done", "count": "photographs", "example": "for example"}, audit.duplicates,
        ),
        "duplicate_groups": audit.duplicate_groups, "num_duplicates": sum(row["count"] for row in audit.duplicates),
    }
