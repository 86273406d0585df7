"""Stage `mine`: real composites out of indexed photographs, and a natural sample of the same making beside each.

plan_mine filters the objects, pairs them and writes the recipes; render_shard renders one shard of recipes; finish_mine writes the
manifest and the pictures. Photographs are squashed into a square of `mine.size` px, as all of the trainer's images are.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import wasserstein_distance

from tasks.compositing import to_frame
from tasks.files import written_atomically
from tasks.foregrounds import ANALYSIS, Reason, analyse_photograph, rejected
from tasks.gap import DIFFICULTIES, GAP_NAMES, appearance, difficulty_bins, gap_components, gap_size, measure_gap, tercile_edges
from tasks.images import read_image, read_mask
from tasks.index import read_index, read_table, write_table
from tasks.mining_pictures import write_contact_sheets, write_gap_comparison, write_summary
from tasks.pairing import (
    SCORE_NAMES,
    UNNAMED,
    Candidates,
    Objects,
    choose_pairs,
    find_candidates,
    label_relations,
    quota_counts,
    score_components,
)
from tasks.params import Mine, Params
from tasks.placement import place_foreground, place_natural
from tasks.recipes import ORIGIN, RECIPES, placement_columns, read_photograph, render_recipe
from tasks.seeds import derive_seed, numpy_generator
from tasks.shards import ShardInfo, ShardReader, decode_composite, encode_composite, shard_info, write_manifest, write_shard

SPLITS = ("train", "val", "test")
_HELD_OUT_SHARE = 0.1  # of num_composites, for val and for test each
_PHOTOGRAPHS_PER_UNIT = 64  # analysed between two saves of the resumable state
_CACHED_PHOTOGRAPHS = 32  # decoded, while a shard is rendered
_HALF = 128  # a matte value from here on is foreground
_ANALYSIS_VERSION = 1  # counts up when a measured number changes its meaning: old caches are then ignored
# What the analysis of an object does not depend on; all other params of the section are part of the cache's name.
_LATER = {
    "num_composites", "mode", "max_upsampling", "max_lightness_gap", "max_colour_gap", "weights", "min_semantic", "candidates",
    "temperature", "max_per_foreground", "max_per_background", "quotas", "rescale", "choke", "feather_sigma", "jitter", "jpeg_quality",
    "shard_size", "num_workers", "unnamed_labels",
}

REJECTS = pa.schema([
    pa.field("key", pa.string()), pa.field("reason", pa.dictionary(pa.int32(), pa.string())), pa.field("detail", pa.string()),
])

Row = dict[str, Any]


@dataclass(frozen=True)
class MineShard:
    """One shard: the recipes `first` up to `stop` of a split."""

    split: str
    number: int
    first: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}.tar"


def plan_mine(params: Params) -> list[MineShard]:
    """The shards to render, after filtering and pairing; writes recipes.parquet and rejects.parquet in `paths.mined`.

    Analysed photographs are kept below `paths.work`, so that an interrupted run goes on. Shards of other recipes are removed.
    Raises ValueError if the index holds no object, or with the table of reasons if none passes the filters.
    """
    rows = read_index(params.paths.index, "photographs")
    analysed = _find_plates(analyse_objects(rows, params), params)
    rejects = [{name: found[name] for name in REJECTS.names} for found in analysed if found["reason"]]
    if not any(map(_usable, analysed)):
        reasons = Counter(reject["reason"] for reject in rejects)
        table = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "the index holds no object"
        raise ValueError(f"mine: none of {len(rows)} objects passes the filters ({table}); see mine.* in params.yaml")
    recipes = pair_objects(rows, analysed, params)
    folder = params.paths.mined
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(recipes, params.mine.shard_size)
    before = _digest(folder / "recipes.parquet")
    write_table(folder / "rejects.parquet", rejects, REJECTS)
    write_table(folder / "recipes.parquet", recipes, RECIPES)
    kept = {shard.name for shard in shards} if before == _digest(folder / "recipes.parquet") else set()
    for path in folder.iterdir():
        if path.is_file() and path.name not in kept | {"recipes.parquet", "rejects.parquet"}:
            path.unlink()
    return shards


def render_shard(params: Params, unit: MineShard) -> ShardInfo:
    """Render one shard; one that is whole is left as it is (plan_mine has removed shards of other recipes)."""
    path = params.paths.mined / unit.name
    if path.is_file():
        with suppress(ValueError):  # a damaged shard is rendered again
            found = shard_info(path, split=unit.split)
            if found.num_samples == unit.stop - unit.first:
                return found
    rows = read_table(params.paths.mined / "recipes.parquet", RECIPES, filters=[("split", "=", unit.split)])[unit.first : unit.stop]
    read = lru_cache(maxsize=_CACHED_PHOTOGRAPHS)(read_photograph)
    samples = (
        encode_composite(render_recipe(row, read).sample, jpeg_quality=row["jpeg_quality"], about=_provenance(row)) for row in rows
    )
    return write_shard(path, samples, split=unit.split)


def finish_mine(params: Params, results: Sequence[ShardInfo]) -> dict[str, float]:
    """Write the pictures and, last, the manifest; what was mined, in numbers.

    shortfall_<split>: composites that the data, caps and quotas left unfilled. gap_distance: Wasserstein-1 distance between the gaps of
    the mined composites and of the real ones that the index holds; only where it holds some.
    """
    folder, mine = params.paths.mined, params.mine
    recipes = read_table(folder / "recipes.parquet", RECIPES)
    rejects = read_table(folder / "rejects.parquet", REJECTS)
    write_summary(folder / "summary.png", recipes, rejects)
    write_contact_sheets(folder, recipes)
    metrics = mining_metrics(recipes, rejects, mine) | _compare_with_brought(params, results)
    meta = {"mode": mine.mode, "seed": params.seed, "size": mine.size, "recipes_sha256": _digest(folder / "recipes.parquet")}
    write_manifest(folder, results, kind="composites", meta=meta)
    return metrics


def mining_metrics(recipes: Sequence[Mapping[str, Any]], rejects: Sequence[Mapping[str, Any]], mine: Mine) -> dict[str, float]:
    """Counts per split, difficulty and reason, the median gap, and how many objects took part."""
    splits = Counter(recipe["split"] for recipe in recipes)
    difficulties = Counter(recipe["difficulty"] for recipe in recipes)
    reasons = Counter(reject["reason"] for reject in rejects)
    total = max(len(recipes), 1)
    metrics = {f"composites_{split}": float(splits[split]) for split in SPLITS}
    metrics |= {f"shortfall_{split}": float(_wanted(split, mine) - splits[split]) for split in SPLITS}
    metrics |= {f"share_{name}": difficulties[name] / total for name in DIFFICULTIES}
    metrics |= {f"rejects_{reason}": float(reasons[reason]) for reason in map(str, Reason)}
    metrics["rejects"] = float(sum(reasons.values()))
    metrics["median_gap"] = float(np.median([recipe["gap"] for recipe in recipes])) if recipes else 0.0
    metrics["same_label_share"] = sum(recipe["fit"] == "same_label" for recipe in recipes) / total
    metrics["num_foregrounds"] = float(len({recipe["fg_key"] for recipe in recipes}))
    metrics["num_backgrounds"] = float(len({recipe["bg_key"] for recipe in recipes}))
    return metrics


def analyse_objects(rows: Sequence[Row], params: Params) -> list[Row]:
    """One ANALYSIS row per indexed object, in the order of `rows`; photographs are read by `mine.num_workers` threads."""
    by_image = sorted(rows, key=lambda row: (row["image_path"], row["key"]))
    photographs = [list(members) for _, members in groupby(by_image, key=lambda row: row["image_path"])]
    units = [photographs[first : first + _PHOTOGRAPHS_PER_UNIT] for first in range(0, len(photographs), _PHOTOGRAPHS_PER_UNIT)]
    with ThreadPoolExecutor(params.mine.num_workers) as pool:
        parts = list(pool.map(lambda unit: _analyse_unit(unit, params), units))
    found = {row["key"]: row for part in parts for row in part}
    return [found[row["key"]] for row in rows]


def pair_objects(rows: Sequence[Row], analysed: Sequence[Row], params: Params) -> list[Row]:
    """The recipes: for each split its share of composites, from its own photographs only.

    The terciles of the gap are measured over the candidate pairs of all splits together, so that "hard" means one thing.
    """
    mine = params.mine
    labels = sorted({row["label"] for row in rows if _named(row["label"], mine)})
    numbers = {label: number for number, label in enumerate(labels)}
    groups = {group: number for number, group in enumerate(sorted({row["group"] for row in rows}))}
    relations = label_relations(
        np.array([groups[row["group"]] for row in rows]), np.array([numbers.get(row["label"], UNNAMED) for row in rows]),
        frame_box=np.array([found["frame_box"] or (0.0, 0.0, 1.0, 1.0) for found in analysed], np.float64), num_labels=len(labels),
    )
    usable = [(row, found) for row, found in zip(rows, analysed, strict=True) if _usable(found)]
    parts = {split: [pair for pair in usable if pair[0]["split"] == split] for split in SPLITS}
    objects = {split: _objects(pairs, groups, numbers) for split, pairs in parts.items() if pairs}
    candidates = {
        split: find_candidates(
            found, relations, mine=mine, num_wanted=_wanted(split, mine), rng=numpy_generator(params.seed, "mine", "candidates", split)
        )
        for split, found in objects.items()
    }
    edges = tercile_edges(np.concatenate([found.gap for found in candidates.values()]))
    recipes = []
    for split, found in candidates.items():
        bins = difficulty_bins(found.gap, edges)
        chosen = _choose(found, bins, split, params)
        for number, position in enumerate(chosen):
            pair = int(found.background[position]), int(found.foreground[position])
            recipe = _recipe(f"{split}-{number:06d}", parts[split], objects[split], pair, params=params)
            recipes.append(recipe | _measured(objects[split], relations, pair, mine) | {
                "gap": found.gap[position], "score": found.score[position], "difficulty": DIFFICULTIES[bins[position]]})
    return recipes


def _compare_with_brought(params: Params, results: Sequence[ShardInfo]) -> dict[str, float]:
    """The gaps of mined composites beside those of real composites that the user brought: a plot, and a distance."""
    if not (params.paths.index / "composites.parquet").is_file():
        return {}
    brought = read_index(params.paths.index, "composites")
    if not brought:
        return {}
    size, width = params.mine.size, params.mine.ring_width

    def measure(row: Row) -> np.ndarray | None:
        image = to_frame(read_image(Path(row["composite_path"])), size)
        mask = to_frame(read_mask(Path(row["mask_path"])), size) >= _HALF
        return measure_gap(image, mask, ring_width=width) if mask.any() else None

    with ThreadPoolExecutor(params.mine.num_workers) as pool:
        real = np.array([gap for gap in pool.map(measure, brought) if gap is not None])
    mined = []
    for info in results:
        with ShardReader(params.paths.mined / info.name) as reader:
            for number in range(len(reader)):
                sample = decode_composite(reader.read(number), name=reader.name(number))
                mined.append(measure_gap(sample.composite, sample.mask >= _HALF, ring_width=width))
    sizes = gap_size(np.array(mined)), gap_size(real)
    write_gap_comparison(params.paths.mined / "gap.png", np.array(mined), real)
    return {"gap_distance": float(wasserstein_distance(*sizes)), "median_gap_brought": float(np.median(sizes[1]))}


def _choose(candidates: Candidates, bins: np.ndarray, split: str, params: Params) -> np.ndarray:
    mine, wanted = params.mine, _wanted(split, params.mine)
    rng = numpy_generator(params.seed, "mine", "choice", split)
    if mine.mode == "pih_random":  # the paper has no quotas: any difficulty is taken as it comes
        return choose_pairs(candidates, np.zeros_like(bins), counts=[wanted], mine=mine, rng=rng)
    counts = quota_counts(wanted, [getattr(mine.quotas, name) for name in DIFFICULTIES])
    return choose_pairs(candidates, bins, counts=counts, mine=mine, rng=rng)


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
        "plate_path": background_found.get("plate_path"), "plate_margin": mine.plate_margin,
        **{f"plate_{name}": background_found[f"plate_{name}"] for name in ("detail", "offset", "score")}, "fg_ratio": share,
        **{f"fg_{name}": foreground_found[f"fg_{name}"] for name in ("mean", "std", "chromaticity")},
        **{f"ring_{name}": background_found[f"ring_{name}"] for name in ("mean", "std", "chromaticity")},
    }


def _measured(objects: Objects, relations: np.ndarray, pair: tuple[int, int], mine: Mine) -> Row:
    background, foreground = np.array([pair[0]]), np.array([pair[1]])
    gaps = gap_components(objects.foreground[foreground], objects.ring[background])[0]
    scores = score_components(objects, relations, background, foreground)[0]
    fit = "same_label" if scores[0] == 1.0 else "related_label" if scores[0] >= mine.min_semantic else "shape"
    if mine.mode == "pih_random":
        fit = "random"
    return {f"gap_{name}": value for name, value in zip(GAP_NAMES, gaps, strict=True)} | {
        f"score_{name}": value for name, value in zip(SCORE_NAMES, scores, strict=True)} | {"fit": fit}


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


def _analyse_unit(photographs: Sequence[Sequence[Row]], params: Params) -> list[Row]:
    """The analysis of some photographs, from the resumable state where it is there."""
    settings = params.mine.model_dump(mode="json", exclude=_LATER)
    identity = [[row[name] for name in ("key", "image_sha256", "mask_sha256", "label")] for rows in photographs for row in rows]
    name = hashlib.sha256(json.dumps([_ANALYSIS_VERSION, settings, identity], sort_keys=True).encode()).hexdigest()[:24]
    path = params.paths.work / "mine" / f"{name}.parquet"
    if path.is_file():
        return read_table(path, ANALYSIS)
    found = [result for rows in photographs for result in _analyse_one(rows, params)]
    with written_atomically(path) as temporary:
        pq.write_table(pa.Table.from_pylist(found, schema=ANALYSIS), temporary)
    return read_table(path, ANALYSIS)  # read back, so that a resumed run computes with the same, rounded numbers


def _analyse_one(rows: Sequence[Row], params: Params) -> list[Row]:
    limit = params.ingest.max_megapixels
    try:
        image = read_image(Path(rows[0]["image_path"]), max_megapixels=limit)
        masks = [read_mask(Path(row["mask_path"]), max_megapixels=limit) for row in rows]
    except (ValueError, OSError) as error:
        return [rejected(row, Reason.UNREADABLE, str(error)) for row in rows]
    return analyse_photograph(rows, image, masks, params.mine)


def _find_plates(analysed: list[Row], params: Params) -> list[Row]:
    """`plate_path` for mode `precomputed`; an object without a plate file is no background."""
    if params.mine.plate != "precomputed":
        return analysed
    folder = params.paths.raw / params.mine.plate_folder
    rows = []
    for found in analysed:
        path = next((path for end in (".png", ".jpg") if (path := folder / f"{found['key']}{end}").is_file()), None)
        missing = {} if path or found["reason"] else {"reason": str(Reason.PLATE), "detail": f"no {folder / found['key']}.png or .jpg"}
        rows.append(found | missing | {"plate_path": path.as_posix() if path else None})
    return rows


def _usable(found: Row) -> bool:
    return not found["reason"] or not Reason(found["reason"]).bars_foreground


def _named(label: str | None, mine: Mine) -> bool:
    return bool(label) and label not in mine.unnamed_labels


def _wanted(split: str, mine: Mine) -> int:
    return mine.num_composites if split == "train" else max(1, round(_HELD_OUT_SHARE * mine.num_composites))


def _shards(recipes: Sequence[Row], shard_size: int) -> list[MineShard]:
    sizes = Counter(recipe["split"] for recipe in recipes)
    return [
        MineShard(split, number, first, min(first + shard_size, sizes[split]))
        for split in SPLITS for number, first in enumerate(range(0, sizes[split], shard_size))
    ]


def _provenance(recipe: Row) -> Row:
    return {name: recipe[name] for name in ("seed", "fg_key", "fg_group", "bg_key", "bg_group", "difficulty")}


def _box_share(found: Row) -> float:
    left, top, right, bottom = found["frame_box"]
    return float((right - left) * (bottom - top))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
