"""RealHM: composites pasted from their parts by the published formula, for evaluation only, one reason for each incomplete item."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from attune.images import encode_jpeg, encode_png, read_image, read_mask
from tasks.sources.realhm import find_items, list_realhm

HEIGHT, WIDTH = 60, 80


@pytest.fixture
def params(configure):
    return configure({"ingest.sources": ["realhm"]})


@pytest.fixture
def write_item(project, photograph, object_mask):
    """`write_item("vendor_testing_1/a", leave_out=("_gt",))`: an item's five files below data/raw/RealHM."""

    def written(name: str, *, leave_out: tuple[str, ...] = (), **replaced: bytes) -> Path:
        path = project / "data" / "raw" / "RealHM" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soft = cv2.GaussianBlur(object_mask(HEIGHT, WIDTH), (9, 9), 0)
        background = photograph(HEIGHT, WIDTH, 2)
        parts = {"": photograph(HEIGHT, WIDTH, 1), "_mask": np.repeat(soft[..., None], 3, axis=2), "_fore": background, "_gt": background,
                 "_small": photograph(16, 16, 3)}
        for part, pixels in parts.items():
            if part not in leave_out:
                path.with_name(f"{path.name}{part}.jpg").write_bytes(replaced.get(part or "image", encode_jpeg(pixels, 92)))
        return path

    return written


def test_the_composite_is_the_foreground_over_the_background_by_the_soft_mask(write_item, params):
    path = write_item("vendor_testing_1/a b")
    (pair,) = list_realhm(params).pairs
    foreground, background = (read_image(path.with_name(f"a b{part}.jpg")).astype(float) for part in ("", "_fore"))
    mask = read_mask(path.with_name("a b_mask.jpg"))[..., None] / 255
    assert np.abs(read_image(Path(pair.composite_path)) - (foreground * mask + background * (1 - mask))).max() <= 0.501
    assert len(np.unique(mask)) > 5


def test_every_pair_is_for_evaluation_with_a_clean_plate(write_item, params):
    write_item("vendor_testing_1/a")
    write_item("vendor_testing_2/sub/a")
    first, second = list_realhm(params).pairs
    assert (first.split, first.method, first.subset, second.subset) == ("test", "published", "vendor_testing_1", "vendor_testing_2")
    assert first.plate_path == "data/raw/RealHM/vendor_testing_1/a_fore.jpg"
    assert first.target_path == "data/raw/RealHM/vendor_testing_1/a_gt.jpg"
    assert first.composite_path == "data/prepared/realhm/realhm_vendor_testing_1_a.png"
    assert first.group != second.group
    assert first.key != second.key


@pytest.mark.parametrize("part", ["", "_mask", "_fore", "_gt"])
def test_a_missing_part_is_named_and_the_neighbour_survives(write_item, params, part):
    write_item("a", leave_out=(part,))
    write_item("b")
    listed = list_realhm(params)
    assert [pair.key for pair in listed.pairs] == ["realhm_b"]
    assert [(reject.key, reject.reason.value, reject.path) for reject in listed.rejects] == [("realhm_a", "missing", f"a{part}.jpg")]


def test_the_thumbnail_is_not_needed(write_item, params):
    write_item("a", leave_out=("_small",))
    assert len(list_realhm(params).pairs) == 1


def test_broken_and_unequal_parts_are_rejects(write_item, params, photograph):
    write_item("a", _fore=encode_jpeg(photograph(HEIGHT, WIDTH + 2, 2), 90))
    write_item("b", _mask=b"nonsense")
    write_item("c", image=encode_jpeg(photograph(HEIGHT, WIDTH, 1), 90)[:300])
    write_item("d", _mask=encode_png(np.zeros((HEIGHT + 1, WIDTH), np.uint8)))
    listed = list_realhm(params)
    assert not listed.pairs
    assert {reject.key[-1]: reject.reason.value for reject in listed.rejects} == {
        "a": "size_mismatch", "b": "unreadable", "c": "unreadable", "d": "size_mismatch",
    }
    assert not list((params.paths.prepared / "realhm").rglob("*.png"))


def test_composites_are_pasted_once_and_leftovers_go(write_item, params):
    first = write_item("a")
    write_item("b")
    outputs = [Path(pair.composite_path) for pair in list_realhm(params).pairs]
    before = [output.stat().st_ino for output in outputs]
    list_realhm(params)
    assert [output.stat().st_ino for output in outputs] == before
    for path in first.parent.glob("a*.jpg"):
        path.unlink()
    list_realhm(params)
    assert [output.exists() for output in outputs] == [False, True]


def test_edited_code_pastes_composites_anew_and_other_code_does_not(write_item, params, edit_code):
    write_item("a")

    def pasted():
        (pair,) = list_realhm(params).pairs
        return Path(pair.composite_path).stat().st_ino, Path(pair.composite_path).stat().st_mtime_ns

    first = pasted()
    edit_code("tasks/sources/coco.py")
    assert pasted() == first
    edit_code("tasks/color/transfer.py")
    again = pasted()
    assert again[0] != first[0]
    assert again[1] != first[1]


def test_items_are_found_in_any_folder_and_by_either_suffix(tmp_path):
    for name in ("v1/x.jpg", "v1/x_gt.JPG", "v2/deep/x_mask.jpeg", "v2/notes.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    items = find_items(tmp_path)
    assert {name: sorted(parts) for name, parts in items.items()} == {"v1/x": ["", "_gt"], "v2/deep/x": ["_mask"]}


def test_an_empty_folder_is_refused(project, params):
    (project / "data" / "raw" / "RealHM").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"ingest\.folders\.realhm: no \*\.jpg below"):
        list_realhm(params)
