"""What every harmonizer is: from a composite and its mask to an edit of the foreground, and from an edit to the harmonized image.

A parametric one predicts an edit at a small size and renders it at any: global RGB curves first, then a low-frequency shading map.
Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. `models.architectures` lists those there are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.curves import apply_curves, identity_curves
from models.resizing import squash_area
from models.shading import NO_SHADING, ShadingMode, apply_shading, check_shading_limit, shading_map

EditParts = Literal["both", "curves", "shading"]


@dataclass(frozen=True)
class HarmonizerConfig(ABC):
    """The shape of a harmonizer, and what its architecture says of itself. Each architecture adds fields of its own, all of them params."""

    architecture: ClassVar[str]
    is_parametric: ClassVar[bool] = True  # whether it predicts an edit, which can be applied at any size

    size: int  # px, square: where edits are predicted
    plate: bool  # whether a clean background is an input too

    @abstractmethod
    def build(self) -> "Harmonizer":
        """An untrained harmonizer of this shape, its weights drawn from torch's default generator."""

    @property
    def strength_fault(self) -> str:
        """Why no strength can be put into the weights of such a harmonizer; empty where `with_strength` can."""
        return f"architecture {self.architecture!r} takes no strength"

    def with_strength(self, model: Any, strength: float) -> "Harmonizer":
        """A copy of `model`, which has this config, whose edits go `strength` of the way. Raises ValueError with `strength_fault`."""
        raise ValueError(self.strength_fault)


@dataclass(frozen=True)
class ParametricConfig(HarmonizerConfig):
    """The shape of a harmonizer that predicts curves and shading."""

    published: ClassVar[bool] = False  # the conventions of the published checkpoint; see `models.published`

    num_knots: int  # per channel
    grid: int  # cells per side of the shading map
    shading: ShadingMode
    shading_limit: float
    edit: EditParts  # what is predicted; the other half of the edit changes nothing

    def __post_init__(self) -> None:
        check_shading_limit(self.shading, self.shading_limit)
        if self.num_knots < 2 or self.grid < 2:
            raise ValueError(f"num_knots is {self.num_knots} and grid {self.grid}; they must be at least 2")
        if self.edit not in ("both", "curves", "shading"):
            raise ValueError(f"edit is {self.edit!r}; it must be 'both', 'curves' or 'shading'")


@dataclass(frozen=True)
class Edit:
    """What is done to the foreground: small, independent of the resolution, open to a person's hand."""

    curves: Float[Tensor, "B 3 K"]  # in [0, 1], as `apply_curves` takes them
    shading_logits: Float[Tensor, "B 1 g g"]  # as `shading_map` takes them


@dataclass(frozen=True)
class Harmonization:
    """A harmonized image; where the model is parametric also the image after the curves alone, and the edit."""

    harmonized: Float[Tensor, "B 3 H W"]
    toned: Float[Tensor, "B 3 H W"] | None = None
    edit: Edit | None = None


class Harmonizer(nn.Module):
    """What every architecture offers to trainers and evaluators."""

    config: HarmonizerConfig

    def forward(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Harmonization:
        """The composite with its foreground made to fit, at the input's resolution; equal to the background bit for bit where the mask is
        0.

        composite, plate: sRGB-encoded in [0, 1]; mask: 1 is foreground, soft edges allowed. The background is the plate in models that
        take one and the composite itself in those that do not, whether or not a plate is given.
        """
        raise NotImplementedError


class ParametricHarmonizer(Harmonizer):
    """Predicts an edit at its own size and renders it at any."""

    config: ParametricConfig

    def __init__(self, config: ParametricConfig) -> None:
        super().__init__()
        self.config = config

    def predict(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Edit:
        """The edit for each composite. Inputs of another size are first squashed to `config.size` square.

        Raises ValueError if the model takes a plate and none is given.
        """
        raise NotImplementedError

    def render(
        self,
        edit: Edit,
        composite: Float[Tensor, "B 3 H W"],
        mask: Float[Tensor, "B 1 H W"],
        background: Float[Tensor, "B 3 H W"] | None = None,
    ) -> Harmonization:
        """`edit` applied to the foreground at the composite's own resolution, over `background` (the composite itself where None).

        The mask is applied once, after curves and shading; the paper's code applies it again to the toned image, which leaves a halo on
        soft edges and changes nothing on hard ones.
        """
        behind = composite if background is None else background
        tinted = apply_curves(composite, edit.curves, half_pixel=self.config.published)
        toned = blend(tinted, mask, behind)
        gain = shading_map(
            edit.shading_logits, composite.shape[-2], composite.shape[-1], mode=self.config.shading, limit=self.config.shading_limit
        )
        shaded = apply_shading(toned if self.config.published else tinted, gain)
        return Harmonization(blend(shaded, mask, behind), toned, edit)

    def forward(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Harmonization:
        edit = self.predict(composite, mask, plate)
        return self.render(edit, composite, mask, plate if self.config.plate else None)

    def squash(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C size size"]:
        """`image` at `config.size` square: itself where it has that size."""
        return squash_area(image, self.config.size)


class TwoNetHarmonizer(ParametricHarmonizer):
    """Curves, then shading, each predicted by a network of its own; the second sees what the first has done."""

    def __init__(self, config: ParametricConfig, curve_net: nn.Module, shading_net: nn.Module) -> None:
        super().__init__(config)
        self.curve_net = None if config.edit == "shading" else curve_net
        self.shading_net = None if config.edit == "curves" else shading_net

    def predict(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Edit:
        known = known_inputs(self.config, composite, mask, plate)
        composite, mask, *rest = (self.squash(image) for image in known)
        plate = rest[0] if rest else None
        seen = [composite, *rest, mask]
        curves = self._predict_curves(torch.cat(seen, dim=1), composite, mask)
        if self.shading_net is None:
            logits = composite.new_full((len(composite), 1, self.config.grid, self.config.grid), NO_SHADING[self.config.shading])
            return Edit(curves.float(), logits.float())
        # The shading network looks at the toned image; the curves learn from the rendered one alone.
        tinted = apply_curves(composite, curves.detach(), half_pixel=self.config.published)
        toned = blend(tinted, mask, composite if plate is None else plate)
        logits = self.shading_net(torch.cat([*seen, toned], dim=1), toned, mask)
        return Edit(curves.float(), logits.float())

    def _predict_curves(self, known: Tensor, composite: Tensor, mask: Tensor) -> Tensor:
        if self.curve_net is None:
            return identity_curves(self.config.num_knots, like=composite).expand(len(composite), 3, -1)
        curves: Tensor = self.curve_net(known, composite, mask)
        return curves


def known_inputs(config: HarmonizerConfig, composite: Tensor, mask: Tensor, plate: Tensor | None) -> list[Tensor]:
    """What a model looks at: composite, mask, and the plate where it takes one. Raises ValueError if that is missing."""
    if not config.plate:
        return [composite, mask]
    if plate is None:
        raise ValueError("this harmonizer was built with plate=True: it needs the clean background of each composite")
    return [composite, mask, plate]


def blend(foreground: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """`foreground` over `background`: bit for bit the background where the mask is 0, the foreground where it is 1."""
    return mask * foreground + (1 - mask) * background


def build_harmonizer(config: HarmonizerConfig) -> Harmonizer:
    """An untrained harmonizer of the shape `config`, its weights drawn from torch's default generator."""
    return config.build()


def with_strength(model: Harmonizer, strength: float) -> Harmonizer:
    """A copy of `model` whose edits go `strength` of the way. Raises ValueError where its weights cannot hold that."""
    return model.config.with_strength(model, strength)
