"""Near-duplicates: how many pairs each distance calls one photograph, whether copies are found, and the time beside comparing every pair.

`python -m benchmarks.duplicates`. The photographs are those of `ATTUNE_DATA` or ../shared/data; without them the first two tables are left
out. The line at the end is the time of brute force over that of `group_duplicates`, at 20,000 hashes.
"""

import os
import time
from pathlib import Path

import numpy as np

from attune.images import decode_grey, encode_jpeg, encode_png, read_image, resize_image
from benchmarks.harness import close, measure, print_machine, print_table
from tasks.ingestion.duplicates import group_duplicates
from tasks.ingestion.perceptual_hash import SAMPLES, hash_distance, perceptual_hash
from tasks.params import load_params

TARGET = 4.0
LIMITS = (0, 4, 6, 8, 10, 12, 14, 16)
NUM_HASHES, MANY_HASHES = 20_000, 1_000_000
NUM_COPIED = 200


def hash_file(data: bytes) -> int:
    """An image file's perceptual hash, as the check takes it."""
    return perceptual_hash(decode_grey(data, SAMPLES, name="a photograph")[0])


def count_pairs(hashes: np.ndarray) -> None:
    """Print how many pairs of different photographs lie within each limit, by brute force."""
    distances = np.concatenate([np.bitwise_count(hashes[place] ^ hashes[place + 1:]) for place in range(len(hashes))])
    print(f"\n{len(hashes)} photographs, {len(distances)} pairs; within a distance of")
    print("  ".join(f"{limit}: {int((distances <= limit).sum())}" for limit in LIMITS))


def count_copies(paths: list[Path], limit: int) -> None:
    """Print how many copies of photographs come out within `limit`."""
    found: dict[str, list[int]] = {}
    for path in paths:
        image = read_image(path)
        height, width = image.shape[:2]
        own = hash_file(path.read_bytes())
        half = resize_image(image, height // 2, width // 2)
        for kind, copy in {
            "JPEG 50": encode_jpeg(image, 50), "half, JPEG 75": encode_jpeg(half, 75),
            "0.37 of its size": encode_png(resize_image(image, round(height * 0.37), round(width * 0.37))),
            "darker": encode_png(np.clip(image * 0.8 + 10.0, 0, 255).astype(np.uint8)),
            "4 % cut off": encode_png(image[height // 50: -(height // 50), width // 50: -(width // 50)]),
        }.items():
            found.setdefault(kind, []).append(hash_distance(own, hash_file(copy)))
    print(f"\ncopies of {len(paths)} photographs: share within {limit}, mean and largest distance")
    for kind, distances in found.items():
        print(f"  {kind:<18} {np.mean(np.array(distances) <= limit):.3f}  {np.mean(distances):5.2f}  {max(distances):3d}")


def by_brute_force(hashes: np.ndarray, limit: int) -> int:
    """The number of pairs within `limit`, every pair compared."""
    return sum(int((np.bitwise_count(hashes[place] ^ hashes[place + 1:]) <= limit).sum()) for place in range(len(hashes)))


def main() -> None:
    """Count, time, print."""
    print_machine()
    limit = load_params().ingest.max_hash_distance
    images = sorted((Path(os.environ.get("ATTUNE_DATA", "../shared/data")) / "photos" / "images").glob("*.jpg"))
    if images:
        count_pairs(np.array([hash_file(path.read_bytes()) for path in images], np.uint64))
        count_copies(images[:: len(images) // NUM_COPIED], limit)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, MANY_HASHES, dtype=np.uint64)
    few, owners = hashes[:NUM_HASHES], np.arange(MANY_HASHES, dtype=np.int32)
    timings = measure({
        "every pair": lambda: by_brute_force(few, limit),
        "multi-index hashing": lambda: group_duplicates(few, owners[:NUM_HASHES], limit),
    }, num_rounds=3)
    print_table(f"{NUM_HASHES} hashes", timings, reference="every pair", units=NUM_HASHES, unit="hash")
    began = time.perf_counter()
    group_duplicates(hashes, owners, limit)
    print(f"{MANY_HASHES} hashes by multi-index hashing: {time.perf_counter() - began:.1f} s")
    close("duplicates", timings.ratio("multi-index hashing", "every pair"), TARGET)


if __name__ == "__main__":
    main()
