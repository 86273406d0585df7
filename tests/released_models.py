"""Released models for tests, made in milliseconds: a graph of a few operations whose edits follow from the mean colours of both regions."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from attune.model_files import INPUTS, MODEL_ONNX, ModelFile, OperatorOutput, write_model

KNOTS, GRID = 16, 4


def write_released_model(
    folder: Path, *, eagerness: float = 0.3, seed: int = 0, size: int = 32, plate: bool = False, about: dict[str, Any] | None = None
) -> Path:
    """Write `model.onnx` and `model.json` into `folder`; the folder. eagerness: how far its edits go; 0 changes nothing."""
    rng, names = np.random.default_rng(seed), INPUTS[plate]
    means = 3 * len([name for name in names if name != "mask"]) + 4  # of every picture, of the foreground, and the mask's share
    identity = np.tile(np.linspace(0, 1, KNOTS), 3)
    wishes = rng.normal(size=(means, 1)) + 0.2 * rng.normal(size=(means, 3))  # of light more than of colour
    bend = eagerness * wishes @ np.kron(np.eye(3), np.sin(np.pi * np.linspace(0, 1, KNOTS)))
    weights = {"identity": identity[None], "bend": bend, "light": eagerness * rng.normal(size=(means, GRID * GRID))}
    numbers = {name: array.astype(np.float32) for name, array in weights.items()} | {
        "axes": np.array([2, 3]), "low": np.float32(0), "high": np.float32(1), "least": np.float32(1e-3),
        "curve_shape": np.array([-1, 3, KNOTS]), "grid_shape": np.array([-1, GRID, GRID]),
    }
    pictures = [name for name in names if name != "mask"]
    nodes = [helper.make_node("ReduceMean", [name, "axes"], [f"{name}_mean"], keepdims=0) for name in names]
    nodes += [
        helper.make_node("Mul", ["composite", "mask"], ["cut"]), helper.make_node("ReduceMean", ["cut", "axes"], ["cut_mean"], keepdims=0),
        helper.make_node("Add", ["mask_mean", "least"], ["share"]), helper.make_node("Div", ["cut_mean", "share"], ["foreground"]),
        helper.make_node("Concat", [*(f"{name}_mean" for name in pictures), "foreground", "mask_mean"], ["known"], axis=1),
        helper.make_node("MatMul", ["known", "bend"], ["bent"]), helper.make_node("Add", ["bent", "identity"], ["moved"]),
        helper.make_node("Clip", ["moved", "low", "high"], ["flat"]), helper.make_node("Reshape", ["flat", "curve_shape"], ["curves"]),
        helper.make_node("MatMul", ["known", "light"], ["lit"]), helper.make_node("Reshape", ["lit", "grid_shape"], ["shading"]),
    ]
    shapes = {name: [1 if name == "mask" else 3, size, size] for name in names}
    results = {"curves": [3, KNOTS], "shading": [GRID, GRID]}
    declared = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in tensors.items()]
        for tensors in (shapes, results)
    ]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in numbers.items()]
    graph = helper.make_graph(nodes, "toy", *declared, stored)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    settings = {"curves": {}, "shading": {"mode": "symmetric", "limit": 1.6}}
    operators = tuple(OperatorOutput(name, tuple(shape), settings[name]) for name, shape in results.items())
    digest = hashlib.sha256(data).hexdigest()
    write_model(ModelFile(folder / MODEL_ONNX, digest, len(data), 18, "float32", size, plate, operators, about or {}), data)
    return folder


def read_graph(folder: Path) -> onnx.ModelProto:
    """The ONNX graph of a released model."""
    return onnx.load(folder / MODEL_ONNX)
