"""How far the real composites that the user brought are from their surroundings, and how far the mined ones are beside them."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from attune.foreground import FOREGROUND_LEVEL
from attune.images import read_image, read_mask
from tasks.index import read_real_composites
from tasks.mining.compositing import to_frame
from tasks.mining.gap import GAP_NAMES, measure_gap
from tasks.params import Params
from tasks.shards import ShardInfo, ShardReader, decode_composite

Gaps = list[Float[np.ndarray, "5"]]


def gaps_of_brought(params: Params) -> Float[np.ndarray, "N 5"]:
    """The gap components (see GAP_NAMES) of the index's real composites, measured in the mined ones' frame; no row where it holds none."""
    if not (params.paths.index / "composites.parquet").is_file():
        return _joined([])
    size = params.mine.size

    def measure(row: dict[str, Any]) -> Gaps:
        image, mask = read_image(Path(row["composite_path"])), read_mask(Path(row["mask_path"]))
        return _gaps([(to_frame(image, size), to_frame(mask, size))], params)

    with ThreadPoolExecutor(params.speed.num_workers) as pool:
        return _joined(pool.map(measure, read_real_composites(params.paths.index)))


def gaps_of_mined(params: Params, shards: Sequence[ShardInfo]) -> Float[np.ndarray, "N 5"]:
    """The gap components of the mined composites, as their shards hold them."""

    def measure(info: ShardInfo) -> Gaps:
        with ShardReader(params.paths.mined / info.name) as reader:
            samples = (decode_composite(reader.read(number), name=reader.name(number)) for number in range(len(reader)))
            return _gaps([(sample.composite, sample.mask) for sample in samples], params)

    with ThreadPoolExecutor(params.speed.num_workers) as pool:
        return _joined(pool.map(measure, shards))


def _gaps(images: Iterable[tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]], params: Params) -> Gaps:
    """Of each composite and its matte; one whose matte has lost its last pixel in the frame is left out."""
    inside = ((image, matte >= FOREGROUND_LEVEL) for image, matte in images)
    return [measure_gap(image, mask, ring_width=params.mine.ring_width) for image, mask in inside if mask.any()]


def _joined(parts: Iterable[Gaps]) -> Float[np.ndarray, "N 5"]:
    rows = [gaps for part in parts for gaps in part]
    return np.array(rows) if rows else np.zeros((0, len(GAP_NAMES)))
