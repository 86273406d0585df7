"""Composites in chunks: which objects get how many, which foregrounds they may borrow from, and the work of one chunk.

Everything is drawn by the names of objects and chunks: neither order nor threads nor processes change a byte. A chunk's part appears when
all its files are there; the folder is named after all that decides them, so a killed run continues with the chunks that are not done.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int32

from tasks.code_digest import code_digest
from tasks.files import read_json, write_json, written_atomically
from tasks.images import read_mask, read_shrunk
from tasks.ingestion.object_composites import Foreground, ObjectComposites, PlannedObject, SynthesisContext, shrink_mask, synthesize_object
from tasks.ingestion.synthesis import illuminants_for
from tasks.params import Params
from tasks.seeds import derive_seed
from tasks.sources.candidates import PhotographCandidate
from tasks.sources.listing import LONGEST_NAME

CHUNK_PHOTOGRAPHS = 50  # the unit of retry and of resuming: a few seconds of work
CHUNK_REFERENCES = 48  # per split and label: a chunk's objects draw from so many shuffled references, which then need decoding once
CACHED_REFERENCES = 256  # foregrounds kept decoded while a chunk is worked on: about 50 MB
_REFERENCES = pa.schema([pa.field(name, pa.string()) for name in PhotographCandidate.__dataclass_fields__])

Part = dict[str, Any]  # rows of the pairs table, rows of the rejects table, names of files below `folder/composites`


@dataclass(frozen=True)
class CheckedObject:
    """A listed object, with the split and group that were settled for it. `phash` is None where it is bad or left out."""

    candidate: PhotographCandidate
    phash: int | None
    sha256: str  # of the image's and the mask's SHA-256


@dataclass(frozen=True)
class CompositeChunk:
    """One unit of work: what `folder/chunks/<name>.json` lists; its result goes to `folder/parts/<name>.json`."""

    name: str
    folder: str


@dataclass(frozen=True)
class ComposedChunk:
    """A chunk that is done, and how much came of it."""

    name: str
    num_pairs: int
    num_rejects: int


# --- The plan ---------------------------------------------------------------------------------------------------------------------------


def plan_composites(params: Params, objects: Iterable[CheckedObject], paired: Collection[str]) -> list[CompositeChunk]:
    """The chunks of work below `paths.work`, which `composites_folder` names; an object whose group is `paired` gets no composites."""
    ordered = sorted(objects, key=lambda one: (one.candidate.source, one.candidate.image_path, one.candidate.key))
    folder = params.paths.work / "ingest" / "composites" / _plan_digest(params, ordered)
    usable = [one.candidate for one in ordered if one.phash is not None]
    _write_references(folder, usable, params.seed)
    chunks = []
    for number, planned in enumerate(_plan_objects(ordered, paired, params)):
        if planned:
            name = f"{number:05d}"
            write_json(folder / "chunks" / f"{name}.json", [asdict(one) for one in planned])
            chunks.append(CompositeChunk(name, folder.as_posix()))
    write_json(folder.parent / "current.json", {"folder": folder.name, "chunks": [chunk.name for chunk in chunks]})
    return chunks


def planned_composites(params: Params) -> tuple[Path, list[str]]:
    """The folder of the current plan, and the names of its chunks in order."""
    parent = params.paths.work / "ingest" / "composites"
    current = read_json(parent / "current.json")
    return parent / str(current["folder"]), list(current["chunks"])


def _plan_digest(params: Params, objects: Sequence[CheckedObject]) -> str:
    """Another name for other objects, files, settings or code."""
    settings = params.ingest.synthesis.model_dump(mode="json")
    paths = [params.paths.composites.as_posix(), params.paths.raw.as_posix()]
    digest = hashlib.sha256(json.dumps([params.seed, settings, paths, code_digest(Path(__file__))], sort_keys=True).encode())
    for one in objects:
        digest.update(json.dumps([vars(one.candidate), one.phash, one.sha256]).encode())
    return digest.hexdigest()[:16]


def _plan_objects(objects: Iterable[CheckedObject], paired: Collection[str], params: Params) -> Iterator[list[PlannedObject]]:
    """Chunks of `CHUNK_PHOTOGRAPHS` photographs each, and of these the objects that get composites; bad objects keep their numbers."""
    limits = params.ingest.synthesis
    numbers: Counter[str] = Counter()
    owners: dict[tuple[str, str], str] = {}
    chunk: list[PlannedObject] = []
    for one in objects:
        candidate = one.candidate
        if candidate.image_path not in numbers and numbers and len(numbers) % CHUNK_PHOTOGRAPHS == 0:
            yield chunk
            chunk = []
        numbers[candidate.image_path] += 1
        image_id = _image_id(candidate, owners)
        count = limits.composites_per_object if candidate.split == "train" else limits.composites_per_test_object
        if one.phash is not None and count and candidate.group not in paired:
            chunk.append(PlannedObject(
                candidate=candidate, phash=one.phash, image_id=image_id, number=numbers[candidate.image_path], num_composites=count,
            ))
    yield chunk


def _image_id(candidate: PhotographCandidate, owners: dict[tuple[str, str], str]) -> str:
    """The photograph's name in the layout, of letters, digits and '-' only, for '_' separates; a hash tells apart what would be equal."""
    stem = Path(candidate.image_path).stem[:LONGEST_NAME]
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)
    if owners.setdefault((candidate.source, plain), candidate.image_path) == candidate.image_path:
        return plain
    return f"{plain}-{hashlib.sha256(candidate.image_path.encode()).hexdigest()[:8]}"


def _write_references(folder: Path, photographs: Iterable[PhotographCandidate], seed: int) -> None:
    shuffled = sorted(photographs, key=lambda one: derive_seed(seed, "reference", one.key))
    columns = {name: [getattr(one, name) for one in shuffled] for name in _REFERENCES.names}
    with written_atomically(folder / "references.parquet") as temporary:
        pq.write_table(pa.table(columns, schema=_REFERENCES), temporary, compression="zstd")


# --- One chunk --------------------------------------------------------------------------------------------------------------------------


def compose_chunk(params: Params, chunk: CompositeChunk) -> ComposedChunk:
    """Synthesize the composites of one chunk into the work folder. A chunk that is done is not done again; I/O errors pass through."""
    folder = Path(chunk.folder)
    part = read_part(folder, chunk.name)
    if part is None:
        planned = [_read_object(values) for values in read_json(folder / "chunks" / f"{chunk.name}.json")]
        part = _compose(params, planned, chunk)
        write_json(folder / "parts" / f"{chunk.name}.json", part)
    return ComposedChunk(chunk.name, len(part["pairs"]), len(part["rejects"]))


def read_part(folder: Path, name: str) -> Part | None:
    """What came of a chunk, or None if it is not done or one of its files is gone."""
    path = folder / "parts" / f"{name}.json"
    if not path.is_file():
        return None
    part: Part = read_json(path)
    return part if all((folder / "composites" / file).is_file() for file in part["files"]) else None


def _read_object(values: Mapping[str, Any]) -> PlannedObject:
    return PlannedObject(**{**values, "candidate": PhotographCandidate(**values["candidate"])})


def _compose(params: Params, objects: Sequence[PlannedObject], chunk: CompositeChunk) -> Part:
    folder, side = Path(chunk.folder), params.ingest.synthesis.max_side
    context = _context(params, folder, chunk.name)
    part: Part = {"pairs": [], "rejects": [], "files": []}
    by_image: dict[str, list[PlannedObject]] = {}
    for planned in objects:
        by_image.setdefault(planned.candidate.image_path, []).append(planned)
    for path, owned in by_image.items():
        image = read_shrunk(Path(path), side, max_megapixels=params.ingest.max_megapixels)
        for planned in owned:
            mask = shrink_mask(read_mask(Path(planned.candidate.mask_path), max_megapixels=params.ingest.max_megapixels), side)
            made = synthesize_object(planned, (image, mask), context, folder=params.paths.composites)
            part["pairs"] += made.rows
            part["rejects"] += made.rejects
            part["files"] += _write_files(folder / "composites", made)
    return part


def _write_files(folder: Path, made: ObjectComposites) -> list[str]:
    for name, data in made.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)  # whole once the part is there, which is written last
    return [name for name, _ in made.files]


def _context(params: Params, folder: Path, name: str) -> SynthesisContext:
    limits = params.ingest.synthesis
    table, pools = _reference_pools(folder)

    @cache
    def window(split: str, label: str) -> tuple[PhotographCandidate, ...]:
        pool = pools.get((split, label), np.zeros(0, np.int32))
        first = derive_seed(params.seed, "references", name, split, label) % max(1, len(pool))
        chosen = np.concatenate([pool[first:], pool[:first]])[:CHUNK_REFERENCES]
        return tuple(PhotographCandidate(**row) for row in table.take(chosen).to_pylist())

    def references(candidate: PhotographCandidate) -> Sequence[PhotographCandidate]:
        labels = [candidate.label, ""] if candidate.label else [""]
        windows = (window(str(candidate.split), label) for label in labels)
        return next((pool for pool in windows if any(one.group != candidate.group for one in pool)), ())

    @lru_cache(maxsize=CACHED_REFERENCES)
    def load(candidate: PhotographCandidate) -> Foreground:
        image = read_shrunk(Path(candidate.image_path), limits.max_side, max_megapixels=params.ingest.max_megapixels)
        mask = read_mask(Path(candidate.mask_path), max_megapixels=params.ingest.max_megapixels)
        return image, shrink_mask(mask, limits.max_side)

    illuminants = illuminants_for(limits.weights, params.paths.raw)
    return SynthesisContext(seed=params.seed, limits=limits, illuminants=illuminants, references=references, load=load)


@lru_cache(maxsize=1)
def _reference_pools(folder: Path) -> tuple[pa.Table, Mapping[tuple[str, str], Int32[np.ndarray, " N"]]]:
    """The photographs of a plan, shuffled, and the rows of each (split, label) and, by (split, ""), of a whole split."""
    table = pq.read_table(folder / "references.parquet", schema=_REFERENCES)
    pools: dict[tuple[str, str], list[int]] = {}
    for row, (split, label) in enumerate(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True)):
        for name in {label, ""}:
            pools.setdefault((split, name), []).append(row)
    return table, {name: np.array(rows, np.int32) for name, rows in pools.items()}
