"""A picture of any size harmonized by a trained model: the edit is predicted at the network's size and applied at the picture's own."""

import cv2
import numpy as np
import torch

from models.harmonizer import Harmonizer, ParametricHarmonizer
from tasks.images import to_tensor
from tasks.rendering.edits import adjust_edit
from tasks.rendering.render import EditArrays, Levels, MaskLevels, edit_arrays, render_edit

OVERSAMPLING = 4  # the network's own antialiased shrinking starts from a picture of at most so many times its size
FAINTEST = 1 / 255  # a mask that is fainter everywhere at the network's size holds nothing to harmonize


def harmonize_image(
    model: Harmonizer, composite: Levels, mask: MaskLevels, *, plate: Levels | None = None, strength: float = 1.0, num_threads: int = 2
) -> Levels:
    """`composite` with its foreground made to fit; bit for bit the composite where the mask is 0.

    composite: sRGB-encoded, uint8 or uint16. mask: uint8 or uint16, its own full scale is foreground, soft edges allowed. plate: the clean
    background, sRGB-encoded, of any size, for models that take one; ignored by the others, and looked at only: no pixel of it is pasted.
    strength: see `tasks.rendering.edits.adjust_edit`. The result has the composite's shape and type.
    Raises ValueError if shapes or types do not belong together, the mask holds no foreground or no background, the model takes a plate and
    none is given, or it has no edit that could be applied at another size.
    """
    edit = predict_edit(model, composite, mask, plate=plate)
    return render_edit(composite, mask, adjust_edit(edit, strength), num_threads=num_threads)


def predict_edit(model: Harmonizer, composite: Levels, mask: MaskLevels, *, plate: Levels | None = None) -> EditArrays:
    """The edit that `model` proposes for the foreground of `composite`; arguments and errors as `harmonize_image`."""
    if not isinstance(model, ParametricHarmonizer):
        raise ValueError(
            f"the model's architecture is {model.config.architecture!r}: it paints pixels at its own size and predicts no edit that could "
            "be applied at another; train.architecture 'small' and 'paper' do"
        )
    if composite.shape != (*mask.shape, 3) or mask.size == 0:
        raise ValueError(f"composite {composite.shape} and mask {mask.shape} do not belong together")
    if model.config.plate and plate is None:
        raise ValueError("this model needs a plate: the clean background of the composite, without the object")
    pictures = [composite, mask] if plate is None or not model.config.plate else [composite, mask, plate]
    tensors = [to_tensor(shrink_levels(picture, OVERSAMPLING * model.config.size)) for picture in pictures]
    if not tensors[1].max() > FAINTEST:
        raise ValueError("the mask holds no foreground (or too little of it to be seen at the network's size)")
    if tensors[1].min() > 1 - FAINTEST and len(tensors) == 2:
        raise ValueError("the mask covers the whole picture: no background is left that the foreground could be made to fit")
    with torch.inference_mode():
        return edit_arrays(model.predict(*tensors), model.config)


def shrink_levels(picture: Levels | MaskLevels, side: int) -> np.ndarray:
    """`picture` as uint8, squashed by area averaging so that no side is over `side` px; never enlarged.

    While it is far larger it is halved, which is six times as fast as one step; each halving rounds, so that noise may end two levels off.
    """
    height, width = picture.shape[:2]
    small = np.ascontiguousarray(picture)
    while min(height, width) >= 2 * side:
        height, width = -(-height // 2), -(-width // 2)
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    if max(height, width) > side:
        small = cv2.resize(small, (min(width, side), min(height, side)), interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint16:
        return np.asarray(np.rint(small / np.float32(257)).astype(np.uint8))
    if small.dtype != np.uint8:
        raise ValueError(f"pixels are {small.dtype}; they must be uint8 or uint16")
    return small
