"""What the index holds, counted for the report, and whether any photograph stands on two sides."""

from collections import Counter, defaultdict
from pathlib import Path

from tasks.evaluation_report import Audit
from tasks.index import read_index
from tasks.splits import SPLITS


def audit_index(folder: Path) -> Audit:
    """The index in `folder`, counted by source and sub-set. ValueError as `read_index`."""
    photographs, pairs, rejects = (read_index(folder, name) for name in ("photographs", "pairs", "rejects"))
    images: dict[tuple[str, str], set[str]] = defaultdict(set)
    objects, made = Counter[tuple[str, str]](), Counter[tuple[str, str, str]]()
    splits: dict[str, set[str]] = defaultdict(set)
    for row in photographs:
        images[row["source"], row["subset"]].add(row["image_path"])
        objects[row["source"], row["subset"]] += 1
        splits[row["group"]].add(row["split"])
    for row in pairs:
        made[row["source"], row["subset"], row["split"]] += 1
        splits[row["group"]].add(row["split"])
    places = sorted({*images, *((source, subset) for source, subset, _ in made)})
    reasons = Counter((row["source"], row["reason"]) for row in rejects)
    examples = {(row["source"], row["reason"]): row["detail"] for row in reversed(rejects)}
    return Audit(
        counts=[
            {"source": source, "subset": subset, "photographs": len(images[source, subset]), "objects": objects[source, subset]}
            | {split: made[source, subset, split] for split in SPLITS}
            for source, subset in places
        ],
        rejects=[
            {"source": source, "reason": reason, "count": count, "example": examples[source, reason]}
            for (source, reason), count in reasons.most_common()
        ],
        shared_groups=sum(len(found) > 1 for found in splits.values()),
        checks=(),
    )
