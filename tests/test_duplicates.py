"""Groups of near-duplicates: what brute force finds, found without comparing every pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.ingestion.duplicates import group_duplicates


def by_brute_force(hashes: np.ndarray, owners: np.ndarray, max_distance: int) -> np.ndarray:
    """Every pair compared; components by SciPy, each named after its smallest member."""
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= max_distance
    first, second = np.nonzero(near)
    count = owners.max() + 1
    graph = coo_array((np.ones(len(first)), (owners[first], owners[second])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return np.array([np.flatnonzero(labels == label)[0] for label in labels])


def flipped(word: int, bits: list[int]) -> int:
    for bit in bits:
        word ^= 1 << bit
    return word


def crowd(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    """Hashes around a few centres, 0 to `most` bits from them: many pairs on both sides of any limit."""
    centres = rng.integers(0, 2**64, max(1, count // 8), dtype=np.uint64)
    bits = [rng.choice(64, rng.integers(0, most + 1), replace=False).tolist() for _ in range(count)]
    return np.array([flipped(int(rng.choice(centres)), own) for own in bits], np.uint64)


@given(seed=st.integers(0, 2**32 - 1), max_distance=st.integers(0, 16))
@settings(max_examples=60, deadline=None)
def test_groups_are_those_of_brute_force(seed, max_distance):
    rng = np.random.default_rng(seed)
    hashes = crowd(rng, 120, 12)
    owners = np.concatenate([np.arange(80), rng.integers(0, 80, 40)]).astype(np.int32)  # some photographs have two pictures
    assert (group_duplicates(hashes, owners, max_distance) == by_brute_force(hashes, owners, max_distance)).all()


@given(word=st.integers(0, 2**64 - 1), bits=st.lists(st.integers(0, 63), unique=True, max_size=16), limit=st.integers(0, 16))
@settings(deadline=None)
def test_a_pair_is_one_exactly_up_to_the_limit_wherever_its_bits_lie(word, bits, limit):
    hashes = np.array([word, flipped(word, bits)], np.uint64)
    assert (group_duplicates(hashes, np.arange(2, dtype=np.int32), limit)[1] == 0) == (len(bits) <= limit)


def test_photographs_that_are_alike_by_way_of_a_third_are_one_group():
    hashes = np.array([0, 0xFF, 0xFFFF, 2**64 - 1], np.uint64)
    assert group_duplicates(hashes, np.arange(4, dtype=np.int32), 8).tolist() == [0, 0, 0, 3]


def test_many_equal_hashes_take_no_time_and_no_photograph_is_nothing():
    equal = np.full(200_000, 12345, np.uint64)  # black frames, say: 2e10 pairs
    assert not group_duplicates(equal, np.arange(len(equal), dtype=np.int32), 8).any()
    assert group_duplicates(np.zeros(0, np.uint64), np.zeros(0, np.int32), 8).shape == (0,)


def test_a_limit_that_no_hash_can_keep_is_refused():
    with pytest.raises(ValueError, match="from 0 to 63"):
        group_duplicates(np.zeros(1, np.uint64), np.zeros(1, np.int32), 64)
