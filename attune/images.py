"""Bytes <-> uint8 HWC RGB: the only place that decodes, encodes or resizes pictures for a network's eyes.

One rule for every kind of file, so that a pixel means the same whoever wrote it:

- the size in the header is checked before any pixel is decoded; only JPEG, PNG, TIFF, WebP and BMP are opened at all;
- EXIF orientation is applied, to images and masks;
- EXIF that cannot be read turns nothing; an embedded ICC profile is converted to sRGB (perceptual intent); none, or one that cannot be
  read or is of another colour model than the pixels, counts as sRGB, as in browsers;
- grey becomes three equal channels; CMYK goes through its profile, or without one through the complement;
- 16 bits keep their high byte; float, 32-bit and CIELAB pixels are refused: they have no agreed range;
- transparency is composited over white; of an animation, or of several pages, the first counts;
- a suffix says nothing: the bytes do; a JPEG that its decoder warns of has lost pixels, and is refused as damaged;
- a mask is its grey level; of a colour mask the largest channel; of one with transparency its opacity; of a palette with colours
  every index but 0; a mask whose largest value is 1 is taken as 0/1.
"""

import errno
import io
import math
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, ImageCms

from attune.rejects import BadSample, RejectReason

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")  # a phone's MPO is a JPEG here
DEFAULT_MAX_MEGAPIXELS = 120.0
MAX_FILE_BYTES = 2 << 30  # 120 megapixels of 16-bit RGBA are half of it
_ORIENTATION = 0x0112  # the EXIF tag
_QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange height and width
_FAULTS_OF_THE_FILE = frozenset({errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG})  # a retry would not help
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_TRANSPARENT = ("RGBA", "LA", "PA")
_NO_AGREED_RANGE = ("F", "I", "LAB", "HSV")
_FILTERS_OF_WARNINGS = Lock()

RgbImage = UInt8[np.ndarray, "H W 3"]
GreyImage = UInt8[np.ndarray, "H W"]
MaskImage = UInt8[np.ndarray, "H W"]


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that was brought. BadSample (a ValueError) if it is missing, no readable plain file, or over `MAX_FILE_BYTES`.

    Other I/O errors pass: trying again may heal them.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
            raise BadSample(RejectReason.UNREADABLE, str(path), "cannot be read (not a plain file)")
        if status.st_size > MAX_FILE_BYTES:
            raise BadSample(RejectReason.TOO_LARGE, str(path), f"{status.st_size} bytes, over {MAX_FILE_BYTES}")
        return path.read_bytes()
    except FileNotFoundError:
        raise BadSample(RejectReason.MISSING, str(path), "no such file") from None
    except OSError as error:
        if error.errno not in _FAULTS_OF_THE_FILE:
            raise
        raise BadSample(RejectReason.UNREADABLE, str(path), f"cannot be read ({error.strerror})") from error


def read_image(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> RgbImage:
    """The image file `path` as sRGB-encoded uint8 (height, width, 3), upright; BadSample (a ValueError) as `decode_image`."""
    return decode_image(read_bytes(path), name=str(path), max_megapixels=max_megapixels)


def read_shrunk(path: Path, max_side: int, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> RgbImage:
    """The image file `path` as `shrink_to(read_image(path), max_side)`, but a large JPEG is decoded at a fraction of its size.

    4K to 256 px takes a quarter of the time of the long way, whose pixels differ as one filter's do from another's: 45 dB in the median of
    photographs, 32 dB in one of twenty, of fine texture. Errors as `decode_image`.
    """
    return decode_shrunk(read_bytes(path), max_side, name=str(path), max_megapixels=max_megapixels)


def read_mask(path: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> MaskImage:
    """The mask file `path` as uint8 (height, width), 255 = foreground; BadSample (a ValueError) as `decode_mask`."""
    return decode_mask(read_bytes(path), name=str(path), max_megapixels=max_megapixels)


def decode_image(data: bytes, *, name: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> RgbImage:
    """An encoded image as sRGB-encoded uint8 (height, width, 3), upright, by the rules at the top of this file.

    name: for messages. Raises BadSample (a ValueError) naming file, value and limit if the bytes are no image of a known format, are
    damaged or truncated, hold more than `max_megapixels`, or hold pixels without an agreed range.
    """
    with _opened(data, name, max_megapixels) as opened:
        return _decoded(data, opened, name, least=(0, 0))


def decode_shrunk(data: bytes, max_side: int, *, name: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> RgbImage:
    """An encoded image as `read_shrunk` gives it."""
    with _opened(data, name, max_megapixels) as opened:
        width, height = opened.size
        scale = min(1.0, max_side / max(height, width))
        least = (max(1, round(height * scale)), max(1, round(width * scale)))  # as `shrink_to` rounds
        pixels = _decoded(data, opened, name, least=least)
        return resize_image(pixels, *(least[::-1] if _orientation(opened) in _QUARTER_TURNS else least))


def decode_grey(
    data: bytes, least_side: int, *, name: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
) -> tuple[GreyImage, tuple[int, int]]:
    """The grey levels (BT.601 luma, uint8 HW, upright) of an encoded image, and the height and width of the whole image.

    A plain JPEG is decoded at eighths of its size, as few as leave `least_side` px a side: two thirds of the time. It is read to its end
    all the same, so that damage anywhere is found. Errors as `decode_image`.
    """
    with _opened(data, name, max_megapixels) as opened:
        if _is_plain_jpeg(opened):
            grey, orientation = _decoded_jpeg(data, name, "GRAY", (least_side, least_side))[..., 0], _orientation(opened)
            return _upright(grey, orientation), opened.size if orientation in _QUARTER_TURNS else opened.size[::-1]
        pixels = _decoded(data, opened, name, least=(0, 0))
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), pixels.shape[:2]


def _decoded(data: bytes, opened: Image.Image, name: str, *, least: tuple[int, int]) -> RgbImage:
    """The pixels of an opened image; of a plain JPEG at as few eighths as leave it `least` (height, width) or more. (0, 0): all."""
    if _is_plain_jpeg(opened):
        return _upright(_decoded_jpeg(data, name, "RGB", least), _orientation(opened))
    loaded = _loaded(opened, name)
    return _upright(_to_array(_to_srgb(loaded, name)), _orientation(loaded))


def _is_plain_jpeg(opened: Image.Image) -> bool:
    return opened.format in ("JPEG", "MPO") and opened.mode == "RGB" and not opened.info.get("icc_profile")


def _decoded_jpeg(data: bytes, name: str, colorspace: str, least: tuple[int, int]) -> UInt8[np.ndarray, "H W C"]:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace=colorspace, min_height=least[0], min_width=least[1]))
    except ValueError as error:
        raise BadSample(RejectReason.UNREADABLE, name, f"cannot be decoded ({error})") from error


def decode_mask(data: bytes, *, name: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> MaskImage:
    """An encoded mask as uint8 (height, width), 255 = foreground, soft values kept; errors as `decode_image`."""
    with _opened(data, name, max_megapixels) as opened:
        loaded = _loaded(opened, name)
        return full_scale(_upright(mask_levels(loaded, name), _orientation(loaded)))


def full_scale(mask: MaskImage) -> MaskImage:
    """`mask`; where its largest value is 1 it is taken as 0/1, and 1 becomes 255."""
    return mask * 255 if mask.max(initial=0) == 1 else mask


def resize_image(image: UInt8[np.ndarray, "..."], height: int, width: int) -> UInt8[np.ndarray, "..."]:
    """`image` (uint8 HWC, or a HW mask) at `height` x `width`: Pillow's bilinear filter, antialiased when shrinking, rounded to nearest."""
    if image.shape[:2] == (height, width):
        return image.copy()
    return _to_array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def shrink_to(image: UInt8[np.ndarray, "..."], max_side: int) -> UInt8[np.ndarray, "..."]:
    """`image` (uint8 HWC or HW) shrunk, aspect kept, so that no side is over `max_side` px; never enlarged."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1.0:
        return image.copy()
    return resize_image(image, max(1, round(height * scale)), max(1, round(width * scale)))


def encode_jpeg(image: RgbImage, quality: int) -> bytes:
    """`image` as a baseline JPEG without chroma subsampling (4:4:4); equal pixels give equal bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encoded(".jpg", image, options)


def encode_png(image: UInt8[np.ndarray, "..."]) -> bytes:
    """`image` (uint8 HWC RGB, or a HW mask) as an 8-bit PNG, exact; equal pixels give equal bytes."""
    return _encoded(".png", image, [])


def _opened(data: bytes, name: str, max_megapixels: float) -> Image.Image:
    """The image with its header read and its size checked; no pixel is decoded yet.

    As Pillow's `Image.open` finds a format, but for its limit of 89 megapixels, which it tells the whole process by a warning.
    """
    Image.init()
    for factory, accept in (Image.OPEN[kind] for kind in FORMATS):
        if accept is None or accept(data[:16]) is not True:
            continue
        try:
            opened = factory(io.BytesIO(data), "")
        except MemoryError:
            raise
        except Exception as error:  # the bytes are here already: whatever a reader stumbles over is the file's fault
            raise _unreadable(error, name) from error
        width, height = opened.size
        if width * height > max_megapixels * 1e6:
            raise BadSample(RejectReason.TOO_LARGE, name, f"{width}x{height} px, over ingest.max_megapixels = {max_megapixels:g}")
        return opened
    raise BadSample(RejectReason.UNREADABLE, name, f"not an image of a known format ({', '.join(FORMATS)})")


def _loaded(opened: Image.Image, name: str) -> Image.Image:
    try:
        with _no_warning_of_size(opened):
            opened.load()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise _unreadable(error, name) from error
    return opened


@contextmanager
def _no_warning_of_size(opened: Image.Image) -> Iterator[None]:
    """Pillow's reader of TIFF asks for Pillow's own limit once more, when it loads; the process's filters are one thread's at a time."""
    if opened.format != "TIFF" or opened.width * opened.height <= (Image.MAX_IMAGE_PIXELS or math.inf):
        yield
        return
    with _FILTERS_OF_WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _unreadable(error: Exception, name: str) -> BadSample:
    reason = RejectReason.TOO_LARGE if isinstance(error, Image.DecompressionBombError) else RejectReason.UNREADABLE
    return BadSample(reason, name, f"cannot be decoded ({error})")


def _orientation(opened: Image.Image) -> int:
    try:
        return int(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF that cannot be read says nothing about the pixels, and breaks in as many ways as there are readers
        return 1


def _upright(pixels: UInt8[np.ndarray, "..."], orientation: int) -> UInt8[np.ndarray, "..."]:
    turns = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
    if orientation not in turns:
        return pixels
    quarters, mirror = turns[orientation]
    turned = np.rot90(pixels, quarters)
    # orientations 5 and 7 are the transpositions: a turn, then an upside-down flip
    if mirror:
        turned = turned[::-1] if orientation in (5, 7) else turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = _eight_bits(image, name)
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        layered = image.convert("RGBA")
        colors = _through_profile(layered.convert("RGB"), profile)
        return Image.composite(colors, Image.new("RGB", colors.size, "white"), layered.getchannel("A"))
    return _through_profile(image if image.mode in ("L", "CMYK") else image.convert("RGB"), profile).convert("RGB")


def _through_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a profile that cannot be read counts as sRGB
    assert converted is not None, "it is None only where the conversion is done in place"
    return converted


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _NO_AGREED_RANGE:
        raise BadSample(RejectReason.UNSUPPORTED, name, f"pixels of mode {image.mode}: float, 32-bit and CIELAB ones have no agreed range")
    return _high_byte(image) if image.mode in _SIXTEEN_BITS else image


def _high_byte(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def mask_levels(image: Image.Image, name: str) -> MaskImage:
    """The levels of a loaded mask, by the rules at the top of this file. BadSample naming `name` for pixels without an agreed range."""
    image = _eight_bits(image, name)
    if image.mode == "P" and "transparency" not in image.info:
        colors = np.asarray(image.convert("RGB"))
        if (colors == colors[..., :1]).all():
            return np.ascontiguousarray(colors[..., 0])
        return np.where(np.asarray(image) > 0, np.uint8(255), np.uint8(0))
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if (alpha < 255).any():
            return np.ascontiguousarray(alpha)
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).max(axis=2))
    if image.mode in ("1", "L"):
        return _to_array(image if image.mode == "L" else image.convert("L"))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).max(axis=2))


def _to_array(image: Image.Image) -> UInt8[np.ndarray, "..."]:
    return np.array(image, dtype=np.uint8)


def _encoded(suffix: str, image: UInt8[np.ndarray, "..."], options: list[int]) -> bytes:
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, buffer = cv2.imencode(suffix, pixels, options)
    assert done, f"cv2 could not encode {image.shape} as {suffix}"
    return bytes(buffer)
