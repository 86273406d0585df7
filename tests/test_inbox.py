"""The inbox: what passes ingestion is a batch, the rest stays with its reason; moves may be cut off anywhere, lists stay whole."""

import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.images import encode_png
from tasks.params import Params
from tasks.retraining import batches
from tasks.retraining.batches import Batch, link_files, merge_lists, put_aside, take_in
from tasks.retraining.inbox import Left, sort_inbox, write_left
from tasks.sources.photos import list_photos

WritePhotos = Callable[..., Path]


@pytest.fixture
def params(project: Path, configure: Callable[..., Params]) -> Params:
    """A project with three photographs of its own and an empty inbox."""
    return configure({
        "ingest.sources": ["photos", "retouch", "composites"], "ingest.min_side": 16,
        "release.inbox": "data/inbox", "paths.raw": "data/raw",
        "ingest.folders": {"photos": "photos", "retouch": "retouch_pairs", "composites": "real_composites"},
    })


def renamed(folder: Path, prefix: str) -> Path:
    """The photographs of a folder under names of their own."""
    for path in [*folder.glob("images/*"), *folder.glob("masks/*")]:
        path.rename(path.with_name(prefix + path.name))
    return folder


@pytest.fixture
def arrived(params: Params, write_photos: WritePhotos) -> Params:
    """Two photographs in the inbox, three in the project."""
    write_photos(params.paths.raw / "photos", 3)
    renamed(write_photos(params.release.inbox / "photos", 2), "new-")
    return params


def tree(*folders: Path) -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def reasons(left: list[Left]) -> dict[str, str]:
    return {Path(one.path).name: one.reason for one in left}


# --- Looking ----------------------------------------------------------------------------------------------------------------------------


def test_what_passes_is_the_batch_and_looking_moves_nothing(arrived: Params) -> None:
    before = tree(arrived.paths.raw, arrived.release.inbox)
    batch, left = sort_inbox(arrived)
    assert batch.files == ("photos/images/new-p00.jpg", "photos/images/new-p01.jpg", "photos/masks/new-p00.png", "photos/masks/new-p01.png")
    assert (batch.num_samples, left) == (2, [])
    assert tree(arrived.paths.raw, arrived.release.inbox) == before


def test_no_inbox_and_an_empty_one_hold_nothing(params: Params) -> None:
    assert sort_inbox(params) == (Batch("", (), {}, (), 0), [])
    params.release.inbox.mkdir(parents=True)
    assert sort_inbox(params) == (Batch("", (), {}, (), 0), [])


def test_a_bad_file_stays_with_its_reason_and_the_rest_is_taken(arrived: Params) -> None:
    folder = arrived.release.inbox / "photos"
    shutil.copy(folder / "images/new-p00.jpg", folder / "images/unmasked.jpg")
    for name, mask in (("broken", b"nothing"), ("empty", encode_png(np.zeros((64, 80), np.uint8)))):
        shutil.copy(folder / "images/new-p00.jpg", folder / f"images/{name}.jpg")
        (folder / f"masks/{name}.png").write_bytes(mask)
    shutil.copy(folder / "masks/new-p00.png", folder / "masks/alone.png")
    (folder / "images/cut.jpg").write_bytes((folder / "images/new-p01.jpg").read_bytes()[:900])
    shutil.copy(folder / "masks/new-p00.png", folder / "masks/cut.png")
    batch, left = sort_inbox(arrived)
    assert batch.num_samples == 2
    assert reasons(left) == {
        "unmasked.jpg": "no_mask", "broken.png": "unreadable", "empty.png": "empty_mask", "alone": "missing", "cut.jpg": "unreadable",
    }
    write_left(arrived.release.inbox, left)
    rows = list(csv.DictReader((arrived.release.inbox / "left.csv").read_text().splitlines()))
    assert {Path(row["path"]).name: row["reason"] for row in rows} == reasons(left)
    assert all(row["detail"] for row in rows)
    take_in(batch, arrived)
    assert sort_inbox(arrived)[0].files == ()
    assert reasons(sort_inbox(arrived)[1]) == reasons(left)
    write_left(arrived.release.inbox, [])
    assert not (arrived.release.inbox / "left.csv").exists()


def test_every_kind_of_source_is_taken(params: Params, write_photos: WritePhotos, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "some", 2)
    box = params.release.inbox
    shutil.copytree(photos / "images", box / "retouch_pairs/before")
    shutil.copytree(photos / "images", box / "retouch_pairs/after")
    shutil.copytree(photos, box / "real_composites")
    batch, left = sort_inbox(params)
    assert left == []
    assert batch.num_samples == 4
    assert {name.split("/")[0] for name in batch.files} == {"retouch_pairs", "real_composites"}


def test_strangers_and_folders_in_disorder_are_told_of(arrived: Params) -> None:
    box = arrived.release.inbox
    (box / "holiday").mkdir()
    (box / "real_composites/images").mkdir(parents=True)
    (box / "refused/0123").mkdir(parents=True)
    batch, left = sort_inbox(arrived)
    assert batch.num_samples == 2
    assert reasons(left) == {"holiday": "layout", "real_composites": "layout"}
    assert "masks" in next(one.detail for one in left if one.path.endswith("real_composites"))


def test_a_link_out_of_the_inbox_is_refused(arrived: Params) -> None:
    mask = arrived.release.inbox / "photos/masks/new-p00.png"
    target = arrived.paths.raw / "photos/masks/p00.png"
    mask.unlink()
    mask.symlink_to(target.absolute())
    batch, left = sort_inbox(arrived)
    assert (batch.num_samples, reasons(left)) == (1, {"new-p00.png": "outside"})


def test_namesakes_do_not_replace_what_is_there(arrived: Params) -> None:
    box, raw = arrived.release.inbox / "photos", arrived.paths.raw / "photos"
    for kind, name in (("images", "p00.jpg"), ("masks", "p00.png")):
        shutil.copy(raw / kind / name, box / kind / name)  # the same once more
    shutil.copy(raw / "images/p01.jpg", box / "images/p02.jpg")  # another of that name
    shutil.copy(raw / "masks/p01.png", box / "masks/p02.png")
    shutil.copy(raw / "images/p01.jpg", box / "images/p01.jpg")  # a second object of a photograph that is there
    shutil.copy(raw / "masks/p01.png", box / "masks/p01_2.png")
    (box / "images/p03.png").write_bytes(encode_png(np.full((64, 80, 3), 99, np.uint8)))
    shutil.copy(raw / "images/p02.jpg", raw / "images/p03.jpg")  # another suffix: the stem would name two
    shutil.copy(raw / "masks/p02.png", box / "masks/p03.png")
    batch, left = sort_inbox(arrived)
    assert reasons(left) == {"p00.jpg": "duplicate", "p02.jpg": "duplicate", "p03.png": "duplicate"}
    assert "photos/masks/p01_2.png" in batch.files
    before = tree(raw)
    take_in(batch, arrived)
    after = tree(raw)
    assert {name: after[name] for name in before} == before
    assert (raw / "masks/p01_2.png").is_file()


def test_the_batch_is_known_by_names_and_contents(arrived: Params) -> None:
    batch, _ = sort_inbox(arrived)
    assert sort_inbox(arrived)[0] == batch
    image = arrived.release.inbox / "photos/images/new-p00.jpg"
    shutil.copy(arrived.release.inbox / "photos/images/new-p01.jpg", image)
    assert sort_inbox(arrived)[0].digest != batch.digest


def test_a_batch_survives_json(arrived: Params) -> None:
    batch, _ = sort_inbox(arrived)
    assert Batch.from_json(json.loads(json.dumps(dataclasses.asdict(batch)))) == batch


# --- Lists ------------------------------------------------------------------------------------------------------------------------------


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> None:
    with open(folder / "manifest.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def objects(params: Params) -> dict[str, tuple[str, str | None, str]]:
    return {Path(one.mask_path).stem: (one.subset, one.split, one.group) for one in list_photos(params).photographs}


@pytest.mark.parametrize("theirs", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_every_object_is_listed_once_whoever_has_a_manifest(arrived: Params, ours: bool, theirs: bool) -> None:
    raw, box = arrived.paths.raw / "photos", arrived.release.inbox / "photos"
    if ours:
        write_manifest(raw, [{"image": f"p0{n}.jpg", "mask": f"p0{n}", "source": "archive", "split": "test"} for n in range(3)])
    if theirs:
        write_manifest(box, [{"mask": f"new-p0{n}.png", "image": f"new-p0{n}", "label": "cat", "split": "train"} for n in range(2)])
    before = objects(arrived)
    batch, left = sort_inbox(arrived)
    assert left == []
    take_in(batch, arrived)
    after = objects(arrived)
    assert {name: after[name] for name in before} == before
    assert set(after) == {*before, "new-p00", "new-p01"}
    assert after["new-p00"][1] == ("train" if theirs else None)
    assert (raw / "manifest.csv").is_file() == (ours or theirs)
    assert not (box / "manifest.csv").exists()
    assert sort_inbox(arrived) == (Batch("", (), {}, (), 0), [])


def test_rows_of_what_stays_stay_in_the_inboxs_list(arrived: Params) -> None:
    box = arrived.release.inbox / "photos"
    write_manifest(box, [{"image": name, "mask": name} for name in ("new-p00", "late", "new-p01")])
    batch, left = sort_inbox(arrived)
    assert reasons(left) == {"late": "missing"}
    take_in(batch, arrived)
    assert (box / "manifest.csv").read_text().splitlines() == ["image,mask", "late,late"]


def test_a_picture_that_the_inboxs_list_does_not_name_is_told_of(arrived: Params) -> None:
    write_manifest(arrived.release.inbox / "photos", [{"image": "new-p00.jpg", "mask": "new-p00"}])
    batch, left = sort_inbox(arrived)
    assert batch.num_samples == 1
    assert reasons(left) == {"new-p01.jpg": "layout"}
    assert left[0].detail.endswith("photos/manifest.csv does not name it")


def test_a_list_that_is_linked_elsewhere_is_left_alone(arrived: Params, tmp_path: Path) -> None:
    raw, workspace = arrived.paths.raw, tmp_path / "workspace"
    write_manifest(raw / "photos", [{"image": "p00", "mask": "p00"}])
    before = tree(raw)
    batch, _ = sort_inbox(arrived)
    link_files([path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()], raw, workspace)
    link_files(batch.files, arrived.release.inbox, workspace)
    merge_lists(batch, workspace, arrived)
    assert len((workspace / "photos/manifest.csv").read_text().splitlines()) == 4
    assert tree(raw) == before


# --- Moves ------------------------------------------------------------------------------------------------------------------------------


def test_a_refused_batch_is_put_aside_whole_and_may_come_back(arrived: Params) -> None:
    before = tree(arrived.paths.raw)
    contents = {name: (arrived.release.inbox / name).read_bytes() for name in sort_inbox(arrived)[0].files}
    batch, _ = sort_inbox(arrived)
    folder = put_aside(batch, arrived)
    assert folder == arrived.release.inbox / "refused" / batch.digest
    assert {name: (folder / name).read_bytes() for name in batch.files} == contents
    assert sort_inbox(arrived)[0].files == ()
    assert tree(arrived.paths.raw) == before


class Killed(BaseException):
    """As SIGKILL: nothing may catch it."""


@settings(max_examples=25, deadline=None)
@given(fuse=st.integers(0, 7), manifest=st.booleans())
def test_a_move_that_was_cut_off_anywhere_is_finished_by_doing_it_again(
    fuse: int, manifest: bool, tmp_path_factory: pytest.TempPathFactory, configure: Callable[..., Params]
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    params = configure({
        "ingest.sources": ["photos"], "ingest.min_side": 16, "release.inbox": str(folder / "inbox"), "paths.raw": str(folder / "raw"),
    })
    _photographs(folder / "raw/photos", ["old"])
    _photographs(folder / "inbox/photos", ["new", "newer"])
    if manifest:
        write_manifest(folder / "inbox/photos", [{"image": name, "mask": name, "label": "cat"} for name in ("new", "newer")])
    batch, _ = sort_inbox(params)
    steps = 0

    def burning(work: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            nonlocal steps
            if steps == fuse:
                raise Killed
            steps += 1
            work(*arguments)
        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_move_file", burning(batches._move_file))
        patch.setattr(batches, "write_rows", burning(batches.write_rows))
        try:
            take_in(batch, params)
        except Killed:
            assert steps == fuse
    take_in(batch, params)
    assert set(objects(params)) == {"old", "new", "newer"}
    assert (folder / "raw/photos/manifest.csv").is_file() == manifest
    assert [path for path in (folder / "inbox").rglob("*") if path.is_file()] == []


def _photographs(folder: Path, names: list[str]) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 255
    for number, name in enumerate(names):
        (folder / f"images/{name}.png").write_bytes(encode_png(np.full((32, 32, 3), 60 + number, np.uint8)))
        (folder / f"masks/{name}.png").write_bytes(encode_png(mask))


def test_across_file_systems_files_are_copied_whole(arrived: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _ = sort_inbox(arrived)
    contents = {name: (arrived.release.inbox / name).read_bytes() for name in batch.files}
    replace = os.replace

    def within(source: Path, destination: Path) -> None:
        if "inbox" in Path(source).parts:
            raise OSError("another device")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", within)
    take_in(batch, arrived)
    assert {name: (arrived.paths.raw / name).read_bytes() for name in batch.files} == contents
    assert not any((arrived.release.inbox / name).exists() for name in batch.files)
