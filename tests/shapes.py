"""Shapes of harmonizers, and edits, for tests."""

from dataclasses import fields
from typing import Any

import numpy as np

from attune.operators.curves import Curves
from attune.operators.operator import EditArrays
from attune.operators.shading import Shading, ShadingMode
from models.architectures import ARCHITECTURES, harmonizer_config
from models.harmonizer import HarmonizerConfig

SETTINGS: dict[str, Any] = {
    "size": 32, "plate": False, "width": 8, "num_knots": 8, "grid": 4, "shading": "symmetric", "shading_limit": 1.6, "edit": "both",
    "encode_curves": True, "read_rim": False, "encoder_size": 64,
    "depth": 1, "dropout": 0.0, "use_features": True, "use_attention": True, "use_matrix": True, "use_shading": True,
    "least_size": 0.0, "softness": 0.25, "doubt_weight": 0.0, "usual_size": 0.17, "evenness": 0.0, "most_lift": 1.0, "most_haze": 0.0,
}  # fmt: skip


def shape_of(architecture: str = "small", **changes: Any) -> HarmonizerConfig:
    """A config of `architecture`: `SETTINGS` and `changes`, of which each architecture takes its own."""
    known = {field.name for field in fields(ARCHITECTURES[architecture])}
    return harmonizer_config(architecture, **{name: value for name, value in {**SETTINGS, **changes}.items() if name in known})


def edit_of(curves: np.ndarray, logits: np.ndarray, mode: ShadingMode, limit: float) -> EditArrays:
    """An edit of curves and shading."""
    return EditArrays((Curves(curves), Shading(logits, mode, limit)))
