"""The harmonizers: from a composite and its mask to an edit of the foreground, and from an edit to the harmonized image.

The parametric one predicts an edit at a small size and renders it at any: global RGB curves first, then a low-frequency shading map.
Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. Three architectures: "small" (ours, for two
cores), "paper" (the published one), "pixel" (a pixel-to-pixel peer after Sofiiuk et al., WACV 2021, that has no edit to show).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu, silu

from models.backbone import GROUP, NUM_STATISTICS, PatchifyEncoder, ResNet50, group_norm, masked_mean, region_statistics
from models.curves import apply_curves, identity_curves
from models.shading import ShadingMode, apply_shading, check_shading_limit, shading_map

DARKEN_BIAS = 4.0  # of the darkening map's logits at the start: 98 % of the way to no change, yet with a gradient
PAPER_WIDTH, PAPER_GRID = 32, 16

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


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
        if self.size < 32:
            raise ValueError(f"size is {self.size}; it must be at least 32")


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
        paper = config.architecture == "paper"
        self.curve_net: nn.Module = PaperCurveNet(channels, config) if paper else SmallCurveNet(channels, config)
        self.shading_net: nn.Module = PaperShadingNet(channels + 3, config) if paper else SmallShadingNet(channels + 3, config)

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
        curves = self.curve_net(torch.cat(known, dim=1), composite, mask)
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

    def _squash(self, image: Tensor) -> Tensor:
        size = self.config.size
        if image.shape[-2:] == (size, size):
            return image
        return interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def blend(foreground: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """`foreground` over `background`: bit for bit the background where the mask is 0, the foreground where it is 1."""
    return mask * foreground + (1 - mask) * background


class SmallCurveNet(nn.Module):
    """Curves from features pooled over foreground and background apart, and from both regions' colour statistics.

    Without an encoder (`encode_curves=False`) from the statistics alone: with a handful of photographs to learn from, features come to
    recognise each of them, and the statistics carry over to new ones better.

    The head gives smooth departures from the identity: coefficients of cosines, the fine ones scaled down. It starts at zero, so that an
    untrained model changes nothing; it sees all channels, since a cast of one is told from the others.
    """

    cosines: Tensor

    def __init__(self, in_channels: int, config: HarmonizerConfig) -> None:
        super().__init__()
        self.encoder = PatchifyEncoder(in_channels, config.width) if config.encode_curves else None
        pooled = 0 if self.encoder is None else 2 * sum(self.encoder.channels[2:])
        hidden = 8 * config.width
        self.body = nn.Sequential(
            nn.Linear(pooled + 2 * NUM_STATISTICS + 1, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.head = zeroed(nn.Linear(hidden, 3 * config.num_knots))
        self.register_buffer("cosines", scaled_cosines(config.num_knots), persistent=False)

    def forward(
        self, known: Float[Tensor, "B C H W"], composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 K"]:
        levels = [] if self.encoder is None else self.encoder(known * 2 - 1)[2:]
        pooled = [masked_mean(level, region) for level in levels for region in (mask, 1 - mask)]
        features = torch.cat([*pooled, describe(composite, mask)], dim=1)
        coefficients = self.head(self.body(features)).unflatten(1, (3, -1))
        curves: Tensor = identity_curves(self.cosines.shape[0], like=self.cosines) + coefficients.float() @ self.cosines
        return curves.clamp(0, 1)


class SmallShadingNet(nn.Module):
    """Shading logits from features at 1/16 and 1/32, joined by the toned image's colour statistics."""

    def __init__(self, in_channels: int, config: HarmonizerConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.encoder = PatchifyEncoder(in_channels, max(GROUP, config.width // 2 // GROUP * GROUP))
        channels = self.encoder.channels[2]
        self.context = nn.Linear(2 * NUM_STATISTICS + 1, channels)
        self.body = nn.Sequential(
            nn.Conv2d(sum(self.encoder.channels[2:]), channels, 3, padding=1, bias=False), group_norm(channels)
        )
        self.head = zeroed(nn.Conv2d(channels, 1, 3, padding=1), bias=DARKEN_BIAS if config.shading == "darken" else 0.0)

    def forward(
        self, known: Float[Tensor, "B C H W"], toned: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 1 g g"]:
        *_, middle, coarse = self.encoder(known * 2 - 1)
        coarse = interpolate(coarse, size=middle.shape[-2:], mode="bilinear", align_corners=False)
        context = self.context(describe(toned, mask))[:, :, None, None]
        logits: Tensor = self.head(silu(self.body(torch.cat([middle, coarse], dim=1)) + context))
        return to_grid(logits, self.grid)


class PaperCurveNet(nn.Module):
    """ResNet-50, average, 3 x K sigmoids: no identity to start from, as published. 23,717,280 parameters with 7 channels and 32 knots."""

    def __init__(self, in_channels: int, config: HarmonizerConfig) -> None:
        super().__init__()
        self.encoder = ResNet50(in_channels)
        self.head = nn.Linear(self.encoder.out_channels, 3 * config.num_knots)

    def forward(
        self, known: Float[Tensor, "B C H W"], composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 K"]:
        del composite, mask
        curves: Tensor = self.head(self.encoder(known).mean(dim=(2, 3))).float().sigmoid()
        return curves.view(len(curves), 3, -1)


class PaperShadingNet(nn.Module):
    """The published shading network: down to one place, up again to 16 x 16, one convolution to a logit. 69,517,793 parameters with 10
    channels.

    512 -> 128 -> 32 -> 16 -> 4 -> 2 -> 1 -> 2 -> 4 -> 16. Departure: the last convolution comes before the upsampling to the image, not
    after, which keeps the low-frequency constraint and costs a quarter; a 256-px model halves where a 512-px one quarters, as the
    published option does.
    """

    def __init__(self, in_channels: int, config: HarmonizerConfig) -> None:
        super().__init__()
        self.published = config.published
        widths = [config.width * 2**level for level in range(7)]
        strides = (4 if config.size == 512 else 2, 4, 2, 4, 2, 2)
        self.first = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(fine, coarse, 4, stride=stride, padding=1, bias=False), nn.BatchNorm2d(coarse))
            for fine, coarse, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, fine, 3, padding=1, bias=False), nn.BatchNorm2d(fine))
            for coarse, fine in pairwise(widths[:2:-1])
        )
        self.head = nn.Conv2d(widths[3], 1, 3, padding=1)

    def forward(
        self, known: Float[Tensor, "B C H W"], toned: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 1 16 16"]:
        del toned, mask
        levels = [relu(self.first(known))]
        for layer in self.down:
            levels.append(relu(layer(levels[-1])))
        features = levels.pop()
        for layer in self.up:
            across = levels.pop()
            features = interpolate(features, size=across.shape[-2:], mode="bilinear", align_corners=False)
            features = relu(layer(features)) + across
        if self.published:
            features = interpolate(features, size=known.shape[-2:], mode="bicubic", align_corners=False)
        logits: Tensor = self.head(features)
        return logits


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
        self.context = nn.Linear(2 * NUM_STATISTICS + 1, widths[-1])
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


def build_harmonizer(config: HarmonizerConfig) -> Harmonizer:
    """An untrained harmonizer of the architecture that `config` names, its weights drawn from torch's default generator."""
    return PixelHarmonizer(config) if config.architecture == "pixel" else ParametricHarmonizer(config)


SHADING_NAMES = {  # the published name of each layer of the shading network, and ours
    "conv0": "first", "conv1": "down.0", "conv2": "down.1", "conv3": "down.2", "conv3_1": "down.3", "conv3_2": "down.4", "conv3_3":
    "down.5", "conv4_1": "up.0", "conv4_2": "up.1", "conv4_3": "up.2", "conv_only": "head",
}  # fmt: skip
UNUSED_NAMES = {"conv4", "conv5", "conv6", "conv7", "conv8", "conv9"}  # in the file, 406,241 parameters, and in no output


def load_published(state: Mapping[str, Tensor]) -> ParametricHarmonizer:
    """The published model in evaluation mode, from the tensors under "state_dict" in its authors' file (ckpt_g39), which we do not bring
    along.

    Its conventions hold then: knots at half pixels, the last convolution after the upsampling, the mask applied twice, gains in [0.6, 1].
    At sizes other than 512 px the map is interpolated before it is squashed, the authors' code does the reverse. Raises ValueError naming
    the keys or the shapes that do not fit.
    """
    renamed: dict[str, Tensor] = {}
    foreign = []
    for key, tensor in state.items():
        net, _, name = key.removeprefix("module.").partition(".")
        layer, _, rest = name.partition(".")
        if net == "PL":
            renamed[f"curve_net.head.{rest}" if layer == "fc" else f"curve_net.encoder.{name}"] = tensor
        elif net == "gainnet" and layer in SHADING_NAMES:
            renamed[f"shading_net.{SHADING_NAMES[layer]}.{rest}"] = tensor
        elif net != "gainnet" or layer not in UNUSED_NAMES:
            foreign.append(key)
    if foreign:
        raise ValueError(f"not the published harmonizer: it has no {', '.join(foreign[:5])}")
    model = ParametricHarmonizer(replace(paper_config(), shading_limit=0.6, published=True))
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise ValueError(f"not the published harmonizer: {error}") from error
    return model.eval()


def describe(image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B S"]:
    """The colour statistics of the foreground and of the background, and the foreground's share of the image."""
    return torch.cat([region_statistics(image, mask), region_statistics(image, 1 - mask), mask.mean(dim=(1, 2, 3)).unsqueeze(1)], dim=1)


def scaled_cosines(num_knots: int) -> Float[Tensor, "K K"]:
    """The orthogonal cosines over K knots as rows, coarse first, row j scaled by `1 / (1 + j)`: equal steps of the coefficients shift a
    curve before they bend it."""
    knots = (torch.arange(num_knots) + 0.5) / num_knots
    orders = torch.arange(num_knots).unsqueeze(1)
    return torch.cos(math.pi * orders * knots) / (1 + orders)


def to_grid(logits: Float[Tensor, "B 1 h w"], grid: int) -> Float[Tensor, "B 1 {grid} {grid}"]:
    """`logits` on `grid` x `grid` cells: averaged down, or interpolated up."""
    if logits.shape[-1] >= grid:
        return interpolate(logits, size=(grid, grid), mode="area")
    return interpolate(logits, size=(grid, grid), mode="bilinear", align_corners=False)


def zeroed(layer: Layer, *, bias: float = 0.0) -> Layer:
    """`layer`, made to give `bias` whatever its input."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


def _unit(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, group_norm(conv.out_channels), nn.SiLU())
