"""Composites of one photograph's object, synthesized from a reference foreground and written in iHarmony4's layout.

Every draw is seeded by the names of the object, the composite and the attempt: neither order nor threads can change a byte.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tasks.color.recolor import Illuminants
from tasks.color.transfer import TRANSFERS
from tasks.images import decode_image, encode_jpeg, encode_png, shrink_to
from tasks.ingestion.checks import FOREGROUND, foreground_mse
from tasks.ingestion.synthesis import Synthesized, choose_method, synthesize_composite
from tasks.params import Synthesis
from tasks.rejects import RejectReason
from tasks.seeds import numpy_generator
from tasks.sources.candidates import PhotographCandidate
from tasks.sources.iharmony4 import COMPOSITES, MASKS, TARGETS

Foreground = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]
MAX_REFERENCE_DRAWS = 16  # past references of the object's own group; then the draw fails
NO_REFERENCE = "no_reference"
PARAMETER_DIGITS = 6


@dataclass(frozen=True)
class PlannedObject:
    """An object and its place in the layout: `<image_id>_<number>_<k>.jpg`, k from 1 to `num_composites`."""

    candidate: PhotographCandidate
    phash: int  # of the photograph
    image_id: str  # without '_', which separates
    number: int
    num_composites: int


@dataclass(frozen=True, eq=False)
class SynthesisContext:
    """What all objects share. `references`: whose foregrounds an object may take; `load`: one, shrunk."""

    seed: int
    limits: Synthesis
    illuminants: Illuminants | None
    references: Callable[[PhotographCandidate], Sequence[PhotographCandidate]]
    load: Callable[[PhotographCandidate], Foreground]


@dataclass(frozen=True)
class ObjectComposites:
    """Rows of the pairs table, rows of the rejects table, and the files they speak of by name below the composites folder."""

    rows: tuple[dict[str, Any], ...]
    rejects: tuple[dict[str, Any], ...]
    files: tuple[tuple[str, bytes], ...]


def shrink_mask(mask: UInt8[np.ndarray, "_H _W"], max_side: int) -> UInt8[np.ndarray, "H W"]:
    """A mask at the composites' size, hard (0 or 255), as iHarmony4's are."""
    return np.where(shrink_to(mask, max_side) >= FOREGROUND, np.uint8(255), np.uint8(0))


def subset_folder(source: str) -> str:
    """The sub-set's folder in the layout: the source's name, capitalised."""
    return source.capitalize()


def synthesize_object(planned: PlannedObject, foreground: Foreground, context: SynthesisContext, *, folder: Path) -> ObjectComposites:
    """The composites of one object as index rows and encoded files; a composite whose every draw was rejected becomes a reject.

    folder: the composites folder as the index shall name it. fMSE is measured between the pixels of the two encoded files.
    """
    target, mask = foreground
    candidate, quality = planned.candidate, context.limits.jpeg_quality
    subset = subset_folder(candidate.source)
    target_name = f"{subset}/{TARGETS}/{planned.image_id}.jpg"
    mask_name = f"{subset}/{MASKS}/{planned.image_id}_{planned.number}.png"
    files = {target_name: encode_jpeg(target, quality), mask_name: encode_png(mask)}
    shared = {
        "source": candidate.source, "subset": candidate.subset, "split": candidate.split, "group": candidate.group,
        "mask_path": (folder / mask_name).as_posix(), "target_path": (folder / target_name).as_posix(),
        "width": target.shape[1], "height": target.shape[0], "fg_ratio": float(np.count_nonzero(mask) / mask.size),
        "label": candidate.label, "target_phash": planned.phash,
        "mask_sha256": _sha256(files[mask_name]), "target_sha256": _sha256(files[target_name]),
    }
    written_target = decode_image(files[target_name], name=target_name)
    rows, rejects = [], []
    for number in range(1, planned.num_composites + 1):
        stem = f"{planned.image_id}_{planned.number}_{number}"
        key = f"{candidate.source}_{stem}"
        drawn, reasons = _draw(planned, number, foreground, context)
        if drawn is None or drawn.composite is None:
            detail = f"{candidate.image_path}: none of {sum(reasons.values())} draws was good (ingest.synthesis): {_tally(reasons)}"
            rejects.append({
                "key": key, "source": candidate.source, "subset": candidate.subset, "path": candidate.mask_path,
                "reason": RejectReason.SYNTHESIS_FAILED.value, "detail": detail,
            })
            continue
        name = f"{subset}/{COMPOSITES}/{stem}.jpg"
        files[name] = encode_jpeg(drawn.composite, quality)
        written = decode_image(files[name], name=name)
        rows.append({
            **shared, "key": key, "composite_path": (folder / name).as_posix(),
            "method": drawn.method, "method_params": describe_parameters(drawn.parameters),
            "composite_fmse": foreground_mse(written, written_target, mask), "composite_sha256": _sha256(files[name]),
        })
    return ObjectComposites(tuple(rows), tuple(rejects), tuple(files.items()) if rows else ())


def _draw(
    planned: PlannedObject, number: int, foreground: Foreground, context: SynthesisContext,
) -> tuple[Synthesized | None, Counter[str]]:
    """The first good draw and, before it, how many were rejected for each reason."""
    pool = context.references(planned.candidate)
    reasons: Counter[str] = Counter()
    for attempt in range(context.limits.max_attempts):
        rng = numpy_generator(context.seed, "synthesis", planned.candidate.key, number, attempt)
        method = choose_method(rng, context.limits.weights, has_reference=bool(pool))
        reference = _draw_reference(planned.candidate, pool, rng) if method in TRANSFERS else None
        if method in TRANSFERS and reference is None:
            reasons[NO_REFERENCE] += 1
            continue
        drawn = synthesize_composite(
            *foreground, *(context.load(reference) if reference else (None, None)), method=method, rng=rng, limits=context.limits,
            illuminants=context.illuminants,
        )
        if drawn.composite is not None:
            return replace(drawn, parameters={"reference": reference.key}) if reference else drawn, reasons
        reasons[str(drawn.reason)] += 1
    return None, reasons


def _draw_reference(
    candidate: PhotographCandidate, pool: Sequence[PhotographCandidate], rng: np.random.Generator,
) -> PhotographCandidate | None:
    for _ in range(MAX_REFERENCE_DRAWS):
        reference = pool[int(rng.integers(len(pool)))]
        if reference.group != candidate.group:
            return reference
    return None


def describe_parameters(parameters: Mapping[str, Any]) -> str:
    """What the index keeps of a change: JSON with sorted keys, floats rounded to `PARAMETER_DIGITS` decimals."""
    return json.dumps(_rounded(parameters), sort_keys=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, PARAMETER_DIGITS) if isinstance(value, float) else value


def _tally(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
