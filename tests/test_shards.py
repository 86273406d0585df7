"""The shard format: byte-equal writes, exact round trips, readable by stock tools, and damage that is named."""

import gc
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attune.images import decode_image
from tasks.sample import Pair, RealComposite
from tasks.shards import (
    PHOTOGRAPH,
    EncodedSample,
    ShardFolder,
    ShardReader,
    decode_composite,
    decode_jpeg_into,
    decode_mask_member,
    decode_pair,
    encode_composite,
    encode_mask,
    encode_pair,
    read_facts,
    read_manifest,
    sanitize_key,
    shard_info,
    webdataset_mask_handler,
    write_manifest,
    write_shard,
)

Photograph = Callable[[int, int, int], np.ndarray]


@pytest.fixture
def pairs(photograph: Photograph, object_mask: Callable[..., np.ndarray]) -> list[Pair]:
    mask = object_mask(40, 56)
    soft = mask.copy()
    soft[10] = 77
    return [
        Pair(
            key=f"starter/photos/a.{number}", kind="original", source="starter", group=f"g{number}",
            composite=photograph(40, 56, number), mask=soft if number % 2 else mask, target=photograph(40, 56, number + 50),
        )
        for number in range(5)
    ]


@pytest.fixture
def shard(tmp_path: Path, pairs: list[Pair]) -> Path:
    path = tmp_path / "shards" / "train-00000.tar"
    info = write_shard(path, [encode_pair(pair, jpeg_quality=95, about={"parent": "p"}) for pair in pairs], split="train")
    write_manifest(path.parent, [info], kind="pairs", meta={"size": 40})
    return path


def test_two_writes_of_a_shard_are_byte_equal(tmp_path: Path, pairs: list[Pair]) -> None:
    infos = [write_shard(tmp_path / f"{n}" / "a.tar", [encode_pair(pair, jpeg_quality=90) for pair in pairs], split="val") for n in (0, 1)]
    first, second = ((tmp_path / f"{n}" / "a.tar").read_bytes() for n in (0, 1))
    assert first == second
    assert infos[0] == infos[1] == shard_info(tmp_path / "0" / "a.tar", split="val")
    assert infos[0].num_bytes == len(first)


def test_a_pair_comes_back_with_an_exact_mask_and_close_images(shard: Path, pairs: list[Pair]) -> None:
    with ShardFolder(shard.parent, "train") as folder:
        for number in reversed(range(len(pairs))):
            read = decode_pair(folder.read(number), name=folder.name(number))
            written = pairs[number]
            assert (read.key, read.kind, read.source, read.group) == (written.key, written.kind, written.source, written.group)
            np.testing.assert_array_equal(read.mask, written.mask)
            for field in ("composite", "target"):
                assert np.abs(getattr(read, field).astype(int) - getattr(written, field)).mean() < 4.0


def test_a_photograph_has_its_target_alone_and_comes_back_as_its_own_composite(pairs: list[Pair]) -> None:
    pair = replace(pairs[0], kind=PHOTOGRAPH, composite=pairs[0].target)
    sample = encode_pair(pair, jpeg_quality=95)
    assert set(sample.members) == {"target.jpg", "mask.amk", "json"}
    read = decode_pair(sample, name="here")
    assert np.array_equal(read.composite, read.target)
    assert np.array_equal(read.mask, pair.mask)
    assert read.kind == PHOTOGRAPH


def test_a_real_composite_comes_back(tmp_path: Path, photograph: Photograph, object_mask: Callable[..., np.ndarray]) -> None:
    images = {field: photograph(32, 32, seed) for seed, field in enumerate(("composite", "plate", "natural"))}
    written = RealComposite(key="mined-1", mask=object_mask(32, 32), **images)
    write_shard(tmp_path / "a.tar", [encode_composite(written, jpeg_quality=95, about={"seed": 3})], split="train")
    with ShardReader(tmp_path / "a.tar") as reader:
        read = decode_composite(reader.read(0), name=reader.name(0))
        assert read_facts(reader.read(0), name="x")["seed"] == 3
    assert read.key == "mined-1"
    for field, image in images.items():
        assert np.abs(getattr(read, field).astype(int) - image).mean() < 4.0


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=17), elements=st.sampled_from([0, 255])))
def test_a_hard_mask_survives_exactly(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_mask_member(encode_mask(mask), name="m"), mask)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=17)))
def test_a_soft_mask_survives_exactly(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_mask_member(encode_mask(mask), name="m"), mask)


def test_a_hard_mask_takes_a_bit_per_pixel_before_compression() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8)
    assert len(encode_mask(noise * np.uint8(255))) < 64 * 64 / 8 + 40


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files to the collector
def test_stock_webdataset_reads_a_shard(shard: Path, pairs: list[Pair]) -> None:
    stream = webdataset.WebDataset(str(shard), shardshuffle=False).decode(webdataset_mask_handler, "rgb8")
    samples = list(stream)
    del stream
    gc.collect()
    assert [sample["__key__"] for sample in samples] == [sanitize_key(pair.key) for pair in pairs]
    for sample, pair in zip(samples, pairs, strict=True):
        np.testing.assert_array_equal(sample["mask.amk"], pair.mask)
        assert sample["composite.jpg"].shape == sample["target.jpg"].shape == pair.target.shape
        assert sample["json"]["key"] == pair.key
        assert sample["json"]["parent"] == "p"


def test_tarfile_reads_the_bytes_that_were_written(shard: Path, pairs: list[Pair]) -> None:
    encoded = encode_pair(pairs[2], jpeg_quality=95, about={"parent": "p"})
    with tarfile.open(shard) as archive:
        assert len(archive.getmembers()) == 4 * len(pairs)
        for which, data in encoded.members.items():
            info = archive.getmember(f"{encoded.key}.{which}")
            assert (info.mtime, info.uid, info.mode, info.isreg()) == (0, 0, 0o644, True)
            extracted = archive.extractfile(info)
            assert extracted is not None
            assert extracted.read() == data


def test_an_image_decoded_into_a_buffer_equals_the_decoded_image(pairs: list[Pair]) -> None:
    data = encode_pair(pairs[0], jpeg_quality=95).members["target.jpg"]
    out = np.zeros((2, 40, 56, 3), np.uint8)
    decode_jpeg_into(data, out[1], name="a")
    np.testing.assert_array_equal(out[1], decode_image(bytes(data), name="a"))
    assert not out[0].any()
    with pytest.raises(ValueError, match=r"a: .*40x56 px where the first sample has 41x56"):
        decode_jpeg_into(data, np.zeros((41, 56, 3), np.uint8), name="a")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120), st.text(max_size=120))
def test_keys_are_safe_and_differ_where_texts_differ(first: str, second: str) -> None:
    keys = [sanitize_key(text) for text in (first, second)]
    for key in keys:
        assert 0 < len(key) <= 80
        assert set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
        assert sanitize_key(key) == key
    assert (keys[0] == keys[1]) == (first == second)


def test_a_key_that_stands_twice_or_is_unsafe_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    for keys, message in ((("a", "a"), "'a' stands twice"), (("a.b",), "'a.b' is no shard key")):
        with pytest.raises(ValueError, match=message):
            write_shard(tmp_path / "a.tar", [EncodedSample(key, {"json": b"{}"}) for key in keys], split="train")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unguarded")
def test_sizes_that_differ_are_refused(pairs: list[Pair]) -> None:
    with pytest.raises(ValueError, match=r"a\.0: target is \(20, 56, 3\)"):
        encode_pair(replace(pairs[0], target=pairs[0].target[:20]), jpeg_quality=95)


@pytest.mark.parametrize("keep", [100, 512, 5000, -512, -1024])
def test_a_truncated_shard_is_named(shard: Path, keep: int) -> None:
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"train-00000\.tar: truncated shard"):
        ShardReader(shard)
    with pytest.raises(ValueError, match=r"train-00000\.tar: .* bytes where manifest\.json says"):
        ShardFolder(shard.parent, "train")


def test_a_damaged_header_is_named(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-00000\.tar: damaged header at byte 0"):
        ShardReader(shard)


def test_damaged_members_are_named(shard: Path) -> None:
    with ShardReader(shard) as reader:
        sample = reader.read(0)
        broken = {
            "composite.jpg": bytes(sample.members["composite.jpg"][:200]),
            "mask.amk": bytes(sample.members["mask.amk"][:15]),
            "json": b"[",
        }
        for which, data in broken.items():
            with pytest.raises(ValueError, match=f"here.{which}"):
                decode_pair(replace(sample, members={**sample.members, which: data}), name="here")
            with pytest.raises(ValueError, match=f"here: no member {which}"):
                decode_pair(replace(sample, members={k: v for k, v in sample.members.items() if k != which}), name="here")


def test_a_mask_that_claims_to_be_larger_than_it_is_is_refused() -> None:
    data = bytearray(encode_mask(np.zeros((8, 8), np.uint8)))
    for height in (9, 1 << 30, 0):
        data[5:9] = height.to_bytes(4, "little")
        with pytest.raises(ValueError, match="m: "):
            decode_mask_member(bytes(data), name="m")


def test_a_foreign_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.json")
        info.mtime = 1.5
        archive.addfile(info, io.BytesIO(b""))
    with pytest.raises(ValueError, match=r"foreign\.tar: not a shard of this format"):
        ShardReader(path)


def test_a_foreign_or_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json: no such manifest"):
        read_manifest(tmp_path)
    good: dict[str, Any] = {"format": "attune-shards/1", "kind": "pairs", "shards": [], "meta": {}}
    shard = {"name": "../a.tar", "split": "train", "num_samples": 1, "num_bytes": 1, "sha256": ""}
    changes: list[dict[str, Any]] = [{"kind": "cats"}, {"shards": [{}]}, {"shards": [shard]}, {"format": "other"}]
    for bad in ("{", "[]", "{}", *(json.dumps({**good, **change}) for change in changes)):
        (tmp_path / "manifest.json").write_text(bad)
        with pytest.raises(ValueError, match=r"manifest\.json"):
            read_manifest(tmp_path)


def test_a_folder_joins_its_shards_of_one_split(tmp_path: Path, pairs: list[Pair]) -> None:
    encoded = [encode_pair(pair, jpeg_quality=90) for pair in pairs]
    infos = [
        write_shard(tmp_path / name, samples, split=name.split("-")[0])
        for name, samples in (("train-00001.tar", encoded[2:4]), ("train-00000.tar", encoded[:2]), ("val-00000.tar", encoded[4:]))
    ]
    manifest = write_manifest(tmp_path, infos, kind="pairs", meta={"seed": 1})
    assert read_manifest(tmp_path) == manifest
    with ShardFolder(tmp_path, "train") as train, ShardFolder(tmp_path, "val") as val, ShardFolder(tmp_path, "test") as test:
        assert train.keys == [sample.key for sample in encoded[:4]]
        assert [train.read(index).key for index in range(4)] == train.keys
        assert (len(train), len(val), len(test)) == (4, 1, 0)
        with pytest.raises(IndexError):
            train.read(4)
