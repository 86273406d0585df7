"""What a source lists before any file is opened: where the files lie and what is said of them.

Every path is in POSIX form and begins as `paths.raw` or `paths.starter` is written: relative to the project's root, or absolute. `split` is
train, val or test where the source names it, None where ingestion shall choose by hash of the group. `group` names the source photograph:
nothing of one group stands in two splits. Keys are unique within a table: begin them with the source's name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attune.rejects import RejectReason

PARAMETER_DIGITS = 6


@dataclass(frozen=True)
class PhotographCandidate:
    """An object: a photograph and one mask of it. Composites are synthesized from it."""

    key: str
    source: str
    subset: str
    split: str | None
    group: str
    image_path: str
    mask_path: str
    label: str
    licence: str


@dataclass(frozen=True)
class PairCandidate:
    """A composite, its mask and its target, all given.

    method: "published", or how it was made; method_params: how strongly, by `describe_parameters`, None where nothing is known.
    plate_path: the clean background, empty where there is none.
    """

    key: str
    source: str
    subset: str
    split: str | None
    group: str
    composite_path: str
    mask_path: str
    target_path: str
    label: str
    method: str
    licence: str
    plate_path: str = ""
    method_params: str | None = None


@dataclass(frozen=True)
class RetouchCandidate:
    """A photograph before and after a retouch, pixel-aligned. `mask_path` is empty where none is given (see tasks/sources/retouch.py)."""

    key: str
    source: str
    subset: str
    split: str | None
    group: str
    before_path: str
    after_path: str
    mask_path: str
    label: str
    licence: str


@dataclass(frozen=True)
class CompositeCandidate:
    """A real composite without ground truth."""

    key: str
    source: str
    subset: str
    split: str | None
    group: str
    composite_path: str
    mask_path: str
    label: str
    licence: str


@dataclass(frozen=True)
class ListingReject:
    """A line of a listing that names no usable sample: rejected before any file is opened."""

    key: str
    source: str
    subset: str
    path: str
    reason: RejectReason
    detail: str


Candidate = PhotographCandidate | PairCandidate | RetouchCandidate | CompositeCandidate


@dataclass(frozen=True)
class Candidates:
    """All that one source lists, each tuple in a fixed order."""

    photographs: tuple[PhotographCandidate, ...] = ()
    pairs: tuple[PairCandidate, ...] = ()
    retouches: tuple[RetouchCandidate, ...] = ()
    composites: tuple[CompositeCandidate, ...] = ()
    rejects: tuple[ListingReject, ...] = field(default=())


def describe_parameters(parameters: Mapping[str, Any]) -> str:
    """What the index keeps of a change: JSON with sorted keys, floats rounded to `PARAMETER_DIGITS` decimals."""
    return json.dumps(_rounded(parameters), sort_keys=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, PARAMETER_DIGITS) if isinstance(value, float) else value
