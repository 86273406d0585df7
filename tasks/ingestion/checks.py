"""Files of a sample opened and checked in full: a row of the index, or BadSample with one reason."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from attune.foreground import FOREGROUND_LEVEL
from attune.images import decode_grey, decode_image, decode_mask, read_bytes
from attune.rejects import BadSample, RejectReason
from tasks.color.difference import foreground_mse
from tasks.ingestion.perceptual_hash import SAMPLES, perceptual_hash
from tasks.params import Ingest
from tasks.sources.candidates import CompositeCandidate, PairCandidate, PhotographCandidate, RetouchCandidate

PUBLISHED = "published"  # the method of pairs that must stay comparable with others' results


@dataclass(frozen=True)
class CheckedImage:
    """An image that was read to its end: its size in px, upright, the SHA-256 of its file and the perceptual hash of its picture."""

    height: int
    width: int
    sha256: str
    phash: int
    path: str


@dataclass(frozen=True, eq=False)
class CheckedMask:
    """A decoded mask (uint8 HW), the SHA-256 of its file, and the share of the image where it is foreground."""

    pixels: UInt8[np.ndarray, "H W"]
    sha256: str
    fg_ratio: float


def check_image(path: str, limits: Ingest) -> CheckedImage:
    """The image at `path`. BadSample if it cannot be decoded to its end, or is larger or smaller than `limits` allow."""
    data = read_bytes(Path(path))
    grey, (height, width) = decode_grey(data, SAMPLES, name=path, max_megapixels=limits.max_megapixels)
    return _checked(path, data, grey, (height, width), limits)


def check_pixels(path: str, limits: Ingest) -> tuple[CheckedImage, UInt8[np.ndarray, "H W 3"]]:
    """As `check_image`, and all its pixels, sRGB-encoded."""
    data = read_bytes(Path(path))
    pixels = decode_image(data, name=path, max_megapixels=limits.max_megapixels)
    height, width = pixels.shape[:2]
    return _checked(path, data, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (height, width), limits), pixels


def _checked(path: str, data: bytes, grey: UInt8[np.ndarray, "h w"], shape: tuple[int, int], limits: Ingest) -> CheckedImage:
    height, width = shape
    if min(shape) < limits.min_side:
        raise BadSample(RejectReason.TOO_SMALL, path, f"{width}x{height} px, a side under ingest.min_side = {limits.min_side}")
    return CheckedImage(height, width, hashlib.sha256(data).hexdigest(), perceptual_hash(grey), path)


def check_mask(path: str, image: CheckedImage, limits: Ingest, *, any_ratio: bool = False) -> CheckedMask:
    """The mask at `path`, aligned with `image`, not empty and (unless `any_ratio`) covering a share within `limits`; else BadSample."""
    data = read_bytes(Path(path))
    pixels = decode_mask(data, name=path, max_megapixels=limits.max_megapixels)
    height, width = pixels.shape
    _check_same_size(path, (height, width), image)
    count = int(cv2.countNonZero((pixels >= FOREGROUND_LEVEL).view(np.uint8)))
    if count == 0:
        raise BadSample(RejectReason.EMPTY_MASK, path, f"no value from {FOREGROUND_LEVEL} on; the largest is {int(pixels.max())}")
    ratio = count / pixels.size
    if not any_ratio and ratio < limits.min_fg_ratio:
        raise BadSample(RejectReason.FG_TOO_SMALL, path, f"covers {ratio:.4%}, under ingest.min_fg_ratio = {limits.min_fg_ratio:g}")
    if not any_ratio and ratio > limits.max_fg_ratio:
        raise BadSample(RejectReason.FG_TOO_LARGE, path, f"covers {ratio:.4%}, over ingest.max_fg_ratio = {limits.max_fg_ratio:g}")
    return CheckedMask(pixels, hashlib.sha256(data).hexdigest(), ratio)


def _check_aligned(other: CheckedImage, image: CheckedImage) -> None:
    _check_same_size(other.path, (other.height, other.width), image)


def _check_same_size(path: str, shape: tuple[int, int], image: CheckedImage) -> None:
    """Raise BadSample if `shape`, height and width of what lies at `path`, is not that of `image`."""
    if shape != (image.height, image.width):
        sizes = f"{shape[1]}x{shape[0]} px, where {image.path} is {image.width}x{image.height} px"
        raise BadSample(RejectReason.SIZE_MISMATCH, path, sizes)


def photograph_row(candidate: PhotographCandidate, image: CheckedImage, mask: CheckedMask) -> dict[str, Any]:
    """The row of the photographs table of a checked object."""
    return {
        **_identity(candidate), **_shape(image, mask.fg_ratio), "image_path": candidate.image_path, "mask_path": candidate.mask_path,
        "label": candidate.label, "image_phash": image.phash, "image_sha256": image.sha256, "mask_sha256": mask.sha256,
        "licence": candidate.licence,
    }


def check_pair(candidate: PairCandidate, limits: Ingest) -> dict[str, Any]:
    """The row of the pairs table of a given pair, its files opened. BadSample if one of them cannot be used.

    The limits on the foreground's share do not hold for published pairs: a benchmark is taken as it is, or results cannot be compared.
    """
    composite, seen = check_pixels(candidate.composite_path, limits)
    target, wanted = check_pixels(candidate.target_path, limits)
    _check_aligned(target, composite)
    if candidate.plate_path:
        _check_aligned(check_image(candidate.plate_path, limits), composite)
    mask = check_mask(candidate.mask_path, composite, limits, any_ratio=candidate.method == PUBLISHED)
    return {
        **_identity(candidate), **_shape(composite, mask.fg_ratio), "composite_path": candidate.composite_path,
        "mask_path": candidate.mask_path, "target_path": candidate.target_path, "plate_path": candidate.plate_path or None,
        "label": candidate.label, "method": candidate.method, "method_params": candidate.method_params,
        "composite_fmse": foreground_mse(seen, wanted, mask.pixels),
        "target_phash": target.phash,
        "composite_sha256": composite.sha256, "mask_sha256": mask.sha256, "target_sha256": target.sha256,
    }


def check_retouch(candidate: RetouchCandidate, limits: Ingest) -> dict[str, Any]:
    """The row of the retouches table, its files opened; fg_ratio and mask_sha256 are 0 and empty where no mask is given."""
    before = check_image(candidate.before_path, limits)
    after = check_image(candidate.after_path, limits)
    _check_aligned(after, before)
    mask = check_mask(candidate.mask_path, before, limits) if candidate.mask_path else None
    return {
        **_identity(candidate), **_shape(before, mask.fg_ratio if mask else 0.0), "before_path": candidate.before_path,
        "after_path": candidate.after_path, "mask_path": candidate.mask_path, "before_phash": before.phash, "after_phash": after.phash,
        "before_sha256": before.sha256, "after_sha256": after.sha256, "mask_sha256": mask.sha256 if mask else "",
    }


def check_composite(candidate: CompositeCandidate, limits: Ingest) -> dict[str, Any]:
    """The row of the composites table of a real composite, its files opened."""
    composite = check_image(candidate.composite_path, limits)
    mask = check_mask(candidate.mask_path, composite, limits)
    return {
        **_identity(candidate), **_shape(composite, mask.fg_ratio), "composite_path": candidate.composite_path,
        "mask_path": candidate.mask_path, "label": candidate.label, "composite_phash": composite.phash,
        "composite_sha256": composite.sha256, "mask_sha256": mask.sha256,
    }


def _identity(candidate: PhotographCandidate | PairCandidate | RetouchCandidate | CompositeCandidate) -> dict[str, Any]:
    return {
        "key": candidate.key, "source": candidate.source, "subset": candidate.subset, "split": candidate.split, "group": candidate.group,
    }


def _shape(image: CheckedImage, fg_ratio: float) -> dict[str, Any]:
    return {"width": image.width, "height": image.height, "fg_ratio": fg_ratio}
