"""The loader's laws: each sample once an epoch, a batch that is a pure function of seed and step, and threads that always end."""

import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.loader import Pool, batch_ids, interleave, iter_composite_batches, iter_pair_batches, pooled_ids, read_pairs
from tasks.sample import Pair, PairBatch, RealComposite
from tasks.shards import PHOTOGRAPH, encode_composite, encode_pair, write_manifest, write_shard

Draw = Callable[..., np.ndarray]
NUM_PAIRS = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photograph: Draw, object_mask: Draw) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    mask = object_mask(24, 24)
    greys = [np.full((24, 24, 3), 20 * n, np.uint8) for n in range(NUM_PAIRS)]
    pairs = [Pair(f"k{n:02d}", "original", "s", f"g{n}", grey, mask, photograph(24, 24, n)) for n, grey in enumerate(greys)]
    encoded = [encode_pair(pair, jpeg_quality=95) for pair in pairs]
    infos = [
        write_shard(folder / name, samples, split=name.split("-")[0])
        for name, samples in (("train-00000.tar", encoded[:6]), ("train-00001.tar", encoded[6:]), ("val-00000.tar", encoded[:3]))
    ]
    write_manifest(folder, infos, kind="pairs", meta={})
    return folder


def identify(batch: PairBatch) -> list[int]:
    """Which samples a batch holds: each composite is of one grey."""
    return [round(value) for value in (batch.composite.mean(dim=(1, 2, 3)) * 255 / 20).tolist()]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 17), st.integers(1, 5), st.integers(0, 5))
def test_every_id_comes_once_an_epoch_over_any_number_of_ranks(num_samples: int, batch_size: int, num_ranks: int, seed: int) -> None:
    steps = 3 * num_samples // (batch_size * num_ranks) + 1
    stream = np.concatenate([
        batch_ids(num_samples, step, batch_size=batch_size, seed=seed, rank=rank, num_ranks=num_ranks)
        for step in range(steps) for rank in range(num_ranks)
    ])
    for epoch in range(3):
        assert sorted(stream[epoch * num_samples:(epoch + 1) * num_samples]) == list(range(num_samples))


def test_the_order_depends_on_seed_and_epoch() -> None:
    first, second = (batch_ids(50, step, batch_size=50, seed=1).tolist() for step in (0, 1))
    assert first != second
    assert first != batch_ids(50, 0, batch_size=50, seed=2).tolist()
    assert first == batch_ids(50, 0, batch_size=50, seed=1).tolist()


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("cache_megabytes", [0, 1])
def test_a_batch_is_a_function_of_seed_and_step_alone(folder: Path, num_threads: int, cache_megabytes: int) -> None:
    with iter_pair_batches(folder, "train", batch_size=4, seed=3, num_threads=1) as whole:
        expected = [next(whole) for _ in range(8)]
    with iter_pair_batches(
        folder, "train", batch_size=4, seed=3, first_step=2, num_threads=num_threads, cache_megabytes=cache_megabytes
    ) as resumed:
        for batch in expected[2:]:
            found = next(resumed)
            for field in ("composite", "mask", "target"):
                torch.testing.assert_close(getattr(found, field), getattr(batch, field), rtol=0, atol=0)


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_ranks_share_an_epoch_without_overlap(folder: Path, num_ranks: int) -> None:
    seen: list[int] = []
    iterators = [
        iter_pair_batches(folder, "train", batch_size=2, seed=7, rank=rank, num_ranks=num_ranks, cache_megabytes=1)
        for rank in range(num_ranks)
    ]
    while len(seen) < NUM_PAIRS:
        for iterator in iterators:
            seen += identify(next(iterator))
    for iterator in iterators:
        iterator.close()
    assert sorted(seen[:NUM_PAIRS]) == list(range(NUM_PAIRS))


def test_batches_hold_the_decoded_samples_as_floats(folder: Path) -> None:
    pairs = read_pairs(folder, "train")
    with iter_pair_batches(folder, "train", batch_size=5, seed=1) as batches:
        batch = next(batches)
        assert batches.wait_seconds > 0
    assert batch.composite.shape == batch.target.shape == (5, 3, 24, 24)
    assert batch.mask.shape == (5, 1, 24, 24)
    assert batch.target.dtype == torch.float32
    for slot, index in enumerate(identify(batch)):
        np.testing.assert_array_equal(batch.target[slot].permute(1, 2, 0).numpy(), pairs[index].target.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(batch.mask[slot, 0].numpy(), pairs[index].mask.astype(np.float32) / np.float32(255))


def test_composites_come_in_batches_too(tmp_path: Path, photograph: Draw, object_mask: Draw) -> None:
    images = {field: photograph(16, 16, seed) for seed, field in enumerate(("composite", "plate", "natural"))}
    samples = [encode_composite(RealComposite(f"m{n}", mask=object_mask(16, 16), **images), jpeg_quality=100) for n in range(3)]
    write_manifest(tmp_path, [write_shard(tmp_path / "train-00000.tar", samples, split="train")], kind="composites", meta={})
    with iter_composite_batches(tmp_path, "train", batch_size=2, seed=1) as batches:
        batch = next(batches)
    for field, image in images.items():
        assert np.abs(getattr(batch, field)[1].permute(1, 2, 0).numpy() * 255 - image).mean() < 3
    with pytest.raises(ValueError, match="shards of composites where pairs were expected"):
        iter_pair_batches(tmp_path, "train", batch_size=2, seed=1)


def test_threads_end_on_close_on_exhausted_scope_and_on_deletion(folder: Path) -> None:
    def alive() -> int:
        return sum(thread.name.startswith("loader") for thread in threading.enumerate())

    for end in ("close", "with", "del"):
        batches = iter_pair_batches(folder, "train", batch_size=3, seed=1, num_threads=3)
        next(batches)
        assert alive() > 0
        if end == "close":
            batches.close()
            batches.close()
            assert next(batches, None) is None
        elif end == "with":
            with batches:
                pass
        else:
            del batches
        assert alive() == 0


def test_a_damaged_sample_comes_out_of_next_by_name_and_ends_the_threads(tmp_path: Path, folder: Path) -> None:
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "train-00001.tar":
            start = data.index(b"\xff\xda")
            data[start:start + 12] = bytes(12)
        (tmp_path / path.name).write_bytes(data)
    batches = iter_pair_batches(tmp_path, "train", batch_size=4, seed=1)
    with pytest.raises(ValueError, match=r"train-00001\.tar:k06\.composite\.jpg"):
        list(islice(batches, 10))
    assert next(batches, None) is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_a_missing_split_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="no samples of split 'test'"):
        iter_pair_batches(folder, "test", batch_size=2, seed=1)
    assert read_pairs(folder, "test") == []


@pytest.mark.parametrize("cache_megabytes", [0, 8])
def test_a_photograph_is_read_as_its_own_composite(tmp_path: Path, photograph: Draw, object_mask: Draw, cache_megabytes: int) -> None:
    mask, pictures = object_mask(24, 24), [photograph(24, 24, number) for number in range(3)]
    pairs = [Pair(f"k{n}", PHOTOGRAPH, "s", f"g{n}", picture, mask, picture) for n, picture in enumerate(pictures)]
    pairs.append(Pair("k3", "original", "s", "g3", pictures[0] // 2, mask, pictures[0]))
    info = write_shard(tmp_path / "train-00000.tar", [encode_pair(pair, jpeg_quality=95) for pair in pairs], split="train")
    write_manifest(tmp_path, [info], kind="pairs", meta={})
    with iter_pair_batches(tmp_path, "train", batch_size=4, seed=0, cache_megabytes=cache_megabytes) as batches:
        batch = next(batches)
    same = (batch.composite == batch.target).flatten(1).all(dim=1)
    assert same.tolist().count(True) == 3


def test_a_limited_reading_is_spread_over_the_split(folder: Path) -> None:
    assert [pair.key for pair in read_pairs(folder, "train", limit=3)] == ["k00", "k03", "k07"]
    assert len(read_pairs(folder, "train", limit=99)) == NUM_PAIRS


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4), st.lists(st.floats(0.05, 5), min_size=4, max_size=4), st.integers(1, 9),
    st.integers(1, 4),
)
def test_every_pool_is_a_stream_of_its_own_and_takes_its_share(
    sizes: list[int], weights: list[float], batch_size: int, num_ranks: int
) -> None:
    ends = np.cumsum([0, *sizes])
    pools = [Pool(f"p{n}", np.arange(ends[n], ends[n + 1]), weights[n]) for n in range(len(sizes))]
    steps = 120 // (batch_size * num_ranks) + 1
    stream = np.concatenate([
        pooled_ids(pools, step, batch_size=batch_size, seed=3, rank=rank, num_ranks=num_ranks)
        for step in range(steps) for rank in range(num_ranks)
    ])
    total = sum(weights[: len(sizes)])
    for pool in pools:
        mine = stream[np.isin(stream, pool.ids)]
        for epoch in range(len(mine) // len(pool.ids)):
            assert sorted(mine[epoch * len(pool.ids) : (epoch + 1) * len(pool.ids)]) == sorted(pool.ids)
        for stop in (len(stream) // 3, len(stream)):
            assert abs(np.isin(stream[:stop], pool.ids).sum() - stop * pool.weight / total) < len(pools)


def test_one_pool_of_all_is_the_plain_order() -> None:
    for step in range(9):
        plain = batch_ids(7, step, batch_size=3, seed=5)
        assert pooled_ids([Pool("all", np.arange(7), 0.3)], step, batch_size=3, seed=5).tolist() == plain.tolist()


def test_a_place_in_the_mixed_stream_is_known_without_those_before_it() -> None:
    which, own = interleave([1.0, 2.0, 4.0], np.arange(700))
    for number, expected in enumerate((100, 200, 400)):
        assert own[which == number].tolist() == list(range(expected))
    late = interleave([1.0, 2.0, 4.0], np.arange(500, 700))
    assert np.array_equal(late[0], which[500:])
    assert np.array_equal(late[1], own[500:])


@pytest.mark.parametrize("cache_megabytes", [0, 1])
def test_only_the_pools_samples_are_read(folder: Path, cache_megabytes: int) -> None:
    pools = [Pool("late", np.array([7, 9, 10]), 1.0), Pool("early", np.array([0, 2]), 3.0)]
    with iter_pair_batches(folder, "train", batch_size=8, seed=1, cache_megabytes=cache_megabytes, pools=pools) as batches:
        for _ in range(3):
            seen = identify(next(batches))
            assert sum(number in (0, 2) for number in seen) == 6
            assert sum(number in (7, 9, 10) for number in seen) == 2
