"""Mining real photographs: 2,000 composites, whether they cross a split, keep their quotas, look like genuine ones, and hide their make.

`python -m benchmarks.mined_photos`, on the photographs and real composites of the folder that ATTUNE_DATA names (../shared/data by
default), with the `photos` profile; nothing where there is none. `--out FOLDER` keeps the shards, plots and contact sheets; `--twice`
mines once more into another folder and compares the bytes; `--plates` probes the other ways to make a plate as well.

Three lines close it. mined_photos_gap: the distance of gaps to genuine composites, that of `pih_random` over that of `mined`.
mined_photos_blind: 0.60 over the probe's AUC for natural samples. mined_photos: its AUC for untouched photographs over 0.80: it can see.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from attune.files import write_bytes
from attune.foreground import FOREGROUND_LEVEL
from attune.images import encode_jpeg
from attune.rejects import BadSample
from benchmarks.harness import close, print_machine
from flows.configure import lay_over, read_profile
from tasks.index import COMPOSITES, PHOTOGRAPHS, read_index, read_table, write_table
from tasks.ingestion.checks import check_composite, check_image, check_mask, photograph_row
from tasks.mine import REJECTS, finish_mine, plan_mine, render_shard
from tasks.mining.compositing import grow_mask
from tasks.mining.gap import DIFFICULTIES
from tasks.mining.realism import measure_tell_tales
from tasks.mining.recipes import RECIPES, read_photograph
from tasks.params import Params
from tasks.sources.candidates import CompositeCandidate, PhotographCandidate
from tasks.sources.composites import list_composites
from tasks.sources.photos import list_photos

ROOT = Path(__file__).resolve().parent.parent
NUM_COMPOSITES = 2000
THREADS = 2
TARGETS = {"mined_photos_gap": 2.0, "mined_photos_blind": 1.0, "mined_photos": 1.0}
BLIND, SEEING = 0.60, 0.80  # AUC: at most for natural samples, at least for untouched photographs
PLATE_SIDE = 320  # px, the longer side of the plates that `--plates` brings

Row = dict[str, Any]


def settle(data: Path, folder: Path, mined: str = "mined", work: str = "work", **mine: Any) -> Params:
    """The `photos` profile on `data`, with everything written below `folder`; `mined` and `work` are folders there."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    lay_over(values, read_profile("photos", ROOT / "profiles"))
    lay_over(values, {"speed": {"num_workers": THREADS}, "mine": {"num_composites": NUM_COMPOSITES, **mine}, "paths": {
        "raw": str(data), "index": str(folder / "index"), "mined": str(folder / mined), "work": str(folder / work)}})
    return Params.model_validate(values)


def write_index(params: Params) -> None:
    """The tables of photographs and real composites as ingestion checks them, but for its synthesized pairs; what is unfit is left out."""
    limits = params.ingest

    def photograph(candidate: PhotographCandidate) -> Row | None:
        with suppress(BadSample):
            image = check_image(candidate.image_path, limits)
            return photograph_row(candidate, image, check_mask(candidate.mask_path, image, limits))
        return None

    def composite(candidate: CompositeCandidate) -> Row | None:
        with suppress(BadSample):
            return check_composite(candidate, limits) | {"split": "test"}
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        photographs = list(pool.map(photograph, list_photos(params).photographs))
        composites = list(pool.map(composite, list_composites(params).composites))
    write_table(params.paths.index / "photographs.parquet", filter(None, photographs), PHOTOGRAPHS)
    write_table(params.paths.index / "composites.parquet", filter(None, composites), COMPOSITES)


def mine(params: Params) -> dict[str, float]:
    """Run the stage's three steps; its metrics."""
    units = plan_mine(params)
    with ThreadPoolExecutor(THREADS) as pool:
        return finish_mine(params, list(pool.map(partial(render_shard, params), units)))


def recipes_of(params: Params) -> list[Row]:
    """The table of recipes that `params` has mined."""
    return read_table(params.paths.mined / "recipes.parquet", RECIPES)


def check_recipes(recipes: Sequence[Row], params: Params) -> None:
    """Assert that no photograph crosses a split or stands on both sides of a pair, and that quotas are met; print the counts."""
    home = {row["group"]: row["split"] for row in read_index(params.paths.index, "photographs")}
    for recipe in recipes:
        assert home[recipe["fg_group"]] == home[recipe["bg_group"]] == recipe["split"], recipe["key"]
        assert recipe["fg_group"] != recipe["bg_group"], recipe["key"]
    uses = [Counter(recipe[f"{part}_key"] for recipe in recipes) for part in ("fg", "bg")]
    splits = Counter(recipe["split"] for recipe in recipes)
    print(f"{len(recipes)} composites ({dict(splits)}), {len(uses[0])} foregrounds used at most {max(uses[0].values())} times, "
          f"{len(uses[1])} backgrounds at most {max(uses[1].values())}; no photograph crosses a split or meets itself")
    for split, total in splits.items():
        counts = Counter(recipe["difficulty"] for recipe in recipes if recipe["split"] == split)
        off = max(abs(counts[name] / total - getattr(params.mine.quotas, name)) for name in DIFFICULTIES)
        print(f"  {split:>5}: " + ", ".join(f"{name} {counts[name]}" for name in DIFFICULTIES) + f"; off its quotas by at most {off:.2%}")
        assert off <= 0.02, split
    print("  allowed because: " + ", ".join(f"{fit} {count}" for fit, count in Counter(recipe["fit"] for recipe in recipes).most_common()))
    rejects = Counter(row["reason"] for row in read_table(params.paths.mined / "rejects.parquet", REJECTS))
    print("  rejected objects: " + ", ".join(f"{reason} {count}" for reason, count in rejects.most_common()))


def probe(name: str, params: Params) -> dict[str, float]:
    """Print the probe's areas under the curve for what `params` has planned."""
    auc = measure_tell_tales(recipes_of(params), seed=params.seed, num_workers=THREADS)
    print(f"probe of the border, {name} plates: AUC {auc['natural']:.3f} natural, {auc['untouched']:.3f} untouched")
    return auc


def probe_other_plates(data: Path, folder: Path, recipes: Sequence[Row]) -> None:
    """The probe where plates come by Navier-Stokes, are brought as smaller files, or are not made at all."""
    for number, recipe in enumerate({recipe["bg_key"]: recipe for recipe in recipes}.values()):
        image, mask = read_photograph(recipe["bg_image_path"], recipe["bg_mask_path"], PLATE_SIDE)
        hole = grow_mask(mask >= FOREGROUND_LEVEL, 4).astype(np.uint8)
        plate = cv2.inpaint(image, hole, 5.0, cv2.INPAINT_NS)
        write_bytes(folder / "plates" / f"{recipe['bg_key']}.jpg", encode_jpeg(plate, 95 - number % 5))
    for method in ("navier_stokes", "precomputed", "none"):
        params = settle(data, folder, mined="other_plates", plate=method, plate_folder=str(folder / "plates"))
        plan_mine(params)
        probe(method, params)


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files."""
    names = sorted(path.name for path in first.iterdir())
    return names == sorted(path.name for path in second.iterdir()) and all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names)


def measure(data: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Mine in both modes below `folder`, and print what the module says."""
    params = settle(data, folder)
    write_index(params)
    start = time.perf_counter()
    metrics = mine(params)
    print(f"mined with {THREADS} threads in {time.perf_counter() - start:.0f} s, of which the analysis is kept for the next run")
    recipes = recipes_of(params)
    check_recipes(recipes, params)
    if arguments.twice:
        again = settle(data, folder, mined="again", work="again_work")
        mine(again)
        same = same_bytes(params.paths.mined, again.paths.mined)
        print(f"a second run, analysed anew: {'byte-identical' if same else 'OTHER BYTES'}")
        assert same
    random = settle(data, folder, mined="pih_random", mode="pih_random")
    distances = {"mined": metrics["gap_distance"], "pih_random": mine(random)["gap_distance"]}
    print("distance of the gaps to those of genuine composites: " + ", ".join(f"{name} {value:.3f}" for name, value in distances.items()))
    auc = probe(params.mine.plate, params)
    if arguments.plates:
        probe_other_plates(data, folder, recipes)
    print(f"plots and contact sheets: {params.paths.mined}/*.png, {random.paths.mined}/gap.png" if arguments.out else "")
    ratios = (distances["pih_random"] / distances["mined"], BLIND / auc["natural"], auc["untouched"] / SEEING)
    for (name, target), ratio in zip(TARGETS.items(), ratios, strict=True):
        close(name, ratio, target)


def main() -> None:
    """Measure in the folder given, or in one that goes away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--plates", action="store_true")
    arguments = parser.parse_args()
    data = Path(os.environ.get("ATTUNE_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        print(f"mined_photos: no real data at {data}: nothing measured")
        return
    cv2.setNumThreads(1)
    print_machine()
    with tempfile.TemporaryDirectory() as temporary:
        measure(data, arguments.out or Path(temporary), arguments)


if __name__ == "__main__":
    main()
