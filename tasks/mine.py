"""Stage `mine`: real composites out of indexed photographs, and a natural sample of the same making beside each.

plan_mine filters the objects, pairs them and writes the recipes; render_shard renders one shard of recipes; finish_mine writes the
manifest and the pictures. Photographs are squashed into a square of `mine.size` px, as all of the trainer's images are.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import wasserstein_distance

from attune.files import written_atomically
from attune.unit_keys import unit_key
from tasks.index import read_index, read_table, write_table
from tasks.kept_shards import find_kept_shard, record_shard
from tasks.mining.brought import gaps_of_brought, gaps_of_mined
from tasks.mining.foregrounds import Reason
from tasks.mining.gap import DIFFICULTIES, gap_size
from tasks.mining.object_analysis import analyse_objects
from tasks.mining.pictures import write_contact_sheets, write_gap_comparison, write_summary
from tasks.mining.recipe_plan import is_usable, num_wanted, pair_objects
from tasks.mining.recipes import RECIPES, read_photograph, render_recipe
from tasks.params import Mine, Params
from tasks.shards import ShardInfo, encode_composite, write_manifest, write_shard
from tasks.splits import SPLITS

_CACHED_PHOTOGRAPHS = 32  # decoded, while a shard is rendered

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
    analysed = analyse_objects(rows, params)
    rejects = [{name: found[name] for name in REJECTS.names} for found in analysed if found["reason"]]
    if not any(map(is_usable, analysed)):
        reasons = Counter(reject["reason"] for reject in rejects)
        table = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "the index holds no object"
        raise ValueError(f"mine: none of {len(rows)} objects passes the filters ({table}); see mine.* in params.yaml")
    recipes = pair_objects(rows, analysed, params, brought=gap_size(gaps_of_brought(params)))
    shards = _shards(recipes, params.mine.shard_size)
    _write_plan(params.paths.mined, recipes, rejects, shards)
    return shards


def render_shard(params: Params, unit: MineShard) -> ShardInfo:
    """Render one shard; one that is whole and belongs to these recipes and this code is left as it is."""
    path = params.paths.mined / unit.name
    rows = read_table(params.paths.mined / "recipes.parquet", RECIPES, filters=[("split", "=", unit.split)])[unit.first : unit.stop]
    key = unit_key(render_shard, asdict(unit), rows)
    record = params.paths.work / "mine" / "shards" / f"{key}.json"  # studies share the working folder, and have shards of equal names
    if (kept := find_kept_shard(path, record, key, split=unit.split)) is not None:
        return kept[0]
    read = lru_cache(maxsize=_CACHED_PHOTOGRAPHS)(read_photograph)
    samples = (
        encode_composite(render_recipe(row, read).sample, jpeg_quality=row["jpeg_quality"], about=_provenance(row)) for row in rows
    )
    info = write_shard(path, samples, split=unit.split)
    record_shard(record, key, info, {})
    return info


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
    metrics = mining_metrics(recipes, rejects, mine)
    brought = gaps_of_brought(params)
    if len(brought):
        mined = gaps_of_mined(params, results)
        write_gap_comparison(folder / "gap.png", mined, brought)
        metrics["gap_distance"] = float(wasserstein_distance(gap_size(mined), gap_size(brought)))
        metrics["median_gap_brought"] = float(np.median(gap_size(brought)))
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
    metrics |= {f"shortfall_{split}": float(num_wanted(split, mine) - splits[split]) for split in SPLITS}
    metrics |= {f"share_{name}": difficulties[name] / total for name in DIFFICULTIES}
    metrics |= {f"rejects_{reason}": float(reasons[reason]) for reason in map(str, Reason)}
    metrics["rejects"] = float(sum(reasons.values()))
    metrics["median_gap"] = float(np.median([recipe["gap"] for recipe in recipes])) if recipes else 0.0
    metrics |= {f"share_{fit}": sum(recipe["fit"] == fit for recipe in recipes) / total for fit in ("same_label", "filler")}
    metrics["num_foregrounds"] = float(len({recipe["fg_key"] for recipe in recipes}))
    metrics["num_backgrounds"] = float(len({recipe["bg_key"] for recipe in recipes}))
    return metrics


def _write_plan(folder: Path, recipes: Sequence[Row], rejects: Sequence[Row], shards: Sequence[MineShard]) -> None:
    """The two tables; whatever else is in the folder goes, but for shards of the very same recipes.

    Shards of other recipes go before the new table appears: a kill in between leaves no shard that its table does not describe.
    """
    write_table(folder / "rejects.parquet", rejects, REJECTS)
    path = folder / "recipes.parquet"
    with written_atomically(path) as temporary:
        write_table(temporary, recipes, RECIPES)
        same = {shard.name for shard in shards} if _digest(temporary) == _digest(path) else set()
        for other in folder.iterdir():
            if other.is_file() and other.name not in same | {"recipes.parquet", "rejects.parquet", temporary.name}:
                other.unlink()


def _shards(recipes: Sequence[Row], shard_size: int) -> list[MineShard]:
    sizes = Counter(recipe["split"] for recipe in recipes)
    return [
        MineShard(split, number, first, min(first + shard_size, sizes[split]))
        for split in SPLITS for number, first in enumerate(range(0, sizes[split], shard_size))
    ]


def _provenance(recipe: Row) -> Row:
    return {name: recipe[name] for name in ("seed", "fg_key", "fg_group", "bg_key", "bg_group", "difficulty")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
