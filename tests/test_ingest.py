"""Ingestion: every file checked, every bad one with its reason, the same bytes whatever the order, killed runs continue, no leak."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attune.images import encode_jpeg, encode_png, read_image, read_mask, resize_image
from attune.rejects import BadSample, RejectReason
from tasks.color.difference import foreground_mse
from tasks.color.recolor import Retouch, apply_retouch
from tasks.color.transfer import TRANSFERS, bounding_box
from tasks.index import read_index
from tasks.ingest import finish_ingest, plan_ingest, settle_ingest
from tasks.ingestion import check_chunks, composite_chunks
from tasks.ingestion.check_chunks import check_chunk, outcomes_folder
from tasks.ingestion.checks import check_image, check_mask
from tasks.ingestion.composite_chunks import compose_chunk
from tasks.ingestion.kept_work import DoneChunk, iterate_results
from tasks.sources.iharmony4 import read_lists, write_lists

NUM_PHOTOS = 8
EASY = {  # small, fast, and lenient enough for synthetic pictures
    "ingest.sources": ["photos"], "ingest.val_share": 0.2, "ingest.test_share": 0.2, "ingest.max_reject_fraction": 0.5,
    "ingest.min_side": 32,
    "ingest.synthesis.composites_per_object": 3, "ingest.synthesis.composites_per_test_object": 2, "ingest.synthesis.max_side": 48,
    "ingest.synthesis.max_gradient_ratio": 8.0, "ingest.synthesis.max_delta_e": 60.0, "ingest.synthesis.max_hue_turned": 1.0,
}


@pytest.fixture
def photos(project, write_photos):
    """A folder of photographs in an empty project."""
    return write_photos(project / "data" / "raw" / "photos", NUM_PHOTOS)


@pytest.fixture
def params(configure):
    return configure(EASY)


def run(params, *, backwards: bool = False) -> dict[str, float]:
    turned = reversed if backwards else list
    for chunk in turned(plan_ingest(params)):
        check_chunk(params, chunk)
    for unit in turned(settle_ingest(params)):
        compose_chunk(params, unit)
    return finish_ingest(params)


def fingerprints(*folders: Path) -> dict[str, str]:
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def outputs(params) -> dict[str, str]:
    return fingerprints(params.paths.index, params.paths.composites)


# --- The whole --------------------------------------------------------------------------------------------------------------------------


def test_the_index_says_what_is_on_disk(photos, params):
    metrics = run(params)
    rows = read_index(params.paths.index, "pairs")
    assert metrics["photographs"] == metrics["objects"] == NUM_PHOTOS
    assert len(rows) == sum(metrics[f"pairs_{split}"] for split in ("train", "val", "test")) > NUM_PHOTOS
    assert metrics["median_composite_fmse"] == pytest.approx(np.median([row["composite_fmse"] for row in rows]))
    for row in rows:
        composite, target = (read_image(Path(row[f"{name}_path"])) for name in ("composite", "target"))
        mask = read_mask(Path(row["mask_path"]))
        assert composite.shape == target.shape == (row["height"], row["width"], 3) == (*mask.shape, 3)
        assert max(mask.shape) == params.ingest.synthesis.max_side
        assert set(np.unique(mask)) == {0, 255}
        assert np.mean(mask > 0) == pytest.approx(row["fg_ratio"])
        assert foreground_mse(composite, target, mask) == pytest.approx(row["composite_fmse"], rel=1e-6)
        for name in ("composite", "mask", "target"):
            assert hashlib.sha256(Path(row[f"{name}_path"]).read_bytes()).hexdigest() == row[f"{name}_sha256"]


def test_training_objects_without_composites_leave_those_of_the_other_splits_as_they_are(photos, configure):
    run(configure(EASY))
    before = {row["key"]: row for row in read_index(Path("data/index"), "pairs") if row["split"] != "train"}
    metrics = run(configure({**EASY, "ingest.synthesis.composites_per_object": 0}))
    rows = read_index(Path("data/index"), "pairs")
    assert metrics["pairs_train"] == 0
    assert {row["key"]: row for row in rows} == before
    assert before


def test_the_pairs_of_a_test_split_are_limited_by_hash(photos, configure):
    run(configure(EASY))
    before = {row["key"]: row for row in read_index(Path("data/index"), "pairs")}
    metrics = run(configure({**EASY, "ingest.synthesis.max_test_pairs": 2}))
    rows = {row["key"]: row for row in read_index(Path("data/index"), "pairs")}
    assert metrics["pairs_val"] <= 2
    assert metrics["pairs_test"] <= 2
    assert rows.items() <= before.items()
    assert {key for key, row in before.items() if row["split"] == "train"} == {key for key, row in rows.items() if row["split"] == "train"}


def test_the_index_says_how_each_composite_was_made(photos, params):
    run(params)
    rows = read_index(params.paths.index, "pairs")
    places = {row["key"]: (row["split"], row["group"]) for row in read_index(params.paths.index, "photographs")}
    transferred = [row for row in rows if row["method"] in TRANSFERS]
    for row in transferred:
        split, group = places[json.loads(row["method_params"])["reference"]]
        assert split == row["split"]
        assert group != row["group"]
    retouched = [row for row in rows if row["method"] == "retouch"]
    for row in retouched:
        target, mask = read_image(Path(row["target_path"])), read_mask(Path(row["mask_path"]))
        box = bounding_box(mask)
        stored = json.loads(row["method_params"])
        stored |= {name: tuple(map(tuple, stored[name])) for name in ("curves", "light")}
        again = apply_retouch(target[box], Retouch(**stored))
        difference = again.astype(int)[mask[box] > 0] - read_image(Path(row["composite_path"]))[box][mask[box] > 0]
        assert np.abs(difference).mean() < 4  # two times JPEG's
    assert len(transferred) + len(retouched) == len(rows)
    assert transferred
    assert retouched


def test_composites_differ_from_their_target_in_the_foreground_only_up_to_jpeg(photos, params):
    run(params)
    for row in read_index(params.paths.index, "pairs"):
        difference = read_image(Path(row["composite_path"])).astype(int) - read_image(Path(row["target_path"]))
        inside = read_mask(Path(row["mask_path"])) > 0
        assert np.square(difference[inside]).mean() > 50
        far = ~inside
        far[8:-8, 8:-8] = False
        assert np.square(difference[far]).mean() < 10


def test_the_composites_folder_is_in_iharmony4s_layout_and_reads_back(photos, params, configure):
    run(params)
    entries, rejects = read_lists(params.paths.composites)
    rows = read_index(params.paths.index, "pairs")
    assert not rejects
    assert entries == {("Photos", Path(row["composite_path"]).name): row["split"] for row in rows}
    (own := Path("again") / "iHarmony4").parent.mkdir()
    shutil.copytree(params.paths.composites, own)
    again = configure({**EASY, "paths.raw": "again", "ingest.sources": ["iharmony4"]})
    metrics = run(again)
    found = read_index(again.paths.index, "pairs")
    assert metrics["rejects"] == 0
    assert sorted(row["composite_sha256"] for row in found) == sorted(row["composite_sha256"] for row in rows)
    assert {row["method"] for row in found} == {"published"}
    assert Counter(row["split"] for row in found) == Counter(row["split"] for row in rows)


def test_names_in_the_layout_keep_one_bar_for_one_meaning(photos, params):
    for kind in ("images", "masks"):
        for path in sorted((photos / kind).iterdir())[:2]:
            path.rename(path.with_name(path.name.replace("p0", "a_b_" if path.stem == "p00" else "a-b-")))
    (photos / "images" / "a-b-1.jpg").rename(photos / "images" / "a-b-0.jpg")  # now equal to a_b_0 once '_' is gone
    (photos / "masks" / "a-b-1.png").rename(photos / "masks" / "a-b-0.png")
    run(params)
    names = [Path(row["composite_path"]).stem for row in read_index(params.paths.index, "pairs")]
    assert all(name.count("_") == 2 for name in names)
    assert len(set(names)) == len(names)


def test_no_group_stands_in_two_splits_and_references_are_of_the_same_split(photos, params, monkeypatch):
    taken = []
    original = composite_chunks.synthesize_object

    def watched(planned, numbers, context, *, folder):
        taken.extend((planned.candidate, drawn.candidate) for number in range(20) if (drawn := context.draw(planned, number, 0)))
        return original(planned, numbers, context, folder=folder)

    monkeypatch.setattr(composite_chunks, "synthesize_object", watched)
    run(params)
    assert taken
    assert all(candidate.split == reference.split and candidate.group != reference.group for candidate, reference in taken)
    splits: dict[str, set[str]] = {}
    for table in ("photographs", "pairs"):
        for row in read_index(params.paths.index, table):
            splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(own) == 1 for own in splits.values())


# --- The same bytes ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    """Three photographs to a chunk, of either kind."""
    for module in (check_chunks, composite_chunks):
        monkeypatch.setattr(module, "CHUNK_PHOTOGRAPHS", 3)


def test_two_runs_in_any_order_are_byte_equal(photos, params, configure, small_chunks):
    run(params)
    first = outputs(params)
    shutil.rmtree(params.paths.work)
    run(configure({**EASY, "speed.num_workers": 7}), backwards=True)
    assert outputs(params) == first
    assert len(first) > 3 * NUM_PHOTOS


def test_another_seed_gives_other_composites_of_the_same_split(photos, params, configure):
    run(params)
    splits = {row["key"]: row["split"] for row in read_index(params.paths.index, "photographs")}
    first = outputs(params)
    other = configure({**EASY, "seed": 2})
    run(other)
    assert {row["key"]: row["split"] for row in read_index(params.paths.index, "photographs")} == splits
    assert outputs(params) != first


def test_a_killed_run_continues_with_what_is_not_done(photos, params, small_chunks, monkeypatch):
    checks = plan_ingest(params)
    assert len(checks) == 3
    check_chunk(params, checks[0])
    again = plan_ingest(params)
    assert again == checks[1:]
    for chunk in again:
        check_chunk(params, chunk)
    units = settle_ingest(params)
    assert len(units) == 3
    compose_chunk(params, units[0])
    worked = []
    original = composite_chunks._compose
    monkeypatch.setattr(composite_chunks, "_compose", lambda *args: (worked.extend(one["key"] for one in args[1]), original(*args))[1])
    assert plan_ingest(params) == []
    for unit in settle_ingest(params):
        compose_chunk(params, unit)
    finish_ingest(params)
    assert len(set(worked)) == len(worked) == NUM_PHOTOS - 3


def test_composites_whose_files_are_gone_are_made_again(photos, params):
    run(params)
    first = outputs(params)
    next((params.paths.work / "ingest" / "composites").glob("*/files/*/*")).unlink()
    run(params)
    assert outputs(params) == first


def test_a_changed_file_is_looked_at_again(photos, params):
    run(params)
    before = {row["key"]: row["image_sha256"] for row in read_index(params.paths.index, "photographs")}
    path = photos / "images" / "p03.jpg"
    path.write_bytes(encode_jpeg(255 - read_image(path), 90))
    run(params)
    after = {row["key"]: row["image_sha256"] for row in read_index(params.paths.index, "photographs")}
    assert [key for key in before if before[key] != after[key]] == ["photos_p03"]


@pytest.mark.parametrize(
    ("file", "due"),
    [
        ("tasks/mine.py", (0, 0)), ("tasks/ingestion/checks.py", (1, 0)), ("tasks/ingestion/synthesis.py", (0, 1)),
        ("tasks/color/transfer.py", (0, 1)), ("attune/images.py", (1, 1)),
    ],
)
@pytest.mark.usefixtures("photos")
def test_edited_code_makes_its_own_outcomes_and_composites_anew(params, edit_code, file, due):
    def make():
        checks = plan_ingest(params)
        for chunk in checks:
            check_chunk(params, chunk)
        composites = settle_ingest(params)
        for chunk in composites:
            compose_chunk(params, chunk)
        return len(checks), len(composites)

    assert make() == (1, 1)
    edit_code(file)
    assert make() == due


def test_leftovers_in_the_outputs_are_cleared_and_the_manifest_is_last(photos, params):
    run(params)
    (params.paths.index / "foreign.txt").touch()
    (params.paths.composites / "Old").mkdir()
    assert plan_ingest(params) == []
    assert settle_ingest(params) == []
    assert not (params.paths.index / "manifest.json").exists()
    assert not any(params.paths.composites.iterdir())
    finish_ingest(params)
    manifest = json.loads((params.paths.index / "manifest.json").read_text())
    assert manifest["tables"]["photographs"]["rows"] == NUM_PHOTOS
    assert not (params.paths.index / "foreign.txt").exists()


def test_an_unfinished_plan_is_not_joined(photos, params, small_chunks):
    first, *others = plan_ingest(params)
    check_chunk(params, first)
    with pytest.raises(ValueError, match="photos_p03 of source photos is not checked yet"):
        settle_ingest(params)
    for chunk in others:
        check_chunk(params, chunk)
    compose_chunk(params, settle_ingest(params)[0])
    with pytest.raises(ValueError, match="2 chunks of composites are not done"):
        finish_ingest(params)


# --- One photograph under several names -------------------------------------------------------------------------------------------------


@pytest.fixture
def benchmark(project, photos, photograph, object_mask):
    """A test set in iHarmony4's layout, one photograph of which the folder of photographs holds too: re-encoded, shrunk, renamed."""
    root = project / "data" / "raw" / "iHarmony4"
    entries = []
    for number in (1, 2):
        image, mask = photograph(300, 400, 100 + number), object_mask(300, 400)
        for folder, name, data in (
            ("composite_images", f"b{number}_1_1.jpg", encode_jpeg(np.where(mask[..., None] > 0, image // 2, image), 95)),
            ("real_images", f"b{number}.jpg", encode_jpeg(image, 95)), ("masks", f"b{number}_1.png", encode_png(mask)),
        ):
            (root / "HBench" / folder).mkdir(parents=True, exist_ok=True)
            (root / "HBench" / folder / name).write_bytes(data)
        entries.append(("HBench", f"b{number}_1_1.jpg", "test"))
    write_lists(root, entries)
    copy = resize_image(photograph(300, 400, 101), 113, 150)
    (photos / "images" / "stolen.jpg").write_bytes(encode_jpeg(copy, 60))
    (photos / "masks" / "stolen.png").write_bytes(encode_png(object_mask(113, 150)))
    return root


def splits_of(params, table: str) -> dict[str, str]:
    return {row["key"]: row["split"] for row in read_index(params.paths.index, table)}


def test_a_planted_leak_is_caught_and_the_copy_stands_with_its_benchmark(benchmark, configure):
    params = configure({**EASY, "ingest.sources": ["photos", "iharmony4"], "ingest.test_share": 0.0, "ingest.val_share": 0.0})
    metrics = run(params)
    photographs = splits_of(params, "photographs")
    assert photographs.pop("photos_stolen") == "test"
    assert set(photographs.values()) == {"train"}
    pairs = read_index(params.paths.index, "pairs")
    assert all(row["split"] == "train" and row["group"].startswith("photos/") for row in pairs if row["source"] == "photos")
    assert splits_of(params, "pairs") | {"iharmony4_HBench_b1_1_1": "test", "iharmony4_HBench_b2_1_1": "test"} == splits_of(params, "pairs")
    audit = {row["key"]: row for row in read_index(params.paths.index, "duplicates")}
    assert set(audit) == {"photos/photos/stolen", "iharmony4/HBench/b1"}
    assert {row["group"] for row in audit.values()} == {"iharmony4/HBench/b1"}
    stolen = audit["photos/photos/stolen"]
    assert (stolen["own_split"], stolen["split"], stolen["action"]) == ("train", "test", "moved")
    assert 0 <= stolen["distance"] <= params.ingest.max_hash_distance
    assert {name: metrics[name] for name in ("duplicate_groups", "leaks_found", "leaks_moved", "leaks_left_out")} == {
        "duplicate_groups": 1.0, "leaks_found": 1.0, "leaks_moved": 1.0, "leaks_left_out": 0.0,
    }


def test_a_copy_that_its_manifest_wants_to_train_on_is_left_out_with_a_reason(benchmark, photos, configure):
    stems = sorted(path.stem for path in (photos / "images").iterdir())
    (photos / "manifest.csv").write_text("image,mask,split\n" + "".join(f"{stem},{stem},train\n" for stem in stems))
    params = configure({**EASY, "ingest.sources": ["photos", "iharmony4"], "ingest.max_reject_fraction": 0.0})
    metrics = run(params)
    assert "photos_stolen" not in splits_of(params, "photographs")
    assert not any("stolen" in row["composite_path"] for row in read_index(params.paths.index, "pairs"))
    (row,) = [row for row in read_index(params.paths.index, "rejects") if row["reason"] == "leak"]
    assert row["key"] == "photos_stolen"
    assert "group iharmony4/HBench/b1" in row["detail"]
    assert (metrics["leaks_left_out"], metrics["pairs_test"]) == (1.0, 2.0)


def test_a_smaller_copy_that_comes_later_moves_no_photograph(photos, params):
    run(params)
    before = splits_of(params, "photographs")
    for number in range(NUM_PHOTOS):
        image, mask = (resize_image(read(photos / kind / f"p{number:02d}.{suffix}"), 51, 64)
                       for read, kind, suffix in ((read_image, "images", "jpg"), (read_mask, "masks", "png")))
        (photos / "images" / f"again{number}.jpg").write_bytes(encode_jpeg(image, 90))
        (photos / "masks" / f"again{number}.png").write_bytes(encode_png(mask))
    metrics = run(params)
    after = splits_of(params, "photographs")
    assert {key: after[key] for key in before} == before
    assert all(after[f"photos_again{number}"] == before[f"photos_p{number:02d}"] for number in range(NUM_PHOTOS))
    assert (metrics["duplicate_groups"], metrics["duplicate_photographs"]) == (NUM_PHOTOS, 2 * NUM_PHOTOS)


# --- What was checked is not checked again ------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """The paths of the images that checking opens, as they come."""
    paths = []
    original = check_chunks.check_image
    monkeypatch.setattr(check_chunks, "check_image", lambda path, limits: (paths.append(path), original(path, limits))[1])
    return paths


def test_new_files_alone_are_checked(photos, params, opened, object_mask, photograph):
    run(params)
    assert len(opened) == NUM_PHOTOS
    opened.clear()
    run(params)
    assert opened == []
    for name in ("x", "y"):
        (photos / "images" / f"{name}.jpg").write_bytes(encode_jpeg(photograph(64, 80, ord(name)), 90))
        (photos / "masks" / f"{name}.png").write_bytes(encode_png(object_mask(64, 80)))
    (photos / "masks" / "p03.png").write_bytes(encode_png(object_mask(64, 80, 0.3)))
    run(params)
    assert sorted(Path(path).stem for path in opened) == ["p03", "x", "y"]


def test_new_photographs_leave_the_composites_of_others_alone_but_for_those_that_borrow_from_them(
    project, write_photos, configure, monkeypatch, photograph,
):
    params = configure(EASY)
    photos = write_photos(project / "data" / "raw" / "photos", 30)
    run(params)
    before = fingerprints(params.paths.composites)
    made = []
    original = composite_chunks.synthesize_object

    def watched(planned, numbers, context, *, folder):
        made.extend((planned.image_id, number) for number in numbers)
        return original(planned, numbers, context, folder=folder)

    monkeypatch.setattr(composite_chunks, "synthesize_object", watched)
    for name in ("x", "y"):
        (photos / "images" / f"{name}.jpg").write_bytes(encode_jpeg(photograph(64, 80, ord(name)), 90))
        shutil.copy(photos / "masks" / "p00.png", photos / "masks" / f"{name}.png")
    run(params)
    after = fingerprints(params.paths.composites)
    assert {("x", 1), ("x", 2), ("y", 1), ("y", 2)} <= set(made)
    assert len(made) <= 30  # of 80 or so
    touched = {Path(name).stem for name in before if before[name] != after.get(name) and name.endswith((".jpg", ".png"))}
    assert touched <= {f"{image_id}_1_{number}" for image_id, number in made}
    grown = outputs(params)
    shutil.rmtree(params.paths.work)
    run(params)
    assert outputs(params) == grown  # what was kept is what would be made


def test_bad_files_are_remembered_and_mended_ones_looked_at(photos, configure, opened):
    params = configure({**EASY, "ingest.max_reject_fraction": 1.0})
    whole = (photos / "images" / "p05.jpg").read_bytes()
    (photos / "images" / "p05.jpg").write_bytes(b"")
    run(params)
    opened.clear()
    run(params)
    assert opened == []
    assert [row["key"] for row in read_index(params.paths.index, "rejects") if row["reason"] == "unreadable"] == ["photos_p05"]
    (photos / "images" / "p05.jpg").write_bytes(whole)
    run(params)
    assert [Path(path).stem for path in opened] == ["p05"]
    assert "photos_p05" in splits_of(params, "photographs")


def test_the_cache_changes_no_byte_and_other_limits_find_it_empty(photos, params, configure, opened):
    run(params)
    first = outputs(params)
    run(params)
    assert outputs(params) == first
    shutil.rmtree(params.paths.work)
    run(params)
    assert outputs(params) == first
    opened.clear()
    run(configure({**EASY, "ingest.max_hash_distance": 4, "ingest.val_share": 0.1, "speed.num_workers": 5}))
    assert opened == []
    run(configure({**EASY, "ingest.min_side": 33}))
    assert len(opened) == NUM_PHOTOS


def test_files_that_are_gone_are_forgotten(photos, params):
    run(params)
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (photos / kind / f"p02.{suffix}").unlink()
    run(params)
    (kept,) = outcomes_folder(params).glob("*.parquet")
    assert kept.name == "kept.parquet"
    assert len(list(iterate_results(kept.parent))) == NUM_PHOTOS - 1


def test_a_file_that_changes_while_it_is_checked_is_named(photos, params, monkeypatch):
    (chunk,) = plan_ingest(params)
    original = check_chunks.check_image

    def changing(path, limits):
        checked = original(path, limits)
        if path.endswith("p04.jpg"):
            Path(path).write_bytes(b"other")
        return checked

    monkeypatch.setattr(check_chunks, "check_image", changing)
    with pytest.raises(ValueError, match=r"p04\.jpg: changed while"):
        check_chunk(params, chunk)


# --- Bad input --------------------------------------------------------------------------------------------------------------------------


def spoil(photos: Path, object_mask, photograph) -> dict[str, RejectReason]:
    """Break seven of the photographs, each in another way; key -> the reason it must get."""
    images, masks = photos / "images", photos / "masks"
    (images / "p00.jpg").write_bytes(b"")
    (images / "p01.jpg").write_bytes((images / "p01.jpg").read_bytes()[:500])
    (images / "p02.jpg").write_bytes(encode_jpeg(photograph(20, 80, 1), 90))
    (masks / "p02.png").write_bytes(encode_png(object_mask(20, 80)))
    (masks / "p03.png").write_bytes(encode_png(object_mask(64, 64)))
    (masks / "p04.png").write_bytes(encode_png(np.zeros((64, 80), np.uint8)))
    (masks / "p05.png").write_bytes(encode_png(object_mask(64, 80, 0.001)))
    (masks / "p06.png").write_bytes(encode_png(np.full((64, 80), 255, np.uint8)))
    return {
        "photos_p00": RejectReason.UNREADABLE, "photos_p01": RejectReason.UNREADABLE, "photos_p02": RejectReason.TOO_SMALL,
        "photos_p03": RejectReason.SIZE_MISMATCH, "photos_p04": RejectReason.EMPTY_MASK, "photos_p05": RejectReason.FG_TOO_SMALL,
        "photos_p06": RejectReason.FG_TOO_LARGE,
    }


def test_each_bad_file_has_its_reason_and_nothing_good_is_lost(photos, configure, object_mask, photograph):
    wanted = spoil(photos, object_mask, photograph)
    params = configure({**EASY, "ingest.max_reject_fraction": 1.0})
    run(params)
    rejects = {row["key"]: row for row in read_index(params.paths.index, "rejects") if row["reason"] != "synthesis_failed"}
    assert {key: row["reason"] for key, row in rejects.items()} == {key: reason.value for key, reason in wanted.items()}
    assert all(row["path"] in row["detail"] for row in rejects.values())
    assert [row["key"] for row in read_index(params.paths.index, "photographs")] == ["photos_p07"]


def test_too_many_bad_files_stop_the_stage_with_a_table_of_reasons(photos, params, object_mask, photograph):
    spoil(photos, object_mask, photograph)
    with pytest.raises(ValueError, match=r"7 of 8 samples of source photos.*max_reject_fraction = 0\.5") as raised:
        run(params)
    assert "2  unreadable, as in data/raw/photos/images/p00.jpg" in str(raised.value)
    assert len(read_index(params.paths.index, "rejects")) >= 7
    assert not (params.paths.index / "manifest.json").exists()


def test_a_source_that_lists_nothing_is_refused(project, params):
    for name in ("images", "masks"):
        (project / "data" / "raw" / "photos" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="photos lists no sample"):
        plan_ingest(params)
    with pytest.raises(ValueError, match=r"ingest\.sources: empty"):
        plan_ingest(params.model_copy(update={"ingest": params.ingest.model_copy(update={"sources": []})}))


def test_a_planted_leak_between_splits_is_refused(photos, params):
    (photos / "manifest.csv").write_text(
        "image,mask,split,source_key\n" + "".join(f"p0{n},p0{n},{'test' if n == 5 else 'train'},film\n" for n in range(NUM_PHOTOS)))
    with pytest.raises(ValueError, match=r"group 'photos/photos/film' stands in two splits.*photos_p05"):
        run(params)


def test_a_bomb_is_refused_by_params(photos, configure):
    params = configure({**EASY, "ingest.max_megapixels": 0.004})
    with pytest.raises(ValueError, match=r"too_large, as in .*max_megapixels = 0\.004"):
        run(params)


def test_io_errors_pass_through_for_a_retry(photos, params, monkeypatch):
    chunk = plan_ingest(params)[0]

    def failing(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(OSError, match="Input/output"):
        check_chunk(params, chunk)


def test_absurd_limits_make_composites_rejects_not_failures(photos, configure):
    params = configure({**EASY, "ingest.synthesis.min_fmse": 8999.0, "ingest.synthesis.max_fmse": 9000.0})
    metrics = run(params)
    rows = read_index(params.paths.index, "rejects")
    assert metrics["rejects"] == len(rows) > 0
    assert {row["reason"] for row in rows} == {"synthesis_failed"}
    assert all("draws" in row["detail"] for row in rows)


# --- The other kinds --------------------------------------------------------------------------------------------------------------------


def test_retouches_and_real_composites_become_rows(project, configure, photograph, object_mask):
    raw = project / "data" / "raw"
    for name in ("retouch_pairs/before", "retouch_pairs/after", "real_composites/images", "real_composites/masks"):
        (raw / name).mkdir(parents=True)
    image = photograph(60, 70, 1)
    (raw / "retouch_pairs/before/a.jpg").write_bytes(encode_jpeg(image, 90))
    (raw / "retouch_pairs/after/a.jpg").write_bytes(encode_jpeg(255 - image, 90))
    (raw / "real_composites/images/c.jpg").write_bytes(encode_jpeg(image, 90))
    (raw / "real_composites/masks/c.png").write_bytes(encode_png(object_mask(60, 70)))
    params = configure({**EASY, "ingest.sources": ["retouch", "composites"]})
    metrics = run(params)
    assert (metrics["retouches"], metrics["composites"], metrics["median_composite_fmse"]) == (1.0, 1.0, 0.0)
    (retouch,) = read_index(params.paths.index, "retouches")
    assert (retouch["mask_path"], retouch["mask_sha256"], retouch["fg_ratio"], retouch["width"]) == ("", "", 0.0, 70)
    assert read_index(params.paths.index, "composites")[0]["fg_ratio"] == pytest.approx(0.2, abs=0.02)
    assert (params.paths.composites / "manifest.json").is_file()


def test_the_genuine_iharmony4_fragment_is_taken_whole(project, real_data, configure):
    folders = {"iharmony4": "iharmony4_sample"}
    params = configure({**EASY, "paths.raw": str(real_data), "ingest.sources": ["iharmony4"], "ingest.folders": folders})
    metrics = run(params)
    assert (metrics["pairs_test"], metrics["rejects"]) == (3.0, 0.0)
    assert all(100 < row["composite_fmse"] < 9000 for row in read_index(params.paths.index, "pairs"))


def test_published_pairs_are_taken_with_any_share_of_foreground(tmp_path, configure, photograph, object_mask):
    limits = configure(EASY).ingest
    (tmp_path / "x.png").write_bytes(encode_png(photograph(100, 100, 1)))
    (tmp_path / "m.png").write_bytes(encode_png(object_mask(100, 100, 0.002)))
    image = check_image(str(tmp_path / "x.png"), limits)
    assert check_mask(str(tmp_path / "m.png"), image, limits, any_ratio=True).fg_ratio == pytest.approx(0.0016, abs=0.001)
    with pytest.raises(BadSample, match="min_fg_ratio"):
        check_mask(str(tmp_path / "m.png"), image, limits)


def test_foreground_mse_is_the_mean_square_inside_the_mask(photograph, object_mask):
    first, second, mask = photograph(40, 50, 1), photograph(40, 50, 2), object_mask(40, 50)
    by_hand = np.square(first[mask > 0].astype(float) - second[mask > 0]).mean()
    assert foreground_mse(first, second, mask) == pytest.approx(by_hand)
    assert foreground_mse(first, np.clip(first.astype(int) + 3, 0, 255).astype(np.uint8), mask) == pytest.approx(9.0)


def test_results_count_what_a_chunk_holds(photos, params):
    (photos / "images" / "p00.jpg").write_bytes(b"")
    (check,) = plan_ingest(params)
    assert check_chunk(params, check) == DoneChunk(check.name, NUM_PHOTOS - 1, 1)
    (unit,) = settle_ingest(params)
    done = compose_chunk(params, unit)
    metrics = finish_ingest(params)
    pairs = sum(metrics[f"pairs_{split}"] for split in ("train", "val", "test"))
    assert done == DoneChunk(unit.name, int(pairs), int(metrics["rejects"]) - 1)
