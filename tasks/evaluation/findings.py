"""Questions answered by measurement, as files: ablations, claims of the papers, studies. The report shows every one that is there.

A finding is one JSON file of `metrics/findings/`. What measures it writes it (`write_finding`); the report reads the folder and knows
nothing of who wrote.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from attune.files import write_bytes

FOLDER = "findings"  # below `paths.metrics`
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Estimate:
    """A measured number with its interval or spread, where it has one."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None  # of images, votes or seeds behind it
    group: str = ""  # estimates of one group stand together: a benchmark, a model
    at: float | None = None  # where it stands on the finding's axis, above 0

    def __post_init__(self) -> None:
        numbers = [number for number in (self.value, self.low, self.high, self.at) if number is not None]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{self.name}: value, low, high and at must be finite")
        if self.at is not None and self.at <= 0:
            raise ValueError(f"{self.name}: at is {self.at:g}; axes are logarithmic")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{self.name}: low and high belong together")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"{self.name}: low is {self.low:g}, above high, {self.high:g}")


@dataclass(frozen=True)
class Finding:
    """One question and its measured answer."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    section: Literal["without ground truth", "ablations and claims"]  # of the report
    title: str
    note: str  # what was done, on which data, what the intervals are, and what came out, also where it is a no; a paragraph per line
    measure: str  # what the values are, with their unit
    better: Literal["lower", "higher", "neither"]
    estimates: tuple[Estimate, ...]
    command: str = ""  # that measures it again
    axis: str = ""  # what every estimate's `at` counts, where they have one: those of one group and name are a line over it

    def __post_init__(self) -> None:
        if not self.estimates:
            raise ValueError(f"{self.title}: a finding needs at least one estimate")
        if any((estimate.at is not None) != bool(self.axis) for estimate in self.estimates):
            raise ValueError(f"{self.title}: where there is an axis every estimate stands at a place on it, elsewhere none does")


_FINDING = TypeAdapter(Finding)


def write_finding(metrics: Path, name: str, finding: Finding) -> Path:
    """Write `finding` as `findings/<name>.json` below the metrics' folder, whole or not at all; the file's path."""
    path = metrics / FOLDER / f"{name}.json"
    write_bytes(path, (json.dumps(asdict(finding), indent=2) + "\n").encode())
    return path


def read_findings(metrics: Path) -> dict[str, Finding]:
    """The findings below the metrics' folder by name, sorted; none where there are none.

    Raises ValueError naming file and key if one is not in the form of `Finding`.
    """
    return {path.stem: _read_finding(path) for path in sorted((metrics / FOLDER).glob("*.json"))}


def _read_finding(path: Path) -> Finding:
    try:
        return _FINDING.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(map(_describe, map(dict, error.errors())))) from None


def _describe(fault: Mapping[str, Any]) -> str:
    key = ".".join(map(str, fault["loc"]))
    return f"{key}: {fault['msg']}" if key else str(fault["msg"])
