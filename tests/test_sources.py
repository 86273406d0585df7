"""Sources: each layout read as it is, names that stay inside, one reason for what cannot be used."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.rejects import BadSample, RejectReason
from tasks.evaluation.human_labels import JUDGEMENTS
from tasks.index import FOR_MEASURING
from tasks.sources.composites import list_composites
from tasks.sources.iharmony4 import CompositeName, list_iharmony4, parse_name, read_lists, write_lists
from tasks.sources.listing import check_inside, safe_key
from tasks.sources.photos import list_photos
from tasks.sources.realism_labels import list_realism_labels
from tasks.sources.retouch import list_retouch
from tasks.splits import SPLITS, check_groups, choose_split


@pytest.fixture
def raw(project):
    """The folder of brought data in an empty project."""
    folder = project / "data" / "raw"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def params(configure):
    return configure({"ingest.sources": ["photos"]})


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def reasons(candidates) -> dict[str, RejectReason]:
    return {reject.key: reject.reason for reject in candidates.rejects}


# --- Splits -----------------------------------------------------------------------------------------------------------------------------


def test_the_split_is_the_same_on_any_machine():
    letters = "".join(choose_split(f"group-{number}", val_share=0.1, test_share=0.1)[1] for number in range(40))
    assert letters == "rrrrrrrrrerrrrrrrrrrerrrerrarrrrrerrrrrr"  # second letters of tr, va, te: changing them would move everybody's data


def test_shares_are_kept_over_many_groups():
    chosen = [choose_split(f"group-{number}", val_share=0.1, test_share=0.2) for number in range(4000)]
    shares = [chosen.count(split) / len(chosen) for split in SPLITS]
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.025)


def test_a_larger_test_share_only_adds_to_the_test_split():
    groups = [f"group-{number}" for number in range(500)]
    small = {group for group in groups if choose_split(group, val_share=0.1, test_share=0.1) == "test"}
    large = {group for group in groups if choose_split(group, val_share=0.1, test_share=0.3) == "test"}
    assert small < large


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValueError, match="test_share"):
        choose_split("x", val_share=0.5, test_share=0.5)


def test_a_group_in_two_splits_is_found():
    check_groups([("a", "train", "1"), ("a", "train", "2"), ("b", "test", "3")])
    with pytest.raises(ValueError, match=r"'a'.*two splits.*'1'.*'3'"):
        check_groups([("a", "train", "1"), ("b", "test", "2"), ("a", "val", "3")])


# --- Names ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/passwd", "a/.."])
def test_a_listed_name_cannot_leave_its_folder(name):
    with pytest.raises(BadSample) as raised:
        check_inside(name, Path("root"))
    assert raised.value.reason is RejectReason.OUTSIDE


def test_names_with_two_dots_inside_are_fine():
    check_inside("a..b.jpg", Path("root"))


@given(st.lists(st.text("ab_-. 1éΩ/", min_size=1, max_size=8), unique=True, max_size=20))
@settings(max_examples=60, deadline=None)
def test_keys_are_plain_and_tell_names_apart(names):
    keys = [safe_key("photos", name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(key.replace("_", "").replace("-", "").isalnum() and key.isascii() for key in keys)


def test_a_plain_name_is_its_own_key():
    assert safe_key("photos", "ccp_0290_1") == "photos_ccp_0290_1"


# --- photos -----------------------------------------------------------------------------------------------------------------------------


def test_a_missing_folder_names_key_path_and_layout(raw, params):
    with pytest.raises(ValueError, match=r"ingest\.folders\.photos.*data/raw/photos.*paths\.raw.*masks/"):
        list_photos(params)
    (raw / "photos" / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"photos/masks.*expected images/"):
        list_photos(params)


def test_masks_find_their_photographs_by_name(raw, params):
    touch(raw / "photos", "images/a.jpg", "images/a_1.png", "images/b.JPG", "images/.hidden.jpg", "images/notes.txt",
          "masks/a.png", "masks/a_0.png", "masks/a_1.png", "masks/b_12.png")
    found = {one.mask_path.rsplit("/", 1)[1]: one for one in list_photos(params).photographs}
    owners = {mask: one.image_path.rsplit("/", 1)[1] for mask, one in found.items()}
    assert owners == {"a.png": "a.jpg", "a_0.png": "a.jpg", "a_1.png": "a_1.png", "b_12.png": "b.JPG"}
    assert found["a.png"].group == found["a_0.png"].group != found["b_12.png"].group
    assert found["a.png"].image_path == "data/raw/photos/images/a.jpg"
    assert {one.split for one in found.values()} == {None}


def test_halves_and_ambiguous_names_have_their_reason(raw, params):
    touch(raw / "photos", "images/a.jpg", "images/a.png", "images/lonely.jpg", "masks/a.png", "masks/orphan_0.png", "masks/x_y.png")
    candidates = list_photos(params)
    assert not candidates.photographs
    assert reasons(candidates) == {
        "photos_a": RejectReason.DUPLICATE, "photos_orphan_0": RejectReason.MISSING, "photos_x_y": RejectReason.MISSING,
        "photos_lonely": RejectReason.NO_MASK,
    }


def test_a_name_that_is_not_utf8_is_a_bad_name(raw, params):
    touch(raw / "photos", "images/a.jpg", "masks/a.png")
    try:
        (raw / "photos" / "masks" / os.fsdecode(b"caf\xe9.png")).touch()
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    candidates = list_photos(params)
    assert [reject.reason for reject in candidates.rejects] == [RejectReason.BAD_NAME]
    assert all(reject.path.encode() and reject.key.encode() and reject.detail.encode() for reject in candidates.rejects)


def test_photographs_of_two_folders_that_are_called_alike_do_not_meet(raw, configure):
    for folder in ("photos", "photos_more"):
        touch(raw / folder, "images/a.jpg", "images/b.jpg", "masks/a_0.png", "masks/b.png")
    touch(raw / "photos_more", "images/c.jpg", "masks/c.png")
    params = configure({"ingest.sources": ["photos"], "ingest.folders.photos": ["photos", "photos_more"]})
    found = list_photos(params).photographs
    assert len(found) == len({one.key for one in found}) == 5
    assert len({one.group for one in found}) == len({one.image_path for one in found}) == 5
    alone = {one.key: one for one in list_photos(configure({"ingest.folders.photos": "photos"})).photographs}
    assert {key: one for one in found if (key := one.key) in alone} == alone  # what is added last renames nothing
    renamed = [one.key for one in found if one.key.startswith("photos_photos_more-")]
    assert len(renamed) == 2  # a_0 and b; c has its own name
    assert "photos_c" in {one.key for one in found}


def test_one_source_key_is_one_photograph_in_whatever_folder(raw, configure):
    for folder in ("one", "two"):
        touch(raw / folder, "images/a.jpg", "masks/a.png")
        write_manifest(raw / folder, "a,a,davis,test,swan,film,CC0")
    found = list_photos(configure({"ingest.folders.photos": ["one", "two"]})).photographs
    assert [one.group for one in found] == ["photos/davis/film"] * 2
    assert len({one.key for one in found}) == 2


def test_a_second_folder_that_is_not_there_is_named(raw, configure):
    touch(raw / "photos", "images/a.jpg", "masks/a.png")
    with pytest.raises(ValueError, match=r"ingest\.folders\.photos: no folder data/raw/more"):
        list_photos(configure({"ingest.folders.photos": ["photos", "more"]}))


@pytest.mark.parametrize("folders", [{"photos": []}, {"photos": ["photos", "photos"]}, {"photos": "photos", "coco": ["one", "two"]}])
def test_photos_alone_may_have_several_folders_and_each_once(configure, folders):
    with pytest.raises(ValueError, match=r"at least 1|only photos may have several folders"):
        configure({"ingest.folders": folders})


def write_manifest(folder: Path, *lines: str) -> None:
    (folder / "manifest.csv").write_text("image,mask,source,split,label,source_key,licence\n" + "".join(f"{line}\n" for line in lines))


def test_the_manifest_says_subset_split_label_and_group(raw, params):
    touch(raw / "photos", "images/a.jpg", "images/b.jpg", "masks/a_0.png", "masks/b.png")
    write_manifest(raw / "photos", "a,a_0,davis,test,swan,film,CC0", "b.jpg,b.png,davis,test,,film,")
    first, second = list_photos(params).photographs
    assert (first.key, first.subset, first.split, first.label, first.licence) == ("photos_a_0", "davis", "test", "swan", "CC0")
    assert first.group == second.group == "photos/davis/film"


def test_manifest_rows_that_cannot_be_used_are_rejects(raw, params):
    touch(raw / "photos", "images/a.jpg", "masks/a.png", "secret.jpg")
    write_manifest(raw / "photos", "a,a,,,,,", "a,a,,,,,", "../secret,a,,,,,", "none,a,,,,,", ",a,,,,,", "a,/etc/passwd,,,,,")
    candidates = list_photos(params)
    assert [one.key for one in candidates.photographs] == ["photos_a"]
    found = [reject.reason for reject in candidates.rejects]
    assert found == [RejectReason.DUPLICATE, RejectReason.OUTSIDE, RejectReason.MISSING, RejectReason.BAD_NAME, RejectReason.OUTSIDE]
    assert all("manifest.csv, line" in reject.detail for reject in candidates.rejects)


def test_an_object_is_one_however_the_manifest_calls_its_mask(raw, params):
    touch(raw / "photos", "images/a.jpg", "masks/a.png", "masks/b.png", "masks/b.bmp")
    write_manifest(raw / "photos", "a,a,,,,,", "a.jpg,a.png,,,,,", "a,b.png,,,,,", "a,b.bmp,,,,,")
    candidates = list_photos(params)
    assert len(candidates.photographs) == len({one.key for one in candidates.photographs}) == 3
    assert reasons(candidates) == {"photos_a": RejectReason.DUPLICATE}


def test_a_folder_with_an_images_name_is_no_image(raw, params):
    touch(raw / "photos", "images/a.png", "images/a.jpg/inside.txt", "masks/a.png", "images/b.jpg/inside.txt", "masks/b.png")
    candidates = list_photos(params)
    assert [one.image_path for one in candidates.photographs] == ["data/raw/photos/images/a.png"]
    assert reasons(candidates) == {"photos_b": RejectReason.MISSING}


def test_a_manifest_with_a_wrong_split_or_column_is_refused(raw, params):
    touch(raw / "photos", "images/a.jpg", "masks/a.png")
    write_manifest(raw / "photos", "a,a,x,training,,,")
    with pytest.raises(ValueError, match=r"manifest\.csv, line 2.*'training'.*train, val, test"):
        list_photos(params)
    (raw / "photos" / "manifest.csv").write_text("picture,mask\na,a\n")
    with pytest.raises(ValueError, match=r"manifest\.csv: no column image"):
        list_photos(params)
    (raw / "photos" / "manifest.csv").write_bytes(b"image,mask\ncaf\xe9,a\n")
    with pytest.raises(ValueError, match=r"manifest\.csv: not a CSV"):
        list_photos(params)


def test_the_real_photographs_are_listed_whole(real_data, configure):
    candidates = list_photos(configure({"paths.raw": str(real_data)}))
    assert (len(candidates.photographs), len(candidates.rejects)) == (3575, 0)
    check_groups((one.group, one.split, one.key) for one in candidates.photographs)


# --- iharmony4 --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parts"), [
    ("c21070_1396052_1.jpg", ("c21070", "1396052", "1")), ("d1048-20120628-200951_1_3.jpg", ("d1048-20120628-200951", "1", "3")),
    ("d90000012-181_1_7.jpg", ("d90000012-181", "1", "7")), ("img_with_bars_2_4.jpg", ("img_with_bars", "2", "4")),
])
def test_names_are_read_from_the_right(name, parts):
    assert parse_name(name) == CompositeName(*parts)


@pytest.mark.parametrize("name", ["a.jpg", "a_1.jpg", "_1_2.jpg", "a__2.jpg"])
def test_names_with_fewer_parts_are_bad(name):
    with pytest.raises(BadSample, match="form"):
        parse_name(name)


def test_all_published_test_names_parse_to_the_published_counts(real_data):
    names = (real_data / "iharmony4_test_names.txt").read_text().split()
    parts = [parse_name(name) for name in names]
    assert len(names) == 7404
    assert {letter: sum(one.image[0] == letter for one in parts) for letter in "cafd"} == {"c": 4283, "a": 2160, "f": 828, "d": 133}
    assert all(name == f"{one.image}_{one.object}_{one.variant}.jpg" for name, one in zip(names, parts, strict=True))


SUBSETS = {"c": "HCOCO", "a": "HAdobe5k", "f": "HFlickr", "d": "Hday2night"}


def test_the_whole_published_test_list_gives_the_published_numbers_of_photographs_and_objects(real_data, raw, params):
    names = (real_data / "iharmony4_test_names.txt").read_text().split()
    folder = raw / "iHarmony4"
    for subset in SUBSETS.values():
        (folder / subset / "composite_images").mkdir(parents=True)
    (folder / "IHD_test.txt").write_text("".join(f"{SUBSETS[name[0]]}/composite_images/{name}\n" for name in names))
    pairs = list_iharmony4(params).pairs
    assert len(pairs) == 7404
    for subset, counts in {"HCOCO": (4283, 3417, 3571), "HAdobe5k": (2160, 432, 432), "HFlickr": (828, 444, None),
                           "Hday2night": (133, 24, None)}.items():
        own = [pair for pair in pairs if pair.subset == subset]
        found = (len(own), len({pair.target_path for pair in own}), len({pair.mask_path for pair in own}))
        assert found[:2] == counts[:2]
        assert counts[2] in (None, found[2])
        assert len({pair.group for pair in own}) == found[1]
    assert {pair.split for pair in pairs} == {"test"}


@pytest.fixture
def listed(raw):
    """Lists in iHarmony4's layout: three pairs of HFlickr, one of Hday2night."""
    folder = raw / "iHarmony4"
    for subset in ("HFlickr", "Hday2night"):
        (folder / subset / "composite_images").mkdir(parents=True)
    write_lists(folder, [
        ("HFlickr", "f1_1_1.jpg", "train"), ("HFlickr", "f1_1_2.jpg", "train"), ("HFlickr", "f2_1_1.jpg", "test"),
        ("Hday2night", "d9-2_1_1.jpg", "test"),
    ])
    return folder


def test_lists_read_back_as_they_were_written(listed):
    entries, rejects = read_lists(listed)
    assert not rejects
    assert entries == {
        ("HFlickr", "f1_1_1.jpg"): "train", ("HFlickr", "f1_1_2.jpg"): "train", ("HFlickr", "f2_1_1.jpg"): "test",
        ("Hday2night", "d9-2_1_1.jpg"): "test",
    }


@pytest.mark.parametrize("kind", ["IHD_*.txt", "*/*_*.txt"])
def test_either_kind_of_list_is_enough(listed, kind):
    whole = read_lists(listed)
    for path in sorted(listed.glob(kind)):
        path.unlink()
    assert read_lists(listed) == whole


def test_pairs_find_mask_and_target_and_share_their_photographs_group(listed, params):
    found = {one.key: one for one in list_iharmony4(params).pairs}
    pair = found["iharmony4_HFlickr_f1_1_2"]
    assert pair.mask_path == "data/raw/iHarmony4/HFlickr/masks/f1_1.png"
    assert pair.target_path == "data/raw/iHarmony4/HFlickr/real_images/f1.jpg"
    assert (pair.method, pair.subset, pair.group) == ("published", "HFlickr", found["iharmony4_HFlickr_f1_1_1"].group)
    assert found["iharmony4_Hday2night_d9-2_1_1"].split == "test"


def test_without_a_validation_list_some_training_photographs_are_taken_and_never_into_test(raw, params):
    folder = raw / "iHarmony4"
    (folder / "HCOCO" / "composite_images").mkdir(parents=True)
    names = [f"c{number}_{number}_1.jpg" for number in range(300)]
    (folder / "HCOCO" / "HCOCO_train.txt").write_text("\n".join(names))
    splits = [pair.split for pair in list_iharmony4(params).pairs]
    assert {split: splits.count(split) > 0 for split in SPLITS} == {"train": True, "val": True, "test": False}
    assert splits.count("val") / len(splits) == pytest.approx(params.ingest.val_share, abs=0.06)
    (folder / "HCOCO" / "HCOCO_val.txt").write_text("")
    assert {pair.split for pair in list_iharmony4(params).pairs} == {"train"}


@pytest.fixture
def cc_harmony(raw):
    """ccHarmony as it is published: lists that name masks, two composites of each of three objects."""
    folder = raw / "iHarmony4" / "ccHarmony"
    masks = ("Canon1DsMkIII_0016_a", "Canon1DsMkIII_0016_b", "IMG_0281_a")
    touch(folder, *(f"masks/{mask}.png" for mask in masks), *(f"composite_images/{mask}_{k}.jpg" for mask in masks for k in (1, 10)),
          "real_images/Canon1DsMkIII_0016.jpg", "real_images/IMG_0281.jpg")
    (folder / "train_list.txt").write_text("IMG_0281_a\n")
    (folder / "test_list.txt").write_text("Canon1DsMkIII_0016_a\nCanon1DsMkIII_0016_b\n")
    return folder


def test_ccharmonys_lists_name_masks_and_stand_for_their_composites(cc_harmony, params):
    found = {pair.key.removeprefix("iharmony4_ccHarmony_"): pair for pair in list_iharmony4(params).pairs}
    assert set(found) == {f"{mask}_{k}" for mask in ("Canon1DsMkIII_0016_a", "Canon1DsMkIII_0016_b", "IMG_0281_a") for k in (1, 10)}
    pair = found["Canon1DsMkIII_0016_b_10"]
    assert pair.mask_path.endswith("masks/Canon1DsMkIII_0016_b.png")
    assert pair.target_path.endswith("real_images/Canon1DsMkIII_0016.jpg")
    assert pair.split == "test"
    assert pair.group == found["Canon1DsMkIII_0016_a_1"].group != found["IMG_0281_a_1"].group


def test_a_listed_mask_without_composites_is_missing(cc_harmony, params):
    (cc_harmony / "test_list.txt").write_text("IMG_9999_a\nCanon1DsMkIII_0016_a\n")
    candidates = list_iharmony4(params)
    assert reasons(candidates) == {"iharmony4_ccHarmony_IMG_9999_a": RejectReason.MISSING}
    assert len(candidates.pairs) == 4


def test_masks_and_targets_are_taken_with_the_suffix_they_have(raw, params):
    folder = raw / "iHarmony4" / "HVIDIT"
    touch(folder, "composite_images/Image001_1_2.png", "masks/Image001_1.jpg", "real_images/Image001.png")
    (folder / "HVIDIT_test.txt").write_text("Image001_1_2.png\n")
    (pair,) = list_iharmony4(params).pairs
    assert all(Path(path).is_file() for path in (pair.composite_path, pair.mask_path, pair.target_path))


def test_composites_that_differ_by_their_suffix_alone_are_one(raw, params):
    folder = raw / "iHarmony4" / "HCOCO"
    touch(folder, "composite_images/c1_2_3.png", "composite_images/c1_2_3.jpg", "masks/c1_2.png", "real_images/c1.jpg")
    (folder / "HCOCO_test.txt").write_text("c1_2_3.jpg\nc1_2_3.png\n")
    candidates = list_iharmony4(params)
    assert (len(candidates.pairs), list(reasons(candidates).values())) == (1, [RejectReason.DUPLICATE])


def test_lines_that_lead_outside_or_break_the_form_are_rejects(listed, params):
    with (listed / "HFlickr" / "HFlickr_test.txt").open("a") as handle:
        handle.write("../../secret_1_1.jpg\n/etc/a_1_1.jpg\nnonsense.jpg\nother/f_1_1.jpg\n\n")
    candidates = list_iharmony4(params)
    assert len(candidates.pairs) == 4
    found = sorted(reject.reason.value for reject in candidates.rejects)
    assert found == ["bad_name", "bad_name", "outside", "outside"]


def test_one_composite_in_the_lists_of_two_splits_is_refused(listed, params):
    (listed / "IHD_train.txt").write_text("HFlickr/composite_images/f2_1_1.jpg\n")
    with pytest.raises(ValueError, match=r"f2_1_1\.jpg is in the lists of two splits"):
        list_iharmony4(params)


def test_a_folder_without_lists_is_refused(raw, params):
    (raw / "iHarmony4").mkdir()
    with pytest.raises(ValueError, match="no list file"):
        list_iharmony4(params)


def test_the_genuine_fragment_is_read(real_data, configure):
    params = configure({"paths.raw": str(real_data), "ingest.folders": {"iharmony4": "iharmony4_sample"}})
    pairs = list_iharmony4(params).pairs
    assert [(pair.subset, pair.split) for pair in pairs] == [("HAdobe5k", "test")] * 2 + [("HFlickr", "test")]
    assert all(Path(path).is_file() for pair in pairs for path in (pair.composite_path, pair.mask_path, pair.target_path))


# --- retouch, composites ----------------------------------------------------------------------------------------------------------------


def test_retouches_are_paired_by_name_and_may_have_no_mask(raw, params):
    touch(raw / "retouch_pairs", "before/a.jpg", "after/a.png", "before/b.jpg", "after/b.jpg", "after/c.jpg", "masks/b.png", "masks/z.png")
    candidates = list_retouch(params)
    first, second = candidates.retouches
    assert (first.before_path, first.after_path) == ("data/raw/retouch_pairs/before/a.jpg", "data/raw/retouch_pairs/after/a.png")
    assert (first.mask_path, second.mask_path) == ("", "data/raw/retouch_pairs/masks/b.png")
    assert reasons(candidates) == {"retouch_c": RejectReason.MISSING, "retouch_z": RejectReason.MISSING}


def test_real_composites_share_a_group_with_their_background(raw, params):
    touch(raw / "real_composites", "images/a.jpg", "images/b.jpg", "images/c.jpg", "masks/a.png", "masks/b.png")
    (raw / "real_composites" / "list.csv").write_text("name,object,bg_source\na,tree,street\nb,car,street\nc,car,sea\n../a,car,sea\n")
    candidates = list_composites(params)
    first, second = candidates.composites
    assert (first.label, first.group, second.group) == ("tree", "composites/street", "composites/street")
    assert sorted(reject.reason.value for reject in candidates.rejects) == ["missing", "outside"]
    (raw / "real_composites" / "list.csv").unlink()
    assert [one.group for one in list_composites(params).composites] == ["composites/a", "composites/b"]


def test_judged_pictures_stand_in_the_test_split_by_what_people_said(raw, params):
    folder = raw / "realism_labels"
    touch(folder, *(f"images/{name}.jpg" for name in "abcd"), *(f"masks/{name}.png" for name in "abcd"))
    rows = ("name,label,object", "a,unrealistic,car", "b,realistic,tree", "c,real,car", "d,nice,car", "../a,real,car", "a,real,car")
    (folder / "labels.csv").write_text("\n".join(rows))
    candidates = list_realism_labels(params)
    assert [(one.subset, one.split, one.label) for one in candidates.composites] == [
        ("unrealistic", "test", "car"), ("realistic", "test", "tree"), ("natural", "test", "car"),
    ]
    assert {one.subset for one in candidates.composites} == set(JUDGEMENTS)
    assert {one.source for one in candidates.composites} == FOR_MEASURING
    assert sorted(reject.reason for reject in candidates.rejects) == ["bad_name", "duplicate", "outside"]
    (folder / "labels.csv").unlink()
    with pytest.raises(ValueError, match=r"ingest.folders.realism_labels: no file .*labels.csv"):
        list_realism_labels(params)
