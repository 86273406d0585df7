"""The recipes: the usable objects of each split are paired under quotas, placed, and written down as rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from tasks.mining.foregrounds import Reason
from tasks.mining.gap import DIFFICULTIES, GAP_NAMES, appearance, difficulty_bins, difficulty_edges, gap_components
from tasks.mining.pairing import SCORE_NAMES, UNNAMED, Objects, PossiblePairs, find_possible_pairs, label_relations, score_components
from tasks.mining.placement import place_foreground, place_natural
from tasks.mining.quotas import choose_pairs, quota_counts
from tasks.mining.recipes import ORIGIN, placement_columns
from tasks.params import Mine, Params
from tasks.seeds import derive_seed, numpy_generator
from tasks.splits import SPLITS

_HELD_OUT_SHARE = 0.1  # of num_composites, for val and for test each

Row = dict[str, Any]


def pair_objects(rows: Sequence[Row], analysed: Sequence[Row], params: Params, *, brought: Float[np.ndarray, " B"]) -> list[Row]:
    """The recipes: for each split its share of composites, from its own photographs only.

    analysed: the ANALYSIS row of each of `rows`. brought: gaps of real composites that the user brought; the bounds between easy, medium
    and hard are theirs where there are enough, else those of the possible pairs of all splits: "hard" means one thing everywhere.
    """
    mine = params.mine
    labels = sorted({row["label"] for row in rows if _named(row["label"], mine)})
    numbers = {label: number for number, label in enumerate(labels)}
    groups = {group: number for number, group in enumerate(sorted({row["group"] for row in rows}))}
    relations = label_relations(
        np.array([groups[row["group"]] for row in rows]), np.array([numbers.get(row["label"], UNNAMED) for row in rows]),
        frame_box=np.array([found["frame_box"] or (0.0, 0.0, 1.0, 1.0) for found in analysed], np.float64), num_labels=len(labels),
    )
    usable = [(row, found) for row, found in zip(rows, analysed, strict=True) if is_usable(found)]
    parts = {split: [pair for pair in usable if pair[0]["split"] == split] for split in SPLITS}
    objects = {split: _objects(pairs, groups, numbers) for split, pairs in parts.items() if pairs}
    possible = {
        split: find_possible_pairs(
            found, relations, mine=mine, num_wanted=num_wanted(split, mine),
            rng=numpy_generator(params.seed, "mine", "candidates", split),
        )
        for split, found in objects.items()
    }
    edges = difficulty_edges(np.concatenate([found.gap for found in possible.values()]), brought)
    recipes = []
    for split, found in possible.items():
        bins = difficulty_bins(found.gap, edges)
        chosen = _choose(found, bins, split, params)
        measured = _measured(objects[split], relations, found[chosen], mine)
        for number, position in enumerate(chosen):
            pair = int(found.background[position]), int(found.foreground[position])
            recipe = _recipe(f"{split}-{number:06d}", parts[split], objects[split], pair, params=params)
            recipes.append(recipe | {name: column[number] for name, column in measured.items()} | {
                "gap": found.gap[position], "score": found.score[position], "difficulty": DIFFICULTIES[bins[position]]})
    return recipes


def is_usable(found: Mapping[str, Any]) -> bool:
    """Whether the object of an ANALYSIS row may at least be cut out."""
    return not found["reason"] or not Reason(found["reason"]).bars_foreground


def num_wanted(split: str, mine: Mine) -> int:
    """How many composites a split should get."""
    return mine.num_composites if split == "train" else max(1, round(_HELD_OUT_SHARE * mine.num_composites))


def _choose(possible: PossiblePairs, bins: np.ndarray, split: str, params: Params) -> np.ndarray:
    mine, wanted = params.mine, num_wanted(split, params.mine)
    rng = numpy_generator(params.seed, "mine", "choice", split)
    if mine.mode == "pih_random":  # the paper has no quotas: any difficulty is taken as it comes
        return choose_pairs(possible, np.zeros_like(bins), counts=[wanted], mine=mine, rng=rng)
    counts = quota_counts(wanted, [getattr(mine.quotas, name) for name in DIFFICULTIES])
    return choose_pairs(possible, bins, counts=counts, mine=mine, rng=rng)


def _recipe(key: str, objects_rows: Sequence[tuple[Row, Row]], objects: Objects, pair: tuple[int, int], *, params: Params) -> Row:
    mine = params.mine
    (background, background_found), (foreground, foreground_found) = (objects_rows[position] for position in pair)
    seed = derive_seed(params.seed, "mine", key)
    rng = np.random.default_rng(seed)
    placement = place_foreground(objects, *pair, mine=mine, rng=rng)
    natural = place_natural(objects, pair[0], mine=mine, rng=rng)
    columns = (*ORIGIN, "source", "label")
    target = placement.target
    share = foreground_found["fg_ratio"] / _box_share(foreground_found) * target.width * target.height / mine.size**2
    return {
        "key": key, "split": background["split"], "seed": seed, "mode": mine.mode,
        **{f"fg_{name}": foreground[name] for name in columns}, **{f"bg_{name}": background[name] for name in columns},
        **placement_columns(placement), **placement_columns(natural, prefix="natural_"),
        **{name: getattr(mine, name) for name in ("size", "max_side", "choke", "feather_sigma", "jpeg_quality")}, "plate": mine.plate,
        "plate_margin": mine.plate_margin,
        **{f"plate_{name}": background_found[f"plate_{name}"] for name in ("path", "sha256", "detail", "offset", "score")},
        "fg_ratio": share,
        **{f"fg_{name}": foreground_found[f"fg_{name}"] for name in ("mean", "std", "chromaticity")},
        **{f"ring_{name}": background_found[f"ring_{name}"] for name in ("mean", "std", "chromaticity")},
    }


def _measured(objects: Objects, relations: Float32[np.ndarray, "L L"], pairs: PossiblePairs, mine: Mine) -> dict[str, list[Any]]:
    """Components of gap and score of each pair, and why it was allowed, as columns of RECIPES."""
    gaps = gap_components(objects.foreground[pairs.foreground], objects.ring[pairs.background])
    scores = score_components(objects, relations, pairs.background, pairs.foreground)
    columns: dict[str, list[Any]] = {f"gap_{name}": list(gaps[:, number]) for number, name in enumerate(GAP_NAMES)}
    columns |= {f"score_{name}": list(scores[:, number]) for number, name in enumerate(SCORE_NAMES)}
    if mine.mode == "pih_random":
        return columns | {"fit": ["random"] * len(gaps)}
    named = ["same_label" if semantic == 1.0 else "related_label" for semantic in scores[:, 0]]
    return columns | {"fit": [name if fits else "filler" for name, fits in zip(named, pairs.fits, strict=True)]}


def _objects(pairs: Sequence[tuple[Row, Row]], groups: Mapping[str, int], labels: Mapping[str, int]) -> Objects:
    found = [analysed for _, analysed in pairs]
    return Objects(
        group=np.array([groups[row["group"]] for row, _ in pairs]),
        label=np.array([labels.get(row["label"], UNNAMED) for row, _ in pairs]),
        is_background=np.array([not analysed["reason"] for analysed in found]),
        photo_size=np.array([(analysed["width"], analysed["height"]) for analysed in found], np.float32),
        source_box=np.array([analysed["source_box"] for analysed in found], np.float32),
        contact=np.array([analysed["contact"] for analysed in found], bool),
        shape=np.array([analysed["shape"] for analysed in found], np.float32),
        foreground=appearance(found, prefix="fg_"), ring=appearance(found, prefix="ring_"),
    )


def _named(label: str | None, mine: Mine) -> bool:
    return bool(label) and label not in mine.unnamed_labels


def _box_share(found: Row) -> float:
    left, top, right, bottom = found["frame_box"]
    return float((right - left) * (bottom - top))
