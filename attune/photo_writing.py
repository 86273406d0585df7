"""A `Photo` back into a file: encoded as it was, with every byte of EXIF, colour profile and captions.

Pixels are encoded by OpenCV (TIFF by us); what stands beside them is put between the parts of the encoded file, as bytes. Lossless
formats hold the pixels bit for bit. A JPEG gets the quantisation tables and the chroma subsampling that it had.
"""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt16
from PIL import Image

from attune.files import write_bytes
from attune.jpeg_writing import encode_jpeg
from attune.photo import SUFFIXES, Coding, Metadata, Photo, turn_back
from attune.tiff_writing import encode_tiff

QUALITY = 95  # of JPEG and lossy WebP where the source names none; 4:4:4
PNG_LEVEL = 3  # of compression


def write_photo(path: Path, photo: Photo, *, quality: int | None = None) -> None:
    """Write `photo` in the format that `path`'s suffix names, whole or not at all; see `encode_photo`."""
    write_bytes(path, encode_photo(photo, format_of(path), quality=quality))


def format_of(path: Path) -> str:
    """The format that a file's suffix names. Raises ValueError if it names none of ours."""
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ValueError(f"{path}: {suffix or 'no suffix'}; the result can be {', '.join(SUFFIXES)}")
    return SUFFIXES[suffix]


def encode_photo(photo: Photo, name: str, *, quality: int | None = None, num_threads: int = 2) -> bytes:
    """`photo` as the bytes of a file of format `name` (JPEG, PNG, TIFF, WEBP).

    quality: 1 to 100, of JPEG and WebP, instead of the source's own. 16 bits become 8 (rounded) where the format has no 16.
    Raises ValueError if the format cannot hold the picture: transparency in a JPEG, over 16,383 px in a WebP.
    """
    pixels = turn_back(_channels(photo, name), photo.orientation)
    if name in ("JPEG", "WEBP") and pixels.dtype == np.uint16:
        pixels = np.rint(pixels / np.float32(257)).astype(np.uint8)
    coding = photo.coding if photo.coding.format == name else Coding(name, lossless=name != "WEBP" or photo.coding.lossless)
    metadata = photo.metadata
    if metadata.icc and metadata.icc[16:20] == b"GRAY" and pixels.ndim == 3:
        metadata = replace(metadata, icc=None)  # a profile of grey says nothing about three channels
    if name == "JPEG":
        coding = coding if quality is None else replace(coding, jpeg_tables=())
        return encode_jpeg(pixels, coding, metadata, quality=quality or QUALITY, num_threads=num_threads)
    if name == "PNG":
        return _with_chunks(_encoded(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL]), metadata)
    if name == "TIFF":
        return encode_tiff(pixels, metadata, compressed=coding.compressed)
    return _webp(pixels, metadata, quality=quality, lossless=coding.lossless and quality is None)


def encode_png16(levels: UInt16[np.ndarray, "H W"]) -> bytes:
    """A 16-bit grey PNG, exact."""
    return _encoded(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])


def _channels(photo: Photo, name: str) -> np.ndarray:
    """The picture as one array: grey alone, RGB or RGBA. Grey with transparency is written as RGBA."""
    if photo.alpha is None:
        return np.ascontiguousarray(photo.pixels[..., 0]) if photo.grey and name != "WEBP" else photo.pixels
    if name == "JPEG":
        raise ValueError("a JPEG holds no transparency: choose .png, .tif or .webp for the result")
    return np.dstack([photo.pixels, photo.alpha])


def _encoded(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, buffer = cv2.imencode(suffix, pixels, options)
    assert done, f"{pixels.shape} as {suffix}"
    return bytes(buffer)


# --- PNG and WebP -----------------------------------------------------------------------------------------------------------------------


def _with_chunks(png: bytes, metadata: Metadata) -> bytes:
    """`png` with the metadata as chunks behind its header."""
    chunks = []
    if metadata.icc:
        chunks.append(_chunk(b"iCCP", b"icc\x00\x00" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *(round(density / 0.0254) for density in metadata.dpi), 1)))
    if metadata.exif:
        chunks.append(_chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + metadata.xmp))
    return png[:33] + b"".join(chunks) + png[33:]


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def _webp(pixels: np.ndarray, metadata: Metadata, *, quality: int | None, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    said = {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": metadata.xmp}
    given = {key: value for key, value in said.items() if value}
    try:
        # exact: colours below full transparency stay what they are
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality or QUALITY, lossless=lossless, exact=True, **given)
    except (OSError, ValueError) as error:
        raise ValueError(f"not possible as WebP ({error}); choose .png, .tif or .jpg for the result") from error
    return buffer.getvalue()
