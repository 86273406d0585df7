"""Augmentation: what goes into which shard, backgrounds left alone, provenance, and bytes that depend on nothing but params and inputs."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shapes import shape_of

from attune.images import encode_jpeg, encode_png
from models.harmonizer import build_harmonizer
from models.syconet import SycoNet, SycoNetConfig
from tasks.augment import AugmentUnit, blend, finish_augment, plan_augment, random_region, write_pair_shard
from tasks.harmonizer_files import save_harmonizer
from tasks.index import PAIRS, PHOTOGRAPHS, RETOUCHES, read_index, write_table
from tasks.params import Params
from tasks.sample import Pair
from tasks.shard_samples import read_samples
from tasks.shards import ShardFolder, decode_pair, read_facts, read_manifest
from tasks.syconet_files import save_syconet

SMALL = {"train.model.architecture": "small", "train.model.size": 32}

Draw = Callable[..., np.ndarray]
SPLITS = {"train": 5, "val": 2, "test": 2}


def save_random_syconet(folder: Path, seed: int) -> None:
    """An untrained network whose tables and codes make visible changes."""
    config = SycoNetConfig(size=16, latent_dim=2, num_luts=3, lut_dim=4, width=4)
    torch.manual_seed(seed)
    model = SycoNet(config)
    with torch.no_grad():
        model.basis.add_(0.3 * torch.randn_like(model.basis))
        model.generator.head.weight.mul_(20)
    save_syconet(folder, model, config, {})


def write_image(path: str, data: bytes) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def params(project: Path, configure: Callable[..., Params], photograph: Draw, object_mask: Draw) -> Iterator[Params]:
    """A project with an index of 2 composites per target, 2 retouches (one without a mask), and an untrained SycoNet."""
    del project
    pairs: list[dict[str, Any]] = []
    for split, count in SPLITS.items():
        for number in range(count):
            name = f"{split}{number}"
            row: dict[str, Any] = {"source": "starter", "subset": "photographs", "split": split, "group": name, "width": 48, "height": 40}
            row |= {"target_path": f"raw/{name}.jpg", "mask_path": f"raw/{name}.png", "fg_ratio": 0.2, "label": "", "composite_fmse": 1.0}
            row["target_sha256"] = write_image(row["target_path"], encode_jpeg(photograph(40, 48, number), 95))
            row["mask_sha256"] = write_image(row["mask_path"], encode_png(object_mask(40, 48)))
            for k in range(2):
                path = f"raw/{name}_{k}.jpg"
                digest = write_image(path, encode_jpeg(photograph(40, 48, number) // 2 + 40 * k, 95))
                facts = {"key": f"starter/{name}.{k}", "composite_path": path, "composite_sha256": digest, "method": "reinhard"}
                pairs.append({**row, **facts})
    retouches = []
    for number in range(2):
        row = {"key": f"retouch/r{number}", "source": "retouch", "subset": "a", "split": "train", "group": f"r{number}"}
        row |= {"width": 40, "height": 40}
        for which, gain in (("before", 1), ("after", 2)):
            row[f"{which}_path"] = f"raw/r{number}_{which}.png"
            row[f"{which}_sha256"] = write_image(row[f"{which}_path"], encode_png(photograph(40, 40, 7 + number) // gain))
        if number:
            row["mask_path"] = "raw/r.png"
            row["mask_sha256"] = write_image("raw/r.png", encode_png(object_mask(40, 40)))
        retouches.append(row)
    write_table(Path("data/index/pairs.parquet"), pairs, PAIRS)
    write_table(Path("data/index/retouches.parquet"), retouches, RETOUCHES)
    save_random_syconet(Path("data/checkpoints/syconet"), 0)
    threads = torch.get_num_threads()
    yield configure({**SMALL, "augment.size": 32, "mine.size": 32, "augment.shard_size": 4, "augment.jpeg_quality": 100})
    torch.set_num_threads(threads)


def run(params: Params, num_threads: int = 1) -> dict[str, float]:
    with ThreadPoolExecutor(num_threads) as pool:
        return finish_augment(params, list(pool.map(lambda unit: write_pair_shard(params, unit), plan_augment(params))))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def samples(params: Params, split: str) -> list[tuple[Pair, dict[str, Any]]]:
    with ShardFolder(params.paths.shards, split) as folder:
        read = [(folder.read(index), folder.name(index)) for index in range(len(folder))]
        return [(decode_pair(sample, name=name), read_facts(sample, name=name)) for sample, name in read]


def test_only_training_targets_are_augmented(params: Params) -> None:
    assert {(unit.split, unit.kind) for unit in plan_augment(params)} == {
        ("train", "original"), ("train", "augmented"), ("train", "retouched"), ("val", "original"),
    }
    run(params)
    held_out = {f"{split}{number}" for split in ("val", "test") for number in range(SPLITS[split])}
    assert all(pair.kind == "original" and pair.group.startswith("val") for pair, _ in samples(params, "val"))
    assert not {pair.group for pair, _ in samples(params, "train")} & held_out
    assert {shard.split for shard in read_manifest(params.paths.shards).shards} == {"train", "val"}


def test_each_kind_is_there_in_full_with_its_provenance(params: Params) -> None:
    metrics = run(params)
    train = samples(params, "train")
    by_kind = {kind: [(pair, facts) for pair, facts in train if pair.kind == kind] for kind in ("original", "augmented", "retouched")}
    copies = params.augment.copies
    assert {kind: len(found) for kind, found in by_kind.items()} == {"original": 10, "augmented": 5 * copies, "retouched": 4}
    assert metrics["num_train_augmented"] == 5 * copies
    assert metrics["num_val_original"] == 4
    manifest = read_manifest(params.paths.shards)
    assert manifest.meta["counts"]["train"]["retouched"] == 4
    digest = hashlib.sha256((params.paths.syconet / "model.pt").read_bytes()).hexdigest()
    assert manifest.meta["syconet"] == digest[:16]
    for pair, facts in by_kind["augmented"]:
        assert facts["syconet"] == digest[:16]
        assert facts["parent"].startswith(f"starter/{pair.group}.")
    assert len({facts["z_seed"] for _, facts in by_kind["augmented"]}) == 5 * copies
    assert {facts["method"] for _, facts in by_kind["original"]} == {"reinhard"}


def test_training_photographs_are_written_as_they_are_with_each_of_their_masks(params: Params, configure: Callable[..., Params]) -> None:
    objects = []
    named = (("train", "train0", "train0"), ("train", "train0", "train1"), ("test", "test0", "test0"))
    for number, (split, name, mask) in enumerate(named):
        row = {"key": f"photos/{name}_{number}", "source": "photos", "subset": "a", "split": split, "group": name, "label": "cat"}
        row |= {"image_path": f"raw/{name}.jpg", "mask_path": f"raw/{mask}.png", "width": 48, "height": 40, "fg_ratio": 0.2}
        objects.append(row | {"image_phash": number, "image_sha256": name, "mask_sha256": mask, "licence": ""})
    write_table(Path("data/index/photographs.parquet"), objects, PHOTOGRAPHS)
    write_table(Path("data/index/pairs.parquet"), read_index(Path("data/index"), "pairs", split="val"), PAIRS)
    shutil.rmtree("data/checkpoints")  # nobody needs SycoNet where there are no copies
    changes = {**SMALL, "augment.photographs": True, "augment.copies": 0, "augment.size": 32, "mine.size": 32}
    metrics = run(configure(changes))
    assert {name: value for name, value in metrics.items() if name.startswith("num_train")} == {
        "num_train_photograph": 2.0, "num_train_retouched": 4.0,
    }
    assert "photograph_fmse" not in metrics
    found = [(pair, row) for (pair, _), row in zip(samples(params, "train"), read_samples(params.paths.shards, "train"), strict=True)]
    taken = [(pair, row) for pair, row in found if pair.kind == "photograph"]
    assert [(row["label"], row["group"], row["parent"]) for _, row in taken] == [
        ("cat", "train0", "photos/train0_0"), ("cat", "train0", "photos/train0_1"),
    ]
    assert all(np.array_equal(pair.composite, pair.target) for pair, _ in taken)
    assert {row["label"] for pair, row in found if pair.kind == "retouched"} == {""}


def test_neither_pairs_nor_photographs_to_train_on_is_refused(params: Params) -> None:
    write_table(Path("data/index/pairs.parquet"), read_index(Path("data/index"), "pairs", split="val"), PAIRS)
    with pytest.raises(ValueError, match=r"pairs\.parquet: no training pairs"):
        plan_augment(params)


def test_the_table_of_samples_says_what_each_sample_is_without_opening_it(params: Params) -> None:
    run(params)
    for split in ("train", "val", "test"):
        with ShardFolder(params.paths.shards, split) as folder:
            assert [row["key"] for row in read_samples(params.paths.shards, split)] == folder.keys
    found = samples(params, "train")
    for row, (pair, facts) in zip(read_samples(params.paths.shards, "train"), found, strict=True):
        assert (row["kind"], row["source"], row["group"]) == (pair.kind, pair.source, pair.group)
        assert row["parent"] == facts.get("parent", facts["key"])
    assert {row["subset"] for row in read_samples(params.paths.shards, "train")} == {"photographs", "a"}


def test_a_folder_without_its_table_of_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"samples\.parquet: no such table"):
        read_samples(tmp_path, "train")


def test_augmented_composites_differ_inside_the_mask_and_from_one_another_only(params: Params) -> None:
    run(params)
    found = [pair for pair, _ in samples(params, "train") if pair.kind == "augmented"]
    for pair in found:
        change = np.abs(pair.composite.astype(int) - pair.target).max(axis=2)
        # JPEG blocks that hold no foreground are the same bytes through the same encoder
        blocks = pair.mask.reshape(4, 8, 4, 8).max(axis=(1, 3)).repeat(8, 0).repeat(8, 1)
        assert change[blocks == 0].max() == 0
        assert change[pair.mask == 255].mean() > 1
    assert not np.array_equal(found[0].composite, found[1].composite)
    np.testing.assert_array_equal(found[0].target, found[1].target)


def test_a_retouch_becomes_two_pairs_with_versions_swapped(params: Params) -> None:
    run(params)
    found = {facts["target"]: (pair, facts) for pair, facts in samples(params, "train") if facts.get("parent") == "retouch/r1"}
    before, after = found["before"][0], found["after"][0]
    assert found["before"][1]["region"] == "mask"
    np.testing.assert_array_equal(before.mask, after.mask)
    inside = before.mask == 255
    assert inside.any()
    assert np.abs(before.composite.astype(int) - after.target)[inside].mean() < 3
    assert np.abs(after.composite.astype(int) - before.target)[inside].mean() < 3
    outside = before.mask == 0
    assert np.abs(before.composite.astype(int) - before.target)[outside].mean() < 3
    assert {facts["region"] for pair, facts in samples(params, "train") if facts.get("parent") == "retouch/r0"} == {"random"}


@pytest.mark.parametrize("num_threads", [1, 3])
def test_two_runs_are_byte_equal_whatever_the_threads(params: Params, num_threads: int) -> None:
    run(params)
    first = contents(params.paths.shards)
    for path in (*params.paths.shards.iterdir(), *params.paths.work.rglob("*.json")):
        path.unlink()
    torch.set_num_threads(4)
    run(params, num_threads)
    assert contents(params.paths.shards) == first
    assert "manifest.json" in first


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(params: Params) -> None:
    run(params)
    whole = contents(params.paths.shards)
    names = sorted(whole)
    (params.paths.shards / names[1]).write_bytes(whole[names[1]][:1000])
    (params.paths.shards / names[2]).unlink()
    (params.paths.shards / ".tmp-train-00009.tar").write_bytes(b"half")
    (params.paths.shards / "foreign.tar").write_bytes(b"")
    times = {name: (params.paths.shards / name).stat().st_mtime_ns for name in names if (params.paths.shards / name).exists()}
    units = plan_augment(params)
    assert not (params.paths.shards / "manifest.json").exists()
    finish_augment(params, [write_pair_shard(params, unit) for unit in units])
    assert contents(params.paths.shards) == whole
    unchanged = [name for name in times if (params.paths.shards / name).stat().st_mtime_ns == times[name]]
    assert sorted(unchanged) == sorted(set(times) - {names[1], "manifest.json"})


def test_another_checkpoint_or_param_writes_the_shards_it_concerns_again(params: Params, configure: Callable[..., Params]) -> None:
    run(params)
    first = contents(params.paths.shards)
    save_random_syconet(params.paths.syconet, 1)
    run(params)
    second = contents(params.paths.shards)
    changed = {name for name in first if first[name] != second[name]} - {"manifest.json"}
    assert changed == {unit.name for unit in plan_augment(params) if unit.kind == "augmented"}


def test_shards_of_edited_code_are_written_again_and_all_are_kept_where_other_code_was(
    params: Params, edit_code: Callable[[str], None]
) -> None:
    def written() -> dict[str, int]:
        run(params)
        return {path.name: path.stat().st_ino for path in params.paths.shards.glob("*.tar")}

    first = written()
    edit_code("tasks/mine.py")
    assert written() == first
    edit_code("models/lut.py")
    assert not set(written().items()) & set(first.items())


def test_hard_cases_are_chosen_told_and_byte_equal_in_two_runs(params: Params) -> None:
    config = shape_of(num_knots=4, shading_limit=1.5, plate=False, encoder_size=32)
    save_harmonizer(Path("harmonizer"), build_harmonizer(config), config, {})
    values = params.model_dump(mode="json")
    values["augment"] |= {"draws": 6, "harmonizer": "harmonizer"}
    hard = Params.model_validate(values)
    run(hard)
    first, found = contents(hard.paths.shards), [facts for pair, facts in samples(hard, "train") if pair.kind == "augmented"]
    digest = hashlib.sha256(Path("harmonizer/model.pt").read_bytes()).hexdigest()[:16]
    assert {facts["harmonizer"] for facts in found} == {read_manifest(hard.paths.shards).meta["harmonizer"]} == {digest}
    for facts in found:
        assert {"parent", "z_seed", "syconet", "rank", "remaining_fmse", "faults", "copy"} <= set(facts)
    by_target: dict[str, list[dict[str, Any]]] = {}
    for facts in found:
        by_target.setdefault(facts["parent"], []).append(facts)
    for kept in by_target.values():
        ranks = [facts["rank"] for facts in kept if not facts["faults"]]
        assert ranks == sorted(ranks)
    shutil.rmtree(hard.paths.shards)
    run(hard, 3)
    assert contents(hard.paths.shards) == first


def test_no_copies_need_no_syconet(params: Params) -> None:
    (params.paths.syconet / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"model\.pt: no trained syconet here"):
        run(params)
    none = params.model_copy(update={"augment": params.augment.model_copy(update={"copies": 0})})
    assert "num_train_augmented" not in run(none)


def test_a_missing_image_is_named(params: Params) -> None:
    Path("raw/train1_0.jpg").unlink()
    with pytest.raises(ValueError, match=r"raw/train1_0\.jpg"):
        run(params)
    assert not (params.paths.shards / "manifest.json").exists()


def test_an_index_without_training_pairs_is_named(params: Params) -> None:
    write_table(params.paths.index / "pairs.parquet", [], PAIRS)
    with pytest.raises(ValueError, match=r"pairs\.parquet: no training pairs"):
        plan_augment(params)


def test_a_shard_that_was_not_written_is_named(params: Params) -> None:
    results = [write_pair_shard(params, unit) for unit in plan_augment(params)]
    with pytest.raises(ValueError, match=r"differ by train-00000\.tar"):
        finish_augment(params, results[1:])


def test_units_are_plain_values() -> None:
    unit = AugmentUnit("train-00000.tar", "train", "original", 0, 4)
    assert json.loads(json.dumps(vars(unit))) == vars(unit)


def test_random_regions_cover_between_a_twentieth_and_a_half() -> None:
    shares = []
    for seed in range(60):
        mask = random_region(64, np.random.default_rng(seed))
        shares.append((mask >= 128).mean())
        assert mask.max() == 255
        assert mask.min() == 0
    assert 0.04 <= min(shares) < 0.12
    assert 0.40 < max(shares) <= 0.51


def test_blending_is_exact_at_both_ends_and_rounds_between() -> None:
    rng = np.random.default_rng(0)
    below, above = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    for level in (0, 1, 77, 128, 254, 255):
        exact = below + level / 255 * (above.astype(float) - below)
        assert np.abs(blend(below, above, np.full((5, 7), level, np.uint8)) - exact).max() <= 0.5 + 1e-9
