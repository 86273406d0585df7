"""What is measured of a training, and how it is written down."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from attune.files import written_atomically


class Means:
    """Running means of scalar tensors, read out without a synchronisation per step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take one value of each name."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: (total / self.counts[name]).item() for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


class Pace:
    """How fast training goes, from step `first` on, with validation and pictures left out; and the memory that it needs."""

    def __init__(self, first: int, wait_seconds: Callable[[], float], device: torch.device) -> None:
        self.step, self.wait_seconds, self.device = first, wait_seconds, device
        self.began, self.waited = time.perf_counter(), wait_seconds()

    def take(self, step: int, batch_size: int) -> dict[str, float]:
        """Images per second and the share of the time spent waiting for data since the last call; the most memory so far, in MB."""
        now, waited = time.perf_counter(), self.wait_seconds()
        seconds = max(now - self.began, 1e-9)
        found = {
            "images_per_second": (step - self.step) * batch_size / seconds,
            "data_wait_share": (waited - self.waited) / seconds,
            "peak_megabytes": _peak_bytes(self.device) / 2**20,
        }
        self.step, self.began, self.waited = step, now, waited
        return found

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile does not count."""
        paused = time.perf_counter()
        yield
        self.began += time.perf_counter() - paused


def _peak_bytes(device: torch.device) -> float:
    """Of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write one line per validation as CSV, `step` first; a figure that a line lacks stays empty."""
    names = sorted({name for row in history for name in row} - {"step"})
    lines = [",".join(["step", *names])]
    lines += [",".join([str(int(row["step"])), *(f"{row[name]:.6g}" if name in row else "" for name in names)]) for row in history]
    with written_atomically(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
