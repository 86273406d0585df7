"""The architectures there are, by name: a new one is a file of its own and a line here."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from models.harmonizer import HarmonizerConfig
from models.matched import MatchedConfig
from models.paper import PaperConfig, PublishedConfig
from models.pixel import PixelConfig
from models.small import SmallConfig

ARCHITECTURES: dict[str, type[HarmonizerConfig]] = {
    "small": SmallConfig,
    "matched": MatchedConfig,
    "paper": PaperConfig,
    "published": PublishedConfig,
    "pixel": PixelConfig,
}

# What every config had before each architecture had one of its own: models that were saved then hold all of these keys.
FORMER_KEYS = {"num_knots", "grid", "shading", "shading_limit", "edit", "encode_curves", "read_rim", "encoder_size", "published"}


def harmonizer_config(architecture: str, **values: Any) -> HarmonizerConfig:
    """The config of an architecture, from its fields. Raises ValueError naming an architecture or a key that is unknown or missing."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture is {architecture!r}; it must be one of {', '.join(ARCHITECTURES)}")
    kind = ARCHITECTURES[architecture]
    known = {field.name for field in fields(kind)}
    for wrong, said in ((set(values) - known, "has no"), (known - set(values), "also needs")):
        if wrong:
            raise ValueError(f"architecture {architecture!r} {said} {', '.join(sorted(wrong))}")
    return kind(**values)


def parametric_architectures() -> list[str]:
    """The names of those that predict an edit, which can be applied at any size."""
    return [name for name, kind in ARCHITECTURES.items() if kind.is_parametric]


def config_as_saved(config: HarmonizerConfig) -> dict[str, Any]:
    """`config` as values for a JSON file, the architecture's name first."""
    return {"architecture": config.architecture, **asdict(config)}


def saved_config(architecture: str, **values: Any) -> HarmonizerConfig:
    """The config that `config_as_saved` wrote, of this version or of one before: a field that came later has its default.

    Raises ValueError as `harmonizer_config` does.
    """
    own = fields(ARCHITECTURES[architecture]) if architecture in ARCHITECTURES else ()
    names, later = {field.name for field in own}, {field.name: field.default for field in own if field.default is not MISSING}
    kept = {key: value for key, value in values.items() if key in names or key not in FORMER_KEYS}
    return harmonizer_config(architecture, **{**later, **kept})
