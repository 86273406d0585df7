"""Whose colours an object's composites borrow: foregrounds of the same split, and of the same label where there are any.

Choices are made by rank of hashes (rendezvous hashing): each draw takes, of the references that it may choose from, the one whose hash
together with the draw's name is the largest. So every reference is as likely as any other, and a reference that is new or gone changes
its own share of the draws and no other. A draw chooses from a shelf of `SHELF_REFERENCES`, chosen from the whole likewise: objects on one
shelf share them, which then need decoding once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int32, UInt64

from attune.files import written_atomically
from tasks.seeds import derive_seed
from tasks.sources.candidates import PhotographCandidate

NUM_SHELVES = 64
SHELF_REFERENCES = 48  # per split and label
ANY_LABEL = ""

_FIELDS = tuple(PhotographCandidate.__dataclass_fields__)
_SCHEMA = pa.schema([*(pa.field(name, pa.string()) for name in _FIELDS), pa.field("identity", pa.string())])

Hashes = UInt64[np.ndarray, " N"]


@dataclass(frozen=True)
class Reference:
    """An object whose foreground may be borrowed. `identity`: another one for other files or another group."""

    candidate: PhotographCandidate
    identity: str


@dataclass(frozen=True, eq=False)
class _Shelf:
    references: Sequence[Reference]
    groups: np.ndarray
    hashes: Hashes


@dataclass(frozen=True, eq=False)
class References:
    """All references of a plan, as a table, and which rows of it each (split, label) has."""

    table: pa.Table
    hashes: Hashes
    pools: dict[tuple[str, str], Int32[np.ndarray, " _N"]]
    seed: int

    def draw(self, candidate: PhotographCandidate, shelf: int, *names: int) -> Reference | None:
        """The reference for the draw called `names` of an object's draws; None if there is none of another group in its split."""
        for label in dict.fromkeys((candidate.label, ANY_LABEL)):
            found = self._shelf(shelf, str(candidate.split), label)
            ranks = mix(found.hashes ^ np.uint64(derive_seed(self.seed, "draw", candidate.key, *names)))
            ranks[found.groups == candidate.group] = 0
            if ranks.any():
                return found.references[int(ranks.argmax())]
        return None

    @lru_cache(maxsize=1024)  # noqa: B019 - there is one of these at a time
    def _shelf(self, number: int, split: str, label: str) -> _Shelf:
        rows = self.pools.get((split, label), np.zeros(0, np.int32))
        ranks = mix(self.hashes[rows] ^ np.uint64(derive_seed(self.seed, "shelf", number, split, label)))
        chosen = rows[np.argsort(ranks)[::-1][:SHELF_REFERENCES]]
        found = [Reference(PhotographCandidate(**{name: row[name] for name in _FIELDS}), row["identity"])
                 for row in self.table.take(chosen).to_pylist()]
        return _Shelf(found, np.array([one.candidate.group for one in found], dtype=object), self.hashes[chosen])


def shelf_of(seed: int, source: str, image_id: str) -> int:
    """The shelf that a photograph's objects draw from."""
    return derive_seed(seed, "shelf of", source, image_id) % NUM_SHELVES


def mix(values: Hashes) -> Hashes:
    """Each value's hash (the finalizer of SplitMix64): a bijection in which every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def write_references(path: Path, references: Sequence[Reference]) -> None:
    """Keep `references` as a table that `read_references` reads."""
    columns = {name: [getattr(one.candidate, name) for one in references] for name in _FIELDS}
    with written_atomically(path) as temporary:
        table = pa.table({**columns, "identity": [one.identity for one in references]}, schema=_SCHEMA)
        pq.write_table(table, temporary, compression="zstd")


@lru_cache(maxsize=1)
def read_references(path: Path, seed: int) -> References:
    """The references that were kept as `path`, whose name must change with them."""
    table = pq.read_table(path, schema=_SCHEMA)
    pools: dict[tuple[str, str], list[int]] = {}
    for row, (split, label) in enumerate(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True)):
        for name in {label, ANY_LABEL}:
            pools.setdefault((split, name), []).append(row)
    hashes = np.array([derive_seed(seed, "reference", key) for key in table["key"].to_pylist()], np.uint64)
    return References(table, hashes, {name: np.array(rows, np.int32) for name, rows in pools.items()}, seed)
