"""COCO annotations: masks as drawn by hand, the area rule, crowds passed over, damaged ones refused before any C code sees them."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as run_lengths
from skimage.draw import polygon as draw_polygon

from attune.images import encode_jpeg, read_mask
from attune.rejects import BadSample, RejectReason
from tasks.ingestion.check_cache import check_key
from tasks.sources.coco import _decompressed, list_coco, object_rle, read_annotations

HEIGHT, WIDTH = 60, 80


def rle_of(mask: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths of a 0/1 mask, as a COCO file holds them."""
    packed = run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(packed["size"]), "counts": packed["counts"].decode()}


def runs_of(mask: np.ndarray) -> dict[str, Any]:
    """Plain run lengths: column by column, beginning with background."""
    flat = np.concatenate([[0], mask.astype(np.uint8).ravel(order="F")])
    ends = np.append(np.flatnonzero(np.diff(flat)), mask.size)
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).tolist()}


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 7, "iscrowd": 0, "segmentation": box(10, 10, 40, 40), **changes}


@pytest.fixture
def write_coco(project, photograph):
    """`write_coco(annotations, **changes)`: a folder in COCO's layout with one photograph; the path of its annotation file."""

    def written(annotations: list[Any], name: str = "train2017", **changes: Any) -> Path:
        folder = project / "data" / "raw" / "coco"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "000000000001.jpg").write_bytes(encode_jpeg(photograph(HEIGHT, WIDTH, 1), 90))
        content = {
            "images": [{"id": 1, "file_name": "000000000001.jpg", "height": HEIGHT, "width": WIDTH, "license": 3}],
            "categories": [{"id": 7, "name": "dog"}], "licenses": [{"id": 3, "name": "CC BY"}], "annotations": annotations, **changes,
        }
        path = folder / "annotations" / f"instances_{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return written


@pytest.fixture
def params(configure):
    return configure({"ingest.sources": ["coco"]})


def test_an_object_is_a_photograph_with_a_mask_label_and_licence(write_coco, params):
    write_coco([annotation(5)])
    (found,) = list_coco(params).photographs
    assert (found.key, found.subset, found.label, found.licence, found.split) == ("coco_train2017_5", "train2017", "dog", "CC BY", None)
    assert found.image_path == "data/raw/coco/train2017/000000000001.jpg"
    assert found.mask_path == "data/prepared/coco/train2017/coco_train2017_5.png"
    mask = read_mask(Path(found.mask_path))
    by_hand = np.zeros((HEIGHT, WIDTH), np.uint8)
    by_hand[10:40, 10:40] = 255
    assert np.array_equal(mask, by_hand)


def test_polygons_plain_and_compressed_runs_draw_the_same_mask(write_coco, params):
    rows, columns = draw_polygon([12.0, 15.0, 50.0, 45.0], [10.0, 60.0, 70.0, 20.0], (HEIGHT, WIDTH))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[rows, columns] = 1
    write_coco([
        annotation(1, segmentation=[[10, 12, 60, 15, 70, 50, 20, 45]]), annotation(2, segmentation=rle_of(mask)),
        annotation(3, segmentation=runs_of(mask)),
    ])
    drawn, packed, plain = (read_mask(Path(one.mask_path)) for one in list_coco(params).photographs)
    assert np.array_equal(packed, mask * 255)
    assert np.array_equal(plain, mask * 255)
    assert np.mean(drawn != packed) < 0.02  # the outline's own pixels, where two rules of rasterizing differ


def test_several_polygons_are_one_object(write_coco, params):
    write_coco([annotation(1, segmentation=[*box(5, 5, 15, 15), *box(50, 30, 70, 50)])])
    (found,) = list_coco(params).photographs
    assert np.count_nonzero(read_mask(Path(found.mask_path))) == 10 * 10 + 20 * 20


@pytest.mark.parametrize(("side", "wanted"), [(6, "too_small"), (7, None), (61, None), (63, "too_large")])
def test_hcocos_rule_is_one_to_eighty_percent(write_coco, params, side, wanted):
    height = min(side, HEIGHT)  # 36 and 49 of 4,800 px; 3,660 and 3,780... of which 80 % are 3,840
    width = side if side < HEIGHT else side + 3
    write_coco([annotation(1, segmentation=box(0, 0, width, height)), annotation(2)])
    listed = list_coco(params)
    counts = json.loads((params.paths.prepared / "coco" / "manifest.json").read_text())["train2017"]
    assert not listed.rejects
    assert len(listed.photographs) == (1 if wanted else 2)
    assert (counts["too_small"], counts["too_large"]) == (int(wanted == "too_small"), int(wanted == "too_large"))


def test_crowds_are_passed_over_and_counted(write_coco, params):
    write_coco([annotation(1), annotation(2, iscrowd=1, segmentation=rle_of(np.ones((HEIGHT, WIDTH))))])
    listed = list_coco(params)
    assert ([one.key for one in listed.photographs], listed.rejects) == (["coco_train2017_1"], ())
    counts = json.loads((params.paths.prepared / "coco" / "manifest.json").read_text())
    assert counts == {"train2017": {"annotations": 2, "objects": 1, "rejects": 0, "crowd": 1, "too_small": 0, "too_large": 0}}


def test_files_of_one_set_share_no_keys_and_objects_of_one_photograph_share_a_group(write_coco, params):
    write_coco([annotation(1), annotation(2)])
    write_coco([annotation(1)], "val2017")
    found = list_coco(params).photographs
    assert [one.key for one in found] == ["coco_train2017_1", "coco_train2017_2", "coco_val2017_1"]
    assert found[0].group == found[1].group != found[2].group


BROKEN: dict[str, tuple[Any, RejectReason]] = {
    "an image that is not there": (annotation(1, image_id=99), RejectReason.UNKNOWN_ID),
    "a category that is not there": (annotation(1, category_id=99), RejectReason.UNKNOWN_ID),
    "an id that is no number": (annotation(1, image_id="1"), RejectReason.UNKNOWN_ID),
    "no id": ({**annotation(1), "id": None}, RejectReason.BAD_ANNOTATION),
    "no object at all": (["id", 1], RejectReason.BAD_ANNOTATION),
    "no segmentation": (annotation(1, segmentation=None), RejectReason.BAD_ANNOTATION),
    "no polygon": (annotation(1, segmentation=[]), RejectReason.BAD_ANNOTATION),
    "two corners": (annotation(1, segmentation=[[1, 1, 30, 30]]), RejectReason.BAD_ANNOTATION),
    "half a corner": (annotation(1, segmentation=[[1, 1, 30, 1, 30, 30, 5]]), RejectReason.BAD_ANNOTATION),
    "corners that are words": (annotation(1, segmentation=[["a", "b", "c", "d", "e", "f"]]), RejectReason.BAD_ANNOTATION),
    "a corner nowhere": (annotation(1, segmentation=[[1, 1, float("nan"), 1, 30, 30]]), RejectReason.BAD_ANNOTATION),
    "a corner far outside": (annotation(1, segmentation=[[1, 1, 1e9, 1, 30, 30]]), RejectReason.BAD_ANNOTATION),
    "runs of another size": (annotation(1, segmentation=rle_of(np.ones((HEIGHT, WIDTH + 1)))), RejectReason.BAD_ANNOTATION),
    "runs that are too few": (annotation(1, segmentation={"size": [HEIGHT, WIDTH], "counts": [5, 6]}), RejectReason.BAD_ANNOTATION),
    "runs below zero": (annotation(1, segmentation={"size": [HEIGHT, WIDTH], "counts": [-5, 4805]}), RejectReason.BAD_ANNOTATION),
    "runs of garbage": (annotation(1, segmentation={"size": [HEIGHT, WIDTH], "counts": "zz~~\x7f"}), RejectReason.BAD_ANNOTATION),
    "runs cut off": (annotation(1, segmentation={"size": [HEIGHT, WIDTH], "counts": "PPP"}), RejectReason.BAD_ANNOTATION),
    "no runs": (annotation(1, segmentation={"size": [HEIGHT, WIDTH], "counts": ""}), RejectReason.BAD_ANNOTATION),
    "runs without size": (annotation(1, segmentation={"counts": [4800]}), RejectReason.BAD_ANNOTATION),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_annotation_has_its_reason_and_its_neighbour_survives(write_coco, params, name):
    broken, reason = BROKEN[name]
    write_coco([broken, annotation(2)])
    listed = list_coco(params)
    assert [one.key for one in listed.photographs] == ["coco_train2017_2"]
    assert [reject.reason for reject in listed.rejects] == [reason]
    assert "instances_train2017.json#" in listed.rejects[0].path


def test_an_id_that_stands_twice_counts_once(write_coco, params):
    write_coco([annotation(1), annotation(1, segmentation=box(2, 2, 30, 30))])
    listed = list_coco(params)
    assert ([one.key for one in listed.photographs], [reject.reason for reject in listed.rejects]) == (["coco_train2017_1"], ["duplicate"])


@pytest.mark.parametrize(("image", "reason"), [
    ({"file_name": "../../secret.jpg"}, "outside"), ({"file_name": "/etc/passwd"}, "outside"), ({"file_name": "a\0b.jpg"}, "bad_name"),
    ({"file_name": 5}, "bad_name"), ({"file_name": "\udce9.jpg"}, "bad_name"), ({"height": 10**6, "width": 10**6}, "too_large"),
    ({"height": 0}, "bad_annotation"), ({"height": "60"}, "bad_annotation"), ({"width": None}, "bad_annotation"),
])
def test_an_image_that_cannot_be_used_rejects_its_annotations(write_coco, params, image, reason):
    usable = {"id": 1, "file_name": "000000000001.jpg", "height": HEIGHT, "width": WIDTH}
    write_coco([annotation(1), annotation(2, image_id=2)], images=[usable, {**usable, "id": 2, **image}])
    listed = list_coco(params)
    assert ([one.key for one in listed.photographs], [reject.reason.value for reject in listed.rejects]) == (["coco_train2017_1"], [reason])


def test_names_and_licences_that_no_table_can_hold_do_no_harm(write_coco, params):
    image = {"id": 1, "file_name": "000000000001.jpg", "height": HEIGHT, "width": WIDTH, "license": [3]}
    write_coco([annotation(1)], images=[image], categories=[{"id": 7, "name": "d\udce9g"}], licenses=None)
    (found,) = list_coco(params).photographs
    assert (found.label, found.licence) == ("d?g", "")


@pytest.mark.parametrize("content", [
    "{", "[]", "null", "[" * 20000, '{"images": ' + "9" * 5000 + "}",
    '{"images": [], "annotations": []}', '{"images": [{}], "annotations": [], "categories": []}',
    '{"images": [{"id": "1"}], "annotations": [], "categories": []}',
])
def test_a_file_that_is_not_in_cocos_format_is_refused_by_name(tmp_path, content):
    (tmp_path / "instances_x.json").write_text(content)
    with pytest.raises(ValueError, match=r"instances_x\.json: not"):
        read_annotations(tmp_path / "instances_x.json")


def test_missing_folders_name_key_and_layout(project, params, write_coco):
    with pytest.raises(ValueError, match=r"ingest\.folders\.coco: no folder"):
        list_coco(params)
    path = write_coco([annotation(1)])
    path.rename(path.with_name("captions.json"))
    with pytest.raises(ValueError, match=r"no .*annotations/instances_\*\.json; expected"):
        list_coco(params)
    path.with_name("captions.json").rename(path.with_name("instances_test2017.json"))
    with pytest.raises(ValueError, match=r"instances_test2017\.json in none of .*coco/test2017, .*images/test2017"):
        list_coco(params)


def test_edited_code_draws_masks_anew_and_they_look_new_to_the_checks(write_coco, params, edit_code):
    write_coco([annotation(1), annotation(2)])

    def drawn():
        return {one.key: (Path(one.mask_path).stat().st_ino, check_key(one)) for one in list_coco(params).photographs}

    first = drawn()
    edit_code("tasks/sources/realhm.py")
    assert drawn() == first
    edit_code("tasks/sources/coco.py")
    for name, (file, key) in drawn().items():
        assert file != first[name][0]
        assert key != first[name][1]


def test_masks_are_drawn_once_and_leftovers_go(write_coco, params):
    path = write_coco([annotation(1), annotation(2)])
    masks = [Path(one.mask_path) for one in list_coco(params).photographs]
    before = [(mask.stat().st_mtime_ns, mask.stat().st_ino) for mask in masks]
    assert {mask.stat().st_mtime_ns // 10**9 for mask in masks} == {path.stat().st_mtime_ns // 10**9}
    list_coco(params)
    assert [(mask.stat().st_mtime_ns, mask.stat().st_ino) for mask in masks] == before
    masks[0].unlink()
    list_coco(params)
    assert masks[0].stat().st_mtime_ns == before[0][0], "a mask that was made again looks as it did"
    write_coco([annotation(2, segmentation=box(0, 0, 50, 50))])
    os.utime(path, ns=(1, before[0][0] + 10**9))
    (left,) = (Path(one.mask_path) for one in list_coco(params).photographs)
    assert np.count_nonzero(read_mask(left)) == 2500
    assert not masks[0].exists()


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_compressed_runs_are_read_as_pycocotools_writes_them(runs):
    total = sum(runs)
    packed = run_lengths.frPyObjects({"size": [1, max(1, total)], "counts": runs}, 1, max(1, total))
    assert _decompressed(packed["counts"].decode()) == runs


@given(st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmno", max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_whole_mask_or_refused(text):
    with contextlib.suppress(BadSample):
        mask = run_lengths.decode(object_rle({"size": [6, 5], "counts": text}, 6, 5, where="here"))
        assert mask.shape == (6, 5)
        assert set(np.unique(mask)) <= {0, 1}
