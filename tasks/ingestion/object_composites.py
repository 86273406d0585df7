"""Composites of one photograph's object, synthesized from a reference foreground and written in iHarmony4's layout.

Every draw is seeded by the names of the object, the composite and the attempt: neither order nor threads can change a byte.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from attune.foreground import FOREGROUND_LEVEL
from attune.images import decode_image, encode_jpeg, encode_png, shrink_to
from attune.rejects import RejectReason
from tasks.color.difference import foreground_mse
from tasks.color.recolor import Illuminants
from tasks.color.transfer import TRANSFERS
from tasks.ingestion.references import Reference
from tasks.ingestion.synthesis import Synthesized, choose_method, synthesize_composite
from tasks.params import Synthesis
from tasks.seeds import numpy_generator
from tasks.sources.candidates import PhotographCandidate, describe_parameters
from tasks.sources.iharmony4 import COMPOSITES, MASKS, TARGETS

Foreground = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]


@dataclass(frozen=True)
class PlannedObject:
    """An object and its place in the layout: `<image_id>_<number>_<k>.jpg`, k from 1 on. `shelf`: of its references."""

    candidate: PhotographCandidate
    phash: int  # of the photograph
    image_id: str  # without '_', which separates
    number: int
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
class MadeComposite:
    """The `number`th composite of an object: a row of the pairs table, or of the rejects table, and the files that the row speaks of.

    files: by their names below the composites folder. draws: for each attempt the identity of the reference whose colours were taken; ""
    where there was one and the method needed none, None where there was none.
    """

    number: int
    pair: dict[str, Any] | None
    reject: dict[str, Any] | None
    files: Mapping[str, bytes]
    draws: tuple[str | None, ...]


def shrink_mask(mask: UInt8[np.ndarray, "_H _W"], max_side: int) -> UInt8[np.ndarray, "H W"]:
    """A mask at the composites' size, hard (0 or 255), as iHarmony4's are."""
    return np.where(shrink_to(mask, max_side) >= FOREGROUND_LEVEL, np.uint8(255), np.uint8(0))


def subset_folder(source: str) -> str:
    """The sub-set's folder in the layout: the source's name, capitalised."""
    return source.capitalize()


def synthesize_object(
    planned: PlannedObject, numbers: Iterable[int], context: SynthesisContext, *, folder: Path,
) -> Iterator[MadeComposite]:
    """Those of the object's composites that `numbers` names, each a row with encoded files; a reject where no draw was good.

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
    for number in numbers:
        stem = f"{planned.image_id}_{planned.number}_{number}"
        drawn, draws, reasons = _draw(planned, number, context)
        if drawn is None or drawn.composite is None:
            yield MadeComposite(number, None, _reject(candidate, f"{candidate.source}_{stem}", reasons), {}, draws)
            continue
        name = f"{subset}/{COMPOSITES}/{stem}.jpg"
        data = encode_jpeg(drawn.composite, quality)
        pair = {
            **shared, "key": f"{candidate.source}_{stem}", "composite_path": (folder / name).as_posix(),
            "method": drawn.method, "method_params": describe_parameters(drawn.parameters),
            "composite_fmse": foreground_mse(decode_image(data, name=name), written_target, mask), "composite_sha256": _sha256(data),
        }
        yield MadeComposite(number, pair, None, {**files, name: data}, draws)


def _draw(
    planned: PlannedObject, number: int, context: SynthesisContext,
) -> tuple[Synthesized | None, tuple[str | None, ...], Counter[str]]:
    """The first good draw, what each attempt was drawn from, and how many attempts were rejected for each reason."""
    reasons: Counter[str] = Counter()
    draws: list[str | None] = []
    for attempt in range(context.limits.max_attempts):
        rng = numpy_generator(context.seed, "synthesis", planned.candidate.key, number, attempt)
        reference = context.draw(planned, number, attempt)
        method = choose_method(rng, context.limits.weights, has_reference=reference is not None)
        taken = reference if method in TRANSFERS else None
        draws.append(taken.identity if taken else "" if reference else None)
        drawn = synthesize_composite(
            *context.load(planned.candidate), *(context.load(taken.candidate) if taken else (None, None)), method=method, rng=rng,
            limits=context.limits, illuminants=context.illuminants,
        )
        if drawn.composite is not None:
            return replace(drawn, parameters={"reference": taken.candidate.key}) if taken else drawn, tuple(draws), reasons
        reasons[str(drawn.reason)] += 1
    return None, tuple(draws), reasons


def _reject(candidate: PhotographCandidate, key: str, reasons: Counter[str]) -> dict[str, Any]:
    tally = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    return {
        "key": key, "source": candidate.source, "subset": candidate.subset, "path": candidate.mask_path,
        "reason": RejectReason.SYNTHESIS_FAILED.value,
        "detail": f"{candidate.image_path}: none of {sum(reasons.values())} draws was good (ingest.synthesis): {tally}",
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
