"""Pictures inside the page, as data URIs: as large as all of them together may be."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from attune.foreground import FOREGROUND_LEVEL
from attune.images import encode_jpeg, encode_png, shrink_to
from attune.operators.shading import Shading
from tasks.evaluation.case_files import Case

BUDGET = 7_000_000  # characters of data URIs: with texts and charts the page stays under 10 MB
SIDES = (640, 512, 384, 256, 192, 128)  # px, a picture's longer side: the first that fits
JPEG_QUALITY = 90
SHEET_SIDE, SHEET_QUALITY = 1280, 80
MAP_SIDE = 160  # px, the shading map's longer side
BRIGHTER, DARKER, OUTLINE = (214, 143, 28), (45, 96, 196), (128, 128, 128)


@dataclass(frozen=True)
class Picture:
    """An image of the page."""

    name: str  # composite, harmonized, target, mask
    uri: str
    width: int
    height: int


def encode_cases(cases: Sequence[Case], *, budget: int = BUDGET) -> list[list[Picture]]:
    """The pictures of each case, at the largest of `SIDES` at which all together fit `budget`; at the smallest whatever they take."""
    for side in SIDES:
        encoded = [encode_case(case, side) for case in cases]
        if sum(len(picture.uri) for pictures in encoded for picture in pictures) <= budget:
            break
    return encoded


def encode_case(case: Case, side: int) -> list[Picture]:
    """The case's pictures, shrunk to `side` px where they are larger."""
    found = []
    for name, full in (("composite", case.composite), ("harmonized", case.harmonized), ("target", case.target)):
        if full is None:
            continue
        image = shrink_to(full, side)
        found.append(Picture(name, _uri("jpeg", encode_jpeg(image, JPEG_QUALITY)), image.shape[1], image.shape[0]))
    mask = shrink_to(case.mask, side)
    return [*found, Picture("mask", _uri("png", encode_png(mask)), mask.shape[1], mask.shape[0])]


def encode_sheet(name: str, sheet: UInt8[np.ndarray, "H W 3"]) -> Picture:
    """A contact sheet, shrunk to `SHEET_SIDE` px where it is larger."""
    image = shrink_to(sheet, SHEET_SIDE)
    return Picture(name, _uri("jpeg", encode_jpeg(image, SHEET_QUALITY)), image.shape[1], image.shape[0])


def shading_picture(shading: Shading, mask: UInt8[np.ndarray, "H W"]) -> Picture:
    """The shading map: amber where the image gets lighter, blue where darker, clear where nothing changes; the mask's outline in grey.

    The colour is full where the gain is at the model's limit, and its strength grows with the gain's logarithm.
    """
    small = shrink_to(mask, MAP_SIDE)
    stops = np.log(shading.gains(*small.shape)) / abs(math.log(shading.limit))
    pixels = np.zeros((*small.shape, 4), np.uint8)
    pixels[..., :3] = np.where(stops[..., None] > 0, BRIGHTER, DARKER)
    pixels[..., 3] = np.rint(255 * np.clip(np.abs(stops), 0, 1))
    pixels[outline(small)] = (*OUTLINE, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG")
    return Picture("shading", _uri("png", buffer.getvalue()), small.shape[1], small.shape[0])


def gain_range(shading: Shading, mask: UInt8[np.ndarray, "H W"]) -> tuple[float, float]:
    """The smallest and the largest gain inside the mask."""
    small = shrink_to(mask, MAP_SIDE)
    gains: Float[np.ndarray, " N"] = shading.gains(*small.shape)[small >= small.max()]
    return float(gains.min()), float(gains.max())


def outline(mask: UInt8[np.ndarray, "H W"]) -> np.ndarray:
    """The foreground's pixels that have a neighbour, above, below or beside, in the background."""
    inside = mask >= FOREGROUND_LEVEL
    padded = np.pad(inside, 1, mode="edge")
    buried = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(inside & ~buried)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
