"""What the gate looks at beside the benchmarks: photographs that need nothing, time, size."""

import time
from pathlib import Path

import numpy as np
import torch

from models.harmonizer import ParametricHarmonizer
from tasks.evaluation.methods import harmonize_examples
from tasks.evaluation.metrics import squared_errors
from tasks.evaluation.protocols import read_example, test_rows
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params
from tasks.seeds import numpy_generator

MAX_PHOTOGRAPHS = 64  # of a benchmark
NUM_PREDICTIONS = 15  # the fastest counts: whatever else the machine does only adds


def natural_error(params: Params, folder: Path) -> float:
    """How far the harmonizer of `folder` changes the benchmarks' own targets inside their masks: a mean fMSE, in squared grey levels.

    Targets are photographs as they were taken: nothing is to be done, 0 is best. At most `MAX_PHOTOGRAPHS` of each benchmark, each once.
    Raises ValueError if no benchmark has a target.
    """
    model, _ = load_harmonizer(folder)
    errors = []
    for name, benchmark in params.evaluate.benchmarks.items():
        rows = list({row["group"]: row for row in test_rows(params, name) if row.get("target_path")}.values())
        chosen = numpy_generator(params.seed, "release", "natural", name).permutation(len(rows))[:MAX_PHOTOGRAPHS]
        for row in (rows[place] for place in sorted(chosen)):
            untouched = {**row, "composite_path": row["target_path"]}
            example = read_example(untouched, benchmark, max_megapixels=params.ingest.max_megapixels)
            if example.num_foreground:
                answer = harmonize_examples(model, [example])[0]
                errors.append(squared_errors(answer, example.composite, example.mask)[1])
    if not errors:
        raise ValueError("evaluate.benchmarks: none has targets, so nothing can be said of photographs that need nothing")
    return float(np.mean(errors))


def prediction_ms(folder: Path) -> float:
    """Milliseconds that the harmonizer of `folder` takes to predict one edit, on one thread: the fastest of several."""
    model, config = load_harmonizer(folder)
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand((1, 3, config.size, config.size), generator=generator)
    mask = torch.zeros((1, 1, config.size, config.size))
    mask[..., config.size // 4 : -config.size // 4, config.size // 4 : -config.size // 4] = 1
    known = [picture, mask, picture] if config.plate else [picture, mask]
    predict = model.predict if isinstance(model, ParametricHarmonizer) else model
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(NUM_PREDICTIONS):
                began = time.perf_counter()
                predict(*known)
                times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return 1000 * min(times)


def megabytes(folder: Path) -> float:
    """Size of the files of a model's folder, in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
