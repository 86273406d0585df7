"""A trained harmonizer as a released model: an ONNX file and a JSON file that attune runs without torch; see `attune.model_files`."""

import copy
import dataclasses
import hashlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from attune.model_files import INPUTS, MODEL_ONNX, ModelFile, OperatorOutput, read_model, write_model
from attune.prediction import Predictor
from models.harmonizer import Harmonizer, ParametricHarmonizer
from tasks.harmonize import edit_outputs, operator_settings

OPSET = 18
MAX_BATCH = 1024
MAX_DIFFERENCE = 1e-4  # of any number of the edit, from torch's
HALVED_FROM = 256  # numbers: a smaller tensor stays float32 where weights are stored as float16
NUM_PROBES = 8  # pictures that both are asked about
NOISY_LOGGERS = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer", "onnx_ir")

Weights = Literal["float32", "float16"]


def release_harmonizer(model: Harmonizer, path: Path, about: Mapping[str, Any], *, weights: Weights = "float32") -> float:
    """Write `path` (.onnx) and the JSON of the same name beside it; the largest difference of any number of the edit from torch's.

    about: JSON values for people: training data and their licences, figures, params, commit, hashes. weights: with "float16" the large
    tensors are rounded to half precision and stored so, half the bytes; they are cast back when the file is loaded. It is the rounded model
    that is released then, and held against torch; how far rounding moved the edit is in `about`.
    Raises ValueError if the model predicts no edit, or the difference is over `MAX_DIFFERENCE`: no such file is left then.
    """
    for stale in (path.with_suffix(".json"), path):
        stale.unlink(missing_ok=True)
    if not isinstance(model, ParametricHarmonizer):
        raise ValueError(f"architecture {model.config.architecture!r} predicts no edit: it cannot be released as a file for attune")
    released = _rounded(model) if weights == "float16" else model
    probes = probe_pictures(model.config.size, plate=model.config.plate)
    data = _without_traces(exported(released), weights).SerializeToString(deterministic=True)
    exact, wanted = (edit_numbers(one, probes) for one in (model, released))
    operators = tuple(
        OperatorOutput(name, numbers.shape[1:], settings)
        for (name, settings), numbers in zip(operator_settings(model.config).items(), wanted, strict=True)
    )
    digest, config = hashlib.sha256(data).hexdigest(), model.config
    file = ModelFile(path, digest, len(data), OPSET, weights, config.size, config.plate, operators, dict(about))
    difference = _largest_difference(_answers(data, file, probes), wanted)
    if not difference <= MAX_DIFFERENCE:
        raise ValueError(f"{path}: its edits differ from torch's by up to {difference:.2g}; at most {MAX_DIFFERENCE:g}")
    said = {"largest_difference_from_torch": difference, "largest_change_by_rounding": _largest_difference(exact, wanted)}
    write_model(dataclasses.replace(file, about={**about, **said}), data)
    return difference


def edit_numbers(model: ParametricHarmonizer, pictures: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Torch's numbers of each operator of the edit, for a batch of pictures by input name."""
    with torch.inference_mode():
        return [numbers.numpy() for numbers in _EditNumbers(model).eval()(*map(torch.from_numpy, pictures.values()))]


def probe_pictures(size: int, *, plate: bool) -> dict[str, np.ndarray]:
    """Made-up pictures of many colours and masks of many shapes, by input name: float32 `NUM_PROBES` C size size, always the same."""
    generator = torch.Generator().manual_seed(0)

    def blobs(channels: int) -> Tensor:
        coarse = torch.rand(NUM_PROBES, channels, 6, 6, generator=generator)
        return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)

    noise = 0.05 * torch.randn(NUM_PROBES, 3, size, size, generator=generator)
    levels, soft = blobs(1), torch.arange(NUM_PROBES).view(-1, 1, 1, 1) % 2 == 0
    mask = torch.where(soft, ((levels - 0.4) * 10).clamp(0, 1), (levels > 0.55).float())
    found = {"composite": (blobs(3) + noise).clamp(0, 1), "mask": mask, "plate": blobs(3)}
    return {name: found[name].numpy() for name in INPUTS[plate]}


# --- The graph --------------------------------------------------------------------------------------------------------------------------


class _EditNumbers(nn.Module):
    """The numbers of each operator's part of the edit, in order: what the ONNX file computes."""

    def __init__(self, model: ParametricHarmonizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, *pictures: Tensor) -> tuple[Tensor, ...]:
        return tuple(edit_outputs(self.model.predict(*pictures), self.model.config).values())


def exported(model: ParametricHarmonizer) -> onnx.ModelProto:
    """The graph of a model in evaluation mode, for any number of pictures at once."""
    side, batch = model.config.size, torch.export.Dim("batch", min=1, max=MAX_BATCH)
    names = INPUTS[model.config.plate]
    pictures = tuple(torch.rand(2, 1 if name == "mask" else 3, side, side) for name in names)
    with _quietly():
        program = torch.onnx.export(
            _EditNumbers(model).eval(), pictures, dynamo=True, opset_version=OPSET, verbose=False,
            dynamic_shapes=(tuple({0: batch} for _ in names),), input_names=list(names), output_names=list(operator_settings(model.config)),
        )
    assert program is not None, "it is None only where a file is written at once"
    return program.model_proto


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter warns of packages that are not there, and of its own deprecated calls."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _without_traces(model: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """The graph without the exporter's notes, which hold paths of this machine; large weights as float16 where that is asked for."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    if weights == "float16":
        casts = [cast for index in range(len(graph.initializer)) if (cast := _halved(graph.initializer[index])) is not None]
        nodes = [*casts, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def _halved(tensor: onnx.TensorProto) -> onnx.NodeProto | None:
    """Store a tensor as float16, under another name; the node that casts it back. None, and nothing is done, where that is not exact."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    values, name = numpy_helper.to_array(tensor), tensor.name
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if values.size < HALVED_FROM or not np.array_equal(half.astype(np.float32), values):
        return None
    tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.float16"))
    return helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT)


def _rounded(model: ParametricHarmonizer) -> ParametricHarmonizer:
    """A copy whose large parameters are rounded to half precision."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.numel() >= HALVED_FROM:
                parameter.copy_(parameter.half().float())
    return rounded


# --- Held against torch -----------------------------------------------------------------------------------------------------------------


def _answers(data: bytes, file: ModelFile, probes: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What attune's own reader and ONNX Runtime make of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL_ONNX)
        write_model(dataclasses.replace(file, onnx=path), data)
        return Predictor(read_model(path)).run(probes)


def _largest_difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    return float(max(np.abs(ours - theirs).max() for ours, theirs in zip(found, wanted, strict=True)))
