"""The vocabulary that travels between functions: one sample, one batch, one edit.

`composite`: pasted, not harmonized. `mask`: 1 (or 255) is foreground. `target`: the wanted result. `natural`: a photograph whose own
foreground was re-pasted. `plate`: the background with its object removed. Images are sRGB-encoded everywhere.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """A composite and the photograph it should become. Of a photograph as it is, both are one: whoever trains on it changes it first."""

    key: str
    kind: str  # original | augmented | retouched | photograph
    source: str
    group: str  # the source photograph: nothing of one group stands in two splits
    composite: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]  # 0..255, soft edges allowed
    target: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class RealComposite:
    """A foreground on another photograph's background, without ground truth, and a natural sample made the same way."""

    key: str
    composite: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]
    plate: UInt8[np.ndarray, "H W 3"]
    natural: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class PairBatch:
    """Pairs on the training device, float32 in [0, 1]."""

    composite: Float[Tensor, "B 3 H W"]
    mask: Float[Tensor, "B 1 H W"]
    target: Float[Tensor, "B 3 H W"]


@dataclass(frozen=True)
class CompositeBatch:
    """Real composites and natural samples on the training device, float32 in [0, 1]."""

    composite: Float[Tensor, "B 3 H W"]
    mask: Float[Tensor, "B 1 H W"]
    plate: Float[Tensor, "B 3 H W"]
    natural: Float[Tensor, "B 3 H W"]
