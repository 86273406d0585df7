"""Batches of training pairs at 256 px from our shards, beside stock webdataset with Pillow and two workers: `python -m benchmarks.loader`.

Both read shards of the same samples in a shuffled order and hand over float32 batches of 16. Stock means what its documentation shows: the
masks as PNG, `decode("pil")`, torch's DataLoader.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import webdataset
from torch import Tensor
from torch.utils.data import DataLoader

from attune.images import encode_png
from benchmarks.harness import Timings, close, print_machine, print_table
from benchmarks.shards import pairs
from tasks.loader import iter_pair_batches
from tasks.shards import EncodedSample, encode_pair, write_manifest, write_shard

TARGET = 2.8
BATCH, NUM_SHARDS, PER_SHARD = 16, 4, 64
BATCHES_PER_TURN, NUM_ROUNDS = 20, 5
SETTLE_S = 0.6  # before a turn: the other streams' workers fill their queues and fall silent; each queue holds 4 batches


def write_both(folder: Path) -> list[str]:
    """Our shards in `folder`, and beside them the same samples as stock webdataset writes them; the paths of the latter."""
    photographs = pairs()
    ours = [encode_pair(pair, jpeg_quality=95).members for pair in photographs]
    stock = [{name: data for name, data in members.items() if not name.startswith("mask")} for members in ours]
    for members, pair in zip(stock, photographs, strict=True):
        members["mask.png"] = encode_png(pair.mask)
    infos = []
    for shard in range(NUM_SHARDS):
        keys = [(f"{shard:02d}{number:04d}", number % len(ours)) for number in range(PER_SHARD)]
        name = f"train-{shard:05d}.tar"
        infos.append(write_shard(folder / name, [EncodedSample(key, ours[which]) for key, which in keys], split="train"))
        with webdataset.TarWriter(str(folder / f"stock-{shard}.tar")) as writer:
            for key, which in keys:
                writer.write({"__key__": key, **stock[which]})
    write_manifest(folder, infos, kind="pairs", meta={})
    return [str(folder / f"stock-{shard}.tar") for shard in range(NUM_SHARDS)]


def to_tensors(sample: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Pillow images as float tensors: CHW, or 1HW for the mask."""
    arrays = [torch.from_numpy(np.array(image)) for image in sample]
    return tuple((array if array.ndim == 3 else array[..., None]).permute(2, 0, 1).float() / 255 for array in arrays)


def to_mask(image: Any) -> Any:
    """Pillow's decoder makes RGB of everything."""
    return image.convert("L")


def stock_batches(urls: list[str], *, num_workers: int) -> Iterator[Any]:
    """Endless batches by webdataset, Pillow and worker processes."""
    dataset = (
        webdataset.WebDataset(urls, resampled=True, shardshuffle=False, nodesplitter=None)
        .shuffle(100).decode("pil").to_tuple("composite.jpg", "mask.png", "target.jpg")
        .map_tuple(lambda image: image, to_mask, lambda image: image).map(to_tensors)
    )
    loader = DataLoader(dataset.batched(BATCH), batch_size=None, num_workers=num_workers, multiprocessing_context="fork")
    return iter(loader)


def take_turns(streams: dict[str, Iterator[Any]]) -> Timings:
    """Seconds per turn of `BATCHES_PER_TURN` batches, stream after stream in each round, each begun with all queues full."""
    seconds: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(NUM_ROUNDS):
        for name, stream in streams.items():
            time.sleep(SETTLE_S)
            began = time.perf_counter()
            for _ in range(BATCHES_PER_TURN):
                next(stream)
            seconds[name].append(time.perf_counter() - began)
    return Timings({name: tuple(values) for name, values in seconds.items()})


def main() -> None:
    """Compare them in a steady state: the workers have started before the clock does."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print_machine()
    folder = Path(tempfile.mkdtemp(prefix="bench-loader-"))
    streams: dict[str, Iterator[Any]] = {}
    try:
        urls = write_both(folder)
        streams["WebDataset + Pillow, 2 workers"] = stock_batches(urls, num_workers=2)
        for name, threads, megabytes in (("ours, 2 threads", 2, 0), ("ours, 1 thread", 1, 0), ("ours, cached in memory", 1, 1024)):
            streams[name] = iter_pair_batches(folder, "train", batch_size=BATCH, seed=1, num_threads=threads, cache_megabytes=megabytes)
        for stream in streams.values():
            for _ in range(NUM_SHARDS * PER_SHARD // BATCH):
                next(stream)
        timings = take_turns(streams)
    finally:
        streams.clear()
        shutil.rmtree(folder)
    reference = "WebDataset + Pillow, 2 workers"
    print_table("pairs at 256 px, batches of 16", timings, reference=reference, units=BATCH * BATCHES_PER_TURN, unit="pair")
    close("loader", timings.ratio("ours, 2 threads", reference), TARGET)


if __name__ == "__main__":
    main()
