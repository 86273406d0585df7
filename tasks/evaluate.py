"""The harmonizer beside the baselines, other methods' outputs and the champion on each benchmark: tables, plots, pictures and the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from attune.files import clear_folder, write_bytes, write_json
from attune.images import read_image
from models.harmonizer import Harmonizer
from tasks.evaluation.benchmark_sheets import write_pair_sheet, write_real_sheet
from tasks.evaluation.evaluation_report import BenchmarkReport, RealReport, Report, as_markdown, write_plots
from tasks.evaluation.findings import read_findings
from tasks.evaluation.measurements import (
    HARMONIZED,
    Changed,
    Scored,
    Summary,
    as_table,
    changes_table,
    summarize,
    summarize_changes,
    write_measurements,
)
from tasks.evaluation.measuring import Advance, Measured, measure
from tasks.evaluation.methods import Methods, harmonizer_alone, load_methods
from tasks.evaluation.metrics import FLAVOURS
from tasks.evaluation.naturalness import as_json, measure_naturalness, naturalness_findings
from tasks.evaluation.protocols import describe
from tasks.evaluation.provenance import describe_provenance
from tasks.evaluation.report_audit import audit_index
from tasks.evaluation.report_cases import make_cases, make_real_cases
from tasks.evaluation.report_page.page import write_page
from tasks.evaluation.standings import compare_with_others, leaderboards_for
from tasks.params import Params
from tasks.seeds import numpy_generator


def evaluate(params: Params, advance: Advance, *, lineage: Mapping[str, str] | None = None) -> Summary:
    """Measure every benchmark of `params.evaluate`; `{benchmark: {method: {"mse", "fmse", "psnr", "ssim", "num_images", ...}}}`.

    Writes `metrics/evaluate.json` (that value), `metrics/evaluate_real.json` (how far real composites were changed),
    `metrics/naturalness.json` (what can be said without a ground truth), `metrics/plots/evaluate_*.csv`, and the report's folder anew:
    `per_image.parquet`, `real_composites.parquet`, a `sheet_<benchmark>.png` each, `summary.md`, and the page `index.html`. Equal inputs
    give equal bytes.
    lineage: what the page says of the code and the inputs besides what the files themselves tell: the commit, DVC's hashes.
    Raises ValueError if there is no trained harmonizer, or a benchmark has no test images: it names the key and what there is.
    """
    methods = load_methods(params)
    found = measure(params, methods, FLAVOURS, advance)
    summary = {name: summarize(name, scored, found.num_images[name], params.seed) for name, scored in found.scored.items()}
    natural = measure_naturalness(params, methods)
    page = Report(
        [_benchmark_report(name, scored, summary[name], methods, params) for name, scored in found.scored.items()],
        audit_index(params.paths.index), read_findings(params.paths.metrics) | naturalness_findings(natural),
        describe_provenance(params, lineage or {}),
        [_real_report(name, changed, methods, params) for name, changed in found.changed.items()],
        {path.stem.removeprefix("sheet_"): read_image(path) for path in sorted(params.paths.mined.glob("sheet_*.png"))},
    )
    report = clear_folder(params.paths.report)
    write_json(params.paths.metrics / "evaluate.json", summary)
    write_json(
        params.paths.metrics / "evaluate_real.json",
        {name: summarize_changes(changed, found.num_images[name]) for name, changed in found.changed.items()},
    )
    write_json(params.paths.metrics / "naturalness.json", as_json(natural))
    write_measurements(report / "per_image.parquet", as_table(found.scored))
    write_measurements(report / "real_composites.parquet", changes_table(found.changed))
    write_plots(params.paths.metrics / "plots", found.scored, summary)
    _write_sheets(report, found, methods, params)
    protocols = {name: describe(benchmark) for name, benchmark in params.evaluate.benchmarks.items()}
    write_bytes(report / "summary.md", as_markdown(summary, protocols).encode())
    write_page(report / "index.html", page)
    return summary


def evaluate_harmonizer(params: Params, model: Harmonizer) -> pa.Table:
    """How well any harmonizer does: one `raw` row per test pair of every benchmark, in `measurements.PER_IMAGE`.

    `method` is `HARMONIZED`, and `composite_fmse` the untouched composite's. Nothing is written. Equal to the rows of the stage's own
    `per_image.parquet` for the same model. Raises ValueError as `evaluate`.
    """
    table = as_table(measure(params, harmonizer_alone(model), ("raw",), lambda done, total: None).scored)
    return table.filter(pa.compute.equal(table["method"].cast(pa.string()), HARMONIZED))


def _benchmark_report(
    name: str, found: Sequence[Scored], summary: Mapping[str, Mapping[str, Any]], methods: Methods, params: Params
) -> BenchmarkReport:
    benchmark = params.evaluate.benchmarks[name]
    cases = make_cases(
        methods.networks[HARMONIZED], found, benchmark, num_cases=params.evaluate.sheet_rows, max_megapixels=params.ingest.max_megapixels,
        rng=numpy_generator(params.seed, "evaluate", "sheet", name),
    )
    return BenchmarkReport(
        name, describe(benchmark), summary, found, cases,
        comparisons=compare_with_others(name, found, params.seed), leaderboards=leaderboards_for(benchmark, found),
    )


def _real_report(name: str, found: Sequence[Changed], methods: Methods, params: Params) -> RealReport:
    benchmark, limit = params.evaluate.benchmarks[name], params.ingest.max_megapixels
    cases = make_real_cases(methods.networks[HARMONIZED], found, benchmark, num_cases=params.evaluate.sheet_rows, max_megapixels=limit)
    return RealReport(name, describe(benchmark), found, cases)


def _write_sheets(folder: Path, found: Measured, methods: Methods, params: Params) -> None:
    model, limit, num_rows = methods.networks[HARMONIZED], params.ingest.max_megapixels, params.evaluate.sheet_rows
    for name, benchmark in params.evaluate.benchmarks.items():
        path = folder / f"sheet_{name}.png"
        if name in found.scored:
            rng = numpy_generator(params.seed, "evaluate", "sheet", name)
            write_pair_sheet(path, found.scored[name], model, benchmark, name=name, num_rows=num_rows, max_megapixels=limit, rng=rng)
        else:
            write_real_sheet(path, found.changed[name], model, benchmark, name=name, num_rows=num_rows, max_megapixels=limit)
