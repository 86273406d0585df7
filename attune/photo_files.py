"""A photographer's file as it is: pixels in the file's own encoding, 8 or 16 bit, with transparency, EXIF and colour profile.

Unlike attune/images.py, which makes every file sRGB for a network's eyes, nothing is converted here. Refused, with the reason: CMYK (an
edit is made of RGB curves, and a way there and back would change the whole picture), float, 32-bit and 1-bit pixels, several frames or
pages, channels beyond colour and transparency, and sizes over a limit that is checked before any pixel is decoded.
"""

import io
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8, UInt16
from PIL import Image, JpegImagePlugin

from attune.images import DEFAULT_MAX_MEGAPIXELS, decode_image, decode_mask
from attune.photo import EXIF_MARK, PHOTOSHOP_MARK, PHOTOSHOP_TAG, TURNS, XMP_TAG, Coding, Metadata, Photo, turn_upright

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
MAX_FILE_BYTES = 2 << 30
ORIENTATION = 0x0112
MOST_DPI = 65535  # what a JPEG's header holds
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
TIFF_KEPT = (270, 271, 272, ORIENTATION, 282, 283, 296, 305, 306, 315, 316, 33432)  # what is said about a picture, not how it is stored
CONVERTED = {"P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "YCbCr": "RGB"}  # to the same colours, spelled out
KNOWN_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are decoded."""

    format: str
    width: int  # upright
    height: int
    bits: int


class Refused(ValueError):
    """A file that is not taken: `str()` names it, and why."""


def read_photo(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> Photo:
    """The picture of a JPEG, PNG, TIFF or WebP file. Refused (a ValueError) names the file and why."""
    return decode_photo(read_checked(path, max_megapixels=max_megapixels), path)


def decode_photo(data: bytes, path: Path) -> Photo:
    """The picture of a file's bytes, as `read_photo`; their size is not checked. path: for messages."""
    with _opened(data, path) as opened:
        bits = _bits(opened, data)
        _refuse_unfit(opened, bits, path)
        metadata = _metadata(opened)  # before a TIFF's loading turns the picture, and forgets that it did
        orientation, coding = _orientation(metadata.exif), _coding(opened, data)
        stored = _decoded(opened, data, bits)
    pixels = stored if coding.format == "TIFF" else turn_upright(stored, orientation)
    if pixels.ndim == 2:
        return Photo(np.repeat(pixels[..., None], 3, axis=2), None, True, orientation, metadata, coding)
    grey, layered = pixels.shape[2] == 2, pixels.shape[2] in (2, 4)
    alpha = np.ascontiguousarray(pixels[..., -1]) if layered else None
    colors = np.repeat(pixels[..., :1], 3, axis=2) if grey else np.ascontiguousarray(pixels[..., :3])
    return Photo(colors, alpha, grey, orientation, metadata, coding)


def read_header(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> Header:
    """What a picture is, refused as `read_photo` would, its pixels undecoded."""
    data = read_checked(path, max_megapixels=max_megapixels)
    with _opened(data, path) as opened:
        bits = _bits(opened, data)
        _refuse_unfit(opened, bits, path)
        return Header(_format(opened), *_upright_size(opened), bits)


def read_mask_size(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> tuple[int, int]:
    """Width and height of a mask, upright, its pixels undecoded; Refused as `read_checked`: masks are of more kinds than pictures."""
    with _opened(read_checked(path, max_megapixels=max_megapixels), path) as opened:
        return _upright_size(opened)


def read_photo_mask(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> UInt8[np.ndarray, "H W"]:
    """The mask of a file by the rules of `attune.images`, after the checks of this one."""
    return decode_mask(read_checked(path, max_megapixels=max_megapixels), name=str(path), max_megapixels=max_megapixels)


def read_photo_plate(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> UInt8[np.ndarray, "H W 3"]:
    """A clean background, sRGB, by the rules of `attune.images`, after the checks of this one."""
    return decode_image(read_checked(path, max_megapixels=max_megapixels), name=str(path), max_megapixels=max_megapixels)


def read_checked(path: Path, *, max_megapixels: float) -> bytes:
    """The bytes of a picture of a known format and bounded size; no pixel is decoded. Refused names file, value and limit."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise Refused(f"{path}: not a file")
        if about.st_size > MAX_FILE_BYTES:
            raise Refused(f"{path}: {about.st_size} bytes; at most {MAX_FILE_BYTES} are read")
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror}") from None
    check_bytes(data, path, max_megapixels=max_megapixels)
    return data


def check_bytes(data: bytes, path: Path, *, max_megapixels: float) -> None:
    """Refused, naming `path`, unless they are a picture of a known format and bounded size; no pixel is decoded."""
    if not data:
        raise Refused(f"{path}: the file is empty")
    with _opened(data, path) as opened:
        width, height = opened.size
        if width * height > max_megapixels * 1e6:
            raise Refused(f"{path}: {width}x{height} px, over the limit of {max_megapixels:g} megapixels")


# --- Headers ----------------------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(data: bytes, path: Path) -> Iterator[Image.Image]:
    """The file's header; whatever goes wrong while it is open is the file's fault, and said in one line."""
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(f"{path}: {error}") from None
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise Refused(f"{path}: not a picture of a known format (JPEG, PNG, TIFF, WebP)") from error
    try:
        with opened:
            yield opened
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{path}: cannot be decoded ({' '.join(str(error).split()) or type(error).__name__})") from error


def _format(opened: Image.Image) -> str:
    return "JPEG" if opened.format == "MPO" else str(opened.format)


def _bits(opened: Image.Image, data: bytes) -> int:
    if opened.format == "PNG":
        return 16 if data[24] == 16 else 8
    if opened.format == "TIFF":
        depths = opened.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        return int(max(depths if isinstance(depths, tuple) else (depths,)))
    return 8


def _refuse_unfit(opened: Image.Image, bits: int, path: Path) -> None:
    if opened.mode == "CMYK":
        raise Refused(f"{path}: CMYK; convert it to RGB first (an edit is made of RGB curves)")
    if opened.mode not in KNOWN_MODES and opened.mode not in CONVERTED:
        raise Refused(f"{path}: pixels of mode {opened.mode}; 8- and 16-bit grey and RGB, with or without transparency, are taken")
    if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:
        raise Refused(f"{path}: {opened.n_frames} frames or pages; a single picture is wanted")  # type: ignore[attr-defined]
    if opened.format == "TIFF":
        tags = opened.tag_v2  # type: ignore[attr-defined]
        apart = tags.get(284, 1) != 1 and (bits == 16 or opened.mode != "RGB")
        if bits not in (8, 16) or apart or (bits == 16 and (tags.get(262) == 0 or opened.mode == "RGBa" or 1 in tags.get(338, ()))):
            raise Refused(f"{path}: a TIFF of an unusual kind ({bits} bits, mode {opened.mode}); save it with interleaved channels")


def _orientation(exif: bytes | None) -> int:
    """Not by the picture's own `getexif`: that decodes a PNG on the way, and its faults would be lost here."""
    if exif is None:
        return 1
    said = Image.Exif()
    try:
        said.load(EXIF_MARK + exif)
        found = int(said.get(ORIENTATION, 1))
    except Exception:  # EXIF that cannot be read says nothing about the pixels
        return 1
    return found if found in TURNS else 1


def _metadata(opened: Image.Image) -> Metadata:
    info = opened.info
    xmp, icc = info.get("xmp"), info.get("icc_profile")
    exif, photoshop = info.get("exif"), None
    if opened.format == "TIFF":
        tags = opened.tag_v2  # type: ignore[attr-defined]
        exif, photoshop = _exif_of_tiff(opened), _as_bytes(tags.get(PHOTOSHOP_TAG))
        xmp = _as_bytes(tags.get(XMP_TAG))
    elif _format(opened) == "JPEG":
        found = [payload for name, payload in opened.applist if name == "APP13"]  # type: ignore[attr-defined]
        photoshop = next((each.removeprefix(PHOTOSHOP_MARK) for each in found if each.startswith(PHOTOSHOP_MARK)), None)
    exif = exif.removeprefix(EXIF_MARK) if exif else None
    return Metadata(exif, icc or None, _as_bytes(xmp), photoshop, _density(info.get("dpi")))


def _density(dpi: Sequence[SupportsFloat] | None) -> tuple[float, float] | None:
    """Pixels per inch across and down; None where a file tells none, or one that is none: a TIFF's fraction may divide by 0."""
    across, down = map(float, dpi or (0, 0))
    return (across, down) if 0 < across <= MOST_DPI and 0 < down <= MOST_DPI else None


def _upright_size(opened: Image.Image) -> tuple[int, int]:
    turned = _orientation(_metadata(opened).exif) >= 5 and opened.format != "TIFF"  # a TIFF's size is given upright
    return opened.size[::-1] if turned else opened.size


def _as_bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytes) and value else None


def _exif_of_tiff(opened: Image.Image) -> bytes | None:
    """What the TIFF's tags say about the picture, as an EXIF block of its own."""
    try:
        said, kept = opened.getexif(), Image.Exif()
        for tag in TIFF_KEPT:
            if tag in said:
                kept[tag] = said[tag]
        for folder in (EXIF_IFD, GPS_IFD):
            if found := said.get_ifd(folder):
                kept.get_ifd(folder).update(found)
                kept[folder] = dict(found)
        return kept.tobytes() if len(kept) else None
    except Exception:  # what cannot be read is left behind
        return None


def _coding(opened: Image.Image, data: bytes) -> Coding:
    name = _format(opened)
    if name == "JPEG":
        tables = opened.quantization  # type: ignore[attr-defined]
        subsampling = JpegImagePlugin.get_sampling(opened)
        subsampling = subsampling if subsampling in (0, 1, 2) else 2
        return Coding(name, tuple(tuple(tables[key]) for key in sorted(tables)), subsampling, lossless=False)
    if name == "WEBP":
        return Coding(name, lossless=b"VP8L" in data[12:64])
    return Coding(name, compressed=opened.info.get("compression") != "raw")


# --- Pixels -----------------------------------------------------------------------------------------------------------------------------


def _decoded(opened: Image.Image, data: bytes, bits: int) -> np.ndarray:
    """The stored pixels: (H, W) grey, or (H, W, C) with 2 (grey), 3 or 4 channels; TIFF's come upright."""
    if _format(opened) == "JPEG":
        if opened.mode == "RGB":
            return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="GRAY")[..., 0])
    if bits == 16:
        return _sixteen_bits(data, opened)
    opened.load()
    wanted = CONVERTED.get(opened.mode, opened.mode)
    if opened.mode in ("P", "RGB"):
        wanted = "RGBA" if "transparency" in opened.info else "RGB"
    return np.array(opened if opened.mode == wanted else opened.convert(wanted), np.uint8)


def _sixteen_bits(data: bytes, opened: Image.Image) -> UInt16[np.ndarray, "..."]:
    """By OpenCV: Pillow keeps 8 bits of colour. The channels' order is made RGB."""
    if opened.format == "PNG":
        _check_chunks(data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] not in (opened.size, opened.size[::-1]):
        raise ValueError("damaged, or 16 bits of an unusual kind")
    if pixels.ndim == 2:
        return np.asarray(pixels)
    if opened.mode in ("LA", "La"):
        return np.ascontiguousarray(pixels[..., [0, -1]])
    order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, order))


def _check_chunks(png: bytes) -> None:
    """Raise ValueError if a chunk claims to be longer than the file: OpenCV would reserve and fill as many gigabytes as it says."""
    at = 8
    while at < len(png):
        at += 12 + int.from_bytes(png[at : at + 4], "big")
        if at > len(png):
            raise ValueError("a chunk reaches beyond the end of the file")
        if png[at - 8 : at - 4] == b"IEND":
            return
