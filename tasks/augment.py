"""Training shards: the original pairs, new composites by the frozen SycoNet, pairs from retouches, and photographs as they are.

Each shard is one unit of work: of one split and kind, with seeds that depend on its samples' names alone, so its bytes do not depend on
which other shards were written, by how many threads, or after how many kills. Validation gets original pairs only, and test nothing:
neither is ever augmented.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from attune.images import read_image, read_mask, resize_image
from attune.unit_keys import unit_key
from tasks.augmentation.domains import UNION, SycoNets, checkpoint_digests
from tasks.augmentation.draws import HardCases, draw_composites, harmonizer_digest
from tasks.color.difference import foreground_mse
from tasks.index import read_index
from tasks.kept_shards import find_kept_shard, record_shard
from tasks.params import Params, key_params
from tasks.sample import Pair
from tasks.seeds import numpy_generator
from tasks.shard_samples import write_samples
from tasks.shards import PHOTOGRAPH, EncodedSample, ShardInfo, encode_pair, sanitize_key, write_manifest, write_shard

Kind = Literal["original", "augmented", "retouched", "photograph"]
Row = Mapping[str, Any]
Image = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]

PLAN: tuple[tuple[str, Kind], ...] = (
    ("train", "original"), ("train", "augmented"), ("train", "retouched"), ("train", "photograph"), ("val", "original"),
)
LEAST_REGION, MOST_REGION = 0.05, 0.50  # share of the frame that a region for a retouch without a mask covers
SOFTEST_EDGE = 0.06  # of the frame's side: the width over which such a region fades out, at most
TABLES_AT_ONCE = 32  # predicted by the network


@dataclass(frozen=True)
class AugmentUnit:
    """One shard to write: samples `first` to `stop` of all that `split` and `kind` have, in the order of their keys."""

    name: str
    split: str
    kind: Kind
    first: int
    stop: int


@dataclass(frozen=True)
class WrittenShard:
    """One shard on disk."""

    info: ShardInfo
    kind: Kind
    fmse: float  # mean over the samples: squared grey levels between composite and target inside the mask, before JPEG


def plan_augment(params: Params) -> list[AugmentUnit]:
    """The shards to write; removes the manifest and whatever else in `paths.shards` is none of them.

    Raises ValueError if the index has neither training pairs nor, where they are asked for, training photographs; or composites are to be
    made and no SycoNet is there.
    """
    units = _units(params)
    folder = params.paths.shards
    folder.mkdir(parents=True, exist_ok=True)
    names = {unit.name for unit in units}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()
    return units


def write_pair_shard(params: Params, unit: AugmentUnit) -> WrittenShard:
    """Write one shard, whole or not at all; one that is whole and belongs to these params, inputs and code is left as it is.

    Raises ValueError naming the file if an image of the index is gone or damaged.
    """
    # One thread per shard: shards are the parallel axis, and a sum's bits would otherwise depend on the number of cores.
    torch.set_num_threads(1)
    jobs = _jobs(params, unit.split, unit.kind)[unit.first : unit.stop]
    path, record = params.paths.shards / unit.name, params.paths.work / "augment" / f"{unit.name}.json"
    key = unit_key(
        write_pair_shard, asdict(unit), key_params(params, "seed", "augment", "ingest.max_megapixels"), jobs, _made_by(params, unit.kind)
    )
    if (kept := find_kept_shard(path, record, key, split=unit.split)) is not None:
        return WrittenShard(kept[0], unit.kind, kept[1]["fmse"])
    errors: list[float] = []
    info = write_shard(path, _encode(params, unit.kind, jobs, errors), split=unit.split)
    written = WrittenShard(info, unit.kind, float(np.mean(errors)))
    record_shard(record, key, info, {"fmse": written.fmse})
    return written


def finish_augment(params: Params, results: Sequence[WrittenShard]) -> dict[str, float]:
    """Write the table of samples, then the manifest, by which the folder is complete; counts, bytes, how strong composites of a kind are.

    Raises ValueError if a planned shard is missing among `results`.
    """
    units = _units(params)
    missing = {unit.name for unit in units} ^ {result.info.name for result in results}
    if missing:
        raise ValueError(f"{params.paths.shards}: planned and written shards differ by {', '.join(sorted(missing))}")
    counts: dict[str, dict[str, int]] = {"train": {}, "val": {}}
    sums: dict[str, float] = {}
    for result in results:
        of_split = counts[result.info.split]
        of_split[result.kind] = of_split.get(result.kind, 0) + result.info.num_samples
        if result.info.split == "train" and result.kind != PHOTOGRAPH:
            sums[result.kind] = sums.get(result.kind, 0.0) + result.fmse * result.info.num_samples
    meta = {
        "counts": counts, "size": params.augment.size, "jpeg_quality": params.augment.jpeg_quality, "copies": params.augment.copies,
        "seed": params.seed, **_made_by(params, "augmented"),
    }
    write_samples(params.paths.shards, _sample_rows(params, units))
    write_manifest(params.paths.shards, (result.info for result in results), kind="pairs", meta=meta)
    metrics = {f"num_{split}_{kind}": float(count) for split, kinds in counts.items() for kind, count in kinds.items()}
    metrics |= {f"{kind}_fmse": round(total / counts["train"][kind], 3) for kind, total in sums.items()}
    return {**metrics, "num_shards": float(len(results)), "num_bytes": float(sum(result.info.num_bytes for result in results))}


def random_region(size: int, generator: np.random.Generator) -> Mask:
    """A smooth region of a square frame: an ellipse or a half-plane at any angle, covering 5 to 50 % of it, with a soft edge.

    It stands in for a mask where a retouch came without one: a retouch is global, so any region makes a pair.
    """
    rows, columns = np.mgrid[:size, :size] / size
    center_row, center_column, angle, squeeze, is_ellipse, softness = generator.random(6)
    share = generator.uniform(LEAST_REGION, MOST_REGION)
    down, right = rows - center_row, columns - center_column
    along = right * np.cos(2 * np.pi * angle) + down * np.sin(2 * np.pi * angle)
    across = down * np.cos(2 * np.pi * angle) - right * np.sin(2 * np.pi * angle)
    inside = -np.hypot(along, across * (0.4 + 0.6 * squeeze)) if is_ellipse < 0.5 else along
    # The level that `share` of the frame exceeds: coverage is as drawn, wherever the shape lies.
    threshold = np.quantile(inside, 1.0 - share)
    width = max(1.0 / size, SOFTEST_EDGE * softness)
    mask: Mask = np.rint(255.0 * np.clip(0.5 + (inside - threshold) / width, 0.0, 1.0)).astype(np.uint8)
    return mask


def blend(below: Image, above: Image, mask: Mask) -> Image:
    """`above` over `below` by the mask's level, rounded to nearest; where the mask is 0, `below` bit for bit."""
    level = mask[..., None].astype(np.int32)
    low, high = below.astype(np.int32), above.astype(np.int32)
    return ((low * (255 - level) + high * level + 127) // 255).astype(np.uint8)


# What there is to write

def _units(params: Params) -> list[AugmentUnit]:
    units: list[AugmentUnit] = []
    numbers = {split: 0 for split, _ in PLAN}
    for split, kind in PLAN:
        count = len(_jobs(params, split, kind))
        for first in range(0, count, params.augment.shard_size):
            name = f"{split}-{numbers[split]:05d}.tar"
            units.append(AugmentUnit(name, split, kind, first, min(first + params.augment.shard_size, count)))
            numbers[split] += 1
    if not any(unit.kind in ("original", PHOTOGRAPH) for unit in units if unit.split == "train"):
        raise ValueError(f"{params.paths.index}/pairs.parquet: no training pairs")
    return units


def _jobs(params: Params, split: str, kind: Kind) -> list[dict[str, Any]]:
    """One dict per sample: the row of the index and what is to be made of it (`copy`, or which version is the target)."""
    if kind == "original":
        return _rows(params, "pairs", split)
    if kind == "photograph":
        rows = _rows(params, "photographs", split) if params.augment.photographs else []
        return [{**row, "target_path": row["image_path"]} for row in rows]
    if kind == "retouched":
        return [{**row, "target": which} for row in _rows(params, "retouches", split) for which in ("before", "after")]
    targets: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _rows(params, "pairs", split):
        targets.setdefault((row["target_path"], row["mask_path"]), row)
    return [{**row, "copy": copy} for row in targets.values() for copy in range(params.augment.copies)]


def _sample_key(kind: Kind, job: Row) -> str:
    suffix = {"original": "", PHOTOGRAPH: "", "augmented": f"-z{job.get('copy')}", "retouched": f"-{job.get('target')}"}
    return f"{job['key']}{suffix[kind]}"


def _sample_rows(params: Params, units: Sequence[AugmentUnit]) -> Iterator[dict[str, str]]:
    for unit in units:
        for job in _jobs(params, unit.split, unit.kind)[unit.first : unit.stop]:
            facts = {field: job[field] for field in ("source", "subset", "group")}
            key = sanitize_key(_sample_key(unit.kind, job))
            yield {"key": key, "split": unit.split, "kind": unit.kind, "parent": job["key"], "label": job.get("label") or "", **facts}


def _rows(params: Params, table: str, split: str) -> list[dict[str, Any]]:
    stamp = (params.paths.index / f"{table}.parquet").stat().st_mtime_ns if (params.paths.index / f"{table}.parquet").is_file() else 0
    return _read_rows(params.paths.index, table, split, stamp)


@lru_cache(maxsize=8)
def _read_rows(folder: Path, table: str, split: str, stamp: int) -> list[dict[str, Any]]:
    del stamp  # part of the cache's key: another file is read again
    return read_index(folder, table, split=split)


def _made_by(params: Params, kind: Kind) -> dict[str, Any]:
    """The weights behind composites that SycoNet made: the union's, the domains', and those of the harmonizer that chose among them."""
    if kind != "augmented" or not params.augment.copies:
        return {}
    digests = dict(checkpoint_digests(params))
    made_by: dict[str, Any] = {"syconet": digests.pop(UNION), "syconet_domains": digests}
    if params.augment.harmonizer is not None:
        made_by |= {"harmonizer": harmonizer_digest(params), "limits": params.ingest.synthesis.model_dump()}
    return made_by


# The samples

def _encode(params: Params, kind: Kind, jobs: Sequence[Row], errors: list[float]) -> Iterator[EncodedSample]:
    makers = {"original": _originals, "augmented": _augmented, "retouched": _retouched, "photograph": _photographs}
    for pair, about in makers[kind](params, jobs):
        errors.append(foreground_mse(pair.composite, pair.target, pair.mask))
        yield encode_pair(pair, jpeg_quality=params.augment.jpeg_quality, about=about)


def _originals(params: Params, jobs: Sequence[Row]) -> Iterator[tuple[Pair, dict[str, Any]]]:
    targets = _Targets(params)
    for row in jobs:
        target, mask = targets.read(row)
        composite = _image(params, row["composite_path"])
        yield _pair(row, "original", (composite, mask, target)), {"method": row["method"]}


def _photographs(params: Params, jobs: Sequence[Row]) -> Iterator[tuple[Pair, dict[str, Any]]]:
    targets = _Targets(params)
    for row in jobs:
        target, mask = targets.read(row)
        yield _pair(row, PHOTOGRAPH, (target, mask, target)), {}


def _augmented(params: Params, jobs: Sequence[Row]) -> Iterator[tuple[Pair, dict[str, Any]]]:
    syconets, targets = SycoNets(params), _Targets(params)
    hardest = HardCases(params) if params.augment.harmonizer is not None else None
    by_target = [list(same) for _, same in groupby(jobs, key=lambda row: (row["target_path"], row["mask_path"]))]
    num_at_once = max(1, TABLES_AT_ONCE // max(params.augment.copies, params.augment.draws))
    for first in range(0, len(by_target), num_at_once):
        batch = by_target[first : first + num_at_once]
        photographs = [targets.read(rows[0]) for rows in batch]
        drawn = draw_composites(params, syconets, [rows[0] for rows in batch], photographs)
        for rows, (target, mask), draws in zip(batch, photographs, drawn, strict=True):
            kept = draws if hardest is None else hardest.keep(draws, target, mask, most=params.augment.copies)
            for row in rows:
                chosen = kept[row["copy"]]
                yield _pair(row, "augmented", (chosen.composite, mask, target)), {**chosen.about, "copy": row["copy"]}


def _retouched(params: Params, jobs: Sequence[Row]) -> Iterator[tuple[Pair, dict[str, Any]]]:
    for row in jobs:
        versions = {which: _image(params, row[f"{which}_path"]) for which in ("before", "after")}
        target = versions[row["target"]]
        other = versions["after" if row["target"] == "before" else "before"]
        if row["mask_path"]:
            mask = _mask(params, row["mask_path"])
        else:
            mask = random_region(params.augment.size, numpy_generator(params.seed, "retouch region", row["key"], row["target"]))
        about = {"parent": row["key"], "target": row["target"], "region": "mask" if row["mask_path"] else "random"}
        yield _pair(row, "retouched", (blend(target, other, mask), mask, target)), about


def _pair(row: Row, kind: Kind, images: tuple[Image, Mask, Image]) -> Pair:
    composite, mask, target = images
    names = {"key": _sample_key(kind, row), "kind": kind, "source": row["source"], "group": row["group"]}
    return Pair(**names, composite=composite, mask=mask, target=target)


def _image(params: Params, path: str) -> Image:
    return resize_image(read_image(Path(path), max_megapixels=params.ingest.max_megapixels), params.augment.size, params.augment.size)


def _mask(params: Params, path: str) -> Mask:
    return resize_image(read_mask(Path(path), max_megapixels=params.ingest.max_megapixels), params.augment.size, params.augment.size)


class _Targets:
    """Targets with their masks at `augment.size`; the last ones are kept, as several composites or objects in a row share them."""

    def __init__(self, params: Params) -> None:
        self.image, self.mask = lru_cache(1)(partial(_image, params)), lru_cache(1)(partial(_mask, params))

    def read(self, row: Row) -> tuple[Image, Mask]:
        """Target and mask of a row of the pairs' table."""
        return self.image(row["target_path"]), self.mask(row["mask_path"])
