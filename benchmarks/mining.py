"""Mining at scale: search time and peak memory for 1,000 to 100,000 foregrounds, and composites rendered per second.

`python -m benchmarks.mining`; each size is searched in a fresh process, so that its peak memory is its own. As many composites are asked
for as there are objects. The ratio is the time per composite at 1,000 over that at 100,000: 1 is linear growth; n log n gives
log 1,000 / log 100,000 = 0.6, which is the target (and all pairs would give 0.01).
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import close, print_machine
from tasks.compositing import Box, Contact, Placement
from tasks.files import write_bytes
from tasks.gap import Appearance, difficulty_bins, tercile_edges
from tasks.images import encode_jpeg, encode_png
from tasks.pairing import Objects, find_candidates
from tasks.params import Mine, load_params
from tasks.placement import place_foreground
from tasks.quotas import choose_pairs, quota_counts
from tasks.recipes import placement_columns, render_recipe
from tasks.shards import encode_composite

TARGET = 0.6
MEMORY_LIMIT_MIB = 4096
SIZES = (1_000, 10_000, 100_000)
NUM_LABELS = 80  # as COCO has
NUM_RENDERED = 96
THREADS = 2


def synthetic_looks(count: int, rng: np.random.Generator) -> Appearance:
    """Colour statistics of `count` regions, spread as photographs' are."""
    mean = np.stack([rng.normal(50, 18, count), rng.normal(0, 10, count), rng.normal(5, 14, count)], axis=1)
    return Appearance(
        mean.astype(np.float32), rng.uniform(5, 25, (count, 3)).astype(np.float32), rng.normal(0, 0.3, (count, 2)).astype(np.float32),
        np.cumsum(rng.dirichlet(np.full(32, 0.3), count), axis=1).astype(np.float32),
    )


def synthetic_objects(count: int, seed: int) -> Objects:
    """`count` objects, two per photograph, labels as unevenly frequent as real ones."""
    rng = np.random.default_rng(seed)
    corner, extent = rng.uniform(0, 240, (count, 2)), rng.uniform(60, 390, (count, 2))
    return Objects(
        group=np.arange(count) // 2, label=(NUM_LABELS * rng.random(count) ** 2).astype(np.int64), is_background=np.ones(count, bool),
        photo_size=np.full((count, 2), 640, np.float32), contact=rng.random((count, 4)) < 0.1,
        source_box=np.concatenate([corner, corner + extent], axis=1).round().astype(np.float32),
        shape=rng.random((count, 64), np.float32), foreground=synthetic_looks(count, rng), ring=synthetic_looks(count, rng),
    )


def search(count: int, mine: Mine) -> tuple[float, float, int]:
    """Seconds, peak memory in MiB (the whole process), and pairs found, for `count` objects and as many composites."""
    objects, relations = synthetic_objects(count, 1), np.eye(NUM_LABELS, dtype=np.float32)
    start = time.process_time()
    rng = np.random.default_rng(1)
    candidates = find_candidates(objects, relations, mine=mine, num_wanted=count, rng=rng)
    bins = difficulty_bins(candidates.gap, tercile_edges(candidates.gap))
    counts = quota_counts(count, [mine.quotas.easy, mine.quotas.medium, mine.quotas.hard])
    chosen = choose_pairs(candidates, bins, counts=counts, mine=mine, rng=rng)
    for position in chosen:
        place_foreground(objects, int(candidates.background[position]), int(candidates.foreground[position]), mine=mine, rng=rng)
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, int(chosen.size)


def render_rate(mine: Mine) -> float:
    """Composites rendered and encoded per second by THREADS threads, from 640 x 480 photographs."""
    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipes = []
        for number in range(8):
            image = cv2.resize(rng.uniform(30, 220, (60, 80, 3)), (640, 480)).astype(np.uint8)
            mask = cv2.ellipse(np.zeros((480, 640), np.uint8), (320, 260), (130, 150), 0, 0, 360, 255, -1)
            write_bytes(folder / f"{number}.jpg", encode_jpeg(image, 90))
            write_bytes(folder / f"{number}.png", encode_png(mask))
        placement = Placement(Box(190, 110, 451, 411), Box(34, 26, 94, 110), Contact())
        for number in range(NUM_RENDERED):
            paths = {f"{part}_{kind}_path": str(folder / f"{(number + shift) % 8}.{end}")
                     for part, shift in (("fg", 0), ("bg", 1)) for kind, end in (("image", "jpg"), ("mask", "png"))}
            recipes.append({
                "key": f"c{number}", **paths, **placement_columns(placement), **placement_columns(placement, prefix="natural_"),
                **{field: getattr(mine, field) for field in ("size", "max_side", "choke", "feather_sigma", "plate", "plate_margin")},
            })

        def render(recipe: dict) -> int:
            return len(encode_composite(render_recipe(recipe).sample, jpeg_quality=mine.jpeg_quality).members)

        render(recipes[0])
        start = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            assert sum(pool.map(render, recipes)) == 5 * NUM_RENDERED
        return NUM_RENDERED / (time.perf_counter() - start)


def main() -> None:
    """Print a row per size and the rendering rate, and close with the growth ratio."""
    cv2.setNumThreads(1)
    print_machine()
    mine = load_params().mine.model_copy(update={"size": 128})
    print(f"rendered and encoded at 128 px, {THREADS} threads: {render_rate(mine):.1f} composites/s")
    print(f"{'objects':>9}  {'CPU s':>8}  {'us/composite':>12}  {'peak MiB':>9}  {'composites':>10}")
    each = []
    for count in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory, found = pool.apply(search, (count, mine))
        each.append(seconds / found)
        print(f"{count:>9}  {seconds:>8.2f}  {each[-1] * 1e6:>12.1f}  {memory:>9.0f}  {found:>10}")
        assert memory < MEMORY_LIMIT_MIB, f"{memory:.0f} MiB of {MEMORY_LIMIT_MIB}"
    close("mining", each[0] / each[-1], TARGET)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
