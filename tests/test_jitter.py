"""Laws of the training batches' variety."""

import pytest
import torch
from torch import Tensor

from tasks.jitter import invent_regions, recolor, recolor_foregrounds, recolor_wholes, reframe_composites, reframe_pairs, shrink, undo_some
from tasks.sample import CompositeBatch, PairBatch


@pytest.fixture
def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(6, 3, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    mask = torch.zeros(6, 1, 32, 32)
    mask[..., 8:24, 4:20] = 1
    return PairBatch(composite=mask * target * 0.5 + (1 - mask) * target, mask=mask, target=target)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _same(first: PairBatch, second: PairBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


def test_equal_seeds_give_equal_batches_and_others_do_not(batch: PairBatch) -> None:
    for change in (recolor_foregrounds, invent_regions, recolor_wholes):
        assert _same(change(batch, 1.0, _generator(1)), change(batch, 1.0, _generator(1)))
        assert not _same(change(batch, 1.0, _generator(1)), change(batch, 1.0, _generator(2)))


def test_recolouring_leaves_the_background_and_the_target_alone(batch: PairBatch) -> None:
    fresh = recolor_foregrounds(batch, 1.0, _generator())
    outside = (batch.mask == 0).expand(-1, 3, -1, -1)
    assert torch.equal(fresh.composite[outside], batch.target[outside])
    assert torch.equal(fresh.target, batch.target)
    assert not torch.allclose(fresh.composite, batch.composite)


def test_a_share_of_none_changes_nothing(batch: PairBatch) -> None:
    for change in (recolor_foregrounds, invent_regions, undo_some, recolor_wholes):
        assert change(batch, 0.0, _generator()) is batch


def test_undone_samples_need_nothing_and_the_others_stay(batch: PairBatch) -> None:
    assert torch.equal(undo_some(batch, 1.0, _generator()).composite, batch.target)
    some = undo_some(batch, 0.5, _generator()).composite
    undone = torch.tensor([torch.equal(sample, target) for sample, target in zip(some, batch.target, strict=True)])
    assert 0 < undone.sum() < len(undone)
    assert torch.equal(some[~undone], batch.composite[~undone])


def test_strength_zero_is_the_identity(batch: PairBatch) -> None:
    assert torch.allclose(recolor(batch.target, _generator(), strength=0.0), batch.target.clamp_min(1e-4), atol=1e-6)


def test_invented_regions_cover_what_they_should_and_differ_inside_alone(batch: PairBatch) -> None:
    invented = invent_regions(batch, 1.0, _generator())
    covered = invented.mask.mean(dim=(1, 2, 3))
    assert bool(((covered > 0.03) & (covered < 0.65)).all())
    outside = (invented.mask == 0).expand(-1, 3, -1, -1)
    assert torch.equal(invented.composite[outside], invented.target[outside])


def test_a_whole_recolouring_keeps_a_pair_that_needs_nothing_a_pair_that_needs_nothing(batch: PairBatch) -> None:
    natural = PairBatch(batch.target, batch.mask, batch.target)
    recoloured = recolor_wholes(natural, 1.0, _generator())
    assert torch.equal(recoloured.composite, recoloured.target)
    assert not torch.allclose(recoloured.target, batch.target)


@pytest.mark.parametrize("size", [16, 24, 32, 48])
def test_reframing_gives_the_size_asked_for_and_cuts_all_alike(batch: PairBatch, size: int) -> None:
    twin = PairBatch(batch.target, batch.mask, batch.target)
    framed = reframe_pairs(twin, size, _generator(), smallest=0.5)
    assert framed.mask.shape == (6, 1, size, size)
    assert torch.equal(framed.composite, framed.target)


def test_shrinking_keeps_the_mean(batch: PairBatch) -> None:
    small: Tensor = shrink(batch.target, 16)
    assert torch.allclose(small.mean(dim=(2, 3)), batch.target.mean(dim=(2, 3)), atol=1e-6)


def test_real_composites_are_mirrored_together_or_not_at_all(batch: PairBatch) -> None:
    four = CompositeBatch(batch.target, batch.mask, batch.target, batch.target)
    seen = set()
    for seed in range(8):
        framed = reframe_composites(four, 32, _generator(seed))
        assert torch.equal(framed.composite, framed.natural)
        mirrored = torch.equal(framed.mask, batch.mask.flip(-1))
        assert mirrored or torch.equal(framed.mask, batch.mask)
        seen.add(mirrored)
    assert seen == {False, True}
