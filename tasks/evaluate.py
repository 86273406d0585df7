"""The harmonizer beside the baselines, other methods' outputs and the champion on each benchmark: figures, a row per image, the cases.

Nothing here knows what the report looks like: it is made of the files that are left here, as often as wanted (tasks/report.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute

from attune.files import clear_folder, write_json
from models.harmonizer import Harmonizer
from tasks.evaluation.appearance import SUMMARY, TABLE, appearance_table, summarize_appearance
from tasks.evaluation.case_files import Case, write_cases
from tasks.evaluation.eye_pictures import pictures_for_the_eye
from tasks.evaluation.eye_sheet import write_eye_pictures
from tasks.evaluation.measurements import (
    CHANGED,
    HARMONIZED,
    SCORED,
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
from tasks.evaluation.naturalness import as_json, measure_naturalness
from tasks.evaluation.plot_tables import write_plots
from tasks.evaluation.provenance import WEIGHTS, describe_provenance
from tasks.evaluation.report_audit import audit_index
from tasks.evaluation.report_cases import make_cases, make_real_cases
from tasks.params import Params
from tasks.seeds import numpy_generator


def evaluate(params: Params, advance: Advance, *, lineage: Mapping[str, str] | None = None) -> Summary:
    """Measure every benchmark of `params.evaluate`; `{benchmark: {method: {"mse", "fmse", "psnr", "ssim", "num_images", ...}}}`.

    Writes `metrics/evaluate.json` (that value), `metrics/evaluate_real.json` (how far real composites were changed),
    `metrics/naturalness.json` (what can be said without a ground truth), `metrics/appearance.json` (haze, wash-out, human labels),
    `metrics/plots/evaluate_*.csv`, and anew the folder of measures: `per_image.parquet`, `real_composites.parquet`, `appearance.parquet`,
    the cases to look at (tasks/evaluation/case_files.py), those to judge by eye (eye_sheet.py beside it), `audit.json` (the index, counted)
    and `provenance.json`. Equal inputs give equal bytes.
    lineage: what is said of the code and the inputs besides what the files themselves tell: the commit, DVC's hashes.
    Raises ValueError if there is no trained harmonizer, or a benchmark has no test images: it names the key and what there is.
    """
    methods = load_methods(params)
    found = measure(params, methods, FLAVOURS, advance, with_appearance=True)
    summary = {name: summarize(name, scored, found.num_images[name], params.seed) for name, scored in found.scored.items()}
    appearance = summarize_appearance({**found.scored, **found.changed}, params.seed)
    natural = measure_naturalness(params, methods)
    cases, audit = _look_at(found, methods, params), audit_index(params.paths.index)
    provenance = describe_provenance(params, lineage or {})
    by_eye = pictures_for_the_eye(params, methods, provenance["Model"][WEIGHTS])
    measures, metrics = clear_folder(params.paths.measures), params.paths.metrics
    write_json(metrics / "evaluate.json", summary)
    write_json(
        metrics / "evaluate_real.json",
        {name: summarize_changes(changed, found.num_images[name]) for name, changed in found.changed.items()},
    )
    write_json(metrics / "naturalness.json", as_json(natural))
    write_json(metrics / SUMMARY, appearance)
    write_plots(metrics / "plots", found.scored, summary)
    write_measurements(measures / SCORED, as_table(found.scored))
    write_measurements(measures / CHANGED, changes_table(found.changed))
    write_measurements(measures / TABLE, appearance_table({**found.scored, **found.changed}))
    write_cases(measures, cases)
    write_eye_pictures(measures, by_eye)
    write_json(measures / "audit.json", asdict(audit))
    write_json(measures / "provenance.json", provenance)
    return summary


def evaluate_harmonizer(params: Params, model: Harmonizer) -> pa.Table:
    """How well any harmonizer does: one `raw` row per test pair of every benchmark, in `measurements.per_image_schema`.

    `method` is `HARMONIZED`, and `composite_fmse` the untouched composite's. Nothing is written. Equal to the rows of the stage's own
    `per_image.parquet` for the same model. Raises ValueError as `evaluate`.
    """
    table = as_table(measure(params, harmonizer_alone(model), ("raw",), lambda done, total: None).scored)
    return table.filter(pa.compute.equal(table["method"].cast(pa.string()), HARMONIZED))


def _look_at(found: Measured, methods: Methods, params: Params) -> dict[str, Sequence[Case]]:
    """The cases of every benchmark, `evaluate.sheet_rows` at most of each."""
    model, limit, num_cases = methods.networks[HARMONIZED], params.ingest.max_megapixels, params.evaluate.sheet_rows
    cases: dict[str, Sequence[Case]] = {}
    for name, benchmark in params.evaluate.benchmarks.items():
        if name in found.scored:
            rng = numpy_generator(params.seed, "evaluate", "sheet", name)
            cases[name] = make_cases(model, found.scored[name], benchmark, num_cases=num_cases, max_megapixels=limit, rng=rng)
        else:
            cases[name] = make_real_cases(model, found.changed[name], benchmark, num_cases=num_cases, max_megapixels=limit)
    return cases
