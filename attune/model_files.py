"""A released model on disk: an ONNX file that runs without torch, beside one JSON file that says all the rest.

    model.onnx      composite (and plate) as float32 B 3 S S, mask as float32 B 1 S S, in [0, 1]; one output per operator of the edit
    model.json      format, version, what the file is (hash, bytes, opset), its inputs, the operators in order, conventions, and `about`

`about` is for people: architecture, training data and their licences, figures, params, git commit, hashes. Nothing is unpickled.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attune.files import read_json, write_bytes, write_json

FORMAT, VERSION = "attune model", 1
MODEL_JSON, MODEL_ONNX = "model.json", "model.onnx"
MAX_JSON_BYTES, MAX_ONNX_BYTES = 1 << 20, 512 << 20
OPSETS = range(17, 23)  # that onnxruntime runs and we have tried
MAX_SIZE = 2048  # px
MAX_OPERATORS, MAX_NUMBERS = 16, 1 << 20  # of an edit; of one operator
INPUTS = {False: ("composite", "mask"), True: ("composite", "mask", "plate")}
RESIZE = "area"  # the filter by which pictures are made small; see `attune.shrinking.shrink_area`
CONVENTIONS = {
    "colour": "sRGB-encoded, channels red, green, blue, 0 to 1",
    "mask": "1 is the object, soft edges allowed",
    "layout": "float32, batch x channels x rows x columns, squashed to a square",
}


@dataclass(frozen=True)
class OperatorOutput:
    """One step of the edit: the output of this name holds its numbers."""

    name: str
    shape: tuple[int, ...]  # of one image's numbers
    settings: Mapping[str, Any]  # what is the same for every picture


@dataclass(frozen=True)
class ModelFile:
    """What the JSON says."""

    onnx: Path
    sha256: str
    num_bytes: int
    opset: int
    weights: str  # float32, or float16: how they are stored; they are computed with as float32
    size: int  # px, square: where edits are predicted
    plate: bool  # whether a clean background is an input too
    operators: tuple[OperatorOutput, ...]  # in the order in which they are applied
    about: Mapping[str, Any]


def find_model_json(path: Path) -> Path:
    """The JSON file of the model that `path` names: a folder, the JSON itself, or the ONNX file beside it. ValueError if there is none."""
    found = path / MODEL_JSON if path.is_dir() else path.with_suffix(".json")
    if not found.is_file():
        said = f"no {MODEL_JSON} in it" if path.is_dir() else "no such model" if not path.exists() else f"no {found.name} beside it"
        raise ValueError(f"{path}: {said}; a released model is an .onnx file with a .json file of the same name")
    return found


def write_model(model: ModelFile, data: bytes) -> None:
    """Write `model.onnx`, and then the JSON of the same name beside it; equal models give equal bytes."""
    write_bytes(model.onnx, data)
    write_json(model.onnx.with_suffix(".json"), model_as_json(model))


def model_as_json(model: ModelFile) -> dict[str, Any]:
    """What the JSON file holds."""
    operators = [{"name": step.name, "shape": list(step.shape), "settings": dict(step.settings)} for step in model.operators]
    return {
        "format": FORMAT, "version": VERSION,
        "onnx": {"sha256": model.sha256, "bytes": model.num_bytes, "opset": model.opset, "weights": model.weights},
        "input": {"size": model.size, "resize": RESIZE, "names": list(INPUTS[model.plate])},
        "operators": operators, "conventions": CONVENTIONS, "about": dict(model.about),
    }


def read_model(path: Path) -> ModelFile:
    """The model that `path` names, as `find_model_json` takes it; the ONNX file's size is checked, its content is not yet read.

    Raises ValueError naming the file, the value and the limit if it is no model of ours, of another version, or too large.
    """
    found = find_model_json(path)
    if (size := found.stat().st_size) > MAX_JSON_BYTES:
        raise ValueError(f"{found}: {size} bytes; a model's JSON has at most {MAX_JSON_BYTES}")
    try:
        value = read_json(found)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{found}: not JSON ({type(error).__name__})") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{found}: not a model of attune (its \"format\" must be {FORMAT!r})")
    if value.get("version") != VERSION:
        raise ValueError(f"{found}: a model of version {value.get('version')!r}; this program reads version {VERSION}")
    try:
        return _parsed(value, found.with_suffix(".onnx"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{found}: damaged ({type(error).__name__}: {error})") from error
    except ValueError as error:
        raise ValueError(f"{found}: {error}") from error


def read_onnx(model: ModelFile) -> bytes:
    """The bytes of the ONNX file. ValueError if they are not those that the JSON was written for."""
    data = model.onnx.read_bytes()
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise ValueError(f"{model.onnx}: damaged, or of another model (its SHA-256 is not the one in {model.onnx.stem}.json)")
    return data


# --- Inside -----------------------------------------------------------------------------------------------------------------------------


def _parsed(value: Mapping[str, Any], onnx: Path) -> ModelFile:
    file, entry = value["onnx"], value["input"]
    names = tuple(entry["names"])
    if names not in INPUTS.values():
        raise ValueError(f"its inputs are {', '.join(map(str, names))}; they must be composite, mask, and plate where it takes one")
    if entry["resize"] != RESIZE:
        raise ValueError(f"its pictures are made small by {entry['resize']!r}; this program knows {RESIZE!r}")
    if file["opset"] not in OPSETS:
        raise ValueError(f"its opset is {file['opset']}; this program runs {OPSETS.start} to {OPSETS.stop - 1}")
    size = _whole(entry["size"], "input.size", MAX_SIZE)
    if not onnx.is_file():
        raise ValueError(f"{onnx.name} is missing beside it")
    num_bytes = _whole(file["bytes"], "onnx.bytes", MAX_ONNX_BYTES)
    if (found := onnx.stat().st_size) != num_bytes:
        raise ValueError(f"{onnx.name} has {found} bytes where {num_bytes} are named")
    steps = tuple(_operator(step) for step in value["operators"])
    if not 1 <= len(steps) <= MAX_OPERATORS or len({step.name for step in steps}) != len(steps):
        raise ValueError(f"its operators are {', '.join(step.name for step in steps)}; there must be 1 to {MAX_OPERATORS}, each once")
    about = dict(value["about"])
    return ModelFile(onnx, str(file["sha256"]), num_bytes, file["opset"], str(file["weights"]), size, len(names) == 3, steps, about)


def _operator(step: Mapping[str, Any]) -> OperatorOutput:
    shape = tuple(_whole(side, f"the shape of {step['name']}", MAX_NUMBERS) for side in step["shape"])
    return OperatorOutput(str(step["name"]), shape, dict(step["settings"]))


def _whole(value: Any, name: str, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to {limit}")
    return value
