"""The embedded data set: outlines that fit, splits that hold, files that are whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from attune.files import read_json
from attune.images import read_image, read_mask
from tasks.params import load_params
from tasks.sources import starter
from tasks.sources.starter import (
    PHOTOGRAPHS,
    StarterPhotograph,
    installed_file,
    list_starter,
    paint_outline,
    starter_objects,
    write_starter,
)

ROOT = Path(__file__).parents[1]
OBJECTS = [(name, number) for name, objects in starter_objects().items() for number in range(len(objects))]


def small_params(folder, **changes):
    params = load_params(ROOT / "params.yaml")
    sizes = params.ingest.starter.model_copy(update={"num_scenes": 3, "scene_size": 32, "max_side": 64, "num_retouches": 1, **changes})
    return params.model_copy(update={
        "paths": params.paths.model_copy(update={"starter": folder}),
        "ingest": params.ingest.model_copy(update={"starter": sizes}),
    })


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    params = small_params(tmp_path_factory.mktemp("starter") / "data")
    write_starter(params)
    return params


# --- Outlines -----------------------------------------------------------------------------------------------------------------------------


def test_every_photograph_has_objects_and_every_object_a_photograph():
    assert set(starter_objects()) == set(PHOTOGRAPHS)
    assert all(3 <= len(objects) <= 8 for objects in starter_objects().values())


@pytest.mark.parametrize(("name", "number"), OBJECTS)
def test_an_outline_lies_within_its_photograph_and_covers_its_own_area(name, number):
    thing = starter_objects()[name][number]
    corners = np.array(thing.outline)
    assert thing.label
    assert len(corners) >= 6
    assert corners.min() >= 0.0
    assert corners.max() <= 1.0
    x, y = corners.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2  # the shoelace formula: equal only if no side crosses another
    assert paint_outline(thing.outline, 200, 300).mean() / 255 == pytest.approx(area, rel=0.02, abs=2e-4)
    limits = load_params(ROOT / "params.yaml").ingest
    assert limits.min_fg_ratio < area < limits.max_fg_ratio


def test_a_painted_rectangle_has_its_area_in_closed_form_pixel_by_pixel():
    mask = paint_outline(((0.25, 0.25), (0.75, 0.25), (0.75, 0.65), (0.25, 0.65)), 10, 8)
    assert mask[3:6, 2:6].min() == 255
    np.testing.assert_allclose(mask[2, 2:6], 255 * 0.5, atol=255 / 8)  # cut in half by the edge at 2.5, to a subsample
    np.testing.assert_allclose(mask[6, 2:6], 255 * 0.5, atol=255 / 8)
    assert mask[[0, 1, 8, 9]].max() == 0


# --- Splits -------------------------------------------------------------------------------------------------------------------------------


def test_nothing_cut_from_a_test_photograph_stands_in_training():
    listed = list_starter(small_params(Path("data/starter")))
    samples = [*listed.photographs, *listed.pairs, *listed.retouches]
    splits = {}
    for sample in samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert all(len(found) == 1 for found in splits.values())
    assert splits["starter/chelsea"] == splits["starter/coffee"] == {"test"}
    assert sum(found == {"val"} for group, found in splits.items() if "scene" not in group) == 1
    assert {sample.split for sample in listed.retouches} == {"train"}
    test_files = {name for sample in samples if sample.split == "test" for name in vars(sample).values() if str(name).endswith(".png")}
    train_files = {name for sample in samples if sample.split != "test" for name in vars(sample).values() if str(name).endswith(".png")}
    assert not test_files & train_files


def test_scenes_keep_their_split_as_more_are_made_and_the_shares_hold():
    few = {pair.key: pair.split for pair in list_starter(small_params(Path("x"), num_scenes=40)).pairs}
    many = {pair.key: pair.split for pair in list_starter(small_params(Path("x"), num_scenes=400)).pairs}
    assert few.items() <= many.items()
    for splits in (few, many):
        counts = [list(splits.values()).count(split) / len(splits) for split in ("train", "val", "test")]
        np.testing.assert_allclose(counts, [0.8, 0.1, 0.1], atol=0.03)


def test_keys_are_unique_within_a_table():
    listed = list_starter(small_params(Path("data/starter"), num_scenes=20, num_retouches=12))
    for table in (listed.photographs, listed.pairs, listed.retouches):
        assert len({sample.key for sample in table}) == len(table) > 0


# --- Files --------------------------------------------------------------------------------------------------------------------------------


def test_the_listing_names_every_picture_that_was_written_and_no_other(written):
    listed = list_starter(written)
    samples = [*listed.photographs, *listed.pairs, *listed.retouches]
    named = {Path(value) for sample in samples for field, value in vars(sample).items() if field.endswith("_path") and value}
    assert named == set(written.paths.starter.rglob("*.png"))


def test_masks_have_their_photographs_size_and_retouches_differ_from_their_originals(written):
    listed = list_starter(written)
    for one in listed.photographs:
        image, mask = read_image(Path(one.image_path)), read_mask(Path(one.mask_path))
        assert image.shape[:2] == mask.shape
        assert max(image.shape) <= 64
        assert mask.max() > 200
    for pair in listed.retouches:
        before, after = read_image(Path(pair.before_path)), read_image(Path(pair.after_path))
        assert before.shape == after.shape
        assert (before != after).any()


def test_stored_scenes_are_exact_outside_the_mask_and_their_lights_are_told(written):
    described = read_json(written.paths.starter / "scenes.json")
    pairs = list_starter(written).pairs
    assert [one["scene"] for one in described] == [Path(pair.target_path).parent.name for pair in pairs]
    for one, pair in zip(described, pairs, strict=True):
        composite, target = read_image(Path(pair.composite_path)), read_image(Path(pair.target_path))
        outside = read_mask(Path(pair.mask_path)) == 0
        np.testing.assert_array_equal(composite[outside], target[outside])
        assert one["scene_light"] != one["object_light"]
        assert np.linalg.norm(one["object_light"]["direction"]) == pytest.approx(1.0)
        told = json.loads(pair.method_params)["object_light"]
        assert told["kelvin"] == pytest.approx(one["object_light"]["kelvin"])
        assert told["direction"] == pytest.approx(one["object_light"]["direction"], abs=1e-6)


def test_two_writes_are_byte_equal_whatever_the_number_of_threads(written, tmp_path):
    params = small_params(tmp_path / "again")
    params = params.model_copy(update={"speed": params.speed.model_copy(update={"num_workers": 1})})
    write_starter(params)
    assert contents(tmp_path / "again") == contents(written.paths.starter)


def test_a_second_call_writes_nothing(written):
    before = {path: path.stat().st_mtime_ns for path in written.paths.starter.rglob("*")}
    write_starter(written)
    assert {path: path.stat().st_mtime_ns for path in written.paths.starter.rglob("*")} == before


def test_edited_code_writes_anew_and_other_code_nothing(tmp_path, edit_code):
    params = small_params(tmp_path / "data", num_scenes=1, num_retouches=0)
    manifest = tmp_path / "data/manifest.json"

    def written():
        write_starter(params)
        return manifest.stat().st_ino, manifest.read_bytes()

    first = written()
    edit_code("tasks/ingestion/checks.py")
    assert written() == first
    edit_code("tasks/sources/starter_objects.json")
    assert written()[1] != first[1]


def test_an_interrupted_call_starts_afresh_and_leaves_nothing_foreign(tmp_path, monkeypatch):
    params = small_params(tmp_path / "data", num_scenes=1, num_retouches=0)
    monkeypatch.setattr(starter, "_write_scene", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_starter(params)
    assert not (tmp_path / "data/manifest.json").exists()
    monkeypatch.undo()
    (tmp_path / "data/photographs/foreign.png").write_bytes(b"")
    write_starter(params)
    assert (tmp_path / "data/manifest.json").is_file()
    assert not (tmp_path / "data/photographs/foreign.png").exists()


def test_another_seed_gives_other_scenes_and_the_same_photographs(written, tmp_path):
    params = small_params(tmp_path / "other", num_scenes=1).model_copy(update={"seed": written.seed + 1})
    write_starter(params)
    first, other = contents(written.paths.starter), contents(tmp_path / "other")
    assert first["photographs/china.png"] == other["photographs/china.png"]
    assert first["scenes/00000/target.png"] != other["scenes/00000/target.png"]


def test_a_photograph_that_its_package_lacks_is_named():
    with pytest.raises(ValueError, match=r"skimage: no file data/nothing\.png"):
        installed_file(StarterPhotograph("skimage", "data/nothing.png", "train", ""))
    with pytest.raises(ValueError, match="no_such_package"):
        installed_file(StarterPhotograph("no_such_package", "a.png", "train", ""))
