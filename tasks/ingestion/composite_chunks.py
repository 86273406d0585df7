"""Composites in chunks: which objects get how many, and the work of one chunk.

Everything is drawn by the names of objects: neither order nor threads nor processes change a byte. A composite is kept (`kept_work`) with
the references that it was drawn from, and stands as long as its object's files are the same and the same references would be drawn again:
new photographs cost their own composites, and those few of others that now borrow from them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import UInt8

from attune.files import read_json, write_json
from attune.images import read_mask, read_shrunk
from attune.unit_keys import unit_key
from tasks.color.recolor import ILLUMINANTS_FILE, illuminants_for
from tasks.ingestion.kept_work import DoneChunk, WorkChunk, iterate_results, keep_results, read_chunk, work_key, write_chunk, write_results
from tasks.ingestion.object_composites import (
    Foreground,
    PlannedObject,
    SynthesisContext,
    shrink_mask,
    synthesize_object,
)
from tasks.ingestion.references import Reference, References, read_references, shelf_of, write_references
from tasks.params import Params, key_params
from tasks.seeds import derive_seed
from tasks.sources.candidates import PhotographCandidate
from tasks.sources.listing import LONGEST_NAME

CHUNK_PHOTOGRAPHS = 50  # the unit of retry and of resuming: a few seconds of work
CACHED_REFERENCES = 256  # foregrounds kept decoded while a chunk is worked on: about 50 MB

Result = dict[str, Any]  # a MadeComposite whose files are SHA-256 by name, and the key of its "object"
# How many composites there are changes none of the others.
_COUNTS = {f"ingest.synthesis.{name}" for name in ("composites_per_object", "composites_per_test_object", "max_test_pairs")}


@dataclass(frozen=True)
class CheckedObject:
    """A listed object, with the split and group that were settled for it. `phash` is None where it is bad or left out."""

    candidate: PhotographCandidate
    phash: int | None
    sha256: str  # of the image's and the mask's SHA-256


# --- The plan ---------------------------------------------------------------------------------------------------------------------------


def plan_composites(params: Params, objects: Iterable[CheckedObject], paired: Collection[str]) -> list[WorkChunk]:
    """The chunks of what is not kept from an earlier run; an object whose group is `paired` gets no composites.

    What is kept but would be drawn otherwise today is forgotten.
    """
    ordered = sorted(objects, key=lambda one: (one.candidate.source, one.candidate.image_path, one.candidate.key))
    folder = _folder(params)
    table = _keep_references(folder, ordered)
    references = read_references(table, params.seed)
    planned = _limited(dict(_plan_objects(ordered, paired, params)), params)

    def stands(_: bytes, text: str) -> bool:
        result = json.loads(text)
        one = planned.get(bytes.fromhex(result["object"]))
        return one is not None and result["number"] <= _count(one, params) and _stands(one, result, references, folder)

    done = keep_results(folder, stands)
    waiting: dict[tuple[int, str, str], list[tuple[bytes, list[int]]]] = {}
    for key, one in planned.items():
        numbers = [number for number in range(1, _count(one, params) + 1) if work_key(key, number) not in done]
        if numbers:
            waiting.setdefault((one.shelf, one.candidate.source, one.image_id), []).append((key, numbers))
    photographs = [waiting[name] for name in sorted(waiting)]
    chunks = []
    for first in range(0, len(photographs), CHUNK_PHOTOGRAPHS):
        own = [one for owned in photographs[first:first + CHUNK_PHOTOGRAPHS] for one in owned]
        work = [{"key": key.hex(), "object": asdict(planned[key]), "numbers": numbers} for key, numbers in own]
        chunks.append(write_chunk(folder, f"{first // CHUNK_PHOTOGRAPHS:05d}", {"references": table.as_posix(), "objects": work}))
    write_json(folder.parent / "current.json", {"folder": folder.name, "chunks": [chunk.name for chunk in chunks]})
    return chunks


def planned_composites(params: Params) -> tuple[Path, list[str]]:
    """The folder of the current plan, and the names of its chunks that are not done."""
    parent = params.paths.work / "ingest" / "composites"
    current = read_json(parent / "current.json")
    folder = parent / str(current["folder"])
    return folder, [name for name in current["chunks"] if not (folder / f"{name}.parquet").is_file()]


def composite_results(folder: Path) -> Iterator[Result]:
    """Each composite of the plan whose folder this is, or its reject, in no order."""
    for _, result in iterate_results(folder):
        yield json.loads(result)


def stored_file(folder: Path, sha256: str) -> Path:
    """Where a file with this content lies in the folder of a plan."""
    return folder / "files" / sha256[:2] / sha256


def _folder(params: Params) -> Path:
    """Named after all that decides composites but the objects and their files."""
    rules = key_params(params, "seed", "ingest.synthesis", "ingest.max_megapixels", but=_COUNTS)
    lights = params.paths.raw / ILLUMINANTS_FILE
    is_lit = params.ingest.synthesis.weights.illuminant > 0.0 and lights.is_file()
    inputs = params.paths.composites.as_posix(), hashlib.sha256(lights.read_bytes()).hexdigest() if is_lit else ""
    return params.paths.work / "ingest" / "composites" / unit_key(compose_chunk, rules, inputs)


def _keep_references(folder: Path, objects: Iterable[CheckedObject]) -> Path:
    found = [
        Reference(one.candidate, work_key(one.candidate.key, one.candidate.group, one.sha256).hex())
        for one in objects if one.phash is not None
    ]
    path = folder / "references" / f"{work_key(*(vars(one.candidate) for one in found), *(one.identity for one in found)).hex()}.parquet"
    if not path.is_file():
        write_references(path, found)
    return path


def _plan_objects(
    objects: Iterable[CheckedObject], paired: Collection[str], params: Params
) -> Iterator[tuple[bytes, PlannedObject]]:
    """The objects that get composites, by a key that is another for other files; bad objects keep their numbers."""
    numbers: Counter[str] = Counter()
    owners: dict[tuple[str, str], str] = {}
    for one in objects:
        candidate = one.candidate
        numbers[candidate.image_path] += 1
        image_id = _image_id(candidate, owners)
        if one.phash is not None and candidate.group not in paired:
            planned = PlannedObject(
                candidate=candidate, phash=one.phash, image_id=image_id, number=numbers[candidate.image_path],
                shelf=shelf_of(params.seed, candidate.source, image_id),
            )
            yield work_key(planned, one.sha256), planned


def _limited(planned: dict[bytes, PlannedObject], params: Params) -> dict[bytes, PlannedObject]:
    """`planned` with no more objects of validation, and of test, than give `max_test_pairs` composites: those with the smallest hashes."""
    limits = params.ingest.synthesis
    if not limits.max_test_pairs or not limits.composites_per_test_object:
        return planned
    most, kept = limits.max_test_pairs // limits.composites_per_test_object, set()
    ranked = sorted(planned, key=lambda key: derive_seed(params.seed, "test pairs", planned[key].candidate.key))
    counts: Counter[str | None] = Counter()
    for key in ranked:
        split = planned[key].candidate.split
        counts[split] += 1
        if split == "train" or counts[split] <= most:
            kept.add(key)
    return {key: one for key, one in planned.items() if key in kept}


def _count(planned: PlannedObject, params: Params) -> int:
    limits = params.ingest.synthesis
    return limits.composites_per_object if planned.candidate.split == "train" else limits.composites_per_test_object


def _image_id(candidate: PhotographCandidate, owners: dict[tuple[str, str], str]) -> str:
    """The photograph's name in the layout, of letters, digits and '-' only, for '_' separates; a hash tells apart what would be equal."""
    stem = Path(candidate.image_path).stem[:LONGEST_NAME]
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)
    if owners.setdefault((candidate.source, plain), candidate.image_path) == candidate.image_path:
        return plain
    return f"{plain}-{hashlib.sha256(candidate.image_path.encode()).hexdigest()[:8]}"


def _stands(planned: PlannedObject, result: Result, references: References, folder: Path) -> bool:
    """Whether a kept result is what would be made today: the same references would be drawn, and no file is gone."""
    for attempt, identity in enumerate(result["draws"]):
        drawn = references.draw(planned.candidate, planned.shelf, result["number"], attempt)
        if (drawn is None) != (identity is None) or (identity and drawn and drawn.identity != identity):
            return False
    return all(stored_file(folder, sha256).is_file() for sha256 in result["files"].values())


# --- One chunk --------------------------------------------------------------------------------------------------------------------------


def compose_chunk(params: Params, chunk: WorkChunk) -> DoneChunk:
    """Synthesize the composites of one chunk; results are filed together, when all are there. I/O errors pass through."""
    folder, work = Path(chunk.folder), read_chunk(chunk)
    results = _compose(params, work["objects"], folder, Path(work["references"]))
    write_results(folder / f"{chunk.name}.parquet", {key: json.dumps(result) for key, result in results.items()})
    num_good = sum(result["pair"] is not None for result in results.values())
    return DoneChunk(chunk.name, num_good, len(results) - num_good)


def _compose(params: Params, work: Sequence[Mapping[str, Any]], folder: Path, references: Path) -> dict[bytes, Result]:
    context = _context(params, references)
    results = {}
    for one in work:
        planned = PlannedObject(**{**one["object"], "candidate": PhotographCandidate(**one["object"]["candidate"])})
        for made in synthesize_object(planned, one["numbers"], context, folder=params.paths.composites):
            files = {name: _store(folder, data) for name, data in made.files.items()}
            results[work_key(bytes.fromhex(one["key"]), made.number)] = {**vars(made), "object": one["key"], "files": files}
    return results


def _store(folder: Path, data: bytes) -> str:
    """Keep a file under the name of its content, if it is not there; its SHA-256."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = stored_file(folder, sha256)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid4().hex}")  # another thread may be keeping the same
        temporary.write_bytes(data)
        temporary.replace(path)
    return sha256


def _context(params: Params, table: Path) -> SynthesisContext:
    limits, references = params.ingest.synthesis, read_references(table, params.seed)

    @lru_cache(maxsize=CACHED_REFERENCES)
    def image(path: str) -> UInt8[np.ndarray, "H W 3"]:
        return read_shrunk(Path(path), limits.max_side, max_megapixels=params.ingest.max_megapixels)

    @lru_cache(maxsize=CACHED_REFERENCES)
    def load(candidate: PhotographCandidate) -> Foreground:
        mask = read_mask(Path(candidate.mask_path), max_megapixels=params.ingest.max_megapixels)
        return image(candidate.image_path), shrink_mask(mask, limits.max_side)

    def draw(planned: PlannedObject, number: int, attempt: int) -> Reference | None:
        return references.draw(planned.candidate, planned.shelf, number, attempt)

    illuminants = illuminants_for(limits.weights.illuminant, params.paths.raw)
    return SynthesisContext(seed=params.seed, limits=limits, illuminants=illuminants, draw=draw, load=load)
