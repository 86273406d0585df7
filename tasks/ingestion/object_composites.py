"""Composites of one photograph's object, synthesized from a reference foreground and written in iHarmony4's layout.

Every draw is seeded by the names of the object, the composite and the attempt: neither order nor threads can change a byte.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tasks.color.recolor import Illuminants
from tasks.color.transfer import TRANSFERS
from tasks.images import decode_image, encode_jpeg, encode_png, shrink_to
from tasks.ingestion.checks import FOREGROUND, foreground_mse
from tasks.ingestion.references import Reference
from tasks.ingestion.synthesis import Synthesized, choose_method, synthesize_composite
from tasks.params import Synthesis
from tasks.rejects import RejectReason
from tasks.seeds import numpy_generator
from tasks.sources.candidates import PhotographCandidate
from tasks.sources.iharmony4 import COMPOSITES, MASKS, TARGETS

Foreground = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]
Draw = tuple[int, int, str | None]
PARAMETER_DIGITS = 6


@dataclass(frozen=True)
class PlannedObject:
    """An object and its place in the layout: `<image_id>_<number>_<k>.jpg`, k from 1 to `num_composites`. `shelf`: of its references."""

    candidate: PhotographCandidate
    phash: int  # of the photograph
    image_id: str  # without '_', which separates
    number: int
    num_composites: int
    shelf: int


@dataclass(frozen=True, eq=False)
class SynthesisContext:
    """What all objects share. `draw`: whose colours an object's composite may take at an attempt; `load`: a foreground, shrunk."""

    seed: int
    limits: Synthesis
    illuminants: Illuminants | None
    draw: Callable[[PlannedObject, int, int], Reference | None]
    load: Callable[[PhotographCandidate], Foreground]


@dataclass(frozen=True)
class ObjectComposites:
    """Rows of the pairs table, rows of the rejects table, and the files they speak of by name below the composites folder.

    draws: of each attempt the composite's number, its own, and the identity of the reference taken: "" where there was one and none was
    needed, None where there was none.
    """

    rows: tuple[dict[str, Any], ...]
    rejects: tuple[dict[str, Any], ...]
    files: tuple[tuple[str, bytes], ...]
    draws: tuple[Draw, ...]


def shrink_mask(mask: UInt8[np.ndarray, "_H _W"], max_side: int) -> UInt8[np.ndarray, "H W"]:
    """A mask at the composites' size, hard (0 or 255), as iHarmony4's are."""
    return np.where(shrink_to(mask, max_side) >= FOREGROUND, np.uint8(255), np.uint8(0))


def subset_folder(source: str) -> str:
    """The sub-set's folder in the layout: the source's name, capitalised."""
    return source.capitalize()


def synthesize_object(planned: PlannedObject, context: SynthesisContext, *, folder: Path) -> ObjectComposites:
    """The composites of one object as index rows and encoded files; a composite whose every draw was rejected becomes a reject.

    folder: the composites folder as the index shall name it. fMSE is measured between the pixels of the two encoded files.
    """
    target, mask = context.load(planned.candidate)
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
    draws: list[Draw] = []
    for number in range(1, planned.num_composites + 1):
        stem = f"{planned.image_id}_{planned.number}_{number}"
        key = f"{candidate.source}_{stem}"
        drawn, reasons = _draw(planned, number, context, draws)
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
    return ObjectComposites(tuple(rows), tuple(rejects), tuple(files.items()) if rows else (), tuple(draws))


def _draw(
    planned: PlannedObject, number: int, context: SynthesisContext, draws: list[Draw],
) -> tuple[Synthesized | None, Counter[str]]:
    """The first good draw and, before it, how many were rejected for each reason; all of them are added to `draws`."""
    reasons: Counter[str] = Counter()
    for attempt in range(context.limits.max_attempts):
        rng = numpy_generator(context.seed, "synthesis", planned.candidate.key, number, attempt)
        reference = context.draw(planned, number, attempt)
        method = choose_method(rng, context.limits.weights, has_reference=reference is not None)
        taken = reference if method in TRANSFERS else None
        draws.append((number, attempt, taken.identity if taken else "" if reference else None))
        drawn = synthesize_composite(
            *context.load(planned.candidate), *(context.load(taken.candidate) if taken else (None, None)), method=method, rng=rng,
            limits=context.limits, illuminants=context.illuminants,
        )
        if drawn.composite is not None:
            return replace(drawn, parameters={"reference": taken.candidate.key}) if taken else drawn, reasons
        reasons[str(drawn.reason)] += 1
    return None, reasons


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
