"""Batches from shards: threads decode JPEGs straight into the batch, and the batch at a step depends on nothing but (seed, step).

The order is one endless stream: epoch after epoch, each a permutation of all samples drawn from (seed, epoch). Step `s` of rank `r` out of
`R` takes the next `batch_size` samples after the first `(s * R + r) * batch_size`. So every sample comes exactly once an epoch over any
number of ranks and threads, nothing is dropped or padded, and training goes on at any step without a state to save. (A batch may
straddle two epochs.) Several pools of samples are each such a stream, and interleaved by their weights as evenly as whole samples can be.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from tasks.sample import CompositeBatch, Pair, PairBatch
from tasks.seeds import derive_seed, numpy_generator
from tasks.shards import IMAGES, MASK_MEMBER, Kind, ShardFolder, decode_jpeg_into, decode_mask_member, decode_pair, image_members, member
from tasks.tensors import to_tensor

Batch = TypeVar("Batch")
Stacks = dict[str, UInt8[np.ndarray, "..."]]


@dataclass(frozen=True)
class Decoded:
    """The samples of a batch as they were decoded: those at `slots` of stacks that may hold others too, and must not be written to."""

    stacks: Stacks  # by field of the batch's type
    slots: Int[np.ndarray, " B"]
    ids: Int[np.ndarray, " B"]  # of the split's samples

    @property
    def side(self) -> int:
        """Pixels of the images' height."""
        return int(self.stacks["mask"].shape[1])


@dataclass(frozen=True)
class Pool:
    """Samples that are an endless stream of their own."""

    name: str
    ids: Int[np.ndarray, " N"]  # of the split's samples
    weight: float  # its share of the batches, relative to the other pools'


class BatchIterator(Iterator[Batch], Generic[Batch]):
    """Endless batches, built by threads a few steps ahead. Close it (or use `with`); an exception in a thread comes out of `next`.

    Each of its threads computes with one core: batches are the parallel axis.
    """

    def __init__(self, build: Callable[[int], Batch], close: Callable[[], None], *, first_step: int, num_threads: int) -> None:
        self.wait_seconds = 0.0  # how long `next` has waited for data, all in all
        self._build = build
        self._close = close
        self._next_step = first_step
        self._pool = ThreadPoolExecutor(num_threads, "loader", initializer=torch.set_num_threads, initargs=(1,))
        self._pending: deque[Future[Batch]] = deque()
        self._ahead = 2 * num_threads
        self._closed = False

    def __iter__(self) -> "BatchIterator[Batch]":
        return self

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        self._submit(self._ahead)
        began = time.perf_counter()
        try:
            batch = self._pending.popleft().result()
        except BaseException:
            self.close()
            raise
        self.wait_seconds += time.perf_counter() - began
        self._submit(self._ahead)  # the slot that came free is filled while the caller works on this batch
        return batch

    def __enter__(self) -> "BatchIterator[Batch]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads and close the shards; `next` ends from here on. May be called twice."""
        if getattr(self, "_closed", True):
            return
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        self._close()

    def _submit(self, ahead: int) -> None:
        while len(self._pending) < ahead:
            self._pending.append(self._pool.submit(self._build, self._next_step))
            self._next_step += 1


def as_pairs(decoded: Decoded, step: int) -> PairBatch:
    """Pairs as they were read, whatever the step."""
    del step
    return PairBatch(**_as_tensors(decoded))


def as_composites(decoded: Decoded, step: int) -> CompositeBatch:
    """Real composites as they were read, whatever the step."""
    del step
    return CompositeBatch(**_as_tensors(decoded))


def _as_tensors(decoded: Decoded) -> dict[str, Tensor]:
    return {field: to_tensor(stack[decoded.slots]) for field, stack in decoded.stacks.items()}


def iter_pair_batches(
    folder: Path, split: str, *, batch_size: int, seed: int, first_step: int = 0, num_threads: int = 2, cache_megabytes: int = 0,
    rank: int = 0, num_ranks: int = 1, pools: Sequence[Pool] | None = None,
    prepare: Callable[[Decoded, int], PairBatch] = as_pairs,
) -> BatchIterator[PairBatch]:
    """Endless batches of the pairs of `split`, float32 in [0, 1], from step `first_step` on.

    batch_size: samples per rank. cache_megabytes: decoded samples stay in memory if the whole split fits. pools: which samples come, and
    how often; all of them, once an epoch each, where None. prepare: what the threads make of a step's samples, as a pure function.
    Raises ValueError naming the file if the shards are missing, damaged, hold no such split or another kind, or images differ in size.
    """
    decode, close = _open(
        folder, split, "pairs", batch_size=batch_size, seed=seed, cache_megabytes=cache_megabytes, rank=rank, num_ranks=num_ranks,
        pools=pools,
    )

    return BatchIterator(lambda step: prepare(decode(step), step), close, first_step=first_step, num_threads=num_threads)


def iter_composite_batches(
    folder: Path, split: str, *, batch_size: int, seed: int, first_step: int = 0, num_threads: int = 2, cache_megabytes: int = 0,
    rank: int = 0, num_ranks: int = 1, prepare: Callable[[Decoded, int], CompositeBatch] = as_composites,
) -> BatchIterator[CompositeBatch]:
    """Endless batches of the real composites of `split`; arguments and errors as `iter_pair_batches`."""
    decode, close = _open(
        folder, split, "composites", batch_size=batch_size, seed=seed, cache_megabytes=cache_megabytes, rank=rank, num_ranks=num_ranks,
    )

    return BatchIterator(lambda step: prepare(decode(step), step), close, first_step=first_step, num_threads=num_threads)


def read_pairs(folder: Path, split: str, limit: int | None = None) -> list[Pair]:
    """The decoded pairs of `split` in the shards' order, or `limit` of them spread evenly. Raises ValueError as `iter_pair_batches`."""
    with ShardFolder(folder, split) as shards:
        count = len(shards)
        chosen = range(count) if limit is None or limit >= count else [index * count // limit for index in range(limit)]
        return [decode_pair(shards.read(index), name=shards.name(index)) for index in chosen]


def batch_ids(num_samples: int, step: int, *, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1) -> Int[np.ndarray, " B"]:
    """The samples (0..num_samples - 1) of the batch at `step`: a stretch of the endless stream of permutations."""
    return _stream(num_samples, _places(step, batch_size, rank, num_ranks), seed)


def pooled_ids(
    pools: Sequence[Pool], step: int, *, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1
) -> Int[np.ndarray, " B"]:
    """The samples of the batch at `step`, of each pool so many as its weight says: to within a sample per pool, over any stretch of steps.

    One pool alone is permuted by `seed`, several by seeds of their own, so that their orders have nothing to do with one another.
    """
    which, places = interleave([pool.weight for pool in pools], _places(step, batch_size, rank, num_ranks))
    ids = np.empty(batch_size, np.int64)
    for number, pool in enumerate(pools):
        mine = which == number
        own_seed = seed if len(pools) == 1 else derive_seed(seed, "pool", pool.name)
        ids[mine] = pool.ids[_stream(len(pool.ids), places[mine], own_seed)]
    return ids


def interleave(weights: Sequence[float], places: Int[np.ndarray, " P"]) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """For `places` of a stream that pools of these weights share: which pool fills each, and what place of the pool's own stream it takes.

    The first pool takes its share of the places evenly spaced, the second its share of those left over, and so on: a closed form, so that
    any place is known without those before it.
    """
    which, own = np.full(len(places), len(weights) - 1), places
    open_ = np.ones(len(places), bool)
    left = sum(weights)
    before, after = places, places + 1
    for number, weight in enumerate(weights[:-1]):
        taken, next_taken = (np.floor(count * (weight / left)).astype(np.int64) for count in (before, after))
        mine = open_ & (next_taken > taken)
        which, own = np.where(mine, number, which), np.where(mine, taken, own)
        open_ &= ~mine
        before, after, left = before - taken, after - next_taken, left - weight
    return which, np.where(open_, before, own)


def _places(step: int, batch_size: int, rank: int, num_ranks: int) -> Int[np.ndarray, " B"]:
    first = (step * num_ranks + rank) * batch_size
    return np.arange(first, first + batch_size)


def _stream(num_samples: int, places: Int[np.ndarray, " P"], seed: int) -> Int[np.ndarray, " P"]:
    """What stands at `places` of the endless stream of permutations of 0..num_samples - 1."""
    ids, epochs = np.empty(len(places), np.int64), places // num_samples
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        ids[inside] = _permutation(num_samples, seed, int(epoch))[places[inside] % num_samples]
    return ids


@lru_cache(maxsize=16)
def _permutation(num_samples: int, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
    return numpy_generator(seed, "loader", epoch).permutation(num_samples)


def _open(
    folder: Path, split: str, kind: Kind, *, batch_size: int, seed: int, cache_megabytes: int, rank: int, num_ranks: int,
    pools: Sequence[Pool] | None = None,
) -> tuple[Callable[[int], Decoded], Callable[[], None]]:
    """A thread-safe function from a step to its decoded samples, and one that closes the shards."""
    shards = ShardFolder(folder, split)
    try:
        if shards.manifest.kind != kind:
            raise ValueError(f"{folder}: shards of {shards.manifest.kind} where {kind} were expected")
        if not len(shards):
            raise ValueError(f"{folder}: no samples of split {split!r}")
        shape = decode_mask_member(member(shards.read(0), MASK_MEMBER, name=shards.name(0)), name=shards.name(0)).shape
    except BaseException:
        shards.close()
        raise
    chosen = pools or [Pool("all", np.arange(len(shards)), 1.0)]
    used = np.unique(np.concatenate([pool.ids for pool in chosen]))
    store = _Decoder(shards, kind, (shape[0], shape[1]), used, cache_megabytes << 20)

    def decode(step: int) -> Decoded:
        return store.decode(pooled_ids(chosen, step, batch_size=batch_size, seed=seed, rank=rank, num_ranks=num_ranks))

    return decode, shards.close


class _Decoder:
    """Decodes samples into stacks, and keeps them where all that are `used` fit the budget."""

    def __init__(
        self, shards: ShardFolder, kind: Kind, shape: tuple[int, int], used: Int[np.ndarray, " N"], budget: int
    ) -> None:
        self.shards = shards
        self.kind: Kind = kind
        self.fields = IMAGES[kind]
        self.shape = shape
        sample_bytes = shape[0] * shape[1] * (3 * len(self.fields) + 1)
        self.cache = self._empty(len(used)) if len(used) * sample_bytes <= budget else None
        self.cached = np.zeros(len(used), bool)
        self.slots = np.zeros(len(shards), np.int64)  # where in the cache a sample lies
        self.slots[used] = np.arange(len(used))

    def decode(self, ids: Int[np.ndarray, " B"]) -> Decoded:
        """The samples `ids`."""
        if self.cache is not None:
            slots = self.slots[ids]
            for index, slot in zip(ids, slots, strict=True):
                # two threads may fill one slot at once: with the same bytes, so either is right
                if not self.cached[slot]:
                    self._decode_into(int(index), self.cache, int(slot))
                    self.cached[slot] = True
            return Decoded(self.cache, slots, ids)
        stacks = self._empty(len(ids))
        for slot, index in enumerate(ids):
            self._decode_into(int(index), stacks, slot)
        return Decoded(stacks, np.arange(len(ids)), ids)

    def _empty(self, count: int) -> Stacks:
        stacks: Stacks = {field: np.empty((count, *self.shape, 3), np.uint8) for field in self.fields}
        return {**stacks, "mask": np.empty((count, *self.shape), np.uint8)}

    def _decode_into(self, index: int, stacks: Stacks, slot: int) -> None:
        sample, name = self.shards.read(index), self.shards.name(index)
        mask = decode_mask_member(member(sample, MASK_MEMBER, name=name), name=f"{name}.{MASK_MEMBER}")
        if mask.shape != self.shape:
            raise ValueError(f"{name}: {mask.shape[0]}x{mask.shape[1]} px where the first sample has {self.shape[0]}x{self.shape[1]}")
        stacks["mask"][slot] = mask
        pictures = image_members(sample, self.kind, name=name)
        for field in pictures:
            decode_jpeg_into(member(sample, f"{field}.jpg", name=name), stacks[field][slot], name=f"{name}.{field}.jpg")
        if pictures != self.fields:  # a photograph, which is its own composite
            stacks["composite"][slot] = stacks["target"][slot]
