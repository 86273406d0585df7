"""A photographer's picture in memory: pixels in its file's own encoding, and everything beside them that must survive."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
PHOTOSHOP_MARK, EXIF_MARK = b"Photoshop 3.0\x00", b"Exif\x00\x00"  # how their segments begin in a JPEG
XMP_TAG, PHOTOSHOP_TAG, ICC_TAG = 700, 34377, 34675  # of a TIFF
TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}  # quarters, then mirrored


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels, as bytes: kept, not understood."""

    exif: bytes | None = None  # a TIFF structure; the orientation in it belongs to the stored pixels
    icc: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None  # image resources, among them captions (IPTC)
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Coding:
    """How a file was encoded, so that the result is encoded alike."""

    format: str
    jpeg_tables: tuple[tuple[int, ...], ...] = ()
    jpeg_subsampling: int = 0  # as Pillow counts: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0
    lossless: bool = True
    compressed: bool = True


@dataclass(frozen=True)
class Photo:
    """A picture and everything that must survive."""

    pixels: UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"]  # upright; three equal channels where `grey`
    alpha: UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"] | None
    grey: bool
    orientation: int  # of EXIF: how the stored pixels lie, 1 to 8
    metadata: Metadata
    coding: Coding

    @property
    def size(self) -> str:
        """Width x height, upright, for messages."""
        return f"{self.pixels.shape[1]}x{self.pixels.shape[0]}"


def turn_upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as they are meant to be seen, from pixels as they are stored with that EXIF orientation."""
    if orientation not in TURNS:
        return stored
    quarters, mirror = TURNS[orientation]
    turned = np.rot90(stored, quarters)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)


def turn_back(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turn_upright`."""
    if orientation not in TURNS:
        return upright
    quarters, mirror = TURNS[orientation]
    return np.ascontiguousarray(np.rot90(upright[:, ::-1] if mirror else upright, -quarters))
