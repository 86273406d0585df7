"""One photograph under several names, in one source or in several: on which side of the split it stands, and who is left out.

Photographs that are one by their perceptual hashes (`tasks.ingestion.duplicates`) stand on one side:

1. If the source of any of them names its split, the strongest name holds: test before val before train. A photograph of an evaluation set
   so never enters training, whatever else it is called elsewhere.
2. Otherwise the original's hash decides (`choose_split`). The original is the picture of most pixels: a copy that comes later, re-encoded
   or shrunk, moves nothing. Among equally large ones it is the one whose hash lies closest to the evaluation side.

Whoever has no named split follows. Whoever is named to another side is left out of the index: lists of others' benchmarks are neither
enlarged nor rearranged. So a group moves only when a larger picture joins it, or one of a named split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

from tasks.ingestion.perceptual_hash import hash_distance
from tasks.splits import choose_split, split_position

STRENGTH = ("test", "val", "train")
KEPT, MOVED, LEFT_OUT = "kept", "moved", "left_out"


@dataclass(frozen=True, slots=True)
class SourcePhotograph:
    """A photograph as its source calls it (`name`: the samples' group), and the largest picture there is of it."""

    name: str
    source: str
    subset: str
    named_split: str | None
    path: str
    width: int
    height: int
    phash: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a photograph stands. `group`: the original's name; `own_split`: where it would stand without its duplicates."""

    group: str
    split: str
    own_split: str
    action: str


def place_photographs(
    photographs: Sequence[SourcePhotograph], groups: Int32[np.ndarray, " N"], *, val_share: float, test_share: float,
) -> list[Placement]:
    """The placement of each photograph by the rule above; `groups`: equal numbers for those that are one."""
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(place)
    placements: list[Placement | None] = [None] * len(photographs)
    for places in members.values():
        ones = [photographs[place] for place in places]
        original = find_original(ones)
        own = [one.named_split or choose_split(one.name, val_share=val_share, test_share=test_share) for one in ones]
        named = {one.named_split for one in ones}
        strongest = next((split for split in STRENGTH if split in named), None)
        split = strongest or choose_split(original.name, val_share=val_share, test_share=test_share)
        for place, one, own_split in zip(places, ones, own, strict=True):
            action = KEPT if own_split == split else LEFT_OUT if one.named_split else MOVED
            placements[place] = Placement(original.name, split, own_split, action)
    return [placement for placement in placements if placement is not None]


def find_original(photographs: Sequence[SourcePhotograph]) -> SourcePhotograph:
    """The one of most pixels; of several the one whose name's hash is closest to the evaluation side."""
    return min(photographs, key=lambda one: (-one.width * one.height, split_position(one.name), one.name))


def audit_rows(photographs: Sequence[SourcePhotograph], placements: Sequence[Placement]) -> Iterator[dict[str, Any]]:
    """A row of the duplicates table for every photograph that is not alone in its group."""
    sizes: dict[str, int] = {}
    hashes = {one.name: one.phash for one in photographs}
    for placement in placements:
        sizes[placement.group] = sizes.get(placement.group, 0) + 1
    for one, placement in zip(photographs, placements, strict=True):
        if sizes[placement.group] > 1:
            yield {
                "key": one.name, "source": one.source, "subset": one.subset, "split": placement.split, "group": placement.group,
                "path": one.path, "width": one.width, "height": one.height, "phash": one.phash,
                "distance": hash_distance(one.phash, hashes[placement.group]),
                "named_split": one.named_split, "own_split": placement.own_split, "action": placement.action,
            }


def count_leaks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How much the audit found: groups of duplicates, photographs in them, and of those that stood on another side what became."""
    actions = [row["action"] for row in rows]
    return {
        "duplicate_groups": float(len({row["group"] for row in rows})), "duplicate_photographs": float(len(rows)),
        "leaks_found": float(len(rows) - actions.count(KEPT)),
        "leaks_moved": float(actions.count(MOVED)), "leaks_left_out": float(actions.count(LEFT_OUT)),
    }
