"""Batches from shards: threads decode JPEGs straight into the batch, and the batch at a step depends on nothing but (seed, step).

The order is one endless stream: epoch after epoch, each a permutation of all samples drawn from (seed, epoch). Step `s` of rank `r` out of
`R` takes the next `batch_size` samples after the first `(s * R + r) * batch_size`. So every sample comes exactly once an epoch over any
number of ranks and threads, nothing is dropped or padded, and training goes on at any step without a state to save. (A batch may
straddle two epochs.)
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from jaxtyping import Int, UInt8

from tasks.images import to_tensor
from tasks.sample import CompositeBatch, Pair, PairBatch
from tasks.seeds import numpy_generator
from tasks.shards import IMAGES, MASK_MEMBER, Kind, ShardFolder, decode_jpeg_into, decode_mask_member, decode_pair, member

Batch = TypeVar("Batch")
Stacks = dict[str, UInt8[np.ndarray, "..."]]


class BatchIterator(Iterator[Batch], Generic[Batch]):
    """Endless batches, built by threads a few steps ahead. Close it (or use `with`); an exception in a thread comes out of `next`."""

    def __init__(self, build: Callable[[int], Batch], close: Callable[[], None], *, first_step: int, num_threads: int) -> None:
        self.wait_seconds = 0.0  # how long `next` has waited for data, all in all
        self._build = build
        self._close = close
        self._next_step = first_step
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="loader")
        self._pending: deque[Future[Batch]] = deque()
        self._ahead = 2 * num_threads
        self._closed = False

    def __iter__(self) -> Self:
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

    def __enter__(self) -> Self:
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


def iter_pair_batches(
    folder: Path, split: str, *, batch_size: int, seed: int, first_step: int = 0, num_threads: int = 2, cache_megabytes: int = 0,
    rank: int = 0, num_ranks: int = 1,
) -> BatchIterator[PairBatch]:
    """Endless batches of the pairs of `split`, float32 in [0, 1], from step `first_step` on.

    batch_size: samples per rank. cache_megabytes: decoded samples stay in memory if the whole split fits.
    Raises ValueError naming the file if the shards are missing, damaged, hold no such split or another kind, or images differ in size.
    """
    build, close = _builder(
        folder, split, "pairs", batch_size=batch_size, seed=seed, cache_megabytes=cache_megabytes, rank=rank, num_ranks=num_ranks,
    )

    def pairs(step: int) -> PairBatch:
        return PairBatch(**{field: to_tensor(stack) for field, stack in build(step).items()})

    return BatchIterator(pairs, close, first_step=first_step, num_threads=num_threads)


def iter_composite_batches(
    folder: Path, split: str, *, batch_size: int, seed: int, first_step: int = 0, num_threads: int = 2, cache_megabytes: int = 0,
    rank: int = 0, num_ranks: int = 1,
) -> BatchIterator[CompositeBatch]:
    """Endless batches of the real composites of `split`; arguments and errors as `iter_pair_batches`."""
    build, close = _builder(
        folder, split, "composites", batch_size=batch_size, seed=seed, cache_megabytes=cache_megabytes, rank=rank, num_ranks=num_ranks,
    )

    def composites(step: int) -> CompositeBatch:
        return CompositeBatch(**{field: to_tensor(stack) for field, stack in build(step).items()})

    return BatchIterator(composites, close, first_step=first_step, num_threads=num_threads)


def read_pairs(folder: Path, split: str, limit: int | None = None) -> list[Pair]:
    """The decoded pairs of `split` in the shards' order, or `limit` of them spread evenly. Raises ValueError as `iter_pair_batches`."""
    with ShardFolder(folder, split) as shards:
        count = len(shards)
        chosen = range(count) if limit is None or limit >= count else [index * count // limit for index in range(limit)]
        return [decode_pair(shards.read(index), name=shards.name(index)) for index in chosen]


def batch_ids(num_samples: int, step: int, *, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1) -> Int[np.ndarray, " B"]:
    """The samples (0..num_samples - 1) of the batch at `step`: a stretch of the endless stream of permutations."""
    first = (step * num_ranks + rank) * batch_size
    positions = np.arange(first, first + batch_size)
    ids = np.empty(batch_size, np.int64)
    for epoch in range(first // num_samples, (first + batch_size - 1) // num_samples + 1):
        inside = positions // num_samples == epoch
        ids[inside] = _permutation(num_samples, seed, epoch)[positions[inside] % num_samples]
    return ids


@lru_cache(maxsize=8)
def _permutation(num_samples: int, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
    return numpy_generator(seed, "loader", epoch).permutation(num_samples)


def _builder(
    folder: Path, split: str, kind: Kind, *, batch_size: int, seed: int, cache_megabytes: int, rank: int, num_ranks: int,
) -> tuple[Callable[[int], Stacks], Callable[[], None]]:
    """A thread-safe function from a step to its batch as uint8 stacks, and one that closes the shards."""
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
    store = _Decoder(shards, kind, (shape[0], shape[1]), cache_megabytes << 20)

    def build(step: int) -> Stacks:
        return store.decode(batch_ids(len(shards), step, batch_size=batch_size, seed=seed, rank=rank, num_ranks=num_ranks))

    return build, shards.close


class _Decoder:
    """Decodes samples into stacks, and keeps them where all of them fit the budget."""

    def __init__(self, shards: ShardFolder, kind: Kind, shape: tuple[int, int], budget: int) -> None:
        self.shards = shards
        self.fields = IMAGES[kind]
        self.shape = shape
        sample_bytes = shape[0] * shape[1] * (3 * len(self.fields) + 1)
        fits = len(shards) * sample_bytes <= budget
        self.cache = self._empty(len(shards)) if fits else None
        self.cached = np.zeros(len(shards), bool)

    def decode(self, ids: Int[np.ndarray, " B"]) -> Stacks:
        """The samples `ids` as stacks of shape (B, H, W, 3), and (B, H, W) for the mask."""
        if self.cache is not None:
            for index in ids[~self.cached[ids]]:
                # two threads may fill one slot at once: with the same bytes, so either is right
                self._decode_into(int(index), self.cache, int(index))
                self.cached[index] = True
            return {field: stack[ids] for field, stack in self.cache.items()}
        stacks = self._empty(len(ids))
        for slot, index in enumerate(ids):
            self._decode_into(int(index), stacks, slot)
        return stacks

    def _empty(self, count: int) -> Stacks:
        stacks: Stacks = {field: np.empty((count, *self.shape, 3), np.uint8) for field in self.fields}
        return {**stacks, "mask": np.empty((count, *self.shape), np.uint8)}

    def _decode_into(self, index: int, stacks: Stacks, slot: int) -> None:
        sample, name = self.shards.read(index), self.shards.name(index)
        mask = decode_mask_member(member(sample, MASK_MEMBER, name=name), name=f"{name}.{MASK_MEMBER}")
        if mask.shape != self.shape:
            raise ValueError(f"{name}: {mask.shape[0]}x{mask.shape[1]} px where the first sample has {self.shape[0]}x{self.shape[1]}")
        stacks["mask"][slot] = mask
        for field in self.fields:
            decode_jpeg_into(member(sample, f"{field}.jpg", name=name), stacks[field][slot], name=f"{name}.{field}.jpg")
