"""How far the real composites that the user brought are from their surroundings, and how far the mined ones are beside them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tasks.compositing import to_frame
from tasks.gap import GAP_NAMES, measure_gap
from tasks.images import read_image, read_mask
from tasks.index import read_index
from tasks.params import Params
from tasks.shards import ShardInfo, ShardReader, decode_composite

_HALF = 128  # a matte value from here on is foreground
_NONE = np.zeros((0, len(GAP_NAMES)))


def gaps_of_brought(params: Params) -> Float[np.ndarray, "N 5"]:
    """The gap components (see GAP_NAMES) of the index's real composites, measured in the mined ones' frame; no row where it holds none."""
    if not (params.paths.index / "composites.parquet").is_file():
        return _NONE
    size, width = params.mine.size, params.mine.ring_width

    def measure(row: dict[str, Any]) -> np.ndarray | None:
        image = to_frame(read_image(Path(row["composite_path"])), size)
        mask = to_frame(read_mask(Path(row["mask_path"])), size) >= _HALF
        return measure_gap(image, mask, ring_width=width) if mask.any() else None

    with ThreadPoolExecutor(params.mine.num_workers) as pool:
        found = [gaps for gaps in pool.map(measure, read_index(params.paths.index, "composites")) if gaps is not None]
    return np.array(found) if found else _NONE


def gaps_of_mined(params: Params, shards: Sequence[ShardInfo]) -> Float[np.ndarray, "N 5"]:
    """The gap components of the mined composites, as their shards hold them."""

    def measure(info: ShardInfo) -> list[np.ndarray]:
        with ShardReader(params.paths.mined / info.name) as reader:
            samples = [decode_composite(reader.read(number), name=reader.name(number)) for number in range(len(reader))]
        return [measure_gap(sample.composite, sample.mask >= _HALF, ring_width=params.mine.ring_width) for sample in samples]

    with ThreadPoolExecutor(params.mine.num_workers) as pool:
        found = [gaps for part in pool.map(measure, shards) for gaps in part]
    return np.array(found) if found else _NONE
