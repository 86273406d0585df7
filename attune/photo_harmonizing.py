"""A file's picture harmonized in its own encoding: colour profile, transparency and grey seen to."""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8

from attune.color_profiles import carry_edit, to_srgb
from attune.edits import grey_edit
from attune.images import MaskImage
from attune.operators.operator import EditArrays
from attune.photo import Photo
from attune.prediction import Predictor
from attune.render import Levels, MaskLevels, render_edit
from attune.shrinking import halved, in_eight_bits


def predict_photo_edit(model: Predictor, photo: Photo, mask: MaskImage, *, plate: UInt8[np.ndarray, "_H _W 3"] | None = None) -> EditArrays:
    """The edit for a file's picture, in the file's own encoding: the network sees it in sRGB, over white where it is transparent.

    mask: of the picture's size. plate: sRGB, of any size. A grey picture gets an edit that keeps it grey. Errors as the model's.
    """
    if photo.pixels.shape[:2] != mask.shape:
        raise ValueError(f"picture {photo.pixels.shape} and mask {mask.shape} do not belong together")
    seen = photo.pixels if photo.alpha is None else _over_white(photo.pixels, photo.alpha)
    small = halved(seen, model.size)
    if photo.metadata.icc is not None:
        small = to_srgb(in_eight_bits(small), photo.metadata.icc)
    edit = model.predict_edit(small, halved(mask, model.size), plate=plate)
    carried = carry_edit(edit, photo.metadata.icc)
    return grey_edit(carried) if photo.grey else carried


def render_photo(photo: Photo, mask: MaskImage, edit: EditArrays, *, num_threads: int = 2, in_place: bool = False) -> Photo:
    """`photo` with `edit`, made for its encoding, applied to the foreground; all else as it was.

    in_place: write over the photo's own pixels, which saves the memory of a picture.
    """
    chosen = grey_edit(edit) if photo.grey else edit
    out = photo.pixels if in_place else None
    return replace(photo, pixels=render_edit(photo.pixels, mask, chosen, out=out, num_threads=num_threads))


def fit_mask(mask: UInt8[np.ndarray, "_H _W"], height: int, width: int, *, name: str) -> MaskImage:
    """`mask` at a picture's size: as it is, or resized where it has the picture's shape; ValueError as `check_mask_shape`."""
    if mask.shape == (height, width):
        return mask
    check_mask_shape(mask.shape, (height, width), name=name)
    method = cv2.INTER_AREA if mask.shape[0] > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask, (width, height), interpolation=method))


def check_mask_shape(mask: tuple[int, int], picture: tuple[int, int], *, name: str) -> None:
    """Raise ValueError naming `name` and both sizes, (height, width), if they differ in shape by over a pixel of the smaller."""
    (tall, wide), (height, width) = mask, picture
    apart = min(abs(tall - wide * height / width), abs(wide - tall * width / height)) / max(1.0, tall / height)
    if apart > 1:
        raise ValueError(f"{name}: the mask is {wide}x{tall} px and the picture {width}x{height}: of another shape (turned, or cropped?)")


def _over_white(pixels: Levels, alpha: MaskLevels) -> np.ndarray:
    """The picture as it is seen on white: what lies below full transparency must not bleed into its surroundings."""
    weights = alpha.astype(np.float32) / np.float32(np.iinfo(alpha.dtype).max)
    white = np.float32(np.iinfo(pixels.dtype).max)
    return np.asarray(np.rint(white + (pixels - white) * weights[..., None]).astype(pixels.dtype))
