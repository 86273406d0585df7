"""Laws of the exchange of colours between a batch's foregrounds."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.color.transfer import transfer_reinhard
from tasks.sample import PairBatch
from tasks.training.color_exchange import LARGEST_FMSE, exchange_colors, in_colors_of

SIDE = 32


@pytest.fixture
def batch() -> PairBatch:
    """Six photographs of different casts, each with one square foreground."""
    generator = torch.Generator().manual_seed(5)
    cast = 0.25 + 0.5 * torch.rand(6, 3, 1, 1, generator=generator)
    target = (cast + 0.2 * (torch.rand(6, 3, SIDE, SIDE, generator=generator) - 0.5)).clamp(0.05, 0.95)
    mask = torch.zeros(6, 1, SIDE, SIDE)
    mask[..., 6:24, 4:26] = 1
    return PairBatch(composite=target * (1 - 0.4 * mask), mask=mask, target=target)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _bytes(image: Tensor) -> np.ndarray:
    return (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def test_the_transfer_is_ingestions_own_reinhard(batch: PairBatch) -> None:
    image, reference, mask = batch.target[:1], batch.target[1:2], batch.mask[:1]
    region = (mask[0, 0].numpy() * 255).astype(np.uint8)
    expected = transfer_reinhard(_bytes(image), region, _bytes(reference), region)
    found = _bytes(in_colors_of(image, mask, reference, mask))
    inside = region > 0
    error = np.abs(found[inside].astype(int) - expected[inside])
    assert error.mean() <= 1.0  # grey level; ours adds 0.01 to a deviation, so that it never divides by nothing
    assert np.abs(_bytes(image)[inside].astype(int) - expected[inside]).mean() > 20


def test_the_foreground_takes_the_others_mean(batch: PairBatch) -> None:
    moved = in_colors_of(batch.target[:1], batch.mask[:1], batch.target[1:2], batch.mask[1:2])
    inside = batch.mask[0, 0] > 0
    torch.testing.assert_close(moved[0][:, inside].mean(dim=1), batch.target[1][:, inside].mean(dim=1), atol=0.02, rtol=0)


def test_background_and_target_stay_bit_for_bit(batch: PairBatch) -> None:
    exchanged = exchange_colors(batch, 1.0, _generator())
    outside = (batch.mask == 0).expand(-1, 3, -1, -1)
    assert torch.equal(exchanged.composite[outside], batch.target[outside])
    assert torch.equal(exchanged.target, batch.target)
    assert not torch.allclose(exchanged.composite, batch.composite, atol=0.02)


def test_samples_that_are_not_chosen_keep_their_composites(batch: PairBatch) -> None:
    exchanged = exchange_colors(batch, 0.5, _generator(1))
    kept = [torch.equal(ours, theirs) for ours, theirs in zip(exchanged.composite, batch.composite, strict=True)]
    assert any(kept)
    assert not all(kept)


def test_no_share_draws_nothing(batch: PairBatch) -> None:
    generator = _generator()
    assert exchange_colors(batch, 0.0, generator) is batch
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=_generator()))


def test_equal_seeds_exchange_alike_and_others_do_not(batch: PairBatch) -> None:
    first, second, other = (exchange_colors(batch, 1.0, _generator(seed)).composite for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_no_composite_is_farther_than_ingestion_allows(batch: PairBatch) -> None:
    far = PairBatch(batch.composite, batch.mask, torch.where(torch.arange(6).view(6, 1, 1, 1) % 2 == 0, batch.target * 0.1, batch.target))
    exchanged = exchange_colors(far, 1.0, _generator())
    error = ((exchanged.composite - far.target).square() * far.mask).sum(dim=(1, 2, 3)) / (3 * far.mask.sum(dim=(1, 2, 3)))
    assert error.max() <= LARGEST_FMSE * 1.001
    assert error.max() > LARGEST_FMSE * 0.9


@pytest.mark.parametrize(("level", "covered"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0)])
def test_flat_pictures_and_empty_masks_stay_finite(level: float, covered: float) -> None:
    flat = torch.full((2, 3, SIDE, SIDE), level)
    batch = PairBatch(flat, torch.full((2, 1, SIDE, SIDE), covered), flat)
    assert exchange_colors(batch, 1.0, _generator()).composite.isfinite().all()


def test_a_single_sample_exchanges_with_itself_and_stays() -> None:
    image = 0.3 + 0.4 * torch.rand(1, 3, SIDE, SIDE, generator=_generator())
    batch = PairBatch(image, torch.ones(1, 1, SIDE, SIDE), image)
    torch.testing.assert_close(exchange_colors(batch, 1.0, _generator()).composite, image, atol=1e-4, rtol=0)
