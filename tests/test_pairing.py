from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tasks.mining.gap import Appearance, difficulty_bins, tercile_edges
from tasks.mining.pairing import UNNAMED, Objects, PossiblePairs, find_possible_pairs, label_relations, score_components
from tasks.mining.placement import place_foreground, place_natural
from tasks.mining.quotas import choose_pairs, quota_counts
from tasks.params import Mine, Params


@pytest.fixture
def mine(configure: Callable[..., Params]) -> Mine:
    return configure().mine


def make_looks(count: int, rng: np.random.Generator) -> Appearance:
    mean = np.stack([rng.uniform(30, 70, count), rng.normal(0, 10, count), rng.normal(0, 10, count)], axis=1).astype(np.float32)
    histogram = rng.dirichlet(np.ones(32), count)
    return Appearance(
        mean, np.full((count, 3), 10.0, np.float32), rng.normal(0, 0.2, (count, 2)).astype(np.float32),
        np.cumsum(histogram, axis=1).astype(np.float32),
    )


def make_objects(count: int, *, num_labels: int = 3, seed: int = 0) -> Objects:
    rng = np.random.default_rng(seed)
    corner, extent = rng.uniform(20, 150, (count, 2)), rng.uniform(80, 160, (count, 2))
    return Objects(
        group=np.arange(count) // 2, label=rng.integers(UNNAMED, num_labels, count), is_background=rng.random(count) < 0.9,
        photo_size=np.tile(np.array([320.0, 320.0], np.float32), (count, 1)), contact=rng.random((count, 4)) < 0.1,
        source_box=np.concatenate([corner, corner + extent], axis=1).round().astype(np.float32),
        shape=rng.uniform(0, 1, (count, 64)).astype(np.float32), foreground=make_looks(count, rng), ring=make_looks(count, rng),
    )


def relations_of(num_labels: int = 3) -> np.ndarray:
    return np.eye(num_labels, dtype=np.float32)


def possible_of(objects: Objects, mine: Mine, wanted: int, seed: int = 1) -> PossiblePairs:
    return find_possible_pairs(objects, relations_of(), mine=mine, num_wanted=wanted, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("mode", ["mined", "pih_random"])
def test_no_pair_comes_from_one_photograph_and_no_background_is_a_rejected_one(mode: str, mine: Mine) -> None:
    objects = make_objects(200)
    found = possible_of(objects, mine.model_copy(update={"mode": mode}), 100)
    assert found.background.size > 500
    assert (objects.group[found.background] != objects.group[found.foreground]).all()
    assert objects.is_background[found.background].all()


def test_a_cut_off_object_is_only_paired_where_one_was_cut_off_at_the_same_sides(mine: Mine) -> None:
    objects = make_objects(300)
    found = possible_of(objects, mine, 200)
    assert not (objects.contact[found.foreground] & ~objects.contact[found.background]).any()


@pytest.mark.parametrize("mode", ["mined", "pih_random"])
def test_no_object_becomes_a_sliver(mode: str, mine: Mine) -> None:
    objects = make_objects(200)
    flat = np.arange(200) % 2 == 0
    objects.source_box[flat, 3] = objects.source_box[flat, 1] + 6.0  # 6 px tall: fitted into a box, nothing would be left of them
    mine = mine.model_copy(update={"mode": mode})
    found = possible_of(objects, mine, 100)
    assert found.background.size > 50
    for background, foreground in zip(found.background, found.foreground, strict=True):
        target = place_foreground(objects, int(background), int(foreground), mine=mine, rng=np.random.default_rng(0)).target
        assert target.width * target.height * objects.shape[foreground].mean() > 0.006 * mine.size**2  # rounded to whole pixels


def test_hopeless_gaps_are_left_out(mine: Mine) -> None:
    objects = make_objects(200)
    found = possible_of(objects, mine.model_copy(update={"max_lightness_gap": 5.0}), 100)
    assert np.abs(objects.foreground.mean[found.foreground, 0] - objects.ring.mean[found.background, 0]).max() <= 5.0


def test_quotas_are_met_to_one_and_no_cap_is_broken(mine: Mine) -> None:
    objects = make_objects(300)
    limited = mine.model_copy(update={"max_per_foreground": 4, "max_per_background": 3})
    found = possible_of(objects, limited, 400)
    bins = difficulty_bins(found.gap, tercile_edges(found.gap))
    counts = quota_counts(400, [0.3, 0.4, 0.3])
    chosen = choose_pairs(found, bins, counts=counts, mine=limited, rng=np.random.default_rng(2))
    assert np.bincount(bins[chosen]).tolist() == counts == [120, 160, 120]
    assert max(Counter(found.foreground[chosen].tolist()).values()) <= 4
    assert max(Counter(found.background[chosen].tolist()).values()) <= 3
    pairs = list(zip(found.background[chosen], found.foreground[chosen], strict=True))
    assert len(set(pairs)) == len(pairs)


def test_caps_that_leave_too_little_give_fewer_pairs_instead_of_failing(mine: Mine) -> None:
    objects = make_objects(20)
    limited = mine.model_copy(update={"max_per_foreground": 1, "max_per_background": 1})
    found = possible_of(objects, limited, 500)
    chosen = choose_pairs(found, np.zeros(found.gap.size, np.int64), counts=[500], mine=limited, rng=np.random.default_rng(2))
    assert 0 < chosen.size <= 20


def test_no_possible_pairs_give_no_pairs(mine: Mine) -> None:
    objects = replace(make_objects(6), group=np.zeros(6, np.int64))
    found = possible_of(objects, mine, 10)
    assert found.background.size == 0
    assert choose_pairs(found, np.zeros(0, np.int64), counts=[3, 4, 3], mine=mine, rng=np.random.default_rng(0)).size == 0


def test_pairs_that_the_labels_speak_for_are_taken_first(mine: Mine) -> None:
    objects = make_objects(200)
    found = possible_of(objects, mine, 60)
    chosen = choose_pairs(found, np.zeros(found.gap.size, np.int64), counts=[60], mine=mine, rng=np.random.default_rng(0))
    assert found.fits[chosen].all()
    assert not found.fits.all()


def test_a_low_temperature_takes_better_fits_than_a_high_one(mine: Mine) -> None:
    found = possible_of(make_objects(300), mine, 100)
    means = []
    for temperature in (0.05, 50.0):
        warmed = mine.model_copy(update={"temperature": temperature})
        chosen = choose_pairs(found, np.zeros(found.gap.size, np.int64), counts=[100], mine=warmed, rng=np.random.default_rng(0))
        means.append(found.score[chosen].mean())
    assert means[0] > means[1] + 0.2


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(mine: Mine) -> None:
    objects = make_objects(200)
    first, again, other = (possible_of(objects, mine, 30, seed=seed) for seed in (1, 1, 2))
    assert (first.foreground == again.foreground).all()
    assert first.background.tolist() != other.background.tolist()


def test_an_object_fits_in_its_own_place_perfectly(mine: Mine) -> None:
    objects = replace(make_objects(10), label=np.zeros(10, np.int64))
    every = np.arange(10)
    np.testing.assert_allclose(score_components(objects, relations_of(), every, every), 1.0, atol=1e-6)


def test_unnamed_labels_never_count_as_the_same() -> None:
    objects = replace(make_objects(4), label=np.full(4, UNNAMED))
    assert (score_components(objects, relations_of(), np.array([0, 1]), np.array([2, 3]))[:, 0] == 0.0).all()


def test_photographs_without_any_label_are_paired_all_the_same() -> None:
    objects = replace(make_objects(4), label=np.full(4, UNNAMED))
    scores = score_components(objects, np.empty((0, 0), np.float32), np.array([0, 1]), np.array([2, 3]))
    assert scores.tolist() == score_components(objects, relations_of(), np.array([0, 1]), np.array([2, 3])).tolist()


def test_labels_relate_by_occurring_together_at_like_places() -> None:
    group = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    label = np.array([0, 1, 2, 0, 1, 0, 1, UNNAMED])  # 0 and 1 share three photographs; 2 lies elsewhere in one of them
    box = np.where((label == 2)[:, None], [0.0, 0.0, 1.0, 0.2], [0.3, 0.5, 0.6, 0.9])
    relations = label_relations(group, label, frame_box=box, num_labels=4)
    assert relations.diagonal().tolist() == [1.0] * 4
    assert relations[0, 1] == relations[1, 0] == pytest.approx(0.5)
    assert relations[0, 2] < 0.01
    assert relations[0, 3] == 0.0


def test_quota_counts_add_up_whatever_the_shares() -> None:
    for wanted in range(50):
        counts = quota_counts(wanted, [0.3, 0.4, 0.3])
        assert sum(counts) == wanted
        assert all(abs(count - share * wanted) < 1 for count, share in zip(counts, [0.3, 0.4, 0.3], strict=True))


def test_a_placed_object_keeps_its_true_aspect_in_the_backgrounds_photograph(mine: Mine) -> None:
    objects = make_objects(40)
    objects = replace(objects, contact=np.zeros((40, 4), bool), photo_size=np.tile(np.array([640.0, 320.0], np.float32), (40, 1)))
    for mode in ("mined", "pih_random"):
        placed = place_foreground(objects, 0, 7, mine=mine.model_copy(update={"mode": mode}), rng=np.random.default_rng(0))
        tall, wide = placed.target.height * 320 / mine.size, placed.target.width * 640 / mine.size
        assert tall / wide == pytest.approx(placed.source.height / placed.source.width, rel=0.1)


def test_pih_random_fits_the_object_into_the_removed_ones_box(mine: Mine) -> None:
    objects = make_objects(40)
    still = mine.model_copy(update={"mode": "pih_random", "jitter": 0})
    for foreground in range(2, 40):
        target = place_foreground(objects, 0, foreground, mine=still, rng=np.random.default_rng(0)).target
        box = objects.frame_box[0] * mine.size
        assert target.left >= box[0] - 1
        assert target.top >= box[1] - 1
        assert target.right <= box[2] + 1
        assert target.bottom <= box[3] + 1


def test_cut_off_sides_stay_on_the_frames_edge_whatever_the_jitter(mine: Mine) -> None:
    objects = replace(make_objects(4), contact=np.tile([True, False, False, True], (4, 1)))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for target in (place_foreground(objects, 0, 2, mine=mine, rng=rng).target, place_natural(objects, 0, mine=mine, rng=rng).target):
            assert target.left == 0
            assert target.bottom == mine.size


def test_a_natural_object_goes_back_near_its_place_at_another_size(mine: Mine) -> None:
    objects = replace(make_objects(4), contact=np.zeros((4, 4), bool))
    own = objects.frame_box[0] * mine.size
    targets = [place_natural(objects, 0, mine=mine, rng=np.random.default_rng(seed)).target for seed in range(30)]
    assert len({target.width for target in targets}) > 3
    for target in targets:
        assert abs(target.bottom - own[3]) <= mine.jitter + 1
        assert (1 - mine.rescale) * 0.9 <= target.width / (own[2] - own[0]) <= (1 + mine.rescale) * 1.1
