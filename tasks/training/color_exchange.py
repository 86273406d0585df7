"""Fresh composites out of the batch itself: a foreground takes the colours of another photograph's, as a pasted object has them.

Reinhard's transfer, one of those behind iHarmony4, with a new reference in each step. It is the second kind of variety beside
`tasks.jitter`: casts and contrasts that occur in photographs, instead of made-up ones.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tasks.sample import PairBatch

LMS = ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444))  # of R, G, B; Reinhard et al.
OPPONENTS = ((1 / 3**0.5,) * 3, (1 / 6**0.5, 1 / 6**0.5, -2 / 6**0.5), (1 / 2**0.5, -1 / 2**0.5, 0.0))  # of log L, M, S: l, alpha, beta
DARKEST = 1 / 255
LOWEST_LOG, HIGHEST_LOG = -8.0, 2.0  # of LMS: what lies beyond is clipped in RGB anyway
LEAST_AMOUNT = 0.4  # of 1, the whole way to the other's colours
MOST_SPREAD = 3.0  # times a deviation that it may grow or shrink by
LARGEST_FMSE = 7500.0 / 255**2  # ingest.synthesis.max_fmse's default, on the scale [0, 1]


def exchange_colors(batch: PairBatch, share: float, generator: torch.Generator) -> PairBatch:
    """`batch` with, for about `share` of its samples, the target as composite, its foreground in the colours of another sample's.

    It goes 40 to 100 % of the way, and no further than `LARGEST_FMSE` from the target. A share of 0 costs nothing.
    """
    if share <= 0.0:
        return batch
    count = batch.mask.shape[0]
    chosen = torch.nonzero(torch.rand(count, generator=generator) < share).flatten()
    others = (chosen + torch.randint(1, max(2, count), (len(chosen),), generator=generator)) % count
    amount = (LEAST_AMOUNT + (1 - LEAST_AMOUNT) * torch.rand(len(chosen), 1, 1, 1, generator=generator)).to(batch.mask)
    if not len(chosen):
        return batch
    target, mask = batch.target[chosen], batch.mask[chosen]
    change = amount * (in_colors_of(target, mask, batch.target[others], batch.mask[others]) - target)
    error = (change.square() * mask).sum(dim=(1, 2, 3), keepdim=True) / (3 * mask.sum(dim=(1, 2, 3), keepdim=True) + 1e-3)
    change = change * (LARGEST_FMSE / error.clamp_min(1e-8)).sqrt().clamp_max(1.0)
    composite = batch.composite.clone()
    composite[chosen] = target + mask * change
    return PairBatch(composite=composite, mask=batch.mask, target=batch.target)


def in_colors_of(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], reference: Float[Tensor, "B 3 H W"],
    reference_mask: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """`image`, all of it, moved so that inside `mask` it has the mean and deviation per channel of l-alpha-beta that `reference` has
    inside its mask.

    Images: sRGB-encoded in [0, 1], and so is the result, clipped. Soft masks weigh pixels. Finite for empty masks and black pixels.
    Source: Reinhard et al., "Color Transfer between Images", CG&A 2001, on encoded values as is common.
    """
    to_lms, to_opponents = image.new_tensor(LMS), image.new_tensor(OPPONENTS)
    own, wanted = (
        _mixed(to_opponents, _mixed(to_lms, colors.clamp_min(DARKEST)).log()) for colors in (image, reference)
    )
    mean, deviation = _moments(own, mask)
    wanted_mean, wanted_deviation = _moments(wanted, reference_mask)
    ratio = (wanted_deviation / deviation).clamp(1 / MOST_SPREAD, MOST_SPREAD)
    moved = wanted_mean + ratio * (own - mean)
    lms = _mixed(to_opponents.T, moved).clamp(LOWEST_LOG, HIGHEST_LOG).exp()
    return _mixed(torch.linalg.inv(to_lms), lms).clamp(0.0, 1.0)


def _mixed(matrix: Float[Tensor, "3 3"], image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    return torch.einsum("ij,bjhw->bihw", matrix, image)


def _moments(values: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> tuple[Tensor, Tensor]:
    share = mask / (mask.sum(dim=(2, 3), keepdim=True) + 1e-3)
    mean = (values * share).sum(dim=(2, 3), keepdim=True)
    return mean, (((values - mean).square() * share).sum(dim=(2, 3), keepdim=True) + 1e-4).sqrt()
