"""SycoNet's training: it learns, its schedule, the tables it starts from, and what fine-tuning takes over."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.lut import lut_monotonicity
from tasks.augmentation.syconet_training import SycoNetTrainer, reconstruct, starting_tables
from tasks.params import Params
from tasks.sample import PairBatch
from tasks.tensors import to_tensor

Draw = Callable[..., np.ndarray]
Configure = Callable[..., Params]
TINY = {
    "syconet.size": 16, "syconet.latent_dim": 2, "syconet.num_luts": 3, "syconet.lut_dim": 4, "syconet.width": 4, "syconet.steps": 8,
    "syconet.batch_size": 4,
}


def batch_of(photograph: Draw, object_mask: Draw, gains: list[float]) -> PairBatch:
    target = np.stack([photograph(16, 16, number) for number in range(len(gains))])
    mask = np.stack([object_mask(16, 16, 0.4)] * len(gains))
    changed = np.clip(target * np.array(gains)[:, None, None, None], 0, 255).astype(np.uint8)
    return PairBatch(to_tensor(np.where(mask[..., None] > 0, changed, target)), to_tensor(mask), to_tensor(target))


def test_training_rebuilds_the_composites_it_was_shown(configure: Configure, photograph: Draw, object_mask: Draw) -> None:
    section = configure({**TINY, "syconet.steps": 120, "syconet.basis_lr": 0.02, "syconet.lr": 4e-3}).syconet
    batch = batch_of(photograph, object_mask, [0.5, 0.7, 1.0, 1.3])
    torch.set_num_threads(1)
    trainer = SycoNetTrainer(section, 1, torch.device("cpu"))
    first = trainer.update(batch)["reconstruction"]
    for _ in range(section.steps - 1):
        last = trainer.update(batch)["reconstruction"]
    assert last < 0.35 * first


def test_the_background_of_a_reconstruction_is_the_composites(configure: Configure, photograph: Draw, object_mask: Draw) -> None:
    batch = batch_of(photograph, object_mask, [0.5, 1.3])
    trainer = SycoNetTrainer(configure(TINY).syconet, 1, torch.device("cpu"))
    rebuilt = reconstruct(trainer.model, batch, torch.randn(2, 2, generator=torch.Generator().manual_seed(0)))
    outside = (batch.mask == 0).expand_as(rebuilt)
    assert torch.equal(rebuilt[outside], batch.composite[outside])


def test_warm_up_and_decay_go_from_nothing_to_all_and_back(configure: Configure) -> None:
    trainer = SycoNetTrainer(configure({**TINY, "syconet.steps": 100, "syconet.kl_warmup": 0.2}).syconet, 1, torch.device("cpu"))
    weights, rates = [], []
    for trainer.step in range(100):
        weights.append(trainer.kl_weight() / trainer.section.kl_weight)
        rates.append(trainer.decay())
    assert weights[0] == pytest.approx(0.05)
    assert weights[9] == pytest.approx(0.5)
    assert set(weights[19:]) == {1.0}
    assert set(rates[:51]) == {1.0}
    assert rates[75] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.05


def test_starting_tables_differ_rise_and_stay_in_range() -> None:
    tables = starting_tables(5, 9, torch.Generator().manual_seed(0))
    assert tables.shape == (5, 3, 9, 9, 9)
    assert tables.min() >= 0.0
    assert tables.max() <= 1.0
    assert lut_monotonicity(tables) < 1e-9
    assert min((first - second).abs().mean() for place, first in enumerate(tables) for second in tables[:place]) > 0.01


def test_fine_tuning_starts_from_the_given_weights_at_full_weight_of_the_code(configure: Configure) -> None:
    section = configure({**TINY, "syconet.steps": 100, "syconet.kl_warmup": 0.5}).syconet
    union, tuned = (SycoNetTrainer(section, seed, torch.device("cpu")) for seed in (1, 2))
    tuned.continue_from(union.model.state_dict(), 10)
    assert tuned.num_steps == 10
    assert tuned.kl_weight() == section.kl_weight > union.kl_weight()
    for name, tensor in union.model.state_dict().items():
        assert torch.equal(tuned.model.state_dict()[name], tensor)
