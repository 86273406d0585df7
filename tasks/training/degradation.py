"""Pictures as they reach a user: resized, out of focus, noisy, compressed. The fine texture of composite and photograph is made alike.

A foreground whose contrast was changed has its noise and its compression blocks changed too: a network that sees every pixel soon tells
by them what was pasted, and leaves alone what carries no such traces, as real composites do. So one and the same fate befalls composite
and target: nothing of it says which of the two a picture is, and colours are left to judge by.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Bool, Float32, Int64

SMALLEST_SCALE = 0.35  # of the side, down and up again
SOFTEST_REGION = 1.5  # px, sigma of the blur of one of the two regions
NOISIEST = 6.0  # grey levels, sigma
WORST_QUALITY, BEST_QUALITY = 50, 95  # of JPEG
RESIZED_SHARE, SOFT_SHARE, NOISY_SHARE, COMPRESSED_SHARE = 0.6, 0.3, 0.3, 0.5  # of the degraded samples
LEVELS = np.float32(255)


@dataclass(frozen=True)
class Degradation:
    """What befalls each sample of a batch, in this order; 0 and a scale of 1: nothing of the kind."""

    degraded: Bool[np.ndarray, " B"]
    in_front: Bool[np.ndarray, " B"]  # blur and noise of a region: the foreground's, or the background's
    softness: Float32[np.ndarray, " B"]  # px, sigma, of that region
    region_noise: Float32[np.ndarray, " B"]  # grey levels, sigma
    scale: Float32[np.ndarray, " B"]  # of the side: averaged down to it, and up again
    cubic: Bool[np.ndarray, " B"]  # up again by a bicubic filter; else by a bilinear one
    noise: Float32[np.ndarray, " B"]  # grey levels, sigma, of the whole picture
    quality: Int64[np.ndarray, " B"]  # of JPEG
    seeds: Int64[np.ndarray, " B"]  # of the noise


def draw_degradation(share: float, count: int, rng: np.random.Generator) -> Degradation:
    """What befalls a batch of `count`; `share` of them are degraded at all."""
    degraded, soft, region_noisy, resized, noisy, compressed = rng.random((6, count)) < np.array(
        [share, SOFT_SHARE, NOISY_SHARE, RESIZED_SHARE, NOISY_SHARE, COMPRESSED_SHARE]
    )[:, None]
    in_front, cubic = rng.random((2, count)) < 0.5
    sigmas, scales = rng.random((3, count), dtype=np.float32), rng.uniform(SMALLEST_SCALE, 1, count).astype(np.float32)
    return Degradation(
        degraded=degraded, in_front=in_front, softness=SOFTEST_REGION * sigmas[0] * soft, region_noise=NOISIEST * sigmas[1] * region_noisy,
        scale=np.where(resized, scales, np.float32(1)), cubic=cubic, noise=NOISIEST * sigmas[2] * noisy,
        quality=rng.integers(WORST_QUALITY, BEST_QUALITY + 1, count) * compressed, seeds=rng.integers(2**31, size=count),
    )


def degrade(
    images: Float32[np.ndarray, "B 3 H W"], masks: Float32[np.ndarray, "B 1 H W"], degradation: Degradation
) -> None:
    """Do to `images` (sRGB-encoded in [0, 1]) what befalls them, in place; they are of whole grey levels afterwards.

    Equal images stay equal: the noise is the sample's. masks: of their foregrounds.
    """
    for place in np.flatnonzero(degradation.degraded).tolist():
        image = np.ascontiguousarray(images[place].transpose(1, 2, 0))
        images[place] = _degraded(image, masks[place, 0], degradation, place).transpose(2, 0, 1)


def _degraded(
    image: Float32[np.ndarray, "H W 3"], mask: Float32[np.ndarray, "H W"], degradation: Degradation, place: int
) -> Float32[np.ndarray, "H W 3"]:
    rng, size = np.random.default_rng(int(degradation.seeds[place])), image.shape[:2]
    softness, region_noise = float(degradation.softness[place]), degradation.region_noise[place]
    if softness or region_noise:
        changed = cv2.GaussianBlur(image, (0, 0), softness) if softness else image
        if region_noise:
            changed = changed + region_noise / LEVELS * rng.standard_normal(image.shape, dtype=np.float32)
        weight = (mask if degradation.in_front[place] else 1 - mask)[..., None]
        image = image + weight * (changed - image)
    if degradation.scale[place] < 1:
        width, height = (max(1, round(side * float(degradation.scale[place]))) for side in (size[1], size[0]))
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC if degradation.cubic[place] else cv2.INTER_LINEAR)
    if degradation.noise[place]:
        image = image + degradation.noise[place] / LEVELS * rng.standard_normal(image.shape, dtype=np.float32)
    levels = np.rint((image * LEVELS).clip(0, 255)).astype(np.uint8)
    if degradation.quality[place]:
        levels = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(levels, int(degradation.quality[place]), colorsubsampling="420"))
    degraded: np.ndarray = levels.astype(np.float32) / LEVELS
    return degraded
