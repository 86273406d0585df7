"""What is known of every indexed object before pairs are made: the rule it breaks, or its geometry, colours and plate.

Photographs are analysed in units whose results are kept below `paths.work`, so that an interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, UInt8

from attune.files import written_atomically
from attune.foreground import FOREGROUND_LEVEL
from attune.images import read_image, read_mask, shrink_to
from attune.unit_keys import unit_key
from tasks.index import read_table
from tasks.mining.compositing import mask_box, mask_contact, resample, ring_around, to_frame
from tasks.mining.foregrounds import Reason, first_fault, mean_chroma, sharpness
from tasks.mining.gap import region_colours
from tasks.mining.plates import PlateFile, find_plates, judge_plate
from tasks.params import Mine, Params, key_params

SHAPE_SIDE = 8  # the mask's coarse shape: coverage on SHAPE_SIDE x SHAPE_SIDE cells of its box
_PHOTOGRAPHS_PER_UNIT = 64  # analysed between two saves of the resumable state
# What the analysis of an object does not depend on; all other params of the section are part of its key.
_LATER = {
    "num_composites", "mode", "max_upsampling", "max_lightness_gap", "max_colour_gap", "weights", "min_semantic", "min_fit", "neighbours",
    "temperature", "max_per_foreground", "max_per_background", "quotas", "rescale", "choke", "feather_sigma", "jitter", "jpeg_quality",
    "shard_size", "unnamed_labels", "plate_folder",
}

Row = dict[str, Any]

_floats = pa.list_(pa.float32())
_colours = [pa.field("mean", _floats), pa.field("std", _floats), pa.field("chromaticity", _floats), pa.field("histogram", _floats)]

# One row per object, also the rejected ones (whose numbers may be null); a cache, not an output.
ANALYSIS = pa.schema([
    pa.field("key", pa.string()), pa.field("reason", pa.string()), pa.field("detail", pa.string()),
    pa.field("width", pa.int32()), pa.field("height", pa.int32()), pa.field("fg_ratio", pa.float32()),
    pa.field("source_box", pa.list_(pa.int32())), pa.field("frame_box", _floats), pa.field("contact", pa.list_(pa.bool_())),
    pa.field("shape", _floats),
    *(pa.field(f"{region}_{field.name}", field.type) for region in ("fg", "ring") for field in _colours),
    pa.field("sharpness", pa.float32()), pa.field("plate_detail", pa.float32()), pa.field("plate_offset", pa.float32()),
    pa.field("plate_score", pa.float32()), pa.field("plate_path", pa.string()), pa.field("plate_sha256", pa.string()),
])


def analyse_objects(rows: Sequence[Row], params: Params) -> list[Row]:
    """One ANALYSIS row per indexed object, in the order of `rows`; photographs are read by `speed.num_workers` threads."""
    by_image = sorted(rows, key=lambda row: (row["image_path"], row["key"]))
    photographs = [list(members) for _, members in groupby(by_image, key=lambda row: row["image_path"])]
    units = [photographs[first : first + _PHOTOGRAPHS_PER_UNIT] for first in range(0, len(photographs), _PHOTOGRAPHS_PER_UNIT)]
    with ThreadPoolExecutor(params.speed.num_workers) as pool:
        parts = list(pool.map(lambda unit: _analyse_unit(unit, params), units))
    found = {row["key"]: row for part in parts for row in part}
    return [found[row["key"]] for row in rows]


def analyse_photograph(
    rows: Sequence[Mapping[str, Any]], image: UInt8[np.ndarray, "H W 3"], masks: Sequence[UInt8[np.ndarray, "_H _W"]], mine: Mine,
    plates: Mapping[str, PlateFile] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One ANALYSIS row per object of a photograph; `masks` in the order of `rows`; `plates` by key.

    The masks of the other objects say what is occluded; so all objects of a photograph are analysed together.
    """
    if any(mask.shape != image.shape[:2] for mask in masks):
        sizes = ", ".join(f"{mask.shape[1]}x{mask.shape[0]}" for mask in masks)
        return [rejected(row, Reason.SIZE_MISMATCH, f"image {image.shape[1]}x{image.shape[0]}, masks {sizes}") for row in rows]
    image = shrink_to(image, mine.max_side)
    masks = [shrink_to(mask, mine.max_side) for mask in masks]
    frame = to_frame(image, mine.size)
    frames = [to_frame(mask, mine.size) >= FOREGROUND_LEVEL for mask in masks]
    chroma = mean_chroma(frame)
    results = []
    for index, (row, mask, flat) in enumerate(zip(rows, masks, frames, strict=True)):
        # A mask that holds this one (a person, its dress) counts as well: such a part cannot be cut out alone.
        others = np.any([np.zeros_like(flat), *(other & ~flat for number, other in enumerate(frames) if number != index)], axis=0)
        found = first_fault(row, frame, flat, others=others, chroma=chroma, mine=mine)
        if found:
            results.append(rejected(row, *found) | _frame_box(flat))
        else:
            results.append(_accepted(row, image, mask, frame=frame, flat=flat, mine=mine, plate=plates.get(row["key"])))
    return results


def rejected(row: Mapping[str, Any], reason: Reason, detail: str) -> dict[str, Any]:
    """The ANALYSIS row of an object that is not used."""
    return {"key": row["key"], "reason": str(reason), "detail": detail}


def _frame_box(flat: Bool[np.ndarray, "S S"]) -> dict[str, Any]:
    """The box as shares of the frame, which the statistics of the labels need of rejected objects too."""
    if not flat.any():
        return {}
    box, size = mask_box(flat), flat.shape[0]
    return {"frame_box": [box.left / size, box.top / size, box.right / size, box.bottom / size]}


def _analyse_unit(photographs: Sequence[Sequence[Row]], params: Params) -> list[Row]:
    """The analysis of some photographs, from the resumable state where it is there."""
    mine = params.mine
    plates = find_plates(params.paths.raw / mine.plate_folder, [row["key"] for rows in photographs for row in rows], mine.plate)
    settings = key_params(params, "mine", "ingest.max_megapixels", but=[f"mine.{name}" for name in _LATER])
    identity = [[row[name] for name in ("key", "image_sha256", "mask_sha256", "label")] for rows in photographs for row in rows]
    brought = sorted((key, plate.path, plate.sha256) for key, plate in plates.items())
    path = params.paths.work / "mine" / f"{unit_key(_analyse_unit, settings, identity, brought)}.parquet"
    if path.is_file():
        return read_table(path, ANALYSIS)
    found = [result for rows in photographs for result in _analyse_one(rows, plates, params)]
    with written_atomically(path) as temporary:
        pq.write_table(pa.Table.from_pylist(found, schema=ANALYSIS), temporary)
    return read_table(path, ANALYSIS)  # read back, so that a resumed run computes with the same, rounded numbers


def _analyse_one(rows: Sequence[Row], plates: Mapping[str, PlateFile], params: Params) -> list[Row]:
    limit = params.ingest.max_megapixels
    try:
        image = read_image(Path(rows[0]["image_path"]), max_megapixels=limit)
        masks = [read_mask(Path(row["mask_path"]), max_megapixels=limit) for row in rows]
    except (ValueError, OSError) as error:
        return [rejected(row, Reason.UNREADABLE, str(error)) for row in rows]
    return analyse_photograph(rows, image, masks, params.mine, plates)


def _accepted(
    row: Mapping[str, Any], image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"], *,
    frame: UInt8[np.ndarray, "S S 3"], flat: Bool[np.ndarray, "S S"], mine: Mine, plate: PlateFile | None,
) -> dict[str, Any]:
    height, width = mask.shape
    box = mask_box(mask >= FOREGROUND_LEVEL) if (mask >= FOREGROUND_LEVEL).any() else mask_box(mask > 0)
    contact = mask_contact(box, height, width)
    ring = ring_around(flat, width=mine.ring_width, gap=1)
    foreground, surroundings = region_colours(frame, flat), region_colours(frame, ring if ring.any() else ~flat)
    crop = (mask[box.top : box.bottom, box.left : box.right] >= FOREGROUND_LEVEL).astype(np.float32)
    result = {
        "key": row["key"], "reason": "", "detail": "", "width": width, "height": height, "fg_ratio": float(flat.mean()),
        "source_box": [box.left, box.top, box.right, box.bottom],
        "frame_box": [box.left / width, box.top / height, box.right / width, box.bottom / height],
        "contact": [contact.left, contact.top, contact.right, contact.bottom],
        "shape": resample(crop, SHAPE_SIDE, SHAPE_SIDE).reshape(-1).tolist(), "sharpness": sharpness(frame, flat),
    }
    for region, colours in (("fg", foreground), ("ring", surroundings)):
        result |= {f"{region}_mean": colours.mean, f"{region}_std": colours.std, f"{region}_chromaticity": colours.chromaticity,
                   f"{region}_histogram": colours.histogram}
    return result | judge_plate(frame, flat, photo_size=(width, height), brought=plate, mine=mine)
