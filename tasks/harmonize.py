"""A picture of any size harmonized by a trained model: the edit is predicted at the network's size and applied at the picture's own."""

from typing import Any

import torch
from torch import Tensor

from attune.edits import adjust_edit
from attune.operators.operator import EditArrays
from attune.operators.registry import edit_from_numbers
from attune.prediction import network_inputs
from attune.render import Levels, MaskLevels, PlateLevels, render_edit
from models.architectures import parametric_architectures
from models.harmonizer import Edit, Harmonizer, ParametricConfig, ParametricHarmonizer


def harmonize_image(
    model: Harmonizer, composite: Levels, mask: MaskLevels, *, plate: PlateLevels | None = None, strength: float = 1.0, num_threads: int = 2
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


def predict_edit(model: Harmonizer, composite: Levels, mask: MaskLevels, *, plate: PlateLevels | None = None) -> EditArrays:
    """The edit that `model` proposes for the foreground of `composite`; arguments and errors as `harmonize_image`."""
    if not isinstance(model, ParametricHarmonizer):
        raise ValueError(
            f"the model's architecture is {model.config.architecture!r}: it paints pixels at its own size and predicts no edit that could "
            f"be applied at another; {' and '.join(parametric_architectures())} do"
        )
    inputs = network_inputs(composite, mask, plate, model.config.size, takes_plate=model.config.plate)
    with torch.inference_mode():
        return edit_arrays(model.predict(**{name: torch.from_numpy(picture) for name, picture in inputs.items()}), model.config)


def edit_arrays(edit: Edit, config: ParametricConfig, *, index: int = 0) -> EditArrays:
    """The edit of one image of a batch, as arrays."""
    one = Edit({name: numbers[index : index + 1].detach().cpu().double() for name, numbers in edit.numbers.items()})
    settings = operator_settings(config)
    return edit_from_numbers((name, numbers[0].numpy(), settings[name]) for name, numbers in edit_outputs(one, config).items())


def edit_outputs(edit: Edit, config: ParametricConfig) -> dict[str, Tensor]:
    """The numbers of each operator as the tool takes them, by name, in the order in which they are applied."""
    return {operator.name: operator.portable(edit[operator.name]) for operator in config.operators}


def operator_settings(config: ParametricConfig) -> dict[str, dict[str, Any]]:
    """What is the same for every picture, by operator, in the order of `edit_outputs`."""
    return {operator.name: operator.settings() for operator in config.operators}
