"""What the sources listed, kept below `paths.work` between the steps of ingestion: each sample with its check key, each listing reject."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from sys import intern

import pyarrow as pa
import pyarrow.parquet as pq

from attune.files import read_json, write_json, written_atomically
from attune.rejects import RejectReason
from tasks.index import BATCH_ROWS
from tasks.ingestion.check_cache import check_key
from tasks.sources.candidates import (
    Candidate,
    Candidates,
    CompositeCandidate,
    ListingReject,
    PairCandidate,
    PhotographCandidate,
    RetouchCandidate,
)

# By the table of the index that their rows go to.
KINDS: dict[str, type[Candidate]] = {
    "photographs": PhotographCandidate, "pairs": PairCandidate, "retouches": RetouchCandidate, "composites": CompositeCandidate,
}


_REPEATED = {"source", "subset", "split", "label", "licence"}  # of few values: one text of each in memory


def write_lists(folder: Path, listed: list[Candidates]) -> None:
    """Keep all that the sources listed in `folder`, and the number of samples by source."""
    counts: Counter[str] = Counter()
    for table, kind in KINDS.items():
        samples: list[Candidate] = [sample for candidates in listed for sample in getattr(candidates, table)]
        names = [field.name for field in fields(kind)]
        schema = pa.schema([pa.field("check_key", pa.binary(16)), *(pa.field(name, pa.string()) for name in names)])
        columns = {name: [getattr(one, name) for one in samples] for name in names}
        with written_atomically(folder / f"{table}.parquet") as temporary:
            keyed = pa.table({"check_key": [check_key(sample) for sample in samples], **columns}, schema=schema)
            pq.write_table(keyed, temporary, compression="zstd")
        counts.update(sample.source for sample in samples)
    rejects = [reject for candidates in listed for reject in candidates.rejects]
    counts.update(reject.source for reject in rejects)
    write_json(folder / "listed.json", {"samples": dict(counts), "rejects": [asdict(reject) for reject in rejects]})


def read_list(folder: Path, table: str) -> Iterator[tuple[bytes, Candidate]]:
    """The samples of one kind with their check keys, in the order they were listed; a batch at a time in memory."""
    kind = KINDS[table]
    for batch in pq.ParquetFile(folder / f"{table}.parquet").iter_batches(BATCH_ROWS):
        for row in batch.to_pylist():
            key = row.pop("check_key")
            yield key, kind(**{name: intern(value) if name in _REPEATED and value else value for name, value in row.items()})


def read_lists(folder: Path) -> Iterator[tuple[bytes, Candidate]]:
    """All samples with their check keys."""
    for table in KINDS:
        yield from read_list(folder, table)


def read_listed_counts(folder: Path) -> dict[str, int]:
    """How many samples each source listed, good and bad."""
    return {str(source): int(count) for source, count in read_json(folder / "listed.json")["samples"].items()}


def read_listing_rejects(folder: Path) -> list[ListingReject]:
    """What the sources refused before any file was opened."""
    rows = read_json(folder / "listed.json")["rejects"]
    return [ListingReject(**{**row, "reason": RejectReason(row["reason"])}) for row in rows]
