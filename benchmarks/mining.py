"""Mining at scale: time and peak memory for 1,000 to 100,000 foregrounds and as many backgrounds, and composites rendered per second.

`python -m benchmarks.mining`; each size is measured in a fresh process, so that its peak memory is its own. As many composites are asked
for as there are objects. search: possible pairs, quotas and placement, on arrays. plan: all that plan_mine does after the photographs are
analysed, from rows of the index to the written recipes. The ratio is the search's time per composite at 1,000 over that at 100,000: 1 is
linear growth; n log n gives log 1,000 / log 100,000 = 0.6, which is the target (and all pairs would give 0.01). mining_plan: the same of
the plan. mining_memory: 4 GiB over the plan's peak at 100,000.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from attune.files import write_bytes
from attune.images import encode_jpeg, encode_png
from benchmarks.harness import close, print_machine
from tasks.index import write_table
from tasks.mining.compositing import Box, Contact, Placement
from tasks.mining.gap import Appearance, difficulty_bins, tercile_edges
from tasks.mining.pairing import Objects, find_possible_pairs
from tasks.mining.placement import place_foreground
from tasks.mining.quotas import choose_pairs, quota_counts
from tasks.mining.recipe_plan import pair_objects
from tasks.mining.recipes import RECIPES, placement_columns, render_recipe
from tasks.params import Mine, Params, load_params
from tasks.shards import encode_composite

TARGET = 0.6
MEMORY_LIMIT_MIB = 4096
SIZES = (1_000, 10_000, 100_000)
NUM_LABELS = 80  # as COCO has
NUM_RENDERED = 96
THREADS = 2

Row = dict[str, Any]


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


@dataclass(frozen=True)
class Cost:
    """CPU seconds, the peak memory of the whole process, and how many composites came of it."""

    seconds: float
    peak_mib: float
    num_composites: int


def search(count: int, params: Params) -> Cost:
    """What it costs to find `count` pairs among as many objects."""
    mine = params.mine
    objects, relations = synthetic_objects(count, 1), np.eye(NUM_LABELS, dtype=np.float32)
    start = time.process_time()
    rng = np.random.default_rng(1)
    possible = find_possible_pairs(objects, relations, mine=mine, num_wanted=count, rng=rng)
    bins = difficulty_bins(possible.gap, tercile_edges(possible.gap))
    counts = quota_counts(count, [mine.quotas.easy, mine.quotas.medium, mine.quotas.hard])
    chosen = choose_pairs(possible, bins, counts=counts, mine=mine, rng=rng)
    for position in chosen:
        place_foreground(objects, int(possible.background[position]), int(possible.foreground[position]), mine=mine, rng=rng)
    return Cost(time.process_time() - start, _peak_mib(), int(chosen.size))


def synthetic_rows(count: int) -> tuple[list[Row], list[Row]]:
    """Rows of the index and of the analysis for `synthetic_objects`, one object in twenty held out for validation."""
    objects, rng = synthetic_objects(count, 1), np.random.default_rng(3)
    rows, analysed = [], []
    for number in range(count):
        photograph, box = number // 2, objects.source_box[number]
        rows.append({
            "key": f"photos_{number:07d}", "source": "photos", "subset": "photos", "split": "train" if photograph % 20 else "val",
            "group": f"photos/{photograph:07d}", "image_path": f"data/raw/photos/images/{photograph:07d}.jpg",
            "mask_path": f"data/raw/photos/masks/{photograph:07d}_{number % 2}.png", "label": f"label {objects.label[number]}",
            "image_sha256": f"{photograph:064x}", "mask_sha256": f"{number:064x}",
        })
        looks = {"fg": objects.foreground, "ring": objects.ring}
        analysed.append({
            "key": rows[-1]["key"], "reason": "", "detail": "", "width": 640, "height": 640, "fg_ratio": 0.1,
            "source_box": [int(side) for side in box], "frame_box": [float(side) / 640 for side in box],
            "contact": objects.contact[number].tolist(), "shape": objects.shape[number].tolist(),
            **{f"{region}_{name}": getattr(look, name)[number].tolist()
               for region, look in looks.items() for name in ("mean", "std", "chromaticity")},
            **{f"{region}_histogram": rng.dirichlet(np.full(32, 0.3)).tolist() for region in looks},
            "plate_detail": 0.8, "plate_offset": 3.0, "plate_score": 0.7, "plate_path": None, "plate_sha256": None,
        })
    return rows, analysed


def plan(count: int, params: Params) -> Cost:
    """What it costs to plan `count` composites of as many objects, from analysed rows to the recipes on disk."""
    rows, analysed = synthetic_rows(count)
    with tempfile.TemporaryDirectory() as name:
        start = time.process_time()
        recipes = pair_objects(rows, analysed, params, brought=np.zeros(0))
        write_table(Path(name) / "recipes.parquet", recipes, RECIPES)
        return Cost(time.process_time() - start, _peak_mib(), len(recipes))


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


def measure_growth(work: Callable[[int, Params], Cost], params: Params) -> list[Cost]:
    """Print and return the costs at each of SIZES; `num_composites` grows with the size."""
    print(f"\n{work.__name__:>9}  {'CPU s':>8}  {'us/composite':>12}  {'peak MiB':>9}  {'composites':>10}")
    costs = []
    for count in SIZES:
        sized = params.model_copy(update={"mine": params.mine.model_copy(update={"num_composites": count})})
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cost = pool.apply(work, (count, sized))
        print(f"{count:>9}  {cost.seconds:>8.2f}  {cost.seconds / cost.num_composites * 1e6:>12.1f}  {cost.peak_mib:>9.0f}  "
              f"{cost.num_composites:>10}", flush=True)
        costs.append(cost)
    return costs


def growth(costs: Sequence[Cost]) -> float:
    """Time per composite at the smallest size over that at the largest."""
    small, large = (cost.seconds / cost.num_composites for cost in (costs[0], costs[-1]))
    return small / large


def main() -> None:
    """Print the rendering rate and a row per size, and close with the growth ratios and the memory's."""
    cv2.setNumThreads(1)
    print_machine()
    params = load_params()
    params = params.model_copy(update={"mine": params.mine.model_copy(update={"size": 128})})
    print(f"rendered and encoded at 128 px, {THREADS} threads: {render_rate(params.mine):.1f} composites/s")
    searched, planned = measure_growth(search, params), measure_growth(plan, params)
    close("mining_plan", growth(planned), TARGET)
    close("mining_memory", MEMORY_LIMIT_MIB / planned[-1].peak_mib, 1.0)
    close("mining", growth(searched), TARGET)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
