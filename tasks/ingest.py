"""Ingestion: sources -> a checked Parquet index, and composites synthesized where a source has photographs and masks only.

`plan_ingest` lists every source without decoding, settles splits and cuts the work into chunks; `ingest_chunk` opens and checks every
file of one chunk, synthesizes its composites and leaves a part below `paths.work`; `finish_ingest` joins the parts. A killed run continues
with the chunks that are not done. Nothing depends on the order of the chunks or on the number of threads.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tasks import checks, color_transfer, images, object_composites, recolor, seeds, synthesis
from tasks.checks import (
    check_composite,
    check_image,
    check_mask,
    check_pair,
    check_retouch,
    photograph_row,
)
from tasks.files import clear_folder, read_json, write_json
from tasks.images import shrink_to
from tasks.index import SCHEMA_VERSION, TABLES, write_table
from tasks.object_composites import (
    Foreground,
    ObjectComposites,
    PlannedObject,
    SynthesisContext,
    shrink_mask,
    subset_folder,
    synthesize_object,
)
from tasks.params import Ingest, Params
from tasks.rejects import BadSample, RejectReason
from tasks.seeds import derive_seed
from tasks.sources.candidates import (
    Candidate,
    Candidates,
    CompositeCandidate,
    ListingReject,
    PairCandidate,
    PhotographCandidate,
    RetouchCandidate,
)
from tasks.sources.coco import list_coco
from tasks.sources.composites import list_composites
from tasks.sources.iharmony4 import COMPOSITES, list_iharmony4, write_lists
from tasks.sources.listing import LONGEST_NAME
from tasks.sources.photos import list_photos
from tasks.sources.realhm import list_realhm
from tasks.sources.retouch import list_retouch
from tasks.sources.starter import list_starter, write_starter
from tasks.splits import SPLITS, check_groups, choose_split
from tasks.synthesis import illuminants_for

SOURCES: dict[str, Callable[[Params], Candidates]] = {
    "starter": list_starter,
    "photos": list_photos,
    "coco": list_coco,
    "iharmony4": list_iharmony4,
    "realhm": list_realhm,
    "retouch": list_retouch,
    "composites": list_composites,
}
CHUNK_PHOTOGRAPHS = 50  # the unit of retry and of resuming: a few seconds of work
CHUNK_SAMPLES = 100  # of the other kinds
CHUNK_REFERENCES = 48  # per split and label: a chunk's objects draw from so many shuffled references, which then need decoding once
# what decides a part's bytes: parts of a killed run that other code wrote are not continued
CODE = (__file__, *(str(module.__file__) for module in (checks, color_transfer, images, object_composites, recolor, seeds, synthesis)))
CACHED_REFERENCES = 256  # foregrounds kept decoded while a chunk is worked on: about 50 MB

Row = dict[str, Any]


@dataclass(frozen=True)
class IngestChunk:
    """One unit of work: what `folder/chunks/<name>.json` says; its result goes to `folder/parts/<name>.json`."""

    name: str
    folder: str


@dataclass(frozen=True)
class IngestedChunk:
    """A chunk that is done, and how much came of it."""

    name: str
    num_rows: int
    num_rejects: int


# --- The plan ---------------------------------------------------------------------------------------------------------------------------


def plan_ingest(params: Params) -> list[IngestChunk]:
    """The chunks of work, after listing every source; writes the plan below `paths.work` and empties the output folders.

    Raises ValueError naming key and path if a source's folder is missing, a source lists nothing, or a group stands in two splits.
    """
    if not params.ingest.sources:
        raise ValueError(f"ingest.sources: empty; name at least one of {', '.join(SOURCES)}")
    if "starter" in params.ingest.sources:
        write_starter(params)
    listed = {name: SOURCES[name](params) for name in sorted(set(params.ingest.sources))}
    for name, candidates in listed.items():
        if not any(getattr(candidates, field.name) for field in dataclasses.fields(candidates)):
            raise ValueError(f"ingest.sources: {name} lists no sample at all")
    joined = _settle_splits(_join(listed.values()), params.ingest)
    samples: list[Candidate] = [*joined.photographs, *joined.pairs, *joined.retouches, *joined.composites]
    check_groups((sample.group, str(sample.split), sample.key) for sample in samples)
    folder = _plan_folder(params, joined)
    names = _write_plan(folder, joined, params)
    clear_folder(params.paths.index)
    clear_folder(params.paths.composites)
    return [IngestChunk(name, folder.as_posix()) for name in names]


def _join(listed: Iterable[Candidates]) -> Candidates:
    every = list(listed)
    return Candidates(
        photographs=tuple(one for candidates in every for one in candidates.photographs),
        pairs=tuple(one for candidates in every for one in candidates.pairs),
        retouches=tuple(one for candidates in every for one in candidates.retouches),
        composites=tuple(one for candidates in every for one in candidates.composites),
        rejects=tuple(one for candidates in every for one in candidates.rejects),
    )


def _settle_splits(candidates: Candidates, ingest: Ingest) -> Candidates:
    def settle(samples: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            sample if sample.split else dataclasses.replace(
                sample, split=choose_split(sample.group, val_share=ingest.val_share, test_share=ingest.test_share))
            for sample in samples
        )

    return Candidates(
        photographs=settle(candidates.photographs), pairs=settle(candidates.pairs), retouches=settle(candidates.retouches),
        composites=settle(candidates.composites), rejects=candidates.rejects,
    )


def _plan_folder(params: Params, candidates: Candidates) -> Path:
    """Where this plan's state lies: another folder for other params, other samples, files that were changed since, or other code."""
    settings = params.ingest.model_dump(mode="json", exclude={"num_workers", "max_reject_fraction"})
    paths = {name: getattr(params.paths, name).as_posix() for name in ("raw", "starter", "composites")}
    digest = hashlib.sha256(json.dumps([SCHEMA_VERSION, params.seed, settings, paths], sort_keys=True).encode())
    for code in CODE:
        digest.update(Path(code).read_bytes())
    for field in dataclasses.fields(candidates):
        for sample in getattr(candidates, field.name):
            values = dataclasses.asdict(sample)
            stamps = [_stamp(value) for name, value in values.items() if name.endswith("_path") and value]
            digest.update(json.dumps([values, stamps], sort_keys=True).encode())
    return params.paths.work / "ingest" / digest.hexdigest()[:16]


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _write_plan(folder: Path, candidates: Candidates, params: Params) -> list[str]:
    """Write the chunks, the references and what finishing needs to know; the chunks' names in order."""
    chunks: list[dict[str, list[Row]]] = [{"objects": [dataclasses.asdict(one) for one in objects]}
                                          for objects in _object_chunks(_plan_objects(candidates, params))]
    for kind, samples in (("pairs", candidates.pairs), ("retouches", candidates.retouches), ("composites", candidates.composites)):
        for first in range(0, len(samples), CHUNK_SAMPLES):
            chunks.append({kind: [dataclasses.asdict(one) for one in samples[first:first + CHUNK_SAMPLES]]})
    names = [f"{number:05d}" for number in range(len(chunks))]
    for name, chunk in zip(names, chunks, strict=True):
        write_json(folder / "chunks" / f"{name}.json", chunk)
    write_json(folder / "references.json", [dataclasses.asdict(one) for one in candidates.photographs])
    counts = Counter(sample.source for field in dataclasses.fields(candidates) for sample in getattr(candidates, field.name))
    write_json(folder / "plan.json", {
        "chunks": names, "samples": dict(counts),
        "rejects": [{**dataclasses.asdict(reject), "reason": reject.reason.value} for reject in candidates.rejects],
    })
    write_json(folder.parent / "current.json", {"folder": folder.name})
    return names


def _plan_objects(candidates: Candidates, params: Params) -> list[PlannedObject]:
    """Every object with its place in the layout. A photograph that has pairs of its own, of whatever kind, gets no synthesized ones."""
    limits = params.ingest.synthesis
    paired = {pair.group for pair in candidates.pairs}
    numbers: Counter[str] = Counter()
    owners: dict[tuple[str, str], str] = {}
    planned = []
    for candidate in sorted(candidates.photographs, key=lambda one: (one.source, one.image_path, one.key)):
        numbers[candidate.image_path] += 1
        count = limits.composites_per_object if candidate.split == "train" else limits.composites_per_test_object
        planned.append(PlannedObject(
            candidate=candidate, image_id=_image_id(candidate, owners), number=numbers[candidate.image_path],
            num_composites=0 if candidate.group in paired else count,
        ))
    return planned


def _image_id(candidate: PhotographCandidate, owners: dict[tuple[str, str], str]) -> str:
    """The photograph's name in the layout, of letters, digits and '-' only, for '_' separates; a hash tells apart what would be equal."""
    stem = Path(candidate.image_path).stem[:LONGEST_NAME]
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)
    if owners.setdefault((candidate.source, plain), candidate.image_path) == candidate.image_path:
        return plain
    return f"{plain}-{hashlib.sha256(candidate.image_path.encode()).hexdigest()[:8]}"


def _object_chunks(objects: Sequence[PlannedObject]) -> list[list[PlannedObject]]:
    """Objects cut into chunks of `CHUNK_PHOTOGRAPHS` photographs; a photograph's objects stay together, so that it is decoded once."""
    images = list(dict.fromkeys(planned.candidate.image_path for planned in objects))
    chunk_of = {image: place // CHUNK_PHOTOGRAPHS for place, image in enumerate(images)}
    chunks: list[list[PlannedObject]] = [[] for _ in range(-(-len(images) // CHUNK_PHOTOGRAPHS))]
    for planned in objects:
        chunks[chunk_of[planned.candidate.image_path]].append(planned)
    return chunks


# --- One chunk --------------------------------------------------------------------------------------------------------------------------


def ingest_chunk(params: Params, chunk: IngestChunk) -> IngestedChunk:
    """Check and synthesize one chunk; its part appears when all its files are there. A chunk that is done is not done again.

    A bad sample is a row among the part's rejects. I/O errors that a retry may heal pass through.
    """
    folder = Path(chunk.folder)
    part_path = folder / "parts" / f"{chunk.name}.json"
    part = _finished_part(part_path, folder)
    if part is None:
        part = _work_chunk(params, chunk, read_json(folder / "chunks" / f"{chunk.name}.json"))
        write_json(part_path, part)
    return IngestedChunk(chunk.name, sum(len(part[table]) for table in TABLES if table != "rejects"), len(part["rejects"]))


def _finished_part(path: Path, folder: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    part: dict[str, Any] = read_json(path)
    return part if all((folder / "composites" / name).is_file() for name in part["files"]) else None


def _work_chunk(params: Params, chunk: IngestChunk, samples: Mapping[str, list[Row]]) -> dict[str, Any]:
    part: dict[str, Any] = {**{table: [] for table in TABLES}, "files": []}
    if "objects" in samples:
        objects = [PlannedObject(**{**values, "candidate": PhotographCandidate(**values["candidate"])}) for values in samples["objects"]]
        _work_objects(params, objects, chunk, part)
    for values in samples.get("pairs", ()):
        _check_into(part, "pairs", PairCandidate(**values), check_pair, params.ingest)
    for values in samples.get("retouches", ()):
        _check_into(part, "retouches", RetouchCandidate(**values), check_retouch, params.ingest)
    for values in samples.get("composites", ()):
        _check_into(part, "composites", CompositeCandidate(**values), check_composite, params.ingest)
    return part


def _check_into(part: dict[str, Any], table: str, candidate: Any, check: Callable[[Any, Ingest], Row], limits: Ingest) -> None:
    try:
        part[table].append(check(candidate, limits))
    except BadSample as bad:
        part["rejects"].append(_reject_row(candidate, bad))


def _reject_row(sample: Candidate | ListingReject, bad: BadSample) -> Row:
    return {
        "key": sample.key, "source": sample.source, "subset": sample.subset,
        "path": bad.path, "reason": bad.reason.value, "detail": str(bad),
    }


def _work_objects(params: Params, objects: Sequence[PlannedObject], chunk: IngestChunk, part: dict[str, Any]) -> None:
    """Check each photograph of a chunk, decoded once, and each of its objects; synthesize their composites into the work folder."""
    limits, folder = params.ingest, Path(chunk.folder)
    context = _context(params, folder, chunk.name)
    by_image: dict[str, list[PlannedObject]] = {}
    for planned in objects:
        by_image.setdefault(planned.candidate.image_path, []).append(planned)
    for path, owned in by_image.items():
        try:
            image = check_image(path, limits)
        except BadSample as bad:
            part["rejects"] += [_reject_row(planned.candidate, bad) for planned in owned]
            continue
        shrunk = shrink_to(image.pixels, context.limits.max_side) if any(planned.num_composites for planned in owned) else image.pixels
        for planned in owned:
            try:
                mask = check_mask(planned.candidate.mask_path, image, limits)
            except BadSample as bad:
                part["rejects"].append(_reject_row(planned.candidate, bad))
                continue
            part["photographs"].append(photograph_row(planned.candidate, image, mask))
            if planned.num_composites:
                foreground = (shrunk, shrink_mask(mask, context.limits.max_side))
                made = synthesize_object(planned, foreground, context, folder=params.paths.composites)
                part["pairs"] += made.rows
                part["rejects"] += made.rejects
                part["files"] += _write_files(folder / "composites", made)


def _write_files(folder: Path, made: ObjectComposites) -> list[str]:
    for name, data in made.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)  # whole once the part is there, which is written last
    return [name for name, _ in made.files]


def _context(params: Params, folder: Path, name: str) -> SynthesisContext:
    pools = _reference_pools(folder, params.seed)
    limits = params.ingest

    @cache
    def window(split: str, label: str) -> tuple[PhotographCandidate, ...]:
        pool = pools.get((split, label), ())
        first = derive_seed(params.seed, "references", name, split, label) % max(1, len(pool))
        return (pool[first:] + pool[:first])[:CHUNK_REFERENCES]

    def references(candidate: PhotographCandidate) -> Sequence[PhotographCandidate]:
        labels = [candidate.label, ""] if candidate.label else [""]
        windows = (window(str(candidate.split), label) for label in labels)
        return next((pool for pool in windows if any(one.group != candidate.group for one in pool)), ())

    @lru_cache(maxsize=CACHED_REFERENCES)
    def load(candidate: PhotographCandidate) -> Foreground | None:
        try:
            image = check_image(candidate.image_path, limits)
            mask = check_mask(candidate.mask_path, image, limits)
            return shrink_to(image.pixels, limits.synthesis.max_side), shrink_mask(mask, limits.synthesis.max_side)
        except BadSample:
            return None  # it is a reject of its own chunk

    illuminants = illuminants_for(limits.synthesis.weights, params.paths.raw)
    return SynthesisContext(seed=params.seed, limits=limits.synthesis, illuminants=illuminants, references=references, load=load)


@lru_cache(maxsize=1)
def _reference_pools(folder: Path, seed: int) -> Mapping[tuple[str, str], tuple[PhotographCandidate, ...]]:
    """The photographs of a plan by (split, label), and by (split, "") all of a split, shuffled. A plan's folder keeps its meaning."""
    pools: dict[tuple[str, str], list[PhotographCandidate]] = {}
    photographs = [PhotographCandidate(**values) for values in read_json(folder / "references.json")]
    for candidate in sorted(photographs, key=lambda one: derive_seed(seed, "reference", one.key)):
        for label in {candidate.label, ""}:
            pools.setdefault((str(candidate.split), label), []).append(candidate)
    return {name: tuple(pool) for name, pool in pools.items()}


# --- The end ----------------------------------------------------------------------------------------------------------------------------


def finish_ingest(params: Params, results: Sequence[IngestedChunk]) -> dict[str, float]:
    """Join the parts to the index and the composites folder; how much there is of everything.

    Raises ValueError if a chunk of the plan is missing, or with the table of reasons if a source has more bad samples than
    `ingest.max_reject_fraction`; the rejects table is written all the same.
    """
    folder = params.paths.work / "ingest" / str(read_json(params.paths.work / "ingest" / "current.json")["folder"])
    plan = read_json(folder / "plan.json")
    missing = sorted(set(plan["chunks"]) - {result.name for result in results})
    if missing:
        raise ValueError(f"ingest: {len(missing)} of {len(plan['chunks'])} chunks are not done, first {missing[0]}; run the stage again")
    parts = [read_json(folder / "parts" / f"{name}.json") for name in plan["chunks"]]
    rows: dict[str, list[Row]] = {table: [row for part in parts for row in part[table]] for table in TABLES}
    rows["rejects"] += [{name: reject[name] for name in TABLES["rejects"].names} for reject in plan["rejects"]]
    index = clear_folder(params.paths.index)
    write_table(index / "rejects.parquet", rows["rejects"], TABLES["rejects"])
    check_reject_fractions(rows["rejects"], plan["samples"], params.ingest.max_reject_fraction)
    _place_composites(params, rows["pairs"], folder, [name for part in parts for name in part["files"]])
    for table in TABLES:
        write_table(index / f"{table}.parquet", rows[table], TABLES[table])
    metrics = _count(rows)
    write_json(index / "manifest.json", {
        "schema_version": SCHEMA_VERSION, "samples": plan["samples"],
        "tables": {table: {"rows": len(rows[table]), "sha256": _file_sha256(index / f"{table}.parquet")} for table in TABLES},
    })
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)
    return metrics


def check_reject_fractions(rejects: Sequence[Row], samples: Mapping[str, int], limit: float) -> None:
    """Raise ValueError, with a table of reasons and an example of each, if a source's share of bad samples is over `limit`.

    Composites whose synthesis failed do not count: they are draws of ours, not samples that were brought.
    """
    for source, total in sorted(samples.items()):
        bad = [row for row in rejects if row["source"] == source and row["reason"] != RejectReason.SYNTHESIS_FAILED.value]
        if len(bad) > limit * total:
            examples = {row["reason"]: row["detail"] for row in reversed(bad)}
            counts = Counter(row["reason"] for row in bad)
            table = "\n".join(f"  {count:6d}  {reason}, as in {examples[reason]}" for reason, count in counts.most_common())
            raise ValueError(
                f"ingest: {len(bad)} of {total} samples of source {source} are bad ({len(bad) / total:.1%}), over "
                f"ingest.max_reject_fraction = {limit:g}; all of them are in the rejects table:\n{table}"
            )


def _place_composites(params: Params, pairs: Sequence[Row], folder: Path, files: Sequence[str]) -> None:
    """Link the synthesized files from the work folder to `paths.composites` (or copy them), with list files and a manifest, last."""
    target = clear_folder(params.paths.composites)
    for name in sorted(set(files)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(folder / "composites" / name, target / name)
    own = [row for row in pairs if Path(row["composite_path"]).is_relative_to(params.paths.composites)]
    entries = [(subset_folder(row["source"]), Path(row["composite_path"]).name, row["split"]) for row in own]
    write_lists(target, entries)
    counts = Counter(subset for subset, _, _ in entries)
    write_json(target / "manifest.json", {"layout": f"<Sub>/{COMPOSITES} ...", "composites": dict(counts)})


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # another file system, or one without links


def _file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _count(rows: Mapping[str, Sequence[Row]]) -> dict[str, float]:
    counts = {
        "photographs": len({row["image_path"] for row in rows["photographs"]}), "objects": len(rows["photographs"]),
        **{f"pairs_{split}": sum(row["split"] == split for row in rows["pairs"]) for split in SPLITS},
        "retouches": len(rows["retouches"]), "composites": len(rows["composites"]), "rejects": len(rows["rejects"]),
    }
    fmse = [row["composite_fmse"] for row in rows["pairs"]]
    return {**{name: float(value) for name, value in counts.items()}, "median_composite_fmse": float(np.median(fmse)) if fmse else 0.0}
