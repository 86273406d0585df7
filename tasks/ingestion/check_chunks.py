"""Checking in chunks: every sample that no outcome is known of is opened, checked and hashed; outcomes go to the cache.

The order of chunks and the number of threads or processes change nothing: an outcome depends on its sample's files alone.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attune.rejects import BadSample
from attune.unit_keys import unit_key
from tasks.ingestion.check_cache import Outcome, check_key
from tasks.ingestion.checks import CheckedImage, check_composite, check_image, check_mask, check_pair, check_retouch, photograph_row
from tasks.ingestion.kept_work import DoneChunk, WorkChunk, iterate_results, read_chunk, work_key, write_chunk, write_results
from tasks.params import Ingest, Params, key_params
from tasks.sources.candidates import Candidate, CompositeCandidate, PairCandidate, PhotographCandidate, RetouchCandidate

CHUNK_PHOTOGRAPHS = 100  # the unit of retry and of resuming: seconds of work, which an outcome of each sample ends
_ELSEWHERE = {  # params that say what is read and what becomes of it, not what is good
    "sources", "folders", "max_reject_fraction", "val_share", "test_share", "max_hash_distance", "starter", "synthesis",
}

KINDS = {kind.__name__: kind for kind in (PhotographCandidate, PairCandidate, RetouchCandidate, CompositeCandidate)}
_CHECKS: dict[type, Callable[[Any, Ingest], dict[str, Any]]] = {
    PairCandidate: check_pair, RetouchCandidate: check_retouch, CompositeCandidate: check_composite,
}


def outcomes_folder(params: Params) -> Path:
    """Where outcomes under these params' rules are filed."""
    rules = unit_key(check_chunk, key_params(params, "ingest", but=[f"ingest.{name}" for name in _ELSEWHERE]))
    return params.paths.work / "ingest" / "checks" / rules


def plan_checks(params: Params, samples: Iterable[tuple[bytes, Candidate]]) -> list[WorkChunk]:
    """The chunks of those `samples`, each with its check key, that no outcome is known of; a photograph's objects stay in one chunk."""
    folder = outcomes_folder(params)
    known = {key for key, _ in iterate_results(folder)}
    waiting: dict[tuple[str, str], list[tuple[bytes, Candidate]]] = {}
    for key, sample in samples:
        if key not in known:
            waiting.setdefault((type(sample).__name__, _first_path(sample)), []).append((key, sample))
    owned = [waiting[name] for name in sorted(waiting)]
    chunks = [
        [one for samples_of_one in owned[first:first + CHUNK_PHOTOGRAPHS] for one in samples_of_one]
        for first in range(0, len(owned), CHUNK_PHOTOGRAPHS)
    ]
    return [_write_chunk(folder, chunk) for chunk in chunks]


def _first_path(sample: Candidate) -> str:
    return next(str(value) for name, value in vars(sample).items() if name.endswith("_path"))


def _write_chunk(folder: Path, samples: Sequence[tuple[bytes, Candidate]]) -> WorkChunk:
    rows = [{"key": key.hex(), "kind": type(sample).__name__, "sample": vars(sample)} for key, sample in samples]
    return write_chunk(folder, work_key(*(key for key, _ in samples)).hex(), rows)


def check_chunk(params: Params, chunk: WorkChunk) -> DoneChunk:
    """Check the samples of one chunk, each photograph opened once; the outcomes are filed together, when all are there.

    A bad sample is an outcome like another. I/O errors that a retry may heal pass through. Raises ValueError naming the file if one is
    changed while it is looked at.
    """
    samples = [(bytes.fromhex(row["key"]), KINDS[row["kind"]](**row["sample"])) for row in read_chunk(chunk)]
    outcomes: dict[bytes, Outcome] = {}
    photograph: tuple[str, CheckedImage | BadSample] | None = None
    for key, sample in samples:
        if isinstance(sample, PhotographCandidate):
            if photograph is None or photograph[0] != sample.image_path:
                photograph = (sample.image_path, _opened(sample.image_path, params.ingest))
            outcomes[key] = _outcome(sample, partial(_check_object, photograph[1]), params.ingest)
        else:
            outcomes[key] = _outcome(sample, _CHECKS[type(sample)], params.ingest)
        if check_key(sample) != key:
            raise ValueError(f"{_first_path(sample)}: changed while it was checked, or another file of {sample.key}; run the stage again")
    write_results(Path(chunk.folder) / f"{chunk.name}.parquet", {key: json.dumps(outcome) for key, outcome in outcomes.items()})
    num_bad = sum("facts" not in outcome for outcome in outcomes.values())
    return DoneChunk(chunk.name, len(samples) - num_bad, num_bad)


def _opened(path: str, limits: Ingest) -> CheckedImage | BadSample:
    try:
        return check_image(path, limits)
    except BadSample as bad:
        return bad


def _check_object(image: CheckedImage | BadSample, sample: PhotographCandidate, limits: Ingest) -> dict[str, Any]:
    if isinstance(image, BadSample):
        raise image
    return photograph_row(sample, image, check_mask(sample.mask_path, image, limits))


def _outcome(sample: Any, check: Callable[[Any, Ingest], dict[str, Any]], limits: Ingest) -> Outcome:
    """What the check adds to what is known of the sample, or why it is bad."""
    try:
        row = check(sample, limits)
    except BadSample as bad:
        return {"path": bad.path, "reason": bad.reason.value, "detail": str(bad)}
    named = vars(sample)
    return {"facts": {column: value for column, value in row.items() if column not in named or named[column] != value}}
