"""Laws of what is done to training batches as a whole."""

import numpy as np
import pytest
import torch

from models.syconet import SycoNet, SycoNetConfig
from tasks.framing import resample
from tasks.loader import Decoded
from tasks.params import TrainData, load_params
from tasks.sample import CompositeBatch, PairBatch
from tasks.training.batch_changes import BatchChanges, mirrored_composites, with_fresh_composites

SIZE = 32


@pytest.fixture
def syconet() -> SycoNet:
    """One whose tables change colours: the identity's, tinted."""
    torch.manual_seed(0)
    model = SycoNet(SycoNetConfig(size=16, latent_dim=3, num_luts=4, lut_dim=5, width=8)).eval().requires_grad_(False)
    model.basis.mul_(torch.rand(4, 3, 1, 1, 1) * 0.5 + 0.5)
    return model


@pytest.fixture
def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(5, 3, SIZE, SIZE, generator=generator)
    mask = torch.zeros(5, 1, SIZE, SIZE)
    mask[..., 8:24, 8:24] = 1
    mask[..., 8, 8:24] = 0.5
    return PairBatch(mask * target.sqrt() + (1 - mask) * target, mask, target)


@pytest.fixture
def decoded() -> Decoded:
    """Four pairs of five, twice the size of training."""
    rng = np.random.default_rng(1)
    composite, target = rng.integers(0, 256, (2, 5, 2 * SIZE, 2 * SIZE, 3), np.uint8)
    mask = np.zeros((5, 2 * SIZE, 2 * SIZE), np.uint8)
    mask[:, 16:48, 16:48] = 255
    return Decoded({"composite": composite, "target": target, "mask": mask}, np.array([3, 0, 4, 1]), np.array([3, 0, 4, 1]))


@pytest.fixture
def section() -> TrainData:
    usual = load_params().train.data
    drawn = usual.drawn.model_copy(update={"share": 0.0})
    return usual.model_copy(update={"drawn": drawn, "soft_share": 0.0, "whole_share": 1.0, "degraded_share": 0.0})


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_pair_gets_one_fresh_composite_of_its_own_target(batch: PairBatch, syconet: SycoNet) -> None:
    doubled = with_fresh_composites(batch, syconet, _generator(1))
    count = len(batch.mask)
    for field in ("composite", "mask", "target"):
        assert torch.equal(getattr(doubled, field)[:count], getattr(batch, field))
    assert torch.equal(doubled.target[count:], batch.target)
    assert torch.equal(doubled.mask[count:], batch.mask)
    inside = batch.mask.expand_as(batch.target) > 0
    assert bool((doubled.composite[count:] != batch.target)[inside].float().mean() > 0.9)


def test_fresh_composites_leave_the_background_bit_for_bit(batch: PairBatch, syconet: SycoNet) -> None:
    fresh = with_fresh_composites(batch, syconet, _generator(1)).composite[len(batch.mask) :]
    outside = (batch.mask == 0).expand_as(batch.target)
    assert torch.equal(fresh[outside], batch.target[outside])
    assert bool((fresh >= 0).all())
    assert bool((fresh <= 1).all())


def test_fresh_composites_are_functions_of_the_seed(batch: PairBatch, syconet: SycoNet) -> None:
    first, again, other = (with_fresh_composites(batch, syconet, _generator(seed)).composite for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fresh_composites_do_not_teach_syconet(batch: PairBatch, syconet: SycoNet) -> None:
    syconet.requires_grad_(True)
    assert not with_fresh_composites(batch, syconet, _generator(1)).composite.requires_grad


def test_changes_are_functions_of_seed_and_step(decoded: Decoded, section: TrainData, syconet: SycoNet) -> None:
    changes, again = BatchChanges(section, SIZE, seed=1, syconet=syconet), BatchChanges(section, SIZE, seed=1, syconet=syconet)
    assert torch.equal(changes.pairs(decoded, 7).composite, again.pairs(decoded, 7).composite)
    assert not torch.equal(changes.pairs(decoded, 7).composite, changes.pairs(decoded, 8).composite)
    for seed, rank in ((2, 0), (1, 1)):
        other = BatchChanges(section, SIZE, seed=seed, syconet=syconet, rank=rank)
        assert not torch.equal(changes.pairs(decoded, 7).composite, other.pairs(decoded, 7).composite)


def test_changes_leave_what_was_read_alone(decoded: Decoded, section: TrainData) -> None:
    before = {field: stack.copy() for field, stack in decoded.stacks.items()}
    changed = BatchChanges(section, SIZE, seed=1).pairs(decoded, 7)
    assert changed.composite.shape == changed.target.shape == (4, 3, SIZE, SIZE)
    assert changed.mask.shape == (4, 1, SIZE, SIZE)
    for field, stack in decoded.stacks.items():
        np.testing.assert_array_equal(stack, before[field])


def test_with_every_change_off_a_batch_is_what_was_read(decoded: Decoded, section: TrainData) -> None:
    still = section.model_copy(update={"jitter": 0.0, "region_share": 0.0, "natural_share": 0.0, "whole_jitter": 0.0, "smallest_crop": 1.0})
    read = PairBatch(**{field: resample(stack, SIZE, slots=decoded.slots) for field, stack in decoded.stacks.items()})
    assert set(_orientations(BatchChanges(still, SIZE, seed=1).pairs(decoded, 3), read)) == {"as read", "mirrored"}


def test_fields_of_a_real_composite_are_mirrored_together_or_not_at_all(decoded: Decoded) -> None:
    four = Decoded({**decoded.stacks, "plate": decoded.stacks["target"], "natural": decoded.stacks["target"]}, decoded.slots, decoded.ids)
    del four.stacks["target"]
    read = CompositeBatch(**{field: resample(stack, SIZE, slots=four.slots) for field, stack in four.stacks.items()})
    framed = mirrored_composites(four, SIZE, np.random.default_rng(0))
    assert set(_orientations(framed, read)) == {"as read", "mirrored"}


def _orientations(batch: PairBatch | CompositeBatch, read: PairBatch | CompositeBatch) -> list[str]:
    """How the fields of each sample of `batch` lie beside those of `read`."""
    as_read, mirrored = (
        [all(torch.equal(stack[place], own[place]) for stack, own in zip(vars(batch).values(), others, strict=True)) for place in range(4)]
        for others in (list(vars(read).values()), [own.flip(-1) for own in vars(read).values()])
    )
    return ["as read" if same else "mirrored" if flipped else "neither" for same, flipped in zip(as_read, mirrored, strict=True)]
