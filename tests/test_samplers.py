"""Draws by SycoNet and by those that learned nothing: repeatable, apart from one another, and bit-exact outside the mask."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.syconet import SycoNet, SycoNetConfig
from tasks.augmentation.samplers import Sampler, jitter_sampler, syconet_sampler, table_sampler

Draw = Callable[..., np.ndarray]


def untrained(seed: int) -> Sampler:
    torch.manual_seed(0)
    model = SycoNet(SycoNetConfig(size=16, latent_dim=2, num_luts=3, lut_dim=4, width=4)).eval()
    with torch.no_grad():
        model.generator.head.weight.mul_(20)
    return syconet_sampler(model, seed)


@pytest.mark.parametrize("make", [untrained, jitter_sampler, table_sampler])
def test_draws_repeat_differ_by_number_and_seed_and_leave_the_background(
    make: Callable[[int], Sampler], photograph: Draw, object_mask: Draw
) -> None:
    photographs, masks = np.stack([photograph(16, 16, 1), photograph(16, 16, 2)]), np.stack([object_mask(16, 16, 0.4)] * 2)
    masks[:, 8] = np.where(masks[:, 8] > 0, 128, 0)
    first = make(1)(photographs, masks, 0)
    np.testing.assert_array_equal(first, make(1)(photographs, masks, 0))
    for other in (make(1)(photographs, masks, 1), make(2)(photographs, masks, 0), photographs):
        assert np.abs(first.astype(int) - other)[masks > 0].mean() > 0.5
    np.testing.assert_array_equal(first[masks == 0], photographs[masks == 0])
    assert (first.dtype, first.shape) == (np.uint8, photographs.shape)
