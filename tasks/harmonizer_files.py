"""Trained harmonizers on disk; see `tasks.checkpoints`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from models.architectures import config_as_saved, saved_config
from models.harmonizer import Harmonizer, HarmonizerConfig, build_harmonizer
from tasks.checkpoints import load_model, save_model


def save_harmonizer(folder: Path, model: nn.Module, config: HarmonizerConfig, about: Mapping[str, Any]) -> None:
    """Save a harmonizer as `model.pt` and `config.json` (the architecture, and `about`: how it was trained)."""
    save_model(folder, "harmonizer", model, config_as_saved(config), about)


def load_harmonizer(folder: Path) -> tuple[Harmonizer, HarmonizerConfig]:
    """The harmonizer of a folder, on the CPU in evaluation mode, and its config. Raises ValueError as `load_model` does."""
    model = load_model(folder, "harmonizer", lambda **config: build_harmonizer(saved_config(**config)))
    return model, model.config
