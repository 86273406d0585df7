"""Laws of the training batches' variety."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from tasks.params import TrainData, load_params
from tasks.sample import PairBatch
from tasks.tones import apply_tones
from tasks.training.variety import REGION_CELLS, Variety, draw_regions, draw_variety, vary

COUNT, SIZE = 12, 32
Section = Callable[..., TrainData]


@pytest.fixture
def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(COUNT, 3, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    mask = torch.zeros(COUNT, 1, SIZE, SIZE)
    mask[..., 8:24, 4:20] = 1
    return PairBatch(composite=mask * target * 0.5 + (1 - mask) * target, mask=mask, target=target)


@pytest.fixture
def section() -> Section:
    usual = load_params().train.data
    still = {
        "jitter": 0.0, "region_share": 0.0, "natural_share": 0.0, "whole_jitter": 0.0, "whole_share": 1.0, "soft_share": 0.0,
        "degraded_share": 0.0, "drawn": usual.drawn.model_copy(update={"share": 0.0}),
    }
    return lambda **changes: usual.model_copy(update={**still, **changes})


def _copy(batch: PairBatch) -> PairBatch:
    return PairBatch(*(stack.clone() for stack in vars(batch).values()))


def _varied(batch: PairBatch, section: TrainData, seed: int = 0) -> tuple[PairBatch, Variety]:
    """A batch changed, and what was drawn for it; the original stays."""
    variety = draw_variety(section, COUNT, SIZE, np.random.default_rng(seed))
    return vary(_copy(batch), variety), variety


def _same(first: PairBatch, second: PairBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


@pytest.mark.parametrize("change", [{"jitter": 1.0}, {"region_share": 1.0}, {"whole_jitter": 1.0}])
def test_equal_seeds_give_equal_batches_and_others_do_not(batch: PairBatch, section: Section, change: dict[str, float]) -> None:
    first, again, other = (_varied(batch, section(**change), seed)[0] for seed in (1, 1, 2))
    assert _same(first, again)
    assert not _same(first, other)


def test_shares_of_none_change_nothing(batch: PairBatch, section: Section) -> None:
    varied, variety = _varied(batch, section())
    assert _same(varied, batch)
    assert variety.given.all()


def test_recolouring_leaves_the_background_and_the_target_alone(batch: PairBatch, section: Section) -> None:
    varied, variety = _varied(batch, section(jitter=1.0))
    outside = (batch.mask == 0).expand(-1, 3, -1, -1)
    assert torch.equal(varied.composite[outside], batch.target[outside])
    assert torch.equal(varied.target, batch.target)
    for composite, own in zip(varied.composite, batch.composite, strict=True):
        assert not torch.allclose(composite, own)
    assert not variety.given.any()


def test_untouched_samples_need_nothing_and_the_others_stay(batch: PairBatch, section: Section) -> None:
    assert torch.equal(_varied(batch, section(natural_share=1.0, jitter=1.0))[0].composite, batch.target)
    varied, variety = _varied(batch, section(natural_share=0.5))
    untouched = torch.from_numpy(variety.untouched)
    assert 0 < untouched.sum() < COUNT
    assert torch.equal(varied.composite[untouched], batch.target[untouched])
    assert torch.equal(varied.composite[~untouched], batch.composite[~untouched])


def test_what_is_not_given_is_never_looked_at(batch: PairBatch, section: Section) -> None:
    mixed = section(jitter=0.4, region_share=0.3, natural_share=0.2, whole_jitter=0.8)
    varied, variety = _varied(batch, mixed)
    assert 0 < variety.given.sum() < COUNT
    batch.composite[torch.from_numpy(~variety.given)] = torch.nan
    assert _same(_varied(batch, mixed)[0], varied)


def test_invented_regions_differ_inside_alone(batch: PairBatch, section: Section) -> None:
    varied, variety = _varied(batch, section(region_share=0.5))
    invented = torch.from_numpy(variety.invented)
    assert torch.equal(varied.mask[~invented], batch.mask[~invented])
    assert not (varied.mask[invented] == batch.mask[invented]).flatten(1).all(dim=1).any()
    outside = (varied.mask == 0).expand(-1, 3, -1, -1) & invented.view(-1, 1, 1, 1)
    assert torch.equal(varied.composite[outside], batch.target[outside])
    assert torch.equal(varied.target, batch.target)


@pytest.mark.parametrize("size", [SIZE, 64])
def test_regions_cover_shares_of_the_range_and_their_edges_follow_bicubic_noise(size: int) -> None:
    regions = draw_regions(1000, size, np.random.default_rng(0))
    covered = regions.mean(axis=(1, 2, 3))
    assert covered.mean() == pytest.approx((0.08 + 0.58) / 2, abs=0.01)
    assert covered.std() == pytest.approx(0.5 / np.sqrt(12), abs=0.01)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1000, 1, REGION_CELLS, REGION_CELLS), dtype=np.float32))
    surfaces = interpolate(noise, size=(size, size), mode="bicubic", align_corners=True).numpy()
    edge = (regions > 0) & (regions < 1)
    levels = np.where(edge, surfaces - (regions - 0.5) / 8, np.nan)  # the same all along an edge
    assert np.nanmax(np.nanstd(levels.reshape(1000, -1), axis=1)) < 1e-5


def test_a_whole_recolouring_is_one_and_the_same_for_composite_and_target(batch: PairBatch, section: Section) -> None:
    varied, variety = _varied(batch, section(whole_jitter=0.8))
    assert variety.whole is not None
    for images, own in ((varied.composite, batch.composite), (varied.target, batch.target)):
        np.testing.assert_array_equal(images.numpy(), apply_tones(own.numpy(), variety.whole))
    natural, _ = _varied(PairBatch(batch.target, batch.mask, batch.target), section(whole_jitter=0.8))
    assert torch.equal(natural.composite, natural.target)
    assert not torch.allclose(natural.target, batch.target)


def test_samples_are_drawn_as_often_as_the_shares_say(section: Section) -> None:
    variety = draw_variety(section(jitter=0.4, region_share=0.3, natural_share=0.2), 20_000, SIZE, np.random.default_rng(0))
    found = [kind.mean() for kind in (variety.recolored, variety.invented, variety.untouched, variety.given)]
    assert found == pytest.approx([(1 - 0.6 * 0.7) * 0.8, 0.3, 0.2, 0.6 * 0.7 * 0.8], abs=0.015)
