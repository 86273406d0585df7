"""The matched harmonizer (ours): the whole edit from pretrained features, matched from the foreground to the background by attention.

The image is seen as cells of 16 px, each with what it shows (features), its colours inside and outside the mask, and where it lies. Cells
of the foreground look for like cells of the background and for one another: what the same kind of thing looks like in this scene's light
is what the foreground should come to look like.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, scaled_dot_product_attention, silu

from models.backbone import NUM_DESCRIBED, describe, zeroed
from models.color_matrix import ColorMatrix
from models.curves import Curves, scaled_cosines
from models.efficientnet import FEATURE_CHANNELS, FEATURE_STRIDES, EfficientNetLite0Features
from models.harmonizer import Edit, ParametricConfig, ParametricHarmonizer, known_inputs
from models.operators import TorchOperator
from models.restraint import Restraint, edit_strength, excess_black, seen_pixels
from models.rim import NUM_RIM_FEATURES, RimEncoder, rim_features
from models.shading import Shading, ShadingMode

CELL = 16  # px of the input per side of a cell
NUM_COLORS = 8  # a region's in one cell: three means, three deviations, the logarithm of the luma, the share of the cell
NUM_PLACES = 6
RIM_WIDTH, NUM_POOLS = 64, 4
LEAST_SHARE = 1e-4  # of a cell: what lies below weighs next to nothing in attention
MATRIX_STEP = 0.3  # scale of the matrix head: a matrix acts on every colour at once
FIRST_ERROR = -3.5  # natural logarithm of an RMSE in [0, 1]: where the error head starts
LEAST_ROOM, MOST_STRETCH = 0.05, 1.5  # of the tones above black, when blacks are pulled down again
SPREAD = 0.75  # cells of the shading grid: how far a foreground cell's wish for light reaches


@dataclass(frozen=True)
class MatchedConfig(ParametricConfig):
    """The shape of a matched harmonizer."""

    architecture: ClassVar[str] = "matched"

    num_knots: int  # of a curve
    grid: int  # cells per side of the shading map
    shading: ShadingMode
    shading_limit: float
    width: int  # of a cell's token
    depth: int  # matching blocks
    dropout: float  # of features, tokens and the body
    use_features: bool  # whether cells are told apart by pretrained features, or by their colours alone
    use_attention: bool  # whether the foreground's cells look at the background's
    use_matrix: bool  # whether a colour matrix comes before the curves
    use_shading: bool  # whether a shading map comes after them
    read_rim: bool  # whether both sides of the mask's outline are read too
    least_size: float  # RMSE in [0, 1] of an edit that is halved; smaller ones fade out, 0 keeps all: see models/restraint.py
    softness: float  # of the logarithm of the size, over which edits fade
    doubt_weight: float  # of the logarithm of the expected error, beside that of the size
    most_lift: float  # of encoded luma, how far blacks may be lifted; 1 for any
    most_haze: float  # or how far above the background's blacks they may end, whichever is more
    usual_size: float = 0.17  # RMSE in [0, 1] of an edit that is done as it is; weights of before have neither this nor the next
    evenness: float = 0.0  # smaller edits become stronger, larger ones weaker: by (size / usual_size) ** -evenness

    def __post_init__(self) -> None:
        if self.plate:
            raise ValueError("architecture 'matched' takes no plate")
        if self.size % CELL or self.size < 4 * CELL:
            raise ValueError(f"size is {self.size}; architecture 'matched' wants a multiple of {CELL}, at least {4 * CELL}")
        if self.width % (2 * Attention.num_heads):
            raise ValueError(f"width is {self.width}; it must be a multiple of {2 * Attention.num_heads}")
        if self.num_knots < 2 or self.grid < 2:
            raise ValueError(f"num_knots is {self.num_knots} and grid {self.grid}; they must be at least 2")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout:g}; it must be at least 0 and below 1")
        if self.shading != "symmetric":
            raise ValueError(f"shading is {self.shading!r}; architecture 'matched' predicts 'symmetric' shading")
        assert self.operators
        assert self.restraint

    @property
    def operators(self) -> tuple[TorchOperator, ...]:
        matrix = (ColorMatrix(),) if self.use_matrix else ()
        shading = (Shading(self.grid, self.shading, self.shading_limit),) if self.use_shading else ()
        return (*matrix, Curves(self.num_knots), *shading)

    @property
    def restraint(self) -> Restraint:
        """What keeps predicted edits from doing harm."""
        return Restraint(
            self.least_size, self.softness, self.doubt_weight, self.usual_size, self.evenness, self.most_lift, self.most_haze
        )

    def build(self) -> "MatchedHarmonizer":
        return MatchedHarmonizer(self)

    @property
    def strength_fault(self) -> str:
        return ""

    def with_strength(self, model: Any, strength: float) -> "MatchedHarmonizer":
        """It is in the weights and the config: the heads of curves and matrix are linear, a gain is a power of `shading_limit`.

        `least_size` and `usual_size` shrink with the edits, so that none fades or grows for being weaker. How far blacks may be lifted
        stays.
        """
        least = self.least_size * strength ** (1 / (1 + self.doubt_weight))  # the evidence falls by log(strength): see `edit_strength`
        usual = self.usual_size * strength
        copy = replace(self, shading_limit=self.shading_limit**strength, least_size=least, usual_size=usual).build()
        copy.load_state_dict(model.state_dict())
        with torch.no_grad():
            for head in (copy.decide.curves_head, copy.decide.matrix_head):
                for weights in () if head is None else head.parameters():
                    weights.mul_(strength)
        return copy


class MatchedHarmonizer(ParametricHarmonizer):
    """Frozen features, what is observed of an image, and the network that decides."""

    config: MatchedConfig

    def __init__(self, config: MatchedConfig) -> None:
        super().__init__(config)
        self.features = EfficientNetLite0Features().requires_grad_(False) if config.use_features else None
        self.decide = MatchedNet(config)

    @property
    def pretrained(self) -> Mapping[str, str]:
        return {} if self.features is None else {"features": "efficientnet_lite0"}

    def predict(
        self, composite: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], plate: Float[Tensor, "B 3 H W"] | None = None
    ) -> Edit:
        composite, mask = (self.squash(image) for image in known_inputs(self.config, composite, mask, plate))
        with torch.no_grad():
            levels = [] if self.features is None else self.features(composite)
            seen = observe(composite, mask, levels, read_rim=self.config.read_rim)
        edit = self.decide(seen)
        return edit if self.training else self.restrained(edit, composite, mask)

    def restrained(self, edit: Edit, composite: Float[Tensor, "B 3 S S"], mask: Float[Tensor, "B 1 S S"]) -> Edit:
        """`edit` as strong as its size asks for, its curves darker where they would lift blacks into haze: see `Restraint`."""
        restraint, log_errors = self.config.restraint, edit.log_errors
        assert log_errors is not None
        composite, mask = seen_pixels(composite), seen_pixels(mask)
        numbers = dict(edit.numbers)
        if restraint.scales:
            after = self.render(edit, composite, mask).harmonized
            strength = edit_strength(composite.flatten(2), after.flatten(2), mask.flatten(1), log_errors[:, 0], restraint)
            for operator in self.config.operators:
                identity = operator.identity(composite)
                numbers[operator.name] = identity + strength.view(-1, *[1] * len(operator.shape)) * (numbers[operator.name] - identity)
            numbers["curves"] = numbers["curves"].clamp(0, 1)
        if restraint.holds_blacks:
            after = self.render(Edit(numbers), composite, mask).harmonized
            black, allowed = excess_black(composite, after, mask, restraint)
            stretch = ((1 - allowed) / (1 - black).clamp_min(LEAST_ROOM)).clamp_max(MOST_STRETCH).view(-1, 1, 1)
            numbers["curves"] = (1 - stretch * (1 - numbers["curves"])).clamp(0, 1)
        return Edit(numbers, log_errors)


@dataclass(frozen=True)
class Observation:
    """What the network is told of an image: nothing in it is learned, so that whoever reads a batch can make it ready beforehand."""

    features: tuple[Float[Tensor, "B N C"], Float[Tensor, "B N C"]]  # of each cell, inside and outside the mask; C is 0 without any
    colors: tuple[Float[Tensor, "B N 8"], Float[Tensor, "B N 8"]]
    shares: tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]  # of each cell
    described: Float[Tensor, "B S"]
    rim: Float[Tensor, "B P F"]  # no points where the rim is not read
    closeness: Float[Tensor, "B P"]


def observe(
    composite: Float[Tensor, "B 3 S S"], mask: Float[Tensor, "B 1 S S"], levels: Sequence[Tensor], *, read_rim: bool
) -> Observation:
    """What `MatchedNet` looks at. levels: feature maps at `FEATURE_STRIDES`, or none of them."""
    inside, outside = (_observe_region(composite, region, levels) for region in (mask, 1 - mask))
    if read_rim:
        rim, closeness = rim_features(composite, mask)
    else:
        rim, closeness = composite.new_zeros(composite.shape[0], 0, NUM_RIM_FEATURES), composite.new_zeros(composite.shape[0], 0)
    features, colors, shares = zip(inside, outside, strict=True)
    return Observation(features, colors, shares, describe(composite, mask), rim, closeness)


def _observe_region(composite: Tensor, region: Tensor, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Features, colours and share of each cell of a region."""
    share = avg_pool2d(region, CELL).flatten(1)
    means = [cell_means(level, region, stride) for level, stride in zip(levels, FEATURE_STRIDES, strict=False)]
    features = torch.cat([composite.new_zeros(*share.shape, 0), *means], dim=2)
    return features, cell_colors(composite, region, share), share


class MatchedNet(nn.Module):
    """Curves, a colour matrix before them, shading logits, and how large the error is before and after, from what was observed."""

    cosines: Tensor
    places: Tensor
    reach: Tensor

    def __init__(self, config: MatchedConfig) -> None:
        super().__init__()
        cells, width, dropout, grid = config.size // CELL, config.width, config.dropout, config.grid
        channels = FEATURE_CHANNELS if config.use_features else ()
        self.norms = nn.ModuleList(nn.LayerNorm(count) for count in channels)
        self.reads = nn.ModuleList(nn.Linear(count, width, bias=False) for count in channels)
        self.colors = nn.ModuleList(nn.Linear(NUM_COLORS + NUM_PLACES, width) for _ in range(2))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(MatchingBlock(width, dropout) for _ in range(config.depth if config.use_attention else 0))
        self.norm = nn.LayerNorm(width)
        self.pool = nn.Linear(width, NUM_POOLS)
        self.rim = RimEncoder(NUM_DESCRIBED, RIM_WIDTH, NUM_POOLS) if config.read_rim else None
        known = NUM_POOLS * width + NUM_DESCRIBED + (0 if self.rim is None else self.rim.out_features)
        hidden = 2 * width
        self.body = nn.Sequential(
            nn.Linear(known, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.curves_head = zeroed(nn.Linear(hidden, 3 * config.num_knots))
        self.matrix_head = zeroed(nn.Linear(hidden, 12)) if config.use_matrix else None
        self.shading_head = zeroed(nn.Linear(width, 1)) if config.use_shading else None
        self.error_head = zeroed(nn.Linear(hidden, 2), bias=FIRST_ERROR)
        self.grid = grid
        self.register_buffer("cosines", scaled_cosines(config.num_knots), persistent=False)
        self.register_buffer("places", cell_places(cells), persistent=False)
        self.register_buffer("reach", cell_reach(cells, grid), persistent=False)

    def forward(self, seen: Observation) -> Edit:
        """The edit, with natural logarithms of the RMSE in [0, 1] that is expected before and after it."""
        front, back = (
            self._cells(features, colors, layer)
            for features, colors, layer in zip(seen.features, seen.colors, self.colors, strict=True)
        )
        front_bias, back_bias = (torch.log(share + LEAST_SHARE)[:, None, None, :] for share in seen.shares)
        for block in self.blocks:
            front = block(front, back, front_bias, back_bias)
        front = self.norm(front)
        attention = (self.pool(front) + torch.log(seen.shares[0] + LEAST_SHARE).unsqueeze(2)).softmax(dim=1)
        known = [(attention.transpose(1, 2) @ front).flatten(1), seen.described]
        if self.rim is not None:
            known.append(self.rim.pooled(seen.rim, seen.closeness, seen.described))
        body = self.body(torch.cat(known, dim=1)).float()
        numbers = {}
        if self.matrix_head is not None:
            numbers["color_matrix"] = ColorMatrix().identity(body) + MATRIX_STEP * self.matrix_head(body).unflatten(1, (3, 4))
        coefficients = self.curves_head(body).unflatten(1, (3, -1))
        identity = Curves(len(self.cosines)).identity(self.cosines)
        numbers["curves"] = (identity + coefficients @ self.cosines).clamp(0, 1)
        if self.shading_head is not None:
            numbers["shading"] = self._shading(self.shading_head(front).squeeze(2).float(), seen.shares[0])
        return Edit(numbers, self.error_head(body))

    def _cells(self, features: Tensor, colors: Tensor, layer: nn.Module) -> Tensor:
        """One token for each cell of a region: B N width."""
        tokens = silu(layer(torch.cat([colors, self.places.expand(colors.shape[0], -1, -1)], dim=2)))
        if len(self.reads):
            for level, norm, read in zip(features.split(FEATURE_CHANNELS, dim=2), self.norms, self.reads, strict=True):
                tokens = tokens + read(self.drop(norm(level)))
        return tokens

    def _shading(self, wishes: Float[Tensor, "B N"], share: Float[Tensor, "B N"]) -> Float[Tensor, "B 1 g g"]:
        """Each cell of the grid takes the wishes of the foreground near it; far from any it is 0."""
        logits = ((wishes * share) @ self.reach.T) / (share @ self.reach.T + 1e-2)
        grid: Tensor = logits.unflatten(1, (1, self.grid, self.grid))
        return grid


class MatchingBlock(nn.Module):
    """Foreground cells look at the background's, then at one another, then each thinks for itself."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.across, self.within = Attention(width, dropout), Attention(width, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.Dropout(dropout))

    def forward(
        self, front: Float[Tensor, "B N D"], back: Float[Tensor, "B N D"], front_bias: Float[Tensor, "B 1 1 N"],
        back_bias: Float[Tensor, "B 1 1 N"],
    ) -> Float[Tensor, "B N D"]:
        of_front, of_back, of_within, of_thought = self.norms
        front = front + self.across(of_front(front), of_back(back), back_bias)
        seen = of_within(front)
        front = front + self.within(seen, seen, front_bias)
        result: Tensor = front + self.think(of_thought(front))
        return result


class Attention(nn.Module):
    """Four heads; `bias` is added to the logits of the keys."""

    num_heads = 4

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, queries: Float[Tensor, "B N D"], keys: Float[Tensor, "B M D"], bias: Float[Tensor, "B 1 1 M"]
    ) -> Float[Tensor, "B N D"]:
        query, key, value = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(queries), *self.key_value(keys).chunk(2, dim=2))
        )
        bias = bias.to(query.dtype).expand(-1, -1, query.shape[2], -1)
        seen = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        result: Tensor = self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        return result


def cell_means(level: Float[Tensor, "B C h w"], region: Float[Tensor, "B 1 H W"], stride: int) -> Float[Tensor, "B N C"]:
    """A feature map's mean over a region inside each cell; near 0 where the region is absent."""
    if stride == CELL:
        return level.flatten(2).transpose(1, 2)
    weights, per_cell = avg_pool2d(region, stride), CELL // stride
    means = avg_pool2d(level * weights, per_cell) / (avg_pool2d(weights, per_cell) + 1e-3)
    return means.flatten(2).transpose(1, 2)


def cell_colors(image: Float[Tensor, "B 3 H W"], region: Float[Tensor, "B 1 H W"], share: Float[Tensor, "B N"]) -> Float[Tensor, "B N 8"]:
    """`NUM_COLORS` numbers of the region in each cell: near 0 where it is absent."""
    with torch.autocast(image.device.type, enabled=False):
        image, region, share = image.float(), region.float(), share.float()
        sums = avg_pool2d(torch.cat([image * region, image.square() * region], dim=1), CELL).flatten(2).transpose(1, 2)
        mean, square = (sums / (share.unsqueeze(2) + 1e-3)).chunk(2, dim=2)
        spread = ((square - mean.square()).clamp_min(0) + 1e-5).sqrt()
        luma = torch.log2(mean.mean(dim=2, keepdim=True) + 0.05) / 4
        return torch.cat([2 * mean - 1, 3 * spread, luma, share.unsqueeze(2)], dim=2)


def cell_places(cells: int) -> Float[Tensor, "1 N 6"]:
    """Where each of `cells` x `cells` cells lies: row and column from -1 to 1, and their first waves."""
    along = (torch.arange(cells) + 0.5) / cells * 2 - 1
    rows, columns = (axis.flatten() for axis in torch.meshgrid(along, along, indexing="ij"))
    waves = [torch.sin(math.pi * axis) for axis in (rows, columns)] + [torch.cos(math.pi * axis) for axis in (rows, columns)]
    return torch.stack([rows, columns, *waves], dim=1).unsqueeze(0)


def cell_reach(cells: int, grid: int) -> Float[Tensor, "G N"]:
    """How much each of `grid` x `grid` cells listens to each of `cells` x `cells`: a bell over their distance, rows sum to 1."""
    fine, coarse = (torch.arange(cells) + 0.5) / cells, (torch.arange(grid) + 0.5) / grid
    along = torch.exp(-0.5 * ((coarse[:, None] - fine) * grid / SPREAD).square())
    reach = torch.kron(along, along)
    return reach / reach.sum(dim=1, keepdim=True)
