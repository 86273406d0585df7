"""Clean plates of objects: made here, or brought by the user as files named by the objects' keys; judged either way."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from attune.images import read_image, shrink_to
from tasks.mining.compositing import PlateMethod, clean_plate, grow_mask, plate_quality, to_frame
from tasks.mining.foregrounds import Reason
from tasks.params import Mine

_ENDINGS = (".png", ".jpg", ".jpeg")
_ASPECT_TOLERANCE = 0.02  # plates of another size are resampled; one of another shape belongs to another photograph
_UNLIKE = 12.0  # grey levels of mean difference outside the removed object: more is another photograph, less is another encoder


@dataclass(frozen=True)
class PlateFile:
    """A plate that the user brought."""

    path: str
    sha256: str


def find_plates(folder: Path, keys: Iterable[str], method: PlateMethod) -> dict[str, PlateFile]:
    """The plates in `folder` of the objects that have one: `<key>.png`, `.jpg` or `.jpeg`; only where `method` is `precomputed`."""
    found = {}
    for key in keys if method == "precomputed" else ():
        path = next((path for ending in _ENDINGS if (path := folder / f"{key}{ending}").is_file()), None)
        if path is not None:
            found[key] = PlateFile(path.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def read_plate(path: str, max_side: int, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """A brought plate in the frame, resampled as its photograph is. Raises ValueError or OSError if it is no image."""
    return _in_frame(read_image(Path(path)), max_side, size)


def judge_plate(
    frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"], *, photo_size: tuple[int, int], brought: PlateFile | None, mine: Mine
) -> dict[str, Any]:
    """The columns `plate_*` of ANALYSIS, with `reason` and `detail` where the plate bars the object as a background.

    photo_size: width and height of the photograph. With `mine.plate: none` nothing is filled and nothing measured.
    """
    if mine.plate == "none":
        return {}
    hole = mask.astype(np.uint8) * 255
    if mine.plate != "precomputed":
        plate = clean_plate(frame, hole, method=mine.plate, margin=mine.plate_margin)
        return _quality(plate, hole, mine)
    if brought is None:
        return _barred(Reason.PLATE_MISSING, f"no file of this key in mine.plate_folder ({', '.join(_ENDINGS)})")
    try:
        image = read_image(Path(brought.path))
    except (ValueError, OSError) as error:
        return _barred(Reason.PLATE_UNREADABLE, str(error))
    plate = _in_frame(image, mine.max_side, mine.size)
    fault = _unlike(plate, frame, mask, sizes=((image.shape[1], image.shape[0]), photo_size), margin=mine.plate_margin)
    if fault:
        return _barred(Reason.PLATE_UNLIKE, fault)
    return {"plate_path": brought.path, "plate_sha256": brought.sha256} | _quality(plate, hole, mine)


def _quality(plate: UInt8[np.ndarray, "S S 3"], hole: UInt8[np.ndarray, "S S"], mine: Mine) -> dict[str, Any]:
    quality = plate_quality(plate, hole, margin=mine.plate_margin, ring_width=mine.ring_width)
    columns: dict[str, Any] = {"plate_detail": quality.detail, "plate_offset": quality.offset, "plate_score": quality.score}
    if quality.score < mine.min_plate_score:
        columns |= _barred(Reason.PLATE_POOR, f"{quality.score:.3f} < {mine.min_plate_score}")
    return columns


def _unlike(
    plate: UInt8[np.ndarray, "S S 3"], frame: UInt8[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"], *,
    sizes: tuple[tuple[int, int], tuple[int, int]], margin: int,
) -> str:
    """Why a brought plate is not of this photograph; empty if it is. sizes: (width, height) of the plate's file and of the photograph."""
    (width, height), (photo_width, photo_height) = sizes
    if abs(math.log(width * photo_height / (height * photo_width))) > _ASPECT_TOLERANCE:
        return f"the plate is {width}x{height}, the photograph {photo_width}x{photo_height}"
    outside = ~grow_mask(mask, margin)
    apart = float(np.abs(plate.astype(np.float32) - frame)[outside].mean()) if outside.any() else 0.0
    return f"outside the object it differs from the photograph by {apart:.1f} > {_UNLIKE:g} grey levels" if apart > _UNLIKE else ""


def _in_frame(image: UInt8[np.ndarray, "H W 3"], max_side: int, size: int) -> UInt8[np.ndarray, "S S 3"]:
    frame: np.ndarray = to_frame(shrink_to(image, max_side), size)
    return frame


def _barred(reason: Reason, detail: str) -> dict[str, Any]:
    return {"reason": str(reason), "detail": detail}
