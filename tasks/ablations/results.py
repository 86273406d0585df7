"""Results of cells as findings: means and spreads over seeds, differences by seed, and in words what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attune.files import read_json
from tasks.ablations.measuring import WHOLE
from tasks.ablations.plans import SUMMARY
from tasks.evaluation.findings import Estimate
from tasks.evaluation.measurements import COMPOSITE

BASELINES = "baselines"  # beside the cells' results


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds: its mean, and the smallest and largest of them."""

    mean: float
    low: float
    high: float
    count: int

    def estimate(self, name: str, *, group: str = "", at: float | None = None) -> Estimate:
        """The same in the report's form."""
        mean, low, high = (float(f"{value:.6g}") for value in (self.mean, self.low, self.high))
        return Estimate(name, mean, low, high, self.count, group, at)

    def times(self, factor: float) -> "Spread":
        """The same in another unit; `factor` is above 0."""
        return Spread(self.mean * factor, self.low * factor, self.high * factor, self.count)

    def __str__(self) -> str:
        return f"{_short(self.mean)} ({_short(self.low)} to {_short(self.high)})"


@dataclass(frozen=True)
class Results:
    """What all cells of a study found, and the baselines beside them."""

    cells: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, Any]
    workspaces: Mapping[str, Mapping[str, Any]]

    def fmse(self, cell: str, part: str = WHOLE) -> Spread:
        """Mean fMSE over the test pairs of a slice."""
        return spread(self.by_seed(cell, part))

    def by_seed(self, cell: str, part: str = WHOLE, figure: str = "fmse") -> list[float]:
        """A figure of a slice, seed by seed."""
        return [found["pairs"][part][figure] for found in self.cells[cell].values()]

    def metrics(self, cell: str) -> dict[str, float]:
        """The cell's figures over all test pairs, mean over seeds; and what the judges of real composites say."""
        figures = {figure: spread(self.by_seed(cell, figure=figure)).mean for figure in ("fmse", "psnr", "do_no_harm")}
        judges = {name for found in self.cells[cell].values() for name in found} & {"probe", "judge"}
        return figures | {f"{judge}_change": self.change(cell, judge).mean for judge in sorted(judges)}

    def gains(self, cell: str, over: str, part: str = WHOLE) -> list[float]:
        """By how much of its fMSE the cell is below `over`, seed by seed: 0.1 is a tenth less."""
        return [1 - mine / other for mine, other in zip(self.by_seed(cell, part), self.by_seed(over, part), strict=True)]

    def gain(self, cell: str, over: str, part: str = WHOLE) -> Spread:
        """The spread of `gains`."""
        return spread(self.gains(cell, over, part))

    def margin(self, cell: str, over: str, part: str = WHOLE) -> Spread:
        """By how much the cell's fMSE is below that of `over`, seed by seed, in squared grey levels."""
        return spread([other - mine for mine, other in zip(self.by_seed(cell, part), self.by_seed(over, part), strict=True)])

    def left(self, cell: str, part: str) -> list[float]:
        """The share of the untouched composites' fMSE of a slice that is left, seed by seed."""
        return [fmse / self.untouched(part) for fmse in self.by_seed(cell, part)]

    def left_at_own_size(self, cell: str) -> list[float]:
        """The same of all test pairs, of what the untouched composites have at the cell's own size, which need not be the baselines'."""
        figures = (self.by_seed(cell, figure=figure) for figure in ("fmse", "composite_fmse"))
        return [mine / untouched for mine, untouched in zip(*figures, strict=True)]

    def change(self, cell: str, judge: str) -> Spread:
        """By how much a judge of real composites scores them higher after than before."""
        return spread([found[judge]["after"] - found[judge]["before"] for found in self.cells[cell].values()])

    def untouched(self, part: str = WHOLE) -> float:
        """Mean fMSE of the composites of a slice."""
        return float(self.baselines[COMPOSITE]["pairs"][part]["fmse"])

    def best_baseline(self, part: str = WHOLE) -> tuple[str, float]:
        """The classical baseline with the lowest mean fMSE, and that."""
        scores = {name: found["pairs"][part]["fmse"] for name, found in self.baselines.items() if name != COMPOSITE}
        best = min(scores, key=lambda name: scores[name])
        return best, scores[best]

    def num_images(self, part: str = WHOLE) -> int:
        """How many test pairs a slice has; 0 if it is none."""
        return int(self.baselines[COMPOSITE]["pairs"].get(part, {}).get("num_images", 0))


def read_results(folder: Path, *, cells: Sequence[str], workspaces: Sequence[str]) -> Results:
    """The results of a study's cells, and what its workspaces hold. Raises ValueError naming the first file that is missing."""

    def read(path: Path) -> Any:
        if not path.is_file():
            raise ValueError(f"{path}: no such result; `dvc repro ablations/dvc.yaml` makes it")
        return read_json(path)

    return Results(
        {name: read(folder / "results" / f"{name}.json") for name in cells}, read(folder / "results" / f"{BASELINES}.json"),
        {name: read(folder / "workspaces" / name / SUMMARY) for name in workspaces},
    )


def spread(values: Sequence[float]) -> Spread:
    """Mean, smallest and largest."""
    return Spread(float(np.mean(values)), float(min(values)), float(max(values)), len(values))


def percent(gain: Spread) -> str:
    """A gain in percent with its spread."""
    return f"{100 * gain.mean:.1f} % ({100 * gain.low:.1f} to {100 * gain.high:.1f})"


def between(values: Sequence[Any], joined: str = " to ") -> str:
    """One value, or the first and the last of several."""
    return str(values[0]) if len(values) == 1 else f"{values[0]}{joined}{values[-1]}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
