"""The index's pairs as SycoNet sees them: chosen, and read at its own size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8

from attune.images import read_image, read_mask, resize_image
from tasks.augmentation.domains import UNION, Row, in_domain
from tasks.index import read_index
from tasks.params import Params
from tasks.sample import PairBatch
from tasks.seeds import numpy_generator
from tasks.tensors import to_tensor

Stacks = dict[str, UInt8[np.ndarray, "..."]]


def choose_rows(params: Params, split: str, most: int, domain: str = UNION) -> list[Row]:
    """The pairs of `split` and `domain`, sorted by key; where there are more than `most`, so many drawn at random.

    Raises ValueError naming table, split and domain if there are none.
    """
    rows = [row for row in read_index(params.paths.index, "pairs", split=split) if in_domain(row, domain)]
    if not rows:
        of_domain = f" in domain {domain!r}, which finetune_syconet.domains names" if domain else ""
        raise ValueError(f"{params.paths.index}/pairs.parquet: no pairs of split {split!r}{of_domain}")
    if len(rows) <= most:
        return list(rows)
    chosen = numpy_generator(params.seed, "syconet", split).choice(len(rows), most, replace=False)
    return [rows[index] for index in sorted(chosen)]


def row_hashes(rows: Sequence[Row]) -> list[list[str]]:
    """What a training depends on: keys and contents."""
    return [[row["key"], row["composite_sha256"], row["mask_sha256"], row["target_sha256"]] for row in rows]


def read_pairs(params: Params, rows: Sequence[Row]) -> Stacks:
    """Composites, masks and targets as uint8 stacks at `syconet.size`; a target that several pairs share is read once."""
    size, megapixels = params.syconet.size, params.ingest.max_megapixels
    stacks: Stacks = {
        "composite": np.empty((len(rows), size, size, 3), np.uint8),
        "mask": np.empty((len(rows), size, size), np.uint8),
        "target": np.empty((len(rows), size, size, 3), np.uint8),
    }
    slots: dict[tuple[str, str], list[int]] = {}
    for slot, row in enumerate(rows):
        for field in stacks:
            slots.setdefault((field, row[f"{field}_path"]), []).append(slot)

    def read(item: tuple[tuple[str, str], list[int]]) -> None:
        (field, path), places = item
        image = (read_mask if field == "mask" else read_image)(Path(path), max_megapixels=megapixels)
        stacks[field][places] = resize_image(image, size, size)

    with ThreadPoolExecutor(params.syconet.threads) as pool:
        for _ in pool.map(read, slots.items()):
            pass
    return stacks


def to_batch(stacks: Stacks, ids: Int[np.ndarray, " B"], device: torch.device) -> PairBatch:
    """Some of the pairs, on `device`, as floats."""
    return PairBatch(**{field: to_tensor(stack[ids]).to(device) for field, stack in stacks.items()})
