"""The harmonizers: from a composite and its mask to an edit of the foreground, and from an edit to the harmonized image.

The parametric one predicts an edit at a small size and renders it at any: global RGB curves first, then a low-frequency shading map.
Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. Three architectures: "small" (ours, for two
cores), "paper" (the published one), "pixel" (a pixel-to-pixel peer after Sofiiuk et al., WACV 2021, that has no edit to show).
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.backbone import GROUP, group_norm
from models.curves import apply_curves, identity_curves
from models.paper_nets import PaperCurveNet, PaperShadingNet
from models.shading import NO_SHADING, ShadingMode, apply_shading, check_shading_limit, shading_map
from models.small_nets import NUM_DESCRIBED, SmallCurveNet, SmallShadingNet, describe, zeroed

DARKEN_BIAS = 4.0  # of the darkening map's logits at the start: 98 % of the way to no change, yet with a gradient
PAPER_WIDTH, PAPER_GRID = 32, 16

EditParts = Literal["both", "curves", "shading"]


@dataclass(frozen=True)
class HarmonizerConfig:
    """The shape of a harmonizer."""

    size: int  # px, square: where edits are predicted
    architecture: Literal["small", "paper", "pixel"]
    width: int  # channels of the first layer
    num_knots: int  # per channel
    grid: int  # cells per side of the shading map
    shading: ShadingMode
    shading_limit: float
    plate: bool  # whether a clean background is an input too
    published: bool = False  # the conventions of the published checkpoint; see `load_published`
    encode_curves: bool = True  # small only: whether curves are told from features too, or from colour statistics alone
    read_rim: bool = False  # small only: whether curves are told from both sides of the mask's outline too
    encoder_size: int = 64  # px, small only: encoders see the input averaged down to it; statistics and rim are read at `size`
    edit: EditParts = "both"  # parametric only: what is predicted; the other half of the edit changes nothing

    def __post_init__(self) -> None:
        check_shading_limit(self.shading, self.shading_limit)
        if self.architecture not in ("small", "paper", "pixel"):
            raise ValueError(f"architecture is {self.architecture!r}; it must be 'small', 'paper' or 'pixel'")
        if self.width < GROUP or self.width % GROUP:
            raise ValueError(f"width is {self.width}; it must be a multiple of {GROUP}")
        if self.architecture == "paper" and (self.size not in (256, 512) or self.grid != PAPER_GRID):
            raise ValueError(f"size is {self.size} and grid {self.grid}; architecture 'paper' has size 256 or 512 and grid {PAPER_GRID}")
        if self.published and self.architecture != "paper":
            raise ValueError(f"published is set with architecture {self.architecture!r}; only 'paper' was published")
        if self.edit not in ("both", "curves", "shading"):
            raise ValueError(f"edit is {self.edit!r}; it must be 'both', 'curves' or 'shading'")
        if min(self.size, self.encoder_size) < 32 or self.size % 2:
            raise ValueError(f"size is {self.size} and encoder_size {self.encoder_size}; they must be at least 32, and size even")


def paper_config(*, size: int = 512, plate: bool = True) -> HarmonizerConfig:
    """The published model: with a plate 93,235,073 parameters at work.

    The published count, 93,641,314, holds 406,241 more, of decoder levels that no output depends on; they are not built here.
    """
    return HarmonizerConfig(
        size=size, architecture="paper", width=PAPER_WIDTH, num_knots=32, grid=PAPER_GRID, shading="darken", shading_limit=0.5, plate=plate
    )


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
    """Curves, then shading, each predicted by a network of its own; the second sees what the first has done."""

    def __init__(self, config: HarmonizerConfig) -> None:
        super().__init__()
        self.config = config
        channels = 7 if config.plate else 4
        curve_net, shading_net = (_paper_nets if config.architecture == "paper" else _small_nets)(config, channels)
        self.curve_net = None if config.edit == "shading" else curve_net
        self.shading_net = None if config.edit == "curves" else shading_net

    def predict(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Edit:
        """The edit for each composite. Inputs of another size are first squashed to `config.size` square.

        Raises ValueError if the model takes a plate and none is given.
        """
        if self.config.plate and plate is None:
            raise ValueError("this harmonizer was built with plate=True: it needs the clean background of each composite")
        composite, mask = self._squash(composite), self._squash(mask)
        plate = self._squash(plate) if self.config.plate and plate is not None else None
        known = [composite, mask] if plate is None else [composite, plate, mask]
        curves = self._predict_curves(torch.cat(known, dim=1), composite, mask)
        if self.shading_net is None:
            logits = composite.new_full((len(composite), 1, self.config.grid, self.config.grid), NO_SHADING[self.config.shading])
            return Edit(curves.float(), logits.float())
        # The shading network looks at the toned image; the curves learn from the rendered one alone.
        tinted = apply_curves(composite, curves.detach(), half_pixel=self.config.published)
        toned = blend(tinted, mask, composite if plate is None else plate)
        logits = self.shading_net(torch.cat([*known, toned], dim=1), toned, mask)
        return Edit(curves.float(), logits.float())

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

    def _predict_curves(self, known: Tensor, composite: Tensor, mask: Tensor) -> Tensor:
        if self.curve_net is None:
            return identity_curves(self.config.num_knots, like=composite).expand(len(composite), 3, -1)
        curves: Tensor = self.curve_net(known, composite, mask)
        return curves

    def _squash(self, image: Tensor) -> Tensor:
        size = self.config.size
        if image.shape[-2:] == (size, size):
            return image
        return interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def blend(foreground: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """`foreground` over `background`: bit for bit the background where the mask is 0, the foreground where it is 1."""
    return mask * foreground + (1 - mask) * background


class PixelHarmonizer(Harmonizer):
    """A compact encoder-decoder that paints the foreground anew, blended with the composite by an attention map that it predicts.

    The painting starts as the composite: an untrained model changes nothing. It works at the input's resolution: `config.size` says only
    what it is trained on, and the settings of curves and shading say nothing.
    """

    def __init__(self, config: HarmonizerConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width, 2 * config.width, 4 * config.width, 8 * config.width]
        self.first = _unit(nn.Conv2d(7 if config.plate else 4, widths[0], 3, padding=1, bias=False))
        self.down = nn.ModuleList(
            _unit(nn.Conv2d(fine, coarse, 4, stride=2, padding=1, bias=False)) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(
            _unit(nn.Conv2d(coarse + fine, fine, 3, padding=1, bias=False)) for coarse, fine in pairwise(widths[::-1])
        )
        self.context = nn.Linear(NUM_DESCRIBED, widths[-1])
        self.paint = zeroed(nn.Conv2d(widths[0], 3, 3, padding=1))
        self.attention = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Harmonization:
        if self.config.plate and plate is None:
            raise ValueError("this harmonizer was built with plate=True: it needs the clean background of each composite")
        known = [composite, mask, plate] if self.config.plate and plate is not None else [composite, mask]
        levels = [self.first(torch.cat(known, dim=1) * 2 - 1)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        features = levels.pop() + self.context(describe(composite, mask))[:, :, None, None]
        for layer in self.up:
            across = levels.pop()
            features = interpolate(features, size=across.shape[-2:], mode="bilinear", align_corners=False)
            features = layer(torch.cat([features, across], dim=1))
        painted = (composite + self.paint(features).float()).clamp(0, 1)
        kept = self.attention(features).float().sigmoid()
        behind = plate if self.config.plate and plate is not None else composite
        return Harmonization(blend(kept * composite + (1 - kept) * painted, mask, behind))


def _small_nets(config: HarmonizerConfig, channels: int) -> tuple[nn.Module, nn.Module]:
    curve_net = SmallCurveNet(
        channels, config.width, config.num_knots,
        encode=config.encode_curves, encoder_size=config.encoder_size, read_rim=config.read_rim,
    )
    bias = DARKEN_BIAS if config.shading == "darken" else 0.0
    return curve_net, SmallShadingNet(channels + 3, config.width, config.grid, encoder_size=config.encoder_size, bias=bias)


def _paper_nets(config: HarmonizerConfig, channels: int) -> tuple[nn.Module, nn.Module]:
    shading_net = PaperShadingNet(channels + 3, config.width, config.size, published=config.published)
    return PaperCurveNet(channels, config.num_knots), shading_net


def build_harmonizer(config: HarmonizerConfig) -> Harmonizer:
    """An untrained harmonizer of the architecture that `config` names, its weights drawn from torch's default generator."""
    return PixelHarmonizer(config) if config.architecture == "pixel" else ParametricHarmonizer(config)


def with_strength(model: ParametricHarmonizer, strength: float) -> ParametricHarmonizer:
    """A copy of a small harmonizer whose edits go `strength` of the way: curves straight from the identity, gains geometrically.

    It is in the weights and the config: the curves' head is linear, and a gain is a power of `shading_limit`. Raises ValueError for another
    architecture and for a darkening map, where that does not hold.
    """
    config = model.config
    if config.architecture != "small" or config.shading != "symmetric":
        raise ValueError(f"architecture is {config.architecture!r}, shading {config.shading!r}: only small and symmetric take a strength")
    copy = ParametricHarmonizer(replace(config, shading_limit=config.shading_limit**strength))
    copy.load_state_dict(model.state_dict())
    if isinstance(copy.curve_net, SmallCurveNet):
        with torch.no_grad():
            for weights in copy.curve_net.head.parameters():
                weights.mul_(strength)
    return copy


def _unit(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, group_norm(conv.out_channels), nn.SiLU())
