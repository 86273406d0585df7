"""Which photographs are one: perceptual hashes that differ in few bits, found without comparing every pair.

Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): of two hashes of 64 bits that differ in at most d, some band of 16 bits differs
in at most d // 4. So each hash looks into the few buckets of each band that are so near its own, and misses nothing. Photographs that are
alike by way of a third are one group (union-find).
"""

from itertools import combinations

import numba
import numpy as np
from jaxtyping import Int32, UInt32, UInt64

from tasks.ingestion.perceptual_hash import NUM_BITS

_BAND_BITS = 16
_NUM_BANDS = NUM_BITS // _BAND_BITS
_NUM_BUCKETS = 1 << _BAND_BITS

_FIVES, _THREES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_NIBBLES, _ONES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
_ONE, _TWO, _FOUR, _TOP = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)


def group_duplicates(
    hashes: UInt64[np.ndarray, " N"], owners: Int32[np.ndarray, " N"], max_distance: int,
) -> Int32[np.ndarray, " M"]:
    """The group of each photograph 0..M-1: the smallest number among the photographs that it is one with, its own if it is alone.

    hashes: of any number of pictures of each photograph; owners: whose they are, every photograph at least once. Two photographs with
    hashes that differ in at most `max_distance` of 64 bits (0 to 63) are one. Memory grows with N alone.
    """
    if not 0 <= max_distance < NUM_BITS:
        raise ValueError(f"max_distance is {max_distance}; it must be from 0 to {NUM_BITS - 1}")
    count = int(owners.max(initial=-1)) + 1
    parents = np.arange(count, dtype=np.int32)
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    holders = owners[first].astype(np.int32)
    _join_equal(parents, owners.astype(np.int32), holders[inverse])
    masks = _masks_within(max_distance // _NUM_BANDS)
    for band in range(_NUM_BANDS):
        keys = (distinct >> np.uint64(_BAND_BITS * band)).astype(np.uint32) & np.uint32(_NUM_BUCKETS - 1)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(_NUM_BUCKETS + 1)).astype(np.int64)
        _join_near(parents, distinct[order], holders[order], keys[order], starts, masks, max_distance)
    return np.asarray(_roots(parents))


def _masks_within(radius: int) -> UInt32[np.ndarray, " K"]:
    """Every 16-bit number with at most `radius` bits set, the empty one first."""
    radius = min(radius, _BAND_BITS)
    chosen = (bits for size in range(radius + 1) for bits in combinations(range(_BAND_BITS), size))
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.uint32)


@numba.njit(nogil=True, cache=True)
def _count_bits(word):  # type: ignore[no-untyped-def]  # pragma: no cover
    word = word - ((word >> _ONE) & _FIVES)
    word = (word & _THREES) + ((word >> _TWO) & _THREES)
    word = (word + (word >> _FOUR)) & _NIBBLES
    return (word * _ONES) >> _TOP


@numba.njit(nogil=True, cache=True)
def _root(parents, node):  # type: ignore[no-untyped-def]  # pragma: no cover
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@numba.njit(nogil=True, cache=True)
def _join(parents, first, second):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Make two nodes one group, whose root is its smallest member."""
    one, other = _root(parents, first), _root(parents, second)
    parents[max(one, other)] = min(one, other)


@numba.njit(nogil=True, cache=True)
def _join_equal(parents, owners, holders):  # type: ignore[no-untyped-def]  # pragma: no cover
    for place in range(len(owners)):
        _join(parents, owners[place], holders[place])


@numba.njit(nogil=True, cache=True)
def _join_near(parents, hashes, holders, keys, starts, masks, limit):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Join the holders of hashes within `limit` bits; `hashes`, `holders` and `keys` are sorted by key, bucket k begins at `starts[k]`."""
    for place in range(len(hashes)):
        for mask in masks:
            bucket = keys[place] ^ mask
            if bucket < keys[place]:
                continue  # that bucket looks into this one
            begin = place + 1 if bucket == keys[place] else starts[bucket]
            for other in range(begin, starts[bucket + 1]):
                if _count_bits(hashes[place] ^ hashes[other]) <= limit:
                    _join(parents, holders[place], holders[other])


@numba.njit(nogil=True, cache=True)
def _roots(parents):  # type: ignore[no-untyped-def]  # pragma: no cover
    return np.array([_root(parents, node) for node in range(len(parents))], dtype=np.int32)
