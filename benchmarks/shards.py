"""Writing shards: each step of an augmented sample at 256 px, all of them on two cores, the 3D table beside grid_sample, the tar beside
stock webdataset's and a raw write of the same bytes.

`python -m benchmarks.shards`. The line at the end is the tar writer's, like for like: neither side hashes what it writes. What the stage
does, with the hash that the manifest holds, is the line before it.
"""

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import webdataset

from attune.images import encode_jpeg, resize_image
from benchmarks.harness import close, measure, print_machine, print_table
from models.lut import apply_lut
from models.syconet import SycoNet, SycoNetConfig
from tasks.augmentation.draws import predict_tables
from tasks.lut_kernel import apply_lut_uint8
from tasks.sample import Pair
from tasks.seeds import derive_seed
from tasks.shards import EncodedSample, encode_mask, encode_pair, write_shard, write_tar
from tasks.tensors import to_tensor, to_uint8

TAR_TARGET, TABLE_TARGET = 3.5, 7.0
NUM_CORES = 2
SIDE, NUM_SAMPLES, NUM_PHOTOGRAPHS = 256, 256, 16
FOREGROUND = 0.25  # share of the frame, as on photographs
CONFIG = SycoNetConfig(size=64, latent_dim=8, num_luts=8, lut_dim=9, width=16)  # the default configuration's


def photograph(number: int, *, side: int = SIDE) -> np.ndarray:
    """A smooth, slightly noisy synthetic photograph: its JPEG at quality 95 has about the bits of a real one."""
    rng = np.random.default_rng(number)
    coarse = rng.uniform(30, 225, (side // 32, side // 32, 3)).astype(np.float32)
    smooth: np.ndarray = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 2.0, (side, side, 1)), 0, 255).astype(np.uint8)


def ellipse_mask(number: int, *, side: int = SIDE) -> np.ndarray:
    """An ellipse with a soft edge that covers `FOREGROUND` of the frame."""
    rng = np.random.default_rng(number)
    squeeze = rng.uniform(0.7, 1.4)
    radius = side * np.sqrt(FOREGROUND / np.pi)
    mask = np.zeros((side, side), np.uint8)
    axes = (round(radius * squeeze), round(radius / squeeze))
    cv2.ellipse(mask, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    return mask


def pairs(*, side: int = SIDE) -> list[Pair]:
    """`NUM_PHOTOGRAPHS` pairs."""
    numbers = range(NUM_PHOTOGRAPHS)
    images, masks = ([draw(number, side=side) for number in numbers] for draw in (photograph, ellipse_mask))
    return [Pair(f"k{n}", "original", "s", f"g{n}", images[n][::-1].copy(), masks[n], images[n]) for n in numbers]


def with_torch(image: np.ndarray, lut: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What `apply_lut_uint8` does, by torch's grid_sample."""
    before, level = to_tensor(image), to_tensor(mask)
    recolored = apply_lut(before, torch.from_numpy(lut)[None]).clamp(0, 1)
    result: np.ndarray = to_uint8(before + level * (recolored - before))[0]
    return result


def time_steps(photographs: list[Pair], folder: Path) -> None:
    """Print what each step of an augmented sample takes, one thread."""
    model = SycoNet(CONFIG).eval()
    batch = photographs[:8]
    images = to_tensor(np.stack([resize_image(pair.target, CONFIG.size, CONFIG.size) for pair in batch]))
    masks = to_tensor(np.stack([resize_image(pair.mask, CONFIG.size, CONFIG.size) for pair in batch]))
    with torch.inference_mode():
        luts = model.generate(images, masks, torch.randn(len(batch), CONFIG.latent_dim)).numpy()

    def network() -> None:
        with torch.inference_mode():
            model.generate(images, masks, torch.randn(len(batch), CONFIG.latent_dim))

    encoded = [encode_pair(pair, jpeg_quality=95) for pair in batch]
    steps: dict[str, Callable[[], object]] = {
        "resize": lambda: [resize_image(pair.target, CONFIG.size, CONFIG.size) for pair in batch],
        "network": network,
        "table": lambda: [apply_lut_uint8(pair.target, lut, pair.mask) for pair, lut in zip(batch, luts, strict=True)],
        "jpeg": lambda: [encode_jpeg(image, 95) for pair in batch for image in (pair.composite, pair.target)],
        "mask": lambda: [encode_mask(pair.mask) for pair in batch],
        "tar": lambda: write_shard(folder / "steps.tar", encoded, split="train"),
    }
    timings = measure(steps, num_rounds=5)
    print_table("step, one thread, 256 px", timings, reference="jpeg", units=len(batch), unit="sample")
    print(f"all steps: {len(batch) / sum(timings.median(name) for name in steps):.0f} augmented composites per second on one core")


def time_on_two_cores(photographs: list[Pair], folder: Path) -> None:
    """Print augmented composites per second from photographs in memory to shards on disk, by one thread and by one per core."""
    model = SycoNet(CONFIG).eval()

    def write_one(number: int) -> None:
        seeds = [[derive_seed(1, "bench", number, pair.key)] for pair in photographs]
        tables = predict_tables(model, [(pair.target, pair.mask) for pair in photographs], seeds)
        composites = (apply_lut_uint8(pair.target, lut[0], pair.mask) for pair, lut in zip(photographs, tables, strict=True))
        samples = (
            encode_pair(replace(pair, composite=composite), jpeg_quality=95)
            for pair, composite in zip(photographs, composites, strict=True)
        )
        write_shard(folder / f"cores-{number}.tar", samples, split="train")

    def write_all(num_threads: int) -> None:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(write_one, range(2 * NUM_CORES)))

    timings = measure({f"{count} threads": lambda count=count: write_all(count) for count in (1, NUM_CORES)}, num_rounds=5)
    num_samples = 2 * NUM_CORES * len(photographs)
    print_table("augmented composites, 256 px", timings, reference="1 threads", units=num_samples, unit="sample")
    print(f"all steps: {num_samples / timings.median(f'{NUM_CORES} threads'):.0f} augmented composites per second on {NUM_CORES} cores")


def compare_tables(pair: Pair) -> None:
    """Print the table's speed beside grid_sample, on a foreground of 25 % and on the whole frame, and how far they differ."""
    rng = np.random.default_rng(1)
    axis = np.linspace(0, 1, 17, dtype=np.float32)
    identity = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    lut = np.clip(identity ** rng.uniform(0.7, 1.4, (3, 1, 1, 1)), 0, 1).astype(np.float32)
    whole, floats, table = np.full_like(pair.mask, 255), to_tensor(pair.target), torch.from_numpy(lut)[None]
    timings = measure({
        "ours, 25 % foreground": lambda: apply_lut_uint8(pair.target, lut, pair.mask),
        "ours, whole frame": lambda: apply_lut_uint8(pair.target, lut, whole),
        "grid_sample": lambda: with_torch(pair.target, lut, pair.mask),
        "grid_sample alone, floats": lambda: apply_lut(floats, table),
    }, num_rounds=9)
    print_table("3D table of 17^3 on uint8, one thread", timings, reference="grid_sample", unit="image")
    difference = np.abs(apply_lut_uint8(pair.target, lut, pair.mask).astype(int) - with_torch(pair.target, lut, pair.mask)).max()
    print(f"largest difference {difference} grey levels")
    print(f"3D table: ratio {timings.ratio('ours, 25 % foreground', 'grid_sample'):.2f} target {TABLE_TARGET:g}")


def compare_writers(encoded: list[EncodedSample], folder: Path) -> float:
    """Print the tar writers' speed; how many times ours is faster than ShardWriter as it comes."""

    def ours() -> None:
        write_tar(folder / "ours.tar", encoded)

    def hashed() -> None:
        write_shard(folder / "ours.tar", encoded, split="train")

    def stock(mtime: float | None = None) -> None:
        options = {} if mtime is None else {"mtime": mtime}
        with webdataset.ShardWriter(str(folder / "stock-%02d.tar"), verbose=0, **options) as writer:
            for sample in encoded:
                writer.write({"__key__": sample.key, **sample.members})

    payload = [data for sample in encoded for data in sample.members.values()]

    def raw() -> None:
        with open(folder / "raw.bin", "wb", buffering=0) as handle:
            handle.write(b"".join(payload))

    contenders: dict[str, Callable[[], object]] = {
        "ours": ours, "ours, with SHA-256": hashed, "ShardWriter": stock, "ShardWriter, mtime=0": lambda: stock(0.0), "raw write": raw,
    }
    timings = measure(contenders, num_rounds=9)
    size = sum(map(len, payload)) / len(encoded) / 1024
    print_table(f"tar of {len(encoded)} samples, {size:.0f} KiB each", timings, reference="ShardWriter", units=len(encoded), unit="sample")
    print(f"of a raw write of the same bytes: {timings.ratio('raw write', 'ours'):.1f} times its time, with the hash "
          f"{timings.ratio('raw write', 'ours, with SHA-256'):.1f}")
    print(f"tar with SHA-256: ratio {timings.ratio('ours, with SHA-256', 'ShardWriter'):.2f} target {TAR_TARGET:g}")
    return timings.ratio("ours", "ShardWriter")


def main() -> None:
    """Run all four."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print_machine()
    folder = Path(tempfile.mkdtemp(prefix="bench-shards-"))
    try:
        photographs = pairs()
        time_steps(photographs, folder)
        time_on_two_cores(photographs, folder)
        compare_tables(photographs[0])
        members = [encode_pair(pair, jpeg_quality=95).members for pair in photographs]
        encoded = [EncodedSample(f"{number:06d}", members[number % len(members)]) for number in range(NUM_SAMPLES)]
        ratio = compare_writers(encoded, folder)
    finally:
        shutil.rmtree(folder)
    close("shards", ratio, TAR_TARGET)


if __name__ == "__main__":
    main()
