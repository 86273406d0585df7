"""What a caller may hand over as a picture or a mask, and the same kind handed back: a path, bytes, a Pillow image, an array."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from attune.files import write_bytes
from attune.images import DEFAULT_MAX_MEGAPIXELS, MaskImage, RgbImage, decode_image, decode_mask, full_scale, mask_levels
from attune.photo import Coding, Metadata, Photo
from attune.photo_files import check_bytes, decode_photo, read_photo, read_photo_mask, read_photo_plate
from attune.photo_harmonizing import fit_mask
from attune.photo_writing import encode_photo, format_of
from attune.shrinking import in_eight_bits

Picture = str | Path | bytes | Image.Image | np.ndarray
Given = TypeVar("Given", str, Path, bytes, Image.Image, np.ndarray)

MODES = ("L", "LA", "RGB", "RGBA")  # of Pillow images
CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
BYTES = Path("the bytes")  # how they are named in messages
SUFFIX = "_harmonized"  # of the result of a path, beside it


def photo_of(picture: Picture) -> Photo:
    """A picture with all that must survive. Raises ValueError saying what is wrong with it."""
    if isinstance(picture, str | Path):
        return read_photo(Path(picture))
    if isinstance(picture, bytes):
        check_bytes(picture, BYTES, max_megapixels=DEFAULT_MAX_MEGAPIXELS)
        return decode_photo(picture, BYTES)
    if isinstance(picture, Image.Image):
        if picture.mode not in MODES:
            raise ValueError(f"the image's mode is {picture.mode}; it must be one of {', '.join(MODES)}: convert it first")
        return replace(_photo_of_array(np.asarray(picture)), metadata=Metadata(icc=picture.info.get("icc_profile")))
    return _photo_of_array(_array(picture, "picture"))


def mask_of(mask: Picture, height: int, width: int) -> MaskImage:
    """A mask at a picture's size, 255 is foreground. An array: bool, uint8 or uint16, (height, width). Raises ValueError as `photo_of`."""
    name = str(mask) if isinstance(mask, str | Path) else "the mask"
    if isinstance(mask, str | Path):
        levels = read_photo_mask(Path(mask))
    elif isinstance(mask, bytes):
        levels = decode_mask(mask, name=name)
    elif isinstance(mask, Image.Image):
        levels = full_scale(mask_levels(mask, name))
    else:
        levels = _mask_of_array(mask)
    return fit_mask(levels, height, width, name=name)


def plate_of(plate: Picture) -> RgbImage:
    """A clean background in sRGB, of any size. Raises ValueError as `photo_of`."""
    if isinstance(plate, str | Path):
        return read_photo_plate(Path(plate))
    if isinstance(plate, bytes):
        return decode_image(plate, name="the plate")
    return np.asarray(in_eight_bits(photo_of(plate).pixels))


def given_back(photo: Photo, picture: Given, out: str | Path | None) -> Given:
    """`photo` as the kind of thing that `picture`, which it was made of, is.

    A path: of the file that is written, whole or not at all: `out`, or else the picture's name with `SUFFIX`, beside it. Bytes: of a file
    of the same format. Raises ValueError if `out` is given with anything but a path.
    """
    if isinstance(picture, str | Path):
        source = Path(picture)
        path = Path(out) if out is not None else source.with_name(f"{source.stem}{SUFFIX}{source.suffix}")
        if path.exists() and path.samefile(source):
            raise ValueError(f"{path}: the result would overwrite what it is made of")
        write_bytes(path, encode_photo(photo, format_of(path)))
        return path if isinstance(picture, Path) else str(path)  # type: ignore[return-value]
    if out is not None:
        raise ValueError(f"out is {out}, but the picture is no path: the result is handed back, not written")
    if isinstance(picture, bytes):
        return encode_photo(photo, photo.coding.format)
    if isinstance(picture, Image.Image):
        image = Image.fromarray(_array_of_photo(photo, len(picture.getbands()), flat=picture.mode == "L"))
        image.info.update(picture.info)
        return image
    return _array_of_photo(photo, 1 if picture.ndim == 2 else picture.shape[2], flat=picture.ndim == 2)


# --- Arrays -----------------------------------------------------------------------------------------------------------------------------


def _photo_of_array(array: np.ndarray) -> Photo:
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS or 0 in pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the picture is {array.dtype} {array.shape}; it must be uint8 or uint16, (height, width) or with 1 to 4 channels")
    grey, layered = pixels.shape[2] < 3, pixels.shape[2] in (2, 4)
    colors = np.repeat(pixels[..., :1], 3, axis=2) if grey else np.array(pixels[..., :3])
    return Photo(colors, np.array(pixels[..., -1]) if layered else None, grey, 1, Metadata(), Coding("PNG"))


def _array_of_photo(photo: Photo, num_channels: int, *, flat: bool) -> np.ndarray:
    colors = photo.pixels[..., :1] if photo.grey else photo.pixels
    array = colors if photo.alpha is None else np.dstack([colors, photo.alpha])
    assert array.shape[2] == num_channels, "a photo keeps the channels that it was made of"
    return np.ascontiguousarray(array[..., 0] if flat else array)


def _mask_of_array(mask: object) -> MaskImage:
    array = _array(mask, "mask")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.ndim != 2 or array.size == 0 or array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the mask is {array.dtype} {array.shape}; it must be bool, uint8 or uint16, (height, width)")
    return full_scale(in_eight_bits(array))


def _array(value: object, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"the {name} is a {type(value).__name__}; it must be a path, bytes, a Pillow image or a NumPy array")
    return value
