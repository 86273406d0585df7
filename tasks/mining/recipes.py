"""The record of a mined composite: everything that is needed to make its pixels again, and everything that was measured of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, UInt8

from attune.foreground import FOREGROUND_LEVEL
from attune.images import read_image, read_mask, shrink_to
from tasks.mining.compositing import Box, Contact, Placement, clean_plate, cut_object, grow_mask, matte_in_frame, paste, to_frame
from tasks.mining.gap import GAP_NAMES
from tasks.mining.pairing import SCORE_NAMES
from tasks.mining.plates import read_plate
from tasks.sample import RealComposite

Photograph = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]

_name = pa.dictionary(pa.int32(), pa.string())
_real = pa.float32()
_box = pa.list_(pa.int32())
_PARTS = ("fg", "bg")
ORIGIN = ("key", "group", "image_path", "mask_path", "image_sha256", "mask_sha256")

# One row per composite. fg_: what is pasted; bg_: where, and whose object was removed there. Boxes: left, top, right, bottom, half-open;
# source boxes in the photograph shrunk to max_side, target boxes in the square frame. `fit` is why the pair was allowed.
RECIPES = pa.schema([
    pa.field("key", pa.string()), pa.field("split", _name), pa.field("seed", pa.int64()), pa.field("mode", _name),
    *(pa.field(f"{part}_{column}", pa.string()) for part in _PARTS for column in ORIGIN),
    *(pa.field(f"{part}_{column}", _name) for part in _PARTS for column in ("source", "label")),
    *(pa.field(f"{kind}{box}", _box) for kind in ("", "natural_") for box in ("source_box", "target_box")),
    pa.field("contact", pa.list_(pa.bool_())), pa.field("natural_contact", pa.list_(pa.bool_())),
    pa.field("affine", pa.list_(pa.float64())), pa.field("natural_affine", pa.list_(pa.float64())),
    *(pa.field(column, pa.int32()) for column in ("size", "max_side", "jpeg_quality")),
    *(pa.field(column, pa.float64()) for column in ("choke", "feather_sigma")),
    pa.field("plate", _name), pa.field("plate_margin", pa.int32()),
    pa.field("plate_path", pa.string()), pa.field("plate_sha256", pa.string()),
    *(pa.field(f"plate_{column}", _real) for column in ("detail", "offset", "score")),
    pa.field("fg_ratio", _real),
    *(pa.field(f"{region}_{column}", pa.list_(_real)) for region in ("fg", "ring") for column in ("mean", "std", "chromaticity")),
    *(pa.field(f"gap_{name}", _real) for name in GAP_NAMES), pa.field("gap", _real),
    *(pa.field(f"score_{name}", _real) for name in SCORE_NAMES), pa.field("score", _real),
    pa.field("difficulty", _name), pa.field("fit", _name),
])


def placement_columns(placement: Placement, *, prefix: str = "") -> dict[str, Any]:
    """A placement as columns of RECIPES."""
    contact = placement.contact
    return {
        f"{prefix}source_box": _sides(placement.source), f"{prefix}target_box": _sides(placement.target),
        f"{prefix}contact": [contact.left, contact.top, contact.right, contact.bottom], f"{prefix}affine": list(placement.affine),
    }


def read_placement(recipe: Mapping[str, Any], *, prefix: str = "") -> Placement:
    """The inverse of `placement_columns`."""
    return Placement(
        source=Box(*recipe[f"{prefix}source_box"]), target=Box(*recipe[f"{prefix}target_box"]), contact=Contact(*recipe[f"{prefix}contact"])
    )


def read_photograph(image_path: str, mask_path: str, max_side: int) -> Photograph:
    """A photograph and one mask of it, both shrunk to `max_side`; paths relative to the project's root."""
    return shrink_to(read_image(Path(image_path)), max_side), shrink_to(read_mask(Path(mask_path)), max_side)


@dataclass(frozen=True)
class Rendered:
    """A recipe's images in the frame: the sample, the natural sample's own matte, and the photograph nobody touched, with its mask."""

    sample: RealComposite
    natural_mask: UInt8[np.ndarray, "S S"]
    untouched: UInt8[np.ndarray, "S S 3"]
    untouched_mask: UInt8[np.ndarray, "S S"]


def render_recipe(recipe: Mapping[str, Any], read: Callable[[str, str, int], Photograph] = read_photograph) -> Rendered:
    """The composite, its matte, its plate and its natural sample, from the recipe's row and the files that it names.

    Equal rows and files give equal pixels. The natural sample is the background's own object on the same plate, by the same functions.
    read: stands in for `read_photograph`, for a cache.
    """
    background, background_mask = read(recipe["bg_image_path"], recipe["bg_mask_path"], recipe["max_side"])
    image, mask = read(recipe["fg_image_path"], recipe["fg_mask_path"], recipe["max_side"])
    frame, frame_mask = to_frame(background, recipe["size"]), to_frame(background_mask, recipe["size"])
    matting = {"choke": recipe["choke"], "feather_sigma": recipe["feather_sigma"]}
    pasted = cut_object(image, mask, placement=read_placement(recipe), **matting)
    own = cut_object(background, background_mask, placement=read_placement(recipe, prefix="natural_"), **matting)
    inside = [matte_in_frame(cutout, recipe["size"]) > 0 for cutout in (pasted, own)]
    plate = _shared_plate(recipe, frame, removed=frame_mask >= FOREGROUND_LEVEL, inside=inside)
    composite, matte = paste(plate, pasted)
    natural, natural_mask = paste(plate, own)
    sample = RealComposite(key=recipe["key"], composite=composite, mask=matte, plate=plate, natural=natural)
    return Rendered(sample, natural_mask=natural_mask, untouched=frame, untouched_mask=frame_mask)


def _shared_plate(
    recipe: Mapping[str, Any], frame: UInt8[np.ndarray, "S S 3"], *, removed: Bool[np.ndarray, "S S"],
    inside: Sequence[Bool[np.ndarray, "S S"]],
) -> UInt8[np.ndarray, "S S 3"]:
    """The plate on which both objects stand, each of them in a rim that was filled.

    A plate that is made here is filled under the removed object and under both pasted ones; one that was brought, in a band along both
    outlines only. Without this the natural sample would hide its own hole and the composite would not: a probe of the border then tells
    them apart with an AUC of 0.67 instead of 0.53 where the plate is made here, and 0.68 instead of 0.59 where it was brought.
    """
    if recipe["plate"] == "none":
        return frame
    if recipe["plate"] == "precomputed":
        plate = read_plate(recipe["plate_path"], recipe["max_side"], recipe["size"])
        outlines = np.any([mask & grow_mask(~mask, 1) for mask in inside], axis=0)
        return clean_plate(plate, outlines.astype(np.uint8) * 255, method="telea", margin=recipe["plate_margin"])
    hole = np.any([removed, *inside], axis=0)
    return clean_plate(frame, hole.astype(np.uint8) * 255, method=recipe["plate"], margin=recipe["plate_margin"])


def _sides(box: Box) -> list[int]:
    return [box.left, box.top, box.right, box.bottom]
