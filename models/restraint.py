"""What makes of a predicted edit one that is done: small ones are drawn towards none, the rest are made more even in size, and blacks are
not lifted into haze.

All look at the edit's effect, not at how it was predicted, and none is learned by descent: their numbers are chosen on held-out pairs. A
network that learns by squared error cannot know how far a change went, and that some photographs need none: it makes moderate edits too
small, and the largest too large.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attune.foreground import FOREGROUND
from models.backbone import LUMA

DARKEST = 0.02  # share of the foreground's pixels that are called its blacks
STRONGEST = 2.5  # times as far as predicted, at most
EVERY = 2  # each second row and column is looked at


@dataclass(frozen=True)
class Restraint:
    """How small an edit must be to be left out, how sizes are evened, and how far blacks may be lifted. The defaults change nothing."""

    least_size: float = 0.0  # RMSE in [0, 1] that an edit makes: at this size half of it is left, below it less; 0: all of every edit
    softness: float = 0.25  # of the logarithm of the size, over which it fades
    doubt_weight: float = 0.0  # how much the predicted error before the edit counts beside the size, both as logarithms
    usual_size: float = 0.17  # RMSE in [0, 1] of an edit that is done as it is
    evenness: float = 0.0  # smaller edits become stronger, larger ones weaker: by (size / usual_size) ** -evenness
    most_lift: float = 1.0  # of encoded luma: blacks may be lifted by so much,
    most_haze: float = 0.0  # or to so much above the background's, whichever is more

    def __post_init__(self) -> None:
        limits = {
            "least_size": (0, 1), "softness": (1e-3, 10), "doubt_weight": (0, 10), "usual_size": (1e-3, 1), "evenness": (0, 0.9),
            "most_lift": (0, 1), "most_haze": (0, 1),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name):g}; it must be between {least:g} and {most:g}")

    @property
    def scales(self) -> bool:
        """Whether any edit is made weaker or stronger."""
        return self.least_size > 0 or self.evenness > 0

    @property
    def holds_blacks(self) -> bool:
        """Whether blacks are kept from being lifted."""
        return self.most_lift < 1


def seen_pixels(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C _h _w"]:
    """Each second row and column: what restraint looks at."""
    return image[:, :, ::EVERY, ::EVERY]


def edit_strength(
    before: Float[Tensor, "B 3 N"], after: Float[Tensor, "B 3 N"], weights: Float[Tensor, "B N"], log_error: Float[Tensor, " B"],
    restraint: Restraint,
) -> Float[Tensor, " B"]:
    """How strongly each edit is done, in [0, `STRONGEST`], from colours before and after it and how much each of them counts.

    log_error: natural logarithm of the RMSE that is expected of the composite as it is.
    """
    squares = ((after - before).square().mean(dim=1) * weights).sum(dim=1) / (weights.sum(dim=1) + 1e-6)
    log_size = 0.5 * torch.log(squares + 1e-8)
    strength = torch.exp(restraint.evenness * (math.log(restraint.usual_size) - log_size)).clamp_max(STRONGEST)
    if not restraint.least_size:
        return strength
    evidence = log_size + restraint.doubt_weight * log_error
    least = math.log(restraint.least_size) * (1 + restraint.doubt_weight)
    return strength * torch.sigmoid((evidence - least) / restraint.softness)


def excess_black(
    before: Float[Tensor, "B 3 H W"], after: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], restraint: Restraint
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The encoded luma of each foreground's blacks after an edit, and what it may be at most: equal where they are dark enough."""
    inside = mask.flatten(1) > FOREGROUND
    lumas = [_luma(image).flatten(1) for image in (before, after)]
    was, now = (_darkest(luma, inside) for luma in lumas)
    behind = _darkest(lumas[0], ~inside)
    allowed = torch.maximum(was + restraint.most_lift, behind + restraint.most_haze)
    return now, torch.minimum(now, allowed)


def _luma(image: Tensor) -> Tensor:
    return LUMA[0] * image[:, 0] + LUMA[1] * image[:, 1] + LUMA[2] * image[:, 2]


def _darkest(luma: Float[Tensor, "B N"], chosen: Tensor) -> Float[Tensor, " B"]:
    """The luma that `DARKEST` of the chosen pixels lie below; 1 where none is chosen."""
    most = int(luma.shape[1] * DARKEST) + 1  # no more than these need to be in order
    ordered = torch.where(chosen, luma, torch.ones_like(luma)).topk(most, dim=1, largest=False).values
    place = (chosen.sum(dim=1, keepdim=True) * DARKEST).long()
    return ordered.gather(1, place).squeeze(1)
