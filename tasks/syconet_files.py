"""Trained SycoNets on disk; see `tasks.checkpoints`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.syconet import SycoNet, SycoNetConfig
from tasks.checkpoints import load_model, save_model


def save_syconet(folder: Path, model: SycoNet, config: SycoNetConfig, about: Mapping[str, Any]) -> None:
    """Save a SycoNet as `model.pt` and `config.json` (the architecture, and `about`: how it was trained)."""
    save_model(folder, "syconet", model, dataclasses.asdict(config), about)


def load_syconet(folder: Path) -> tuple[SycoNet, SycoNetConfig]:
    """The SycoNet of a folder, on the CPU in evaluation mode, and its config. Raises ValueError as `load_model` does."""
    model = load_model(folder, "syconet", lambda **config: SycoNet(SycoNetConfig(**config)))
    return model, model.config
