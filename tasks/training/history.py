"""What is written down of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tasks.files import written_atomically


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


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write one line per validation as CSV, `step` first; a figure that a line lacks stays empty."""
    names = sorted({name for row in history for name in row} - {"step"})
    lines = [",".join(["step", *names])]
    lines += [",".join([str(int(row["step"])), *(f"{row[name]:.6g}" if name in row else "" for name in names)]) for row in history]
    with written_atomically(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
