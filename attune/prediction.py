"""A released model at work: a picture and its mask in, an edit out, by ONNX Runtime."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attune.model_files import INPUTS, ModelFile, read_model, read_onnx
from attune.operators.operator import EditArrays
from attune.operators.registry import edit_from_numbers
from attune.render import Levels, MaskLevels, PlateLevels
from attune.shrinking import shrink_area

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FAINTEST = 1 / 255  # a mask that is fainter everywhere at the network's size holds nothing to harmonize
NUM_THREADS = 2  # a small network gains nothing from more


class Predictor:
    """A released model, ready to predict; safe to share by threads."""

    def __init__(self, file: ModelFile, *, num_threads: int = NUM_THREADS) -> None:
        """Raises ValueError naming the file if it is damaged, or its inputs and outputs are not as its JSON says."""
        _check_operators(file)
        self.file = file
        self._session = _session(file, num_threads)

    @property
    def size(self) -> int:
        """px, square: where edits are predicted."""
        return self.file.size

    def predict_edit(self, composite: Levels, mask: MaskLevels, *, plate: PlateLevels | None = None) -> EditArrays:
        """The edit that the model proposes for the foreground of `composite`, for sRGB-encoded pixels.

        composite: sRGB-encoded, uint8 or uint16. mask: uint8 or uint16, its own full scale is foreground, soft edges allowed. plate: the
        clean background, sRGB-encoded, of any size, for models that take one; ignored by the others.
        Raises ValueError if shapes or types do not belong together, the mask holds no foreground or no background, or the model takes a
        plate and none is given.
        """
        inputs = network_inputs(composite, mask, plate, self.size, takes_plate=self.file.plate)
        outputs = zip(self.file.operators, self.run(inputs), strict=True)
        return edit_from_numbers((step.name, output[0], step.settings) for step, output in outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of a batch, one array per operator, in order: the network alone."""
        return [np.asarray(output) for output in self._session.run([step.name for step in self.file.operators], dict(inputs))]


def network_inputs(
    composite: Levels, mask: MaskLevels, plate: PlateLevels | None, size: int, *, takes_plate: bool
) -> dict[str, np.ndarray]:
    """What a network of `size` px sees of a picture: float32 1 C S S each, by name. Raises ValueError as `Predictor.predict_edit`."""
    if composite.shape != (*mask.shape, 3) or mask.size == 0:
        raise ValueError(f"composite {composite.shape} and mask {mask.shape} do not belong together")
    if takes_plate and plate is None:
        raise ValueError("this model needs a plate: the clean background of the composite, without the object")
    region = shrink_area(mask, size)
    if not region.max() > FAINTEST:
        raise ValueError("the mask holds no foreground (or too little of it to be seen at the network's size)")
    if region.min() > 1 - FAINTEST and not takes_plate:
        raise ValueError("the mask covers the whole picture: no background is left that the foreground could be made to fit")
    pictures = {"composite": shrink_area(composite, size), "mask": region[..., None]}
    if takes_plate and plate is not None:
        pictures["plate"] = shrink_area(plate, size)
    return {name: np.ascontiguousarray(picture.transpose(2, 0, 1))[None] for name, picture in pictures.items()}


@cache
def load_predictor(path: Path, *, num_threads: int = NUM_THREADS) -> Predictor:
    """The model that `path` names (see `attune.model_files.find_model_json`), loaded once. Raises ValueError naming the file and why."""
    return Predictor(read_model(path), num_threads=num_threads)


def _session(file: ModelFile, num_threads: int) -> "InferenceSession":
    import onnxruntime

    data = read_onnx(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores decode and encode beside
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise ValueError(f"{file.onnx}: no ONNX model that can be run ({_first_line(error)})") from error
    _check_nodes(file, session.get_inputs(), [(name, (3 if name != "mask" else 1, file.size, file.size)) for name in INPUTS[file.plate]])
    _check_nodes(file, session.get_outputs(), [(step.name, step.shape) for step in file.operators])
    return session


def _check_operators(file: ModelFile) -> None:
    try:
        edit_from_numbers((step.name, np.zeros(step.shape), step.settings) for step in file.operators)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file.onnx.with_suffix('.json')}: {_first_line(error)}") from error


def _check_nodes(file: ModelFile, found: list[Any], stated: list[tuple[str, tuple[int, ...]]]) -> None:
    real = [(node.name, tuple(node.shape[1:]), node.type) for node in found]
    wanted = [(name, shape, "tensor(float)") for name, shape in stated]
    if sorted(real) != sorted(wanted):
        raise ValueError(f"{file.onnx}: it has {real} where its JSON says {wanted}")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
