"""What every harmonizer is: from a composite and its mask to an edit of the foreground, and from an edit to the harmonized image.

A parametric one predicts an edit at a small size and renders it at any: global RGB curves first, then a low-frequency shading map.
Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. `models.architectures` lists those there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.curves import Curves
from models.operators import TorchOperator
from models.resizing import squash_area
from models.shading import Shading, ShadingMode, check_shading_limit

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
    def operators(self) -> tuple[TorchOperator, ...]:
        """What its edits are made of, in the order in which they are applied; none where it predicts no edit."""
        return ()

    @property
    def strength_fault(self) -> str:
        """Why no strength can be put into the weights of such a harmonizer; empty where `with_strength` can."""
        return f"architecture {self.architecture!r} takes no strength"

    def with_strength(self, model: Any, strength: float) -> "Harmonizer":
        """A copy of `model`, which has this config, whose edits go `strength` of the way. Raises ValueError with `strength_fault`."""
        raise ValueError(self.strength_fault)


@dataclass(frozen=True)
class ParametricConfig(HarmonizerConfig):
    """The shape of a harmonizer that predicts an edit: it has `operators`."""

    published: ClassVar[bool] = False  # the conventions of the published checkpoint; see `models.published`


@dataclass(frozen=True)
class TwoNetConfig(ParametricConfig):
    """The shape of a harmonizer that predicts curves and shading, each by a network of its own."""

    num_knots: int  # per channel
    grid: int  # cells per side of the shading map
    shading: ShadingMode
    shading_limit: float
    edit: EditParts  # the operators there are: both, or one

    def __post_init__(self) -> None:
        check_shading_limit(self.shading, self.shading_limit)
        if self.num_knots < 2 or self.grid < 2:
            raise ValueError(f"num_knots is {self.num_knots} and grid {self.grid}; they must be at least 2")
        if self.edit not in ("both", "curves", "shading"):
            raise ValueError(f"edit is {self.edit!r}; it must be 'both', 'curves' or 'shading'")

    @property
    def curves(self) -> Curves:
        """The first operator, where it is predicted."""
        return Curves(self.num_knots, half_pixel=self.published)

    @property
    def operators(self) -> tuple[TorchOperator, ...]:
        parts: tuple[TorchOperator, ...] = (self.curves, Shading(self.grid, self.shading, self.shading_limit))
        return parts if self.edit == "both" else tuple(part for part in parts if part.name == self.edit)


@dataclass(frozen=True)
class Edit:
    """What is done to the foreground: small, independent of the resolution, open to a person's hand."""

    numbers: Mapping[str, Float[Tensor, "B ..."]]  # of each operator by its name
    log_errors: Float[Tensor, "B 2"] | None = None  # see `Harmonization.log_errors`

    def __getitem__(self, name: str) -> Tensor:
        return self.numbers[name]


@dataclass(frozen=True)
class Harmonization:
    """A harmonized image; where the model is parametric also the image after the pointwise operators alone, and the edit."""

    harmonized: Float[Tensor, "B 3 H W"]
    toned: Float[Tensor, "B 3 H W"] | None = None
    edit: Edit | None = None

    @property
    def log_errors(self) -> Float[Tensor, "B 2"] | None:
        """Natural logarithms of the RMSE that the model expects of the composite and of its result; None where it has no opinion."""
        return None if self.edit is None else self.edit.log_errors


class Harmonizer(nn.Module):
    """What every architecture offers to trainers and evaluators."""

    config: HarmonizerConfig

    @property
    def pretrained(self) -> Mapping[str, str]:
        """Of the parts that start from weights learned elsewhere, what those are called; none for most."""
        return {}

    def forward(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Harmonization:
        """The composite with its foreground made to fit, at the input's resolution; equal to the background bit for bit where the mask is
        0.

        composite, plate: sRGB-encoded in [0, 1]; mask: 1 is foreground, soft edges allowed. The background is the plate in models that
        take one and the composite itself in those that do not, whether or not a plate is given.
        """
        raise NotImplementedError

    def learned(self) -> list[nn.Parameter]:
        """What training changes: all parameters but those that are frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


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

        The mask is applied once, after all operators; the paper's code applies it again to the toned image, which leaves a halo on soft
        edges and changes nothing on hard ones.
        """
        behind, image, toned = composite if background is None else background, composite, None
        for operator in self.config.operators:
            if toned is None and not operator.is_pointwise:
                toned = blend(image, mask, behind)
                image = toned if self.config.published else image
            image = operator.apply(image, edit[operator.name])
        harmonized = blend(image, mask, behind)
        return Harmonization(harmonized, harmonized if toned is None else toned, edit)

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

    config: TwoNetConfig

    def __init__(self, config: TwoNetConfig, curve_net: nn.Module, shading_net: nn.Module) -> None:
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
        numbers, tinted = {}, composite
        if self.curve_net is not None:
            numbers["curves"] = self.curve_net(torch.cat(seen, dim=1), composite, mask)
            # The shading network looks at the toned image; the curves learn from the rendered one alone.
            tinted = self.config.curves.apply(composite, numbers["curves"].detach())
        if self.shading_net is not None:
            toned = blend(tinted, mask, composite if plate is None else plate)
            numbers["shading"] = self.shading_net(torch.cat([*seen, toned], dim=1), toned, mask)
        return Edit({name: predicted.float() for name, predicted in numbers.items()})


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
    """A copy of `model`, in its mode, whose edits go `strength` of the way. Raises ValueError where its weights cannot hold that."""
    return model.config.with_strength(model, strength).train(model.training)
