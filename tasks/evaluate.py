"""The harmonizer beside the baselines on each benchmark's test pairs: metrics, a table per image, plots, pictures and a summary.

Protocol: composite, target and mask are resized to `evaluate.size` square by Pillow's bilinear filter; the edit is predicted at the model's
own size and applied at that one; results are rounded to 8 bit and scored before any JPEG. Methods see the soft mask; who is foreground is
said by mask >= 0.5, except in the `issam` flavour (tasks/metrics.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.harmonizer import Harmonizer
from tasks.evaluation_report import BenchmarkReport, Report, as_markdown, chosen_cases, write_plots
from tasks.files import clear_folder, write_bytes, write_json
from tasks.findings import read_findings
from tasks.harmonizer_files import load_harmonizer
from tasks.images import resize_image
from tasks.measurements import COMPOSITE, HARMONIZED, Scored, Summary, as_table, summarize, write_measurements
from tasks.methods import Methods, check_answers, harmonize_examples, harmonizer_alone, load_methods
from tasks.metrics import FLAVOURS, Flavour, score_flavours
from tasks.params import Params
from tasks.protocols import Example, describe, read_example, test_rows
from tasks.provenance import describe_provenance
from tasks.report_audit import audit_index
from tasks.report_cases import make_cases
from tasks.report_page.page import write_page
from tasks.seeds import numpy_generator
from tasks.sheets import Cell, Row, write_sheet

NUM_THREADS = 2  # decoding and scoring; inference has torch's own
SHEET_COLUMNS = ("composite", "mask", "harmonized", "target")
MAX_TILE = 256  # px, a picture on a sheet

Advance = Callable[[int, int], None]  # called with (images done, images in all)


def evaluate(params: Params, advance: Advance, *, lineage: Mapping[str, str] | None = None) -> Summary:
    """Measure every benchmark of `params.evaluate`; `{benchmark: {method: {"mse", "fmse", "psnr", "ssim", "num_images", ...}}}`.

    Writes `metrics/evaluate.json` (that value), `metrics/plots/evaluate_*.csv`, and the report's folder anew: `per_image.parquet`, a
    `sheet_<benchmark>.png` each, `summary.md`, and the page `index.html`. Equal inputs give equal bytes.
    lineage: what the page says of the code and the inputs besides what the files themselves tell: the commit, DVC's hashes.
    Raises ValueError if there is no trained harmonizer, or a benchmark has no test images: it names the key and what there is.
    """
    methods = load_methods(params)
    results, sizes = _measure(params, methods, FLAVOURS, advance)
    summary = {name: summarize(name, found, sizes[name], params.seed) for name, found in results.items()}
    page = Report(
        [_benchmark_report(name, found, summary[name], methods, params) for name, found in results.items()],
        audit_index(params.paths.index), read_findings(params.paths.metrics), describe_provenance(params, lineage or {}),
    )
    report = clear_folder(params.paths.report)
    write_json(params.paths.metrics / "evaluate.json", summary)
    write_measurements(report / "per_image.parquet", as_table(results))
    write_plots(params.paths.metrics / "plots", results, summary)
    for name, found in results.items():
        _write_benchmark_sheet(report / f"sheet_{name}.png", name, found, methods.networks[HARMONIZED], params)
    protocols = {name: describe(benchmark) for name, benchmark in params.evaluate.benchmarks.items()}
    write_bytes(report / "summary.md", as_markdown(summary, protocols).encode())
    write_page(report / "index.html", page)
    return summary


def evaluate_harmonizer(params: Params, model_folder: Path) -> pa.Table:
    """How well the harmonizer of any folder does: one `raw` row per test pair of every benchmark, in `measurements.PER_IMAGE`.

    `method` is `HARMONIZED`, and `composite_fmse` the untouched composite's. Nothing is written. Equal to the rows of the stage's own
    `per_image.parquet` for the same model. Raises ValueError as `evaluate`.
    """
    methods = harmonizer_alone(load_harmonizer(model_folder)[0])
    results, _ = _measure(params, methods, ("raw",), lambda done, total: None)
    table = as_table(results)
    return table.filter(pa.compute.equal(table["method"].cast(pa.string()), HARMONIZED))


# --- Measuring --------------------------------------------------------------------------------------------------------------------------


def _measure(
    params: Params, methods: Methods, flavours: Sequence[Flavour], advance: Advance
) -> tuple[dict[str, list[Scored]], dict[str, int]]:
    """Every benchmark's pairs scored, and how many there are: pairs whose mask is empty at that size are not among the scored."""
    if not params.evaluate.benchmarks:
        raise ValueError("evaluate.benchmarks is empty: name at least one")
    rows = {name: test_rows(params, name) for name in params.evaluate.benchmarks}
    taking_part = {name: check_answers(methods, wanted, name) for name, wanted in rows.items()}
    total, done = sum(map(len, rows.values())), 0
    results: dict[str, list[Scored]] = {}
    for name, wanted in rows.items():
        results[name] = []
        for scored in _score_all(taking_part[name], wanted, params, name, flavours):
            results[name] += [] if scored is None else [scored]
            done += 1
            advance(done, total)
        if not results[name]:
            raise ValueError(f"evaluate.benchmarks.{name}: every mask is empty at size {params.evaluate.benchmarks[name].size}")
    return results, {name: len(wanted) for name, wanted in rows.items()}


def _score_all(
    methods: Methods, rows: Sequence[Mapping[str, Any]], params: Params, name: str, flavours: Sequence[Flavour]
) -> Iterator[Scored | None]:
    """The rows scored, in order; None for a pair whose mask is empty at this size.

    While the networks work on a batch, threads decode the next one and score the one before.
    """
    benchmark, limit = params.evaluate.benchmarks[name], params.ingest.max_megapixels
    each = NUM_THREADS if benchmark.size == "native" else params.evaluate.batch_size  # three batches are in memory at a time
    batches = [rows[first : first + each] for first in range(0, len(rows), each)]

    def score(example: Example, answers: dict[str, np.ndarray]) -> Scored | None:
        if not example.num_foreground:
            return None
        assert example.target is not None
        everyone = methods.compute(example, benchmark, limit) | answers
        height, width = example.mask.shape
        return Scored(
            example.row,
            {who: score_flavours(answer, example.target, example.mask, flavours=flavours) for who, answer in everyone.items()},
            width=width, height=height, num_foreground=example.num_foreground,
        )

    with ThreadPoolExecutor(NUM_THREADS) as pool:

        def decode(batch: Sequence[Mapping[str, Any]]) -> list[Future[Example]]:
            return [pool.submit(read_example, row, benchmark, max_megapixels=limit) for row in batch]

        coming, scoring = decode(batches[0]), list[Future[Scored | None]]()
        for following in [*batches[1:], []]:
            examples = [future.result() for future in coming]
            coming = decode(following)
            answers = methods.predict(examples)
            yield from (future.result() for future in scoring)
            scoring = [pool.submit(score, *each) for each in zip(examples, answers, strict=True)]
        yield from (future.result() for future in scoring)


def _benchmark_report(
    name: str, found: Sequence[Scored], summary: Mapping[str, Mapping[str, Any]], methods: Methods, params: Params
) -> BenchmarkReport:
    benchmark = params.evaluate.benchmarks[name]
    cases = make_cases(
        methods.networks[HARMONIZED], found, benchmark, num_cases=params.evaluate.sheet_rows, max_megapixels=params.ingest.max_megapixels,
        rng=numpy_generator(params.seed, "evaluate", "sheet", name),
    )
    return BenchmarkReport(name, describe(benchmark), summary, found, cases)


def _write_benchmark_sheet(path: Path, name: str, found: Sequence[Scored], model: Harmonizer, params: Params) -> None:
    benchmark, limit = params.evaluate.benchmarks[name], params.ingest.max_megapixels
    rows = []
    for label, scored in chosen_cases(found, params.evaluate.sheet_rows, numpy_generator(params.seed, "evaluate", "sheet", name)):
        example = read_example(scored.row, benchmark, max_megapixels=limit)
        answer = harmonize_examples(model, [example])[0]
        assert example.target is not None
        before, after = scored.fmse(COMPOSITE), scored.fmse(HARMONIZED)
        captions = (
            f"fMSE {before:.0f}", f"{scored.row['fg_ratio']:.1%} of the image",
            f"fMSE {after:.0f}  ({after / max(before, 1e-9):.2f} of the composite's)", str(scored.row["key"]),
        )
        pictures = (_unsquashed(image, scored.row) for image in (example.composite, example.mask, answer, example.target))
        rows.append(Row(label=label, cells=tuple(Cell(*cell) for cell in zip(pictures, captions, strict=True))))
    note = f"{len(found)} test pairs. {describe(benchmark)} fMSE: mean squared error inside the mask, squared grey levels of 255."
    write_sheet(path, rows, columns=SHEET_COLUMNS, title=name, note=note, side=MAX_TILE)


def _unsquashed(image: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
    """`image` with the file's own aspect, for eyes only: its longer side is that of a tile."""
    scale = MAX_TILE / max(row["width"], row["height"])
    return resize_image(image, max(1, round(row["height"] * scale)), max(1, round(row["width"] * scale)))
