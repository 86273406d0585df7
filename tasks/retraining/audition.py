"""What the gate looks at beside pictures: time and size."""

import time
from pathlib import Path

import torch

from models.harmonizer import Harmonizer, ParametricHarmonizer

NUM_PREDICTIONS = 15  # the fastest counts: whatever else the machine does only adds


def prediction_ms(model: Harmonizer) -> float:
    """Milliseconds that `model` takes to predict one edit, on one thread: the fastest of several."""
    config = model.config
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
