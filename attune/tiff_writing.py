"""Baseline TIFF, 8 and 16 bit, with the metadata of a photograph: what no library at hand writes."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8, UInt16

from attune.photo import ICC_TAG, PHOTOSHOP_TAG, XMP_TAG, Metadata

ZLIB_LEVEL = 6
STRIP_ROWS = 64
MOST_BYTES = 0xF0000000  # offsets have 32 bits

Picture = UInt8[np.ndarray, "H W *C"] | UInt16[np.ndarray, "H W *C"]


def encode_tiff(pixels: Picture, metadata: Metadata, *, compressed: bool) -> bytes:
    """A baseline TIFF, raw or deflated.

    An EXIF block is a TIFF without pixels: the file begins with it as it is, so that all its offsets hold.
    """
    block = metadata.exif if metadata.exif and metadata.exif[:4] in (b"II*\x00", b"MM\x00*") else b"II*\x00\x08\x00\x00\x00\x00\x00"
    order = "<" if block[:2] == b"II" else ">"
    strips = _strips(pixels, order, compressed=compressed)
    offsets = np.cumsum([len(block) + len(block) % 2, *map(len, strips)]).tolist()
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    entries = dict(_kept_entries(block, order))
    if metadata.dpi and 282 not in entries:
        both = [(282 + axis, 5, struct.pack(f"{order}II", round(density * 100), 100)) for axis, density in enumerate(metadata.dpi)]
        entries |= {tag: _Entry(kind, 1, payload) for tag, kind, payload in both} | {296: _shorts(order, 2)}
    entries |= {
        256: _longs(order, pixels.shape[1]), 257: _longs(order, pixels.shape[0]), 258: _shorts(order, *[pixels.itemsize * 8] * channels),
        259: _shorts(order, 8 if compressed else 1), 262: _shorts(order, 1 if channels == 1 else 2), 277: _shorts(order, channels),
        273: _longs(order, *offsets[:-1]), 278: _longs(order, STRIP_ROWS), 279: _longs(order, *map(len, strips)), 284: _shorts(order, 1),
        317: _shorts(order, 2 if compressed else 1),
    }
    entries |= {338: _shorts(order, 2)} if channels == 4 else {}
    for tag, kind, payload in ((ICC_TAG, 7, metadata.icc), (XMP_TAG, 1, metadata.xmp), (PHOTOSHOP_TAG, 1, metadata.photoshop)):
        entries |= {tag: _Entry(kind, len(payload), payload)} if payload else {}
    end = offsets[-1] + offsets[-1] % 2
    if end > MOST_BYTES:
        raise ValueError("the result is over 4 GB, more than a TIFF holds")
    body = b"".join([block, b"\x00" * (len(block) % 2), *strips]).ljust(end, b"\x00")
    return body[:4] + struct.pack(f"{order}I", end) + body[8:] + _directory(entries, order, end)


class _Entry(tuple[int, int, bytes]):
    """Type, count and value of a TIFF tag; a value of 4 bytes that came from `block` may be an offset into it."""

    def __new__(cls, kind: int, count: int, value: bytes) -> "_Entry":
        return super().__new__(cls, (kind, count, value))


def _shorts(order: str, *values: int) -> _Entry:
    return _Entry(3, len(values), struct.pack(f"{order}{len(values)}H", *values))


def _longs(order: str, *values: int) -> _Entry:
    return _Entry(4, len(values), struct.pack(f"{order}{len(values)}I", *values))


def _kept_entries(block: bytes, order: str) -> list[tuple[int, _Entry]]:
    """The tags of the EXIF block's first directory, their 4 bytes of value or offset as they are."""
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, first)
        found = [struct.unpack_from(f"{order}HHI4s", block, first + 2 + 12 * number) for number in range(count)]
    except struct.error:
        return []
    return [(tag, _Entry(kind, number, value)) for tag, kind, number, value in found]


def _directory(entries: dict[int, _Entry], order: str, start: int) -> bytes:
    after, extra = start + 2 + 12 * len(entries) + 4, b""
    rows = [struct.pack(f"{order}H", len(entries))]
    for tag in sorted(entries):
        kind, count, value = entries[tag]
        if len(value) > 4:
            place = struct.pack(f"{order}I", after + len(extra))
            extra += value + b"\x00" * (len(value) % 2)
        else:
            place = value.ljust(4, b"\x00")
        rows.append(struct.pack(f"{order}HHI", tag, kind, count) + place)
    return b"".join([*rows, b"\x00" * 4, extra])


def _strips(pixels: np.ndarray, order: str, *, compressed: bool) -> list[bytes]:
    """Bands of rows; deflated ones hold the difference to the pixel on the left, which a photograph's compress better."""
    rows = pixels.reshape(len(pixels), pixels.shape[1], -1)
    stored = np.dtype(f"{order}u{pixels.itemsize}")

    def packed(top: int) -> bytes:
        band = rows[top : top + STRIP_ROWS]
        if not compressed:
            return band.astype(stored).tobytes()
        steps = band.copy()
        steps[:, 1:] -= band[:, :-1]
        return zlib.compress(steps.astype(stored).tobytes(), ZLIB_LEVEL)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(packed, range(0, len(rows), STRIP_ROWS)))
