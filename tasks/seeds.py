"""Random numbers that depend on names, never on the order of execution."""

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the unit of work called `names`, independent of every other unit's.

    Equal arguments give equal seeds on any machine and in any process (SHA-256, not `hash`).
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the unit of work called `names`."""
    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU torch generator for the unit of work called `names`."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
