"""Trained models and training states on disk: state dicts and JSON only, saved whole or not at all, loaded strictly.

A model is a folder: `model.pt` (a state dict of float tensors) and `config.json` (the architecture and where it came from).
A training state is one file, under the key of the params, inputs and code that it belongs to: another key never resumes it.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from attune.files import read_json, write_json, written_atomically

Model = TypeVar("Model", bound=nn.Module)

log = logging.getLogger(__name__)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Save tensors, numbers, strings and containers of them to `path`, whole or not at all."""
    with written_atomically(path) as temporary:
        torch.save(dict(state), temporary)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU. Never unpickles code; ValueError names the file if it holds anything else or is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint; `dvc repro` makes it") from None
    except Exception as error:
        raise ValueError(f"{path}: not a checkpoint of tensors and numbers ({type(error).__name__})") from error
    return state


def save_resumable(path: Path, key: str, state: Mapping[str, Any]) -> None:
    """Save a training state that only `load_resumable` with the same `key` resumes."""
    save_state(path, {"key": key, "state": dict(state)})


def load_resumable(path: Path, key: str) -> dict[str, Any] | None:
    """The training state at `path` if it belongs to `key`; None where there is none, it is damaged, or made by other params,
    inputs or code, which is said in the log.
    """
    if not path.is_file():
        return None
    try:
        saved = load_state(path)
    except ValueError:
        return None
    if saved.get("key") != key:
        log.warning("%s belongs to other params, inputs or code: training begins anew", path)
        return None
    state: dict[str, Any] | None = saved.get("state")
    return state


def save_model(folder: Path, kind: str, model: nn.Module, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Save a model as `model.pt` and `config.json`: its `config`, and `about`, how it was trained."""
    save_state(folder / "model.pt", {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    write_json(folder / "config.json", {"kind": kind, "config": dict(config), "about": dict(about)})


def load_model(folder: Path, kind: str, build: Callable[..., Model]) -> Model:
    """The model of a folder, on the CPU in evaluation mode: `build(**config)`, filled with the saved tensors.

    Raises ValueError naming the file if it is missing, damaged, of another kind, or its tensors do not fit the architecture.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{path}: no trained {kind} here; `dvc repro` makes it")
    found = read_json(path)
    if not isinstance(found, dict) or found.get("kind") != kind or not isinstance(found.get("config"), dict):
        raise ValueError(f"{path}: not the config of a {kind}")
    try:
        model = build(**found["config"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a config of this version's {kind} ({error})") from error
    try:
        model.load_state_dict(load_state(folder / "model.pt"), strict=True)
    except RuntimeError as error:
        raise ValueError(f"{folder / 'model.pt'}: tensors do not fit the architecture in config.json ({error})") from error
    return model.eval()
