"""uint8 HWC <-> float32 BCHW: the only place that divides by 255 for torch."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_tensor(image: UInt8[np.ndarray, "..."]) -> Float[Tensor, "B C H W"]:
    """uint8 images (HWC or BHWC) or masks (HW or BHW) as contiguous float32 (B, 3 or 1, H, W) in [0, 1]; a single one gets B = 1.

    An array is one of images when its last axis is 3; so a batch of masks must not be 3 px wide. ValueError for other shapes.
    """
    if image.ndim in (3, 4) and image.shape[-1] == 3:
        batch = image if image.ndim == 4 else image[None]
        planes = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
    elif image.ndim in (2, 3):
        planes = np.ascontiguousarray(image if image.ndim == 3 else image[None])[:, None]
    else:
        raise ValueError(f"shape {image.shape} is none of HWC, BHWC, HW, BHW")
    return torch.from_numpy(planes).to(torch.float32).div_(255.0)


def to_uint8(image: Float[Tensor, "B C H W"]) -> UInt8[np.ndarray, "B H W C"]:
    """Float images in [0, 1] as uint8 (B, H, W, C), rounded to nearest, never truncated. Values outside [0, 1] are clipped to it."""
    scaled = image.detach().to(torch.float32).clamp(0.0, 1.0).mul(255.0).round_().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())
