"""What was listed and checked, settled: each photograph on one side of the split, each sample a row of one table of the index."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attune.rejects import RejectReason
from tasks.ingestion.check_cache import Outcome
from tasks.ingestion.composite_chunks import CheckedObject
from tasks.ingestion.duplicates import group_duplicates
from tasks.ingestion.leaks import LEFT_OUT, Placement, SourcePhotograph, audit_rows, place_photographs
from tasks.ingestion.sample_lists import KINDS, read_list, read_listing_rejects, read_lists
from tasks.params import Ingest
from tasks.sources.candidates import Candidate, ListingReject, PhotographCandidate
from tasks.splits import check_groups

Row = dict[str, Any]

# The pictures of a sample that show its photograph, by table: the column of the path, and of the hash.
_PICTURES = {
    "photographs": (("image_path", "image_phash"),), "pairs": (("target_path", "target_phash"),),
    "retouches": (("before_path", "before_phash"), ("after_path", "after_phash")), "composites": (("composite_path", "composite_phash"),),
}


@dataclass(frozen=True, eq=False)
class SettledSamples:
    """All listed samples with their outcomes, and where each good photograph stands (by what its source calls it)."""

    lists: Path
    outcomes: Mapping[bytes, str]
    photographs: Sequence[SourcePhotograph]
    placements: Mapping[str, Placement]

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of one table of the index: its good samples, but for those left out."""
        for key, sample in read_list(self.lists, table):
            outcome = self._outcome(key)
            if "facts" in outcome and not self._is_left_out(sample):
                yield {**vars(sample), **outcome["facts"], **self._place(sample)}

    def objects(self) -> Iterator[CheckedObject]:
        """Every listed object of a photograph, the bad ones too."""
        for key, sample in read_list(self.lists, "photographs"):
            assert isinstance(sample, PhotographCandidate)
            facts = self._outcome(key).get("facts")
            if facts is None or self._is_left_out(sample):
                yield CheckedObject(sample, None, "")
            else:
                placed = replace(sample, **self._place(sample))
                yield CheckedObject(placed, facts["image_phash"], facts["image_sha256"] + facts["mask_sha256"])

    def rejects(self) -> Iterator[Row]:
        """A row of the rejects table for every sample that is bad or left out, and for every line that the sources refused."""
        for reject in read_listing_rejects(self.lists):
            yield _reject_row(reject, reject.path, reject.reason.value, reject.detail)
        for key, sample in read_lists(self.lists):
            outcome = self._outcome(key)
            if "facts" not in outcome:
                yield _reject_row(sample, outcome["path"], outcome["reason"], outcome["detail"])
            elif self._is_left_out(sample):
                yield self._leak_row(sample)

    def audit(self) -> list[Row]:
        """The rows of the duplicates table."""
        return list(audit_rows(self.photographs, [self.placements[one.name] for one in self.photographs]))

    def _outcome(self, key: bytes) -> Outcome:
        outcome: Outcome = json.loads(self.outcomes[key])
        return outcome

    def _is_left_out(self, sample: Candidate) -> bool:
        return self.placements[sample.group].action == LEFT_OUT

    def _place(self, sample: Candidate) -> dict[str, str]:
        placement = self.placements[sample.group]
        return {"split": placement.split, "group": placement.group}

    def _leak_row(self, sample: Candidate) -> Row:
        placement, path = self.placements[sample.group], _first_picture(sample)
        detail = f"{path}: the photograph stands in {placement.split} as well (group {placement.group}), its source names it {sample.split}"
        return _reject_row(sample, path, RejectReason.LEAK.value, detail)


def settle_samples(lists: Path, outcomes: Mapping[bytes, str], ingest: Ingest) -> SettledSamples:
    """Find out which photographs of a listing are one, and where they stand.

    Raises ValueError if a sample has no outcome yet, or a source names one photograph in two splits.
    """
    named = check_groups((sample.group, sample.split, sample.key) for _, sample in read_lists(lists) if sample.split)
    photographs: dict[str, SourcePhotograph] = {}
    numbers: dict[str, int] = {}
    hashes, owners = [], []
    for table in KINDS:
        for key, sample in read_list(lists, table):
            if key not in outcomes:
                raise ValueError(f"ingest: {sample.key} of source {sample.source} is not checked yet; run the stage again")
            facts = json.loads(outcomes[key]).get("facts")
            if facts is None:
                continue
            for path_column, hash_column in _PICTURES[table]:
                hashes.append(facts[hash_column])
                owners.append(numbers.setdefault(sample.group, len(numbers)))
                picture = SourcePhotograph(
                    name=sample.group, source=sample.source, subset=sample.subset, named_split=named.get(sample.group),
                    path=getattr(sample, path_column), width=facts["width"], height=facts["height"], phash=facts[hash_column],
                )
                photographs[sample.group] = max(photographs.get(sample.group, picture), picture, key=_size_first)
    ordered = list(photographs.values())
    groups = group_duplicates(np.array(hashes, np.uint64), np.array(owners, np.int32), ingest.max_hash_distance)
    placed = place_photographs(ordered, groups, val_share=ingest.val_share, test_share=ingest.test_share)
    placements = {one.name: placement for one, placement in zip(ordered, placed, strict=True)}
    return SettledSamples(lists, outcomes, ordered, placements)


def _size_first(photograph: SourcePhotograph) -> tuple[int, str]:
    return photograph.width * photograph.height, photograph.path


def _first_picture(sample: Candidate) -> str:
    table = next(table for table, kind in KINDS.items() if isinstance(sample, kind))
    return str(getattr(sample, _PICTURES[table][0][0]))


def _reject_row(sample: Candidate | ListingReject, path: str, reason: str, detail: str) -> Row:
    return {"key": sample.key, "source": sample.source, "subset": sample.subset, "path": path, "reason": reason, "detail": detail}
