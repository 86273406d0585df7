"""The losses of the two papers and of their peers: small functions, each a mean over the batch.

The reconstruction losses share one signature, (prediction, target, mask), so that a config can name any of them.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from attune.foreground import FOREGROUND
from models.backbone import LUMA

LEAST_MSE = 2e-5  # of values in [0, 1]: an RMSE of 1.1 grey levels
TONE_END = 0.03  # share of the foreground's pixels beyond its darkest and its brightest tone
MIN_TONES = 40  # pixels: fewer have no ends worth the name
OUTSIDE = 9.0  # stands last when tones are ordered
MIN_AREA_AT_256 = 100.0  # px: smaller foregrounds are normalised as if they had this area (CDTNet, DucoNet; iSSAM uses 1000)


def whole_image_l1(
    prediction: Float[Tensor, "B 3 H W"], target: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Mean absolute difference over the whole image (PIH): as the background is copied, it grows with the foreground's area.

    mask: not looked at.
    """
    del mask
    return (prediction - target).abs().mean()


def foreground_l1(
    prediction: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    min_area: float = MIN_AREA_AT_256,
) -> Float[Tensor, ""]:
    """Summed absolute difference over each image's foreground area: a small object weighs as much as a large one. See `foreground_mse`."""
    return _of_each((prediction - target).abs(), mask, min_area).mean()


def foreground_mse(
    prediction: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    min_area: float = MIN_AREA_AT_256,
) -> Float[Tensor, ""]:
    """Summed squared difference over each image's foreground area, `max(area, min_area)`, mean over the batch.

    min_area: in pixels of a 256 x 256 image, scaled to this one's.
    Source: Sofiiuk et al., "Foreground-aware Semantic Representations for Image Harmonization", WACV 2021.
    """
    return _of_each(_squares(prediction, target), mask, min_area).mean()


def foreground_rmse(
    prediction: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    min_area: float = MIN_AREA_AT_256,
) -> Float[Tensor, ""]:
    """The root of each image's `foreground_mse`, mean over the batch.

    Where it is unsure whether an image needs a change, the least of this is nearer to the likelier answer than to the mean of the answers:
    what may well be natural is left alone. The root starts at an error of about a grey level, where it would have no slope.
    """
    return (_of_each(_squares(prediction, target), mask, min_area) + LEAST_MSE).sqrt().mean()


def foreground_errors(
    image: Float[Tensor, "B 3 H W"], target: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """Each image's fMSE: the mean squared difference over the foreground, in squared grey levels (images are in [0, 1]); no loss.

    0 where there is no foreground. `tasks.color.difference.foreground_mse` is the same in NumPy.
    """
    hard = (mask >= FOREGROUND).float()
    errors = ((image - target) * 255.0).square() * hard
    return errors.sum(dim=(1, 2, 3)) / (3.0 * hard.sum(dim=(1, 2, 3))).clamp_min(1.0)


def tone_ends(
    prediction: Float[Tensor, "B 3 H W"], target: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """How far the foreground's darkest and brightest tones are from the target's: the absolute difference of the 3rd and of the 97th
    percentile of encoded luma, their sum, mean over the batch.

    A mean of plausible answers is grey: it lifts blacks and pulls down whites. Images with under `MIN_TONES` foreground pixels count as 0.
    """
    inside = mask.flatten(1) > FOREGROUND
    counts = inside.sum(dim=1, keepdim=True)
    weights = torch.tensor(LUMA, device=mask.device).view(1, 3, 1, 1)
    ordered = [torch.where(inside, (weights * image).sum(dim=1).flatten(1), OUTSIDE).sort(dim=1).values for image in (prediction, target)]
    places = [(counts * TONE_END).long(), ((counts - 1) * (1 - TONE_END)).long().clamp_min(0)]
    differences = [(ordered[0].gather(1, place) - ordered[1].gather(1, place)).abs() for place in places]
    return (sum(differences) * (counts >= MIN_TONES)).mean()


RECONSTRUCTION = {
    "whole_l1": whole_image_l1, "foreground_l1": foreground_l1, "foreground_mse": foreground_mse, "foreground_rmse": foreground_rmse,
    "tone_ends": tone_ends,
}


def error_prediction_loss(
    log_errors: Float[Tensor, "B 2"], composite: Float[Tensor, "B 3 H W"], prediction: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, ""]:
    """How far a predicted RMSE of the composite, and of the harmonized image, are from the true ones, as natural logarithms."""
    errors = [_of_each(_squares(image.detach(), target), mask, MIN_AREA_AT_256) for image in (composite, prediction)]
    truth = torch.stack([0.5 * torch.log(error + LEAST_MSE) for error in errors], dim=1)
    return (log_errors - truth).abs().mean()


def discriminator_loss(
    composite_logits: Float[Tensor, "B 1 H W"],
    natural_logits: Float[Tensor, "B 1 H W"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    balanced: bool = False,
) -> Float[Tensor, ""]:
    """Cross-entropy of a discriminator that locates the pasted region: 1 all over natural images, `1 - mask` on (harmonized) composites.

    balanced: foreground and background of the composites weigh the same, whatever the area; the paper takes the mean over pixels.
    Source: Wang et al., CVPR 2023.
    """
    natural = binary_cross_entropy_with_logits(natural_logits, torch.ones_like(natural_logits))
    pixels = binary_cross_entropy_with_logits(composite_logits, 1 - mask, reduction="none")
    return natural + (_balanced_mean(pixels, mask) if balanced else pixels.mean())


def generator_loss(
    composite_logits: Float[Tensor, "B 1 H W"], mask: Float[Tensor, "B 1 H W"] | None = None, *, balanced: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy of being taken for natural everywhere; small where the discriminator finds no pasted region. `balanced` as above.

    Raises ValueError if it is to be balanced without a mask.
    """
    pixels = binary_cross_entropy_with_logits(composite_logits, torch.ones_like(composite_logits), reduction="none")
    if not balanced:
        return pixels.mean()
    if mask is None:
        raise ValueError("a balanced generator loss needs the mask")
    return _balanced_mean(pixels, mask)


def kl_divergence(mean: Float[Tensor, "B Z"], log_variance: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats: summed over dimensions, mean over the batch."""
    return kl_per_dimension(mean, log_variance).sum()


def kl_per_dimension(mean: Float[Tensor, "B Z"], log_variance: Float[Tensor, "B Z"]) -> Float[Tensor, " Z"]:
    """The same per latent dimension: a unit near 0 carries nothing."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=0)


def _squares(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square()


def _of_each(pixels: Tensor, mask: Tensor, min_area: float) -> Float[Tensor, " B"]:
    least = min_area * mask.shape[-2] * mask.shape[-1] / 256**2
    area = mask.sum(dim=(1, 2, 3)).clamp_min(least)
    return pixels.sum(dim=(1, 2, 3)) / (pixels.shape[1] * area)


def _balanced_mean(pixels: Tensor, mask: Tensor) -> Tensor:
    inside, outside = mask.sum().clamp_min(1), (1 - mask).sum().clamp_min(1)
    return 0.5 * ((pixels * mask).sum() / inside + (pixels * (1 - mask)).sum() / outside)
