"""Ways to draw composites of photographs: SycoNet, and two that have learned nothing, to hold it against."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from models.lut import identity_lut, smooth_noise
from models.syconet import SycoNet
from tasks.lut_kernel import apply_lut_uint8
from tasks.seeds import derive_seed, numpy_generator, torch_generator
from tasks.tensors import to_tensor, to_uint8
from tasks.tones import apply_tones, draw_tones

Images = UInt8[np.ndarray, "B S S 3"]
Masks = UInt8[np.ndarray, "B S S"]
Sampler = Callable[[Images, Masks, int], Images]  # photographs, masks, the draw's number -> composites

# Deviation of a random table's nodes from the identity, of 1: the one of 0.05 to 0.3 whose best of ten comes nearest to true composites.
TABLE_NOISE = 0.2
TABLE_DIM = 9


def syconet_sampler(model: SycoNet, seed: int) -> Sampler:
    """SycoNet as augmentation uses it: a code from N(0, 1), its table, applied to the foreground. Photographs at `model.config.size`."""

    @torch.inference_mode()
    def draw(photographs: Images, masks: Masks, number: int) -> Images:
        codes = torch.randn(len(photographs), model.config.latent_dim, generator=torch_generator(seed, "syconet", "sampler", number))
        return apply_tables(photographs, masks, model.generate(to_tensor(photographs), to_tensor(masks), codes).numpy())

    return draw


def jitter_sampler(seed: int) -> Sampler:
    """Random exposure, cast, tone and saturation: `tasks.tones`, at its own strength."""

    def draw(photographs: Images, masks: Masks, number: int) -> Images:
        tones = draw_tones(len(photographs), numpy_generator(seed, "jitter sampler", number))
        return to_uint8(torch.from_numpy(apply_tones(to_tensor(photographs).numpy(), tones, to_tensor(masks).numpy())))

    return draw


def table_sampler(seed: int) -> Sampler:
    """Random smooth tables around the identity."""

    def draw(photographs: Images, masks: Masks, number: int) -> Images:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "table sampler", number))
            tables = (identity_lut(TABLE_DIM) + smooth_noise(len(photographs), TABLE_DIM, scale=TABLE_NOISE)).clamp(0, 1)
        return apply_tables(photographs, masks, tables.numpy())

    return draw


def apply_tables(photographs: Images, masks: Masks, tables: Float32[np.ndarray, "B 3 D D D"]) -> Images:
    """Each photograph with its foreground passed through its own table."""
    return np.stack([apply_lut_uint8(*sample) for sample in zip(photographs, tables, masks, strict=True)])
