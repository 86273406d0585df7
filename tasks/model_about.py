"""What a released model says of itself: how it was made and of what, for people to read."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attune.files import read_json
from tasks.index import read_index

NOT_STATED = "not stated"


def describe_model(folder: Path, index: Path | None, *, figures: Mapping[str, float], lineage: Mapping[str, str]) -> dict[str, Any]:
    """JSON values about the harmonizer that was trained into `folder`, on the data of `index`; None where that is not at hand.

    figures: those it was chosen by, with their names. lineage: what only the caller knows: the commit, DVC's hashes.
    """
    trained, weights = read_json(folder / "config.json"), (folder / "model.pt").read_bytes()
    data = {} if index is None else {"training_data": training_data(index)}
    return {
        "architecture": trained["config"], "training": trained["about"], **data,
        "figures": dict(sorted(figures.items())), "lineage": {**lineage, "weights, SHA-256": hashlib.sha256(weights).hexdigest()},
    }


def training_data(index: Path) -> list[dict[str, Any]]:
    """By source and sub-set of the training split: photographs, pairs, and every licence that a photograph of it names; sorted."""
    photographs = [row for row in read_index(index, "photographs") if row["split"] == "train"]
    pairs = Counter((row["source"], row["subset"]) for row in read_index(index, "pairs") if row["split"] == "train")
    found: dict[tuple[str, str], dict[str, set[str]]] = {name: {"images": set(), "licences": set()} for name in pairs}
    for row in photographs:
        entry = found.setdefault((row["source"], row["subset"]), {"images": set(), "licences": set()})
        entry["images"].add(row["image_path"])
        entry["licences"].add(row["licence"] or NOT_STATED)
    return [
        {
            "source": source, "subset": subset, "photographs": len(entry["images"]), "pairs": pairs[source, subset],
            "licences": sorted(entry["licences"] or {NOT_STATED}),
        }
        for (source, subset), entry in sorted(found.items())
    ]
