"""What says of a SycoNet whether it rebuilds, and whether its code and tables are in use."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.syconet import SycoNet, SycoNetConfig
from tasks.augmentation.latent import has_collapsed, measure_latent
from tasks.sample import PairBatch
from tasks.tensors import to_tensor

Draw = Callable[..., np.ndarray]
SMALL = SycoNetConfig(size=16, latent_dim=2, num_luts=2, lut_dim=4, width=4)


class Attentive(SycoNet):
    """A network whose first code mixes the first two tables."""

    def weigh(self, photograph: torch.Tensor, mask: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        del photograph, mask
        return torch.stack([3 * code[:, 0], -3 * code[:, 0]], dim=1).softmax(dim=1)


class OneTable(SycoNet):
    """A network that always names its first table."""

    def weigh(self, photograph: torch.Tensor, mask: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        del photograph, mask
        return torch.tensor([[1.0, 0.0]]).expand(len(code), -1)


def batch_of(photograph: Draw, object_mask: Draw, gains: list[float]) -> PairBatch:
    target = np.stack([photograph(16, 16, number) for number in range(len(gains))])
    mask = np.stack([object_mask(16, 16, 0.4)] * len(gains))
    changed = np.clip(target * np.array(gains)[:, None, None, None], 0, 255).astype(np.uint8)
    return PairBatch(to_tensor(np.where(mask[..., None] > 0, changed, target)), to_tensor(mask), to_tensor(target))


def halving(model: SycoNet) -> SycoNet:
    """Both tables halve every colour."""
    with torch.no_grad():
        model.basis.mul_(0.0).add_(0.5 * torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 4)] * 3, indexing="ij")))
    return model.eval()


def test_a_perfect_network_has_nothing_left_to_rebuild(photograph: Draw, object_mask: Draw) -> None:
    metrics = measure_latent(halving(Attentive(SMALL)), batch_of(photograph, object_mask, [0.5, 0.5, 0.5]), seed=1)
    assert metrics["reconstruction_fmse"] < 1.0 < metrics["identity_fmse"]
    assert metrics["reconstruction_ratio"] == pytest.approx(metrics["reconstruction_fmse"] / metrics["identity_fmse"], abs=1e-3)


def test_tables_that_are_never_used_are_counted(photograph: Draw, object_mask: Draw) -> None:
    batch = batch_of(photograph, object_mask, [0.5, 0.7, 0.9, 1.1])
    one, both = (measure_latent(halving(kind(SMALL)), batch, seed=1) for kind in (OneTable, Attentive))
    assert (one["dead_luts"], one["lut_usage_entropy"]) == (1.0, 0.0)
    assert both["dead_luts"] == 0.0
    assert both["lut_usage_entropy"] > 0.5


def test_a_unit_counts_as_active_where_its_mean_follows_the_composite(photograph: Draw, object_mask: Draw) -> None:
    batch = batch_of(photograph, object_mask, [0.2, 0.6, 1.0, 1.4])
    model = halving(Attentive(SMALL))
    with torch.no_grad():
        model.posterior.head.weight.zero_()
        model.posterior.head.bias.zero_()
    silent = measure_latent(model, batch, seed=1)
    assert (silent["active_units"], silent["kl"]) == (0.0, 0.0)
    with torch.no_grad():
        model.posterior.head.weight[0].fill_(300.0)  # the first unit's mean
    assert measure_latent(model, batch, seed=1)["active_units"] == 1.0


def test_no_active_unit_or_no_difference_between_draws_is_a_collapse() -> None:
    assert has_collapsed(0.0, 12.0)
    assert has_collapsed(3.0, 0.4)
    assert not has_collapsed(1.0, 5.0)
