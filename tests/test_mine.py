import hashlib
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from attune.files import write_bytes
from attune.images import decode_image, encode_jpeg, encode_png
from tasks.index import PHOTOGRAPHS, read_table, write_table
from tasks.mine import REJECTS, finish_mine, plan_mine, render_shard
from tasks.mining import object_analysis
from tasks.mining.object_analysis import analyse_objects
from tasks.mining.recipes import RECIPES, read_placement, render_recipe
from tasks.params import Params
from tasks.shards import ShardReader, decode_composite, encode_composite, read_manifest

SIZE = 48
SPLITS = {"train": 30, "val": 8, "test": 8}


def draw_object(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured blob in a textured scene, and its mask."""
    rng = np.random.default_rng(number)
    height, width = 72 + 8 * (number % 3), 96 - 6 * (number % 4)
    scene, thing = (
        np.clip(cv2.resize(rng.normal(rng.uniform(70, 180, 3), 24, (30, 30, 3)), (width, height)), 0, 255) for _ in range(2)
    )
    mask = np.zeros((height, width), np.uint8)
    centre = int(rng.uniform(0.4, 0.6) * width), int(rng.uniform(0.45, 0.6) * height)
    cv2.ellipse(mask, centre, (int(rng.uniform(14, 24)), int(rng.uniform(14, 24))), rng.uniform(0, 90), 0, 360, 255, -1)
    return np.where(mask[..., None] > 0, thing, scene).astype(np.uint8), mask


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of three splits with one object each, and their index."""
    folder = tmp_path_factory.mktemp("photographs")
    rows = []
    for number, split in enumerate(split for split, count in SPLITS.items() for _ in range(count)):
        image, mask = draw_object(number)
        paths = [folder / f"{number}.jpg", folder / f"{number}.png"]
        write_bytes(paths[0], encode_jpeg(image, 95))
        write_bytes(paths[1], encode_png(mask))
        rows.append({
            "key": f"k{number:03d}", "source": "photos", "subset": "photos", "split": split, "group": f"g{number}",
            "image_path": str(paths[0]), "mask_path": str(paths[1]), "width": image.shape[1], "height": image.shape[0],
            "fg_ratio": float((mask > 0).mean()), "label": ("cat", "dog", "region")[number % 3],
            "image_sha256": f"i{number}", "mask_sha256": f"m{number}", "licence": "CC0-1.0",
        })
    write_table(folder / "index" / "photographs.parquet", rows, PHOTOGRAPHS)
    return folder


@pytest.fixture
def settle(photographs: Path, tmp_path: Path, configure: Callable[..., Params]) -> Callable[..., Params]:
    """`settle("name", {...})`: params that mine the photographs into their own folders."""

    def settled(name: str = "run", changes: dict | None = None) -> Params:
        return configure({
            "paths.index": str(photographs / "index"), "paths.mined": str(tmp_path / name / "mined"),
            "paths.work": str(tmp_path / name / "work"), "mine.size": SIZE, "augment.size": SIZE,
            "train.model.architecture": "small", "train.model.size": SIZE,
            "mine.num_composites": 40, "mine.min_box_side": 8, "mine.shard_size": 16, "mine.jitter": 2, **(changes or {}),
        })

    return settled


def run(params: Params) -> dict[str, float]:
    return finish_mine(params, [render_shard(params, unit) for unit in plan_mine(params)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_stage_mines_every_split_from_its_own_photographs(settle: Callable[..., Params]) -> None:
    params = settle()
    metrics = run(params)
    recipes = read_table(params.paths.mined / "recipes.parquet", RECIPES)
    splits = {row["key"]: row["split"] for row in read_table(params.paths.index / "photographs.parquet", PHOTOGRAPHS)}
    assert Counter(recipe["split"] for recipe in recipes) == {"train": 40, "val": 4, "test": 4}
    for recipe in recipes:
        assert splits[recipe["fg_key"]] == splits[recipe["bg_key"]] == recipe["split"]
        assert recipe["fg_group"] != recipe["bg_group"]
    assert metrics["composites_train"] == 40
    assert metrics["shortfall_train"] == 0
    assert metrics["share_hard"] == pytest.approx(0.3, abs=0.02)
    manifest = read_manifest(params.paths.mined)
    assert [(shard.name, shard.num_samples) for shard in manifest.shards] == [
        ("test-00000.tar", 4), ("train-00000.tar", 16), ("train-00001.tar", 16), ("train-00002.tar", 8), ("val-00000.tar", 4)]
    assert {"summary.png", "sheet_easy.png", "sheet_medium.png", "sheet_hard.png"} <= set(contents(params.paths.mined))


def test_two_runs_are_byte_equal_whatever_the_number_of_threads(settle: Callable[..., Params]) -> None:
    first, second = settle("first"), settle("second", {"speed.num_workers": 5})
    assert run(first) == run(second)
    assert contents(first.paths.mined) == contents(second.paths.mined)


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(settle: Callable[..., Params]) -> None:
    whole, killed = settle("whole"), settle("killed")
    run(whole)
    units = plan_mine(killed)
    render_shard(killed, units[1])
    (killed.paths.mined / f".tmp-{units[0].name}").write_bytes(b"half a shard")
    (killed.paths.mined / units[2].name).write_bytes(b"damaged")
    stamp = (killed.paths.mined / units[1].name).stat().st_mtime_ns
    run(killed)
    assert (killed.paths.mined / units[1].name).stat().st_mtime_ns == stamp
    assert contents(killed.paths.mined) == contents(whole.paths.mined)


def test_edited_code_analyses_and_renders_anew_and_other_code_does_not(
    settle: Callable[..., Params], edit_code: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, looked_at = settle("run", {"mine.num_composites": 10}), []
    analyse = object_analysis.analyse_photograph
    monkeypatch.setattr(object_analysis, "analyse_photograph", lambda rows, *rest: looked_at.append(rows[0]["key"]) or analyse(rows, *rest))

    def mined() -> tuple[int, dict[str, int]]:
        looked_at.clear()
        run(params)
        return len(looked_at), {path.name: path.stat().st_ino for path in params.paths.mined.glob("*.tar")}

    first = mined()
    assert first[0] == sum(SPLITS.values())
    edit_code("tasks/training/trainer.py")
    assert mined() == (0, first[1])
    edit_code("tasks/mining/compositing.py")
    again = mined()
    assert again[0] == first[0]
    assert not set(again[1].items()) & set(first[1].items())


MINING = """
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tasks.mine import finish_mine, plan_mine, render_shard
from tasks.params import load_params
params = load_params(Path(sys.argv[1]))
print("begins", flush=True)
units = plan_mine(params)
with ThreadPoolExecutor(2) as pool:
    results = list(pool.map(partial(render_shard, params), units))
finish_mine(params, results)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_with_the_bytes_of_one_that_was_not(
    settle: Callable[..., Params], repository: Path, tmp_path: Path
) -> None:
    whole, killed = settle("whole"), settle("killed")
    began = time.perf_counter()
    run(whole)
    duration = time.perf_counter() - began
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(killed.model_dump(mode="json")))
    delays = [random.SystemRandom().uniform(0.0, duration) for _ in range(3)]
    for delay in delays:
        with subprocess.Popen(
            [sys.executable, "-c", MINING, str(tmp_path / "params.yaml")], cwd=repository, stdout=subprocess.PIPE, start_new_session=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"begins\n"
            time.sleep(delay)
            os.killpg(child.pid, signal.SIGKILL)
    run(killed)
    assert contents(killed.paths.mined) == contents(whole.paths.mined), f"killed after {delays} of {duration:.2f} s"


def test_a_kill_between_two_plans_leaves_no_shard_that_its_table_does_not_describe(
    settle: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = settle(), settle("run", {"seed": 2})
    run(first)
    before = read_table(first.paths.mined / "recipes.parquet", RECIPES)

    def killed(source: str | Path, target: str | Path) -> None:
        assert Path(target).name != "recipes.parquet" or str(source).endswith(".tmp-.tmp-recipes.parquet"), "killed"
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(AssertionError, match="killed"):
        plan_mine(second)
    assert read_table(first.paths.mined / "recipes.parquet", RECIPES) == before
    assert not list(first.paths.mined.glob("*.tar"))


def test_what_a_scheduler_sends_to_other_processes_survives_pickling(settle: Callable[..., Params]) -> None:
    params = settle()
    units = plan_mine(params)
    info = render_shard(params, units[0])
    assert pickle.loads(pickle.dumps((params, units, info, render_shard))) == (params, units, info, render_shard)


@pytest.mark.slow
def test_a_shard_rendered_in_another_process_has_the_same_bytes(settle: Callable[..., Params]) -> None:
    here, there = settle("here", {"mine.num_composites": 20}), settle("there", {"mine.num_composites": 20})
    units = plan_mine(here)
    assert plan_mine(there) == units
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(partial(render_shard, there), units)) == [render_shard(here, unit) for unit in units]
    assert contents(here.paths.mined) == contents(there.paths.mined)


def test_shards_of_other_recipes_are_not_kept(settle: Callable[..., Params]) -> None:
    first, second = settle(), settle("run", {"seed": 2})
    run(first)
    (first.paths.mined / "foreign.txt").write_text("not ours")
    plan_mine(second)
    assert set(contents(second.paths.mined)) == {"recipes.parquet", "rejects.parquet"}


def test_replaying_a_row_gives_the_shards_bytes_again(settle: Callable[..., Params]) -> None:
    params = settle()
    run(params)
    recipes = {recipe["key"]: recipe for recipe in read_table(params.paths.mined / "recipes.parquet", RECIPES)}
    with ShardReader(params.paths.mined / "train-00001.tar") as reader:
        assert reader.keys == [f"train-{number:06d}" for number in range(16, 32)]
        for number in (0, 7):
            stored = reader.read(number)
            again = encode_composite(render_recipe(recipes[stored.key]).sample, jpeg_quality=recipes[stored.key]["jpeg_quality"])
            assert all(bytes(stored.members[name]) == again.members[name] for name in again.members if name != "json")
            sample = decode_composite(stored, name=stored.key)
            assert sample.composite.shape == sample.natural.shape == (SIZE, SIZE, 3)


def test_a_composite_is_its_plate_outside_the_matte_and_so_is_its_natural_sample(settle: Callable[..., Params]) -> None:
    params = settle()
    plan_mine(params)
    for recipe in read_table(params.paths.mined / "recipes.parquet", RECIPES)[:10]:
        rendered = render_recipe(recipe)
        sample = rendered.sample
        assert (sample.composite == sample.plate)[sample.mask == 0].all()
        assert (sample.natural == sample.plate)[rendered.natural_mask == 0].all()
        assert recipe["fg_ratio"] == pytest.approx((sample.mask / 255).mean(), rel=0.35)  # the choke takes some of it
        assert list(read_placement(recipe).affine) == recipe["affine"]


def test_the_same_label_is_preferred_and_an_unnamed_one_says_nothing(settle: Callable[..., Params]) -> None:
    params = settle()
    metrics = run(params)
    recipes = read_table(params.paths.mined / "recipes.parquet", RECIPES)
    assert metrics["share_same_label"] > 0.6
    assert all(recipe["fg_label"] == recipe["bg_label"] != "region" for recipe in recipes if recipe["fit"] == "same_label")


def test_pih_random_has_no_scores_and_no_quotas(settle: Callable[..., Params]) -> None:
    params = settle("run", {"mine.mode": "pih_random"})
    plan_mine(params)
    recipes = read_table(params.paths.mined / "recipes.parquet", RECIPES)
    assert {recipe["fit"] for recipe in recipes} == {"random"}
    assert {recipe["score"] for recipe in recipes} == {0.0}
    assert len({(recipe["fg_label"], recipe["bg_label"]) for recipe in recipes}) > 4


def bring_plates(photographs: Path, folder: Path) -> dict[str, np.ndarray]:
    """A plate for every object but k000, at several sizes: the photograph with a flat patch where the object was."""
    plates = {}
    for number in range(1, sum(SPLITS.values())):
        image = decode_image((photographs / f"{number}.jpg").read_bytes(), name="image")
        mask = cv2.dilate(decode_image((photographs / f"{number}.png").read_bytes(), name="mask")[..., 0], np.ones((9, 9), np.uint8))
        plate = np.where(mask[..., None] > 0, image.mean(axis=(0, 1)).astype(np.uint8), image)
        factor = (1.0, 0.75, 2.0)[number % 3]
        plates[f"k{number:03d}"] = cv2.resize(plate, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        ending, encode = ((".png", encode_png), (".jpg", lambda pixels: encode_jpeg(pixels, 97)))[number % 2]
        write_bytes(folder / f"k{number:03d}{ending}", encode(plates[f"k{number:03d}"]))
    return plates


def test_brought_plates_of_any_size_are_used_judged_and_recorded(
    settle: Callable[..., Params], photographs: Path, tmp_path: Path
) -> None:
    bring_plates(photographs, tmp_path / "raw" / "plates")
    params = settle("run", {"mine.plate": "precomputed", "paths.raw": str(tmp_path / "raw"), "mine.min_plate_score": 0.0})
    run(params)
    recipes = read_table(params.paths.mined / "recipes.parquet", RECIPES)
    assert "k000" not in {recipe["bg_key"] for recipe in recipes}
    assert len({recipe["plate_score"] for recipe in recipes}) > 5
    for recipe in recipes[:6]:
        rendered, brought = render_recipe(recipe), Path(recipe["plate_path"])
        assert recipe["plate_sha256"] == hashlib.sha256(brought.read_bytes()).hexdigest()
        expected = cv2.resize(decode_image(brought.read_bytes(), name="plate"), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        apart = np.abs(rendered.sample.plate.astype(int) - expected).max(axis=2)
        assert np.mean(apart[rendered.untouched_mask >= 128] <= 2) > 0.2, "its fill shows, but for the bands along the outlines"
        far = cv2.erode((rendered.sample.mask < 8).astype(np.uint8) & (rendered.natural_mask < 8), np.ones((13, 13), np.uint8)) > 0
        assert (apart[far] <= 8).all()
        assert (rendered.sample.composite == rendered.sample.plate)[rendered.sample.mask == 0].all()


def test_a_plate_that_is_missing_or_of_another_photograph_bars_the_background_with_a_reason(
    settle: Callable[..., Params], photographs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "raw" / "plates"
    plates = bring_plates(photographs, folder)
    (folder / "k002.png").write_bytes(b"no image")
    write_bytes(folder / "k004.png", encode_png(plates["k004"][: len(plates["k004"]) // 2]))  # another shape
    write_bytes(folder / "k006.png", encode_png(255 - plates["k006"]))  # another picture of that shape
    params = settle("run", {"mine.plate": "precomputed", "paths.raw": str(tmp_path / "raw"), "mine.min_plate_score": 0.0})
    plan_mine(params)
    reasons = {row["key"]: row["reason"] for row in read_table(params.paths.mined / "rejects.parquet", REJECTS)}
    assert reasons == {"k000": "plate_missing", "k002": "plate_unreadable", "k004": "plate_unlike", "k006": "plate_unlike"}
    recipes = read_table(params.paths.mined / "recipes.parquet", RECIPES)
    assert not set(reasons) & {recipe["bg_key"] for recipe in recipes}
    assert set(reasons) & {recipe["fg_key"] for recipe in recipes}, "it may still be cut out"


def test_a_brought_plate_that_changes_is_judged_anew(settle: Callable[..., Params], photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "plates"
    plates = bring_plates(photographs, folder)
    params = settle("run", {"mine.plate": "precomputed", "paths.raw": str(tmp_path / "raw"), "mine.min_plate_score": 0.0})
    plan_mine(params)
    write_bytes(folder / "k008.png", encode_png(255 - plates["k008"]))
    plan_mine(params)
    assert "k008" in {row["key"] for row in read_table(params.paths.mined / "rejects.parquet", REJECTS)}


def test_without_a_plate_the_photograph_is_the_background_as_it_is(settle: Callable[..., Params]) -> None:
    params = settle("run", {"mine.plate": "none"})
    metrics = run(params)
    assert metrics["rejects"] == 0.0
    for recipe in read_table(params.paths.mined / "recipes.parquet", RECIPES)[:6]:
        rendered = render_recipe(recipe)
        assert (rendered.sample.plate == rendered.untouched).all()
        assert recipe["plate_score"] is None


def test_an_unreadable_photograph_is_a_reject_with_a_reason(settle: Callable[..., Params], photographs: Path, tmp_path: Path) -> None:
    rows = read_table(photographs / "index" / "photographs.parquet", PHOTOGRAPHS)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    rows[0] |= {"image_path": str(tmp_path / "broken.jpg"), "image_sha256": "other"}
    write_table(tmp_path / "index" / "photographs.parquet", rows, PHOTOGRAPHS)
    params = settle("run", {"paths.index": str(tmp_path / "index")})
    metrics = run(params)
    assert metrics["rejects_unreadable"] == 1
    assert read_table(params.paths.mined / "rejects.parquet", REJECTS)[0]["key"] == rows[0]["key"]


def test_no_object_that_passes_is_an_error_with_the_reasons(settle: Callable[..., Params]) -> None:
    with pytest.raises(ValueError, match=r"none of 46 objects passes the filters \(area_small 46\)"):
        plan_mine(settle("run", {"mine.min_fg_ratio": 0.59}))


def test_analysis_is_resumed_from_the_work_folder(settle: Callable[..., Params], photographs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photographs, copy)
    rows = read_table(copy / "index" / "photographs.parquet", PHOTOGRAPHS)
    params = settle()
    found = analyse_objects(rows, params)
    moved = [row | {"image_path": row["image_path"] + ".gone"} for row in rows]
    assert analyse_objects(moved, params) == found
    assert {row["reason"] for row in analyse_objects(moved, settle("run", {"mine.ring_width": 6}))} == {"unreadable"}


def test_the_contact_sheet_shows_images(settle: Callable[..., Params]) -> None:
    params = settle()
    run(params)
    sheet = decode_image((params.paths.mined / "sheet_easy.png").read_bytes(), name="sheet")
    assert sheet.std() > 20
