"""A picture of any size harmonized by a trained model: the edit is predicted at the network's size and applied at the picture's own."""

from dataclasses import dataclass

import numpy as np
import torch

from attune.edits import adjust_edit
from attune.render import EditArrays, Levels, MaskLevels, render_edit
from attune.shrinking import OVERSAMPLING, shrink_levels
from models.architectures import parametric_architectures
from models.harmonizer import Edit, Harmonizer, HarmonizerConfig, ParametricConfig, ParametricHarmonizer
from tasks.tensors import to_tensor

FAINTEST = 1 / 255  # a mask that is fainter everywhere at the network's size holds nothing to harmonize


def harmonize_image(
    model: Harmonizer, composite: Levels, mask: MaskLevels, *, plate: Levels | None = None, strength: float = 1.0, num_threads: int = 2
) -> Levels:
    """`composite` with its foreground made to fit; bit for bit the composite where the mask is 0.

    composite: sRGB-encoded, uint8 or uint16. mask: uint8 or uint16, its own full scale is foreground, soft edges allowed. plate: the clean
    background, sRGB-encoded, of any size, for models that take one; ignored by the others, and looked at only: no pixel of it is pasted.
    strength: see `attune.edits.adjust_edit`. The result has the composite's shape and type.
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
            f"be applied at another; {' and '.join(parametric_architectures())} do"
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


@dataclass(frozen=True)
class TorchPredictor:
    """A trained model as `attune.photo_harmonizing` asks it for edits."""

    model: Harmonizer

    @property
    def config(self) -> HarmonizerConfig:
        """The model's shape."""
        return self.model.config

    @property
    def size(self) -> int:
        """px, square: where edits are predicted."""
        return self.model.config.size

    def predict_edit(self, composite: Levels, mask: MaskLevels, *, plate: Levels | None = None) -> EditArrays:
        """As the function of this name."""
        return predict_edit(self.model, composite, mask, plate=plate)


def edit_arrays(edit: Edit, config: ParametricConfig, *, index: int = 0) -> EditArrays:
    """The edit of one image of a batch, as arrays.

    Curves of the published model have their knots at half pixels and are flat beyond them; twice as many spans hold the same curve.
    """
    curves, logits = (tensor[index].detach().cpu().double().numpy() for tensor in (edit.curves, edit.shading_logits))
    if config.published:
        knots = curves.shape[1]
        inputs, at = np.linspace(0.0, 1.0, 2 * knots + 1), (np.arange(knots) + 0.5) / knots
        curves = np.stack([np.interp(inputs, at, curve) for curve in curves])
    return EditArrays(curves, logits[0], config.shading, config.shading_limit)
