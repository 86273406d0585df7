"""The harmonizer beside the baselines on each benchmark's test pairs: metrics, a table per image, plots, pictures and a summary.

Protocol: composite, target and mask are resized to `evaluate.size` square by Pillow's bilinear filter; the edit is predicted at the model's
own size and applied at that one; results are rounded to 8 bit and scored before any JPEG. Methods see the soft mask; who is foreground is
said by mask >= 0.5, except in the `issam` flavour (tasks/metrics.py).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from tasks.baselines import BASELINES
from tasks.evaluation_report import (
    HARMONIZED,
    Scored,
    Summary,
    as_markdown,
    chosen_cases,
    summarize,
    write_per_image,
    write_plots,
)
from tasks.files import clear_folder, write_bytes, write_json
from tasks.harmonizer_files import load_harmonizer
from tasks.images import read_image, read_mask, resize_image, to_tensor, to_uint8
from tasks.index import read_index
from tasks.metrics import HARD_LEVEL, score_flavours
from tasks.params import Benchmark, Params
from tasks.seeds import numpy_generator
from tasks.sheets import Cell, Row, write_sheet

EVERYTHING = "*"  # a benchmark's subset: all of the source
NUM_THREADS = 2  # decoding and scoring; inference has torch's own
SHEET_COLUMNS = ("composite", "mask", "harmonized", "target")
MAX_TILE = 256  # px, a picture on a sheet


@dataclass(frozen=True)
class Example:
    """A test pair at the benchmark's size."""

    row: Mapping[str, Any]  # of the index
    composite: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]
    target: UInt8[np.ndarray, "H W 3"]

    @property
    def measurable(self) -> bool:
        """Whether anything of the foreground is left at this size."""
        return int(self.mask.max()) >= HARD_LEVEL


def evaluate(params: Params, advance: Callable[[int, int], None]) -> Summary:
    """Measure every benchmark of `params.evaluate`; `{benchmark: {method: {"mse", "fmse", "psnr", "ssim", "num_images", ...}}}`.

    Writes `metrics/evaluate.json` (that value), `metrics/plots/evaluate_*.csv`, and the report's folder anew: `per_image.parquet`, a
    `sheet_<benchmark>.png` each, `summary.md`. Equal inputs give equal bytes. advance: called with (pairs done, pairs in all).
    Raises ValueError if there is no trained harmonizer, or a benchmark has no test pairs: it names the key and what there is.
    """
    model, config = load_harmonizer(params.paths.harmonizer)
    if config.plate:
        raise ValueError(f"{params.paths.harmonizer}: this harmonizer needs clean backgrounds, which test pairs do not have")
    rows = {name: _test_rows(params, name, benchmark) for name, benchmark in params.evaluate.benchmarks.items()}
    if not rows:
        raise ValueError("evaluate.benchmarks is empty: name at least one")
    total, done = sum(map(len, rows.values())), 0
    results: dict[str, list[Scored]] = {}
    for name, wanted in rows.items():
        results[name] = []
        for scored in _score_all(model, wanted, params):
            results[name] += [] if scored is None else [scored]
            done += 1
            advance(done, total)
        if not results[name]:
            raise ValueError(f"evaluate.benchmarks.{name}: every mask is empty at evaluate.size = {params.evaluate.size}")
    summary = {name: summarize(name, found, len(rows[name]), params.seed) for name, found in results.items()}
    report = clear_folder(params.paths.report)
    write_json(params.paths.metrics / "evaluate.json", summary)
    write_per_image(report / "per_image.parquet", results)
    write_plots(params.paths.metrics / "plots", results, summary)
    for name, found in results.items():
        _write_benchmark_sheet(report / f"sheet_{name}.png", name, found, model, params)
    write_bytes(report / "summary.md", as_markdown(summary, params.evaluate.size).encode())
    return summary


def harmonize_batch(
    model: nn.Module, composites: UInt8[np.ndarray, "B H W 3"], masks: UInt8[np.ndarray, "B H W"]
) -> UInt8[np.ndarray, "B H W 3"]:
    """The model's answers, sRGB-encoded, at the composites' own size, rounded to nearest; the background bit for bit the composite's."""
    with torch.inference_mode():
        return to_uint8(model(to_tensor(composites), to_tensor(masks)).harmonized)


# --- Samples ----------------------------------------------------------------------------------------------------------------------------


def _test_rows(params: Params, name: str, benchmark: Benchmark) -> list[dict[str, Any]]:
    pairs = read_index(params.paths.index, "pairs", split="test")
    found = [row for row in pairs if row["source"] == benchmark.source and benchmark.subset in (EVERYTHING, row["subset"])]
    if not found:
        counts = Counter((row["source"], row["subset"]) for row in pairs)
        known = ", ".join(f"{source}/{subset} ({count})" for (source, subset), count in sorted(counts.items())) or "none at all"
        raise ValueError(
            f"evaluate.benchmarks.{name}: no test pairs of source {benchmark.source!r}, subset {benchmark.subset!r} "
            f"in {params.paths.index / 'pairs.parquet'}; there are: {known}"
        )
    return found


def read_example(row: Mapping[str, Any], size: int, *, max_megapixels: float) -> Example:
    """The pair of an index row, squashed to `size` x `size` px. BadSample (a ValueError) names a file that cannot be read."""
    composite, target = (read_image(Path(row[f"{which}_path"]), max_megapixels=max_megapixels) for which in ("composite", "target"))
    mask = read_mask(Path(row["mask_path"]), max_megapixels=max_megapixels)
    return Example(row, *(resize_image(image, size, size) for image in (composite, mask, target)))


def _score_all(model: nn.Module, rows: Sequence[Mapping[str, Any]], params: Params) -> Iterator[Scored | None]:
    """The rows scored, in order; None for a pair whose mask is empty at this size.

    While the model works on a batch, threads decode the next one and score the one before.
    """
    each = params.evaluate.batch_size
    batches = [rows[first : first + each] for first in range(0, len(rows), each)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:

        def decode(batch: Sequence[Mapping[str, Any]]) -> list[Future[Example]]:
            size, limit = params.evaluate.size, params.ingest.max_megapixels
            return [pool.submit(read_example, row, size, max_megapixels=limit) for row in batch]

        coming, scoring = decode(batches[0]), list[Future[Scored | None]]()
        for following in [*batches[1:], []]:
            examples = [future.result() for future in coming]
            coming = decode(following)
            answers = harmonize_batch(model, np.stack([e.composite for e in examples]), np.stack([e.mask for e in examples]))
            yield from (future.result() for future in scoring)
            scoring = [pool.submit(_score, example, answer) for example, answer in zip(examples, answers, strict=True)]
        yield from (future.result() for future in scoring)


def _score(example: Example, harmonized: np.ndarray) -> Scored | None:
    if not example.measurable:
        return None
    answers = {name: baseline(example.composite, example.mask) for name, baseline in BASELINES.items()} | {HARMONIZED: harmonized}
    return Scored(example.row, {name: score_flavours(answer, example.target, example.mask) for name, answer in answers.items()})


def _write_benchmark_sheet(path: Path, name: str, found: Sequence[Scored], model: nn.Module, params: Params) -> None:
    size, limit = params.evaluate.size, params.ingest.max_megapixels
    rows = []
    for label, scored in chosen_cases(found, params.evaluate.sheet_rows, numpy_generator(params.seed, "evaluate", "sheet", name)):
        example = read_example(scored.row, size, max_megapixels=limit)
        answer = harmonize_batch(model, example.composite[None], example.mask[None])[0]
        before, after = scored.fmse("composite"), scored.fmse(HARMONIZED)
        captions = (
            f"fMSE {before:.0f}", f"{scored.row['fg_ratio']:.1%} of the image",
            f"fMSE {after:.0f}  ({after / max(before, 1e-9):.2f} of the composite's)", str(scored.row["key"]),
        )
        pictures = (_unsquashed(image, scored.row) for image in (example.composite, example.mask, answer, example.target))
        rows.append(Row(label=label, cells=tuple(Cell(*cell) for cell in zip(pictures, captions, strict=True))))
    note = f"{len(found)} test pairs at {size} px. fMSE: mean squared error inside the mask, squared grey levels of 255; lower is better."
    write_sheet(path, rows, columns=SHEET_COLUMNS, title=name, note=note, side=min(size, MAX_TILE))


def _unsquashed(image: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
    """`image` with the file's own aspect, for eyes only: its longer side stays as it is."""
    scale = len(image) / max(row["width"], row["height"])
    return resize_image(image, max(1, round(row["height"] * scale)), max(1, round(row["width"] * scale)))
