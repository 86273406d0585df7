"""Baseline JPEG by strips, several at once: the coefficients, and so the pixels, that one pass over the whole picture would give.

Between strips stands a restart marker: prediction begins anew there, as it does in a strip of its own. What is compressed differs in a few
bytes per strip; a picture of one strip is byte for byte what OpenCV (or Pillow, where it encodes) writes.
"""

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attune.photo import EXIF_MARK, PHOTOSHOP_MARK, Coding, Metadata

XMP_MARK, ICC_MARK = b"http://ns.adobe.com/xap/1.0/\x00", b"ICC_PROFILE\x00"
MAX_SEGMENT = 65533  # bytes of a segment's payload
MAX_INTERVAL = 65535  # units between two restarts
STRIP_ROWS = 256  # px, fewer in pictures so wide that these would hold over MAX_INTERVAL units
SAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
UNITS = ((8, 8), (8, 16), (16, 16))  # px, height and width of what is coded as one, by subsampling
SOF, SOS, DRI, EOI = b"\xff\xc0", b"\xff\xda", b"\xff\xdd", b"\xff\xd9"

Pixels = UInt8[np.ndarray, "H W *C"]


def encode_jpeg(pixels: Pixels, coding: Coding, metadata: Metadata, *, quality: int, num_threads: int) -> bytes:
    """RGB or grey pixels as a JPEG with `metadata`; equal bytes for every number of threads.

    coding: its tables where it has any, else those of `quality`; its chroma subsampling. Raises ValueError if metadata do not fit.
    """
    rows, interval = strip_shape(pixels, coding.jpeg_subsampling)
    segments, encode = _segments(metadata), _encoder(coding, quality)
    tops = range(0, len(pixels), rows)
    with ThreadPoolExecutor(num_threads) as pool:
        strips = list(pool.map(lambda top: encode(pixels[top : top + rows]), tops))
    head, start = _header(strips[0], len(pixels), interval if len(strips) > 1 else 0)
    end = 4 + struct.unpack_from(">H", head, 4)[0]
    parts: list[bytes | memoryview] = [_with_density(head[:end], metadata.dpi), *segments, head[end:]]
    for number, strip in enumerate(strips):
        parts.append(bytes((0xFF, 0xD0 + (number - 1) % 8)) if number else b"")
        parts.append(memoryview(strip)[start:-2])
    return b"".join([*parts, EOI])


def quality_of(tables: tuple[tuple[int, ...], ...]) -> int | None:
    """The quality, 1 to 100, by which libjpeg makes these tables; None if they are somebody's own."""
    return next((quality for quality in range(100, 0, -1) if _standard_tables(quality)[: len(tables)] == tables), None)


def strip_shape(pixels: Pixels, subsampling: int) -> tuple[int, int]:
    """Rows of a strip, and how many units of coding it holds."""
    height, width = (8, 8) if pixels.ndim == 2 else UNITS[subsampling]
    across = -(-pixels.shape[1] // width)
    down = min(STRIP_ROWS // height, MAX_INTERVAL // across)
    return down * height, down * across


# --- Encoders ---------------------------------------------------------------------------------------------------------------------------


def _encoder(coding: Coding, quality: int) -> Callable[[Pixels], bytes]:
    """Tables of a standard quality by OpenCV, which is faster; a camera's own by Pillow."""
    level = quality_of(coding.jpeg_tables) if coding.jpeg_tables else quality
    if level is None:
        tables = [list(table) for table in coding.jpeg_tables]
        return lambda strip: _by_pillow(strip, tables, coding.jpeg_subsampling)
    options = [cv2.IMWRITE_JPEG_QUALITY, level, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[coding.jpeg_subsampling]]
    return lambda strip: _by_opencv(strip, options)


def _by_opencv(strip: Pixels, options: list[int]) -> bytes:
    done, buffer = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR) if strip.ndim == 3 else strip, options)
    assert done, f"{strip.shape} as a JPEG"
    return buffer.tobytes()


def _by_pillow(strip: Pixels, tables: list[list[int]], subsampling: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "JPEG", qtables=tables, subsampling=subsampling)
    return buffer.getvalue()


@cache
def _standard_tables(quality: int) -> tuple[tuple[int, ...], ...]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as opened:
        tables = opened.quantization  # type: ignore[attr-defined]
        return tuple(tuple(tables[key]) for key in sorted(tables))


# --- Segments ---------------------------------------------------------------------------------------------------------------------------


def _header(strip: bytes, height: int, interval: int) -> tuple[bytes, int]:
    """All that stands before the compressed data of a picture of `height` rows that begins with this strip; where in it those begin."""
    at, head = 2, bytearray(strip[:2])
    while True:
        marker, end = strip[at : at + 2], at + 2 + struct.unpack_from(">H", strip, at + 2)[0]
        segment = strip[at:end]
        if marker == SOF:
            segment = segment[:5] + struct.pack(">H", height) + segment[7:]
        if marker == SOS:
            return bytes(head) + (DRI + struct.pack(">HH", 4, interval) if interval else b"") + segment, end
        head += segment
        at = end


def _with_density(header: bytes, dpi: tuple[float, float] | None) -> bytes:
    """The JFIF header, SOI before it, with the resolution."""
    return header[:13] + struct.pack(">BHH", 1, *(round(density) for density in dpi)) + header[18:] if dpi else header


def _segments(metadata: Metadata) -> list[bytes]:
    parts = []
    for marker, payload in ((0xE1, metadata.exif and EXIF_MARK + metadata.exif), (0xE1, metadata.xmp and XMP_MARK + metadata.xmp)):
        parts += [_segment(marker, payload)] if payload else []
    if metadata.photoshop:
        parts.append(_segment(0xED, PHOTOSHOP_MARK + metadata.photoshop))
    room = MAX_SEGMENT - len(ICC_MARK) - 2
    pieces = [metadata.icc[start : start + room] for start in range(0, len(metadata.icc), room)] if metadata.icc else []
    return parts + [_segment(0xE2, ICC_MARK + bytes((number, len(pieces))) + piece) for number, piece in enumerate(pieces, 1)]


def _segment(marker: int, payload: bytes) -> bytes:
    if len(payload) > MAX_SEGMENT:
        raise ValueError(f"metadata of {len(payload)} bytes fit into no JPEG (at most {MAX_SEGMENT}); choose .tif or .png for the result")
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
