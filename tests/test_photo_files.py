"""Witnesses of photo_files and photo_writing: what went in comes out, Pillow and OpenCV read it, and what is refused."""

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from attune.photo import Coding, Metadata, Photo, turn_back, turn_upright
from attune.photo_files import read_header, read_photo, read_photo_mask
from attune.photo_writing import encode_photo, write_photo

SUFFIXES = (".png", ".tif", ".webp", ".jpg")
XMP, PHOTOSHOP = b"<x:xmpmeta>caption</x:xmpmeta>", b"8BIM\x04\x04\x00\x00\x00\x00\x00\x04\x1c\x02\x00\x00"


def make_photo(kind: str = "rgb", dtype: type = np.uint8, *, orientation: int = 1, seed: int = 0) -> Photo:
    rng, white = np.random.default_rng(seed), np.iinfo(dtype).max
    pixels = rng.integers(0, white + 1, (70, 41, 3)).astype(dtype)
    if kind.startswith("grey"):
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    alpha = rng.integers(0, white + 1, (70, 41)).astype(dtype) if kind.endswith("a") else None
    return Photo(pixels, alpha, kind.startswith("grey"), orientation, Metadata(), Coding("PNG"))


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = orientation, "A camera", "(c) somebody"
    exif.get_ifd(0x8769)[0x829A] = (1, 250)
    exif.get_ifd(0x8769)[0x927C] = b"maker's note \x00\x01\x02 of bytes" * 3
    exif[0x8769] = exif.get_ifd(0x8769)
    return exif.tobytes().removeprefix(b"Exif\x00\x00")


@pytest.fixture
def metadata(icc_profile: Callable[[str], bytes]) -> Metadata:
    return Metadata(exif_block(), icc_profile("adobe"), XMP, PHOTOSHOP, (300.0, 300.0))


# --- Pixels -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_lossless_files_come_back_bit_for_bit(tmp_path: Path, suffix: str, kind: str, dtype: type) -> None:
    photo, path = make_photo(kind, dtype), tmp_path / f"photo{suffix}"
    write_photo(path, photo)
    found = read_photo(path)
    if suffix == ".webp" and dtype == np.uint16:
        assert np.abs(found.pixels - photo.pixels / 257).max() <= 0.501  # WebP has 8 bits: rounded, never truncated
        return
    assert found.pixels.dtype == dtype
    assert np.array_equal(found.pixels, photo.pixels)
    assert found.grey == (photo.grey and suffix != ".webp")
    assert (found.alpha is None) == (photo.alpha is None)
    assert photo.alpha is None or np.array_equal(found.alpha, photo.alpha)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey"])
@pytest.mark.parametrize("compressed", [True, False])
def test_other_programs_read_our_tiffs(tmp_path: Path, kind: str, compressed: bool, metadata: Metadata) -> None:
    for dtype in (np.uint8, np.uint16):
        photo = replace(make_photo(kind, dtype), metadata=metadata, coding=Coding("TIFF", compressed=compressed))
        data = encode_photo(photo, "TIFF")
        with Image.open(io.BytesIO(data)) as opened:
            assert opened.info["icc_profile"] == metadata.icc
            assert opened.tag_v2[700] == XMP  # type: ignore[attr-defined]
            eight = np.array(opened)
        theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if dtype == np.uint16 else eight
        if dtype == np.uint16 and theirs.ndim == 3:
            theirs = theirs[..., [2, 1, 0, 3][: theirs.shape[2]]]
        wanted = photo.pixels[..., 0] if photo.grey else photo.pixels
        assert np.array_equal(theirs[..., :3] if theirs.ndim == 3 else theirs, wanted)
        assert photo.alpha is None or np.array_equal(theirs[..., 3], photo.alpha)


@pytest.mark.parametrize("order", ["little", "big"])
def test_tiffs_follow_the_byte_order_of_their_exif(order: str) -> None:
    exif = Image.Exif()
    exif.endian = "<" if order == "little" else ">"
    exif[0x010F] = "A camera"
    photo = replace(make_photo("rgb", np.uint16), metadata=Metadata(exif.tobytes().removeprefix(b"Exif\x00\x00")))
    data = encode_photo(photo, "TIFF")
    assert data[:2] == (b"II" if order == "little" else b"MM")
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1], photo.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pixels_are_upright_and_lie_in_the_file_as_they_lay(tmp_path: Path, suffix: str, orientation: int) -> None:
    stored = make_photo("grey").pixels
    stored[:20, :10] = 255
    exif = exif_block(orientation)
    source, copy = tmp_path / f"source{suffix}", tmp_path / f"copy{suffix}"
    options = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else ({"lossless": True} if suffix == ".webp" else {})
    Image.fromarray(stored).save(source, exif=b"Exif\x00\x00" + exif, **options)
    with Image.open(source) as opened:
        upright = np.array(ImageOps.exif_transpose(opened).convert("RGB"))
    photo = read_photo(source)
    assert np.array_equal(photo.pixels, upright)
    header = read_header(source)
    assert (header.height, header.width) == upright.shape[:2]
    write_photo(copy, photo)
    with Image.open(copy) as opened:
        assert opened.getexif()[0x0112] == orientation
    with Image.open(copy) as opened:
        again = np.array(ImageOps.exif_transpose(opened).convert("RGB")).astype(int)
    assert np.abs(again - upright).max() <= (8 if suffix == ".jpg" else 0)


def test_turning_back_undoes_turning_upright() -> None:
    stored = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    for orientation in range(1, 9):
        assert np.array_equal(turn_back(turn_upright(stored, orientation), orientation), stored)


def test_a_palette_and_its_transparency_are_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    colors = Image.fromarray(make_photo().pixels).quantize(32)
    colors.save(path)
    found = read_photo(path)
    assert np.array_equal(found.pixels, np.array(colors.convert("RGB")))
    assert found.alpha is None
    colors.save(path, transparency=3)
    layered = read_photo(path)
    assert np.array_equal(layered.alpha, np.where(np.array(colors) == 3, 0, 255))


# --- How a JPEG was encoded -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [60, 95, "own"])
def test_a_jpeg_gets_the_tables_and_the_subsampling_that_it_had(tmp_path: Path, quality: object, subsampling: int) -> None:
    source, copy = tmp_path / "source.jpg", tmp_path / "copy.jpg"
    tables = [[min(255, 3 + number // 2) for number in range(64)], [min(255, 4 + number) for number in range(64)]]
    options = {"qtables": tables} if quality == "own" else {"quality": quality}
    Image.fromarray(make_photo().pixels).save(source, subsampling=subsampling, **options)
    write_photo(copy, read_photo(source))
    with Image.open(source) as before, Image.open(copy) as after:
        assert before.quantization == after.quantization  # type: ignore[attr-defined]
        assert before.layer == after.layer  # type: ignore[attr-defined]
    write_photo(copy, read_photo(source), quality=31)
    with Image.open(copy) as opened, Image.open(source) as before:
        assert opened.quantization != before.quantization  # type: ignore[attr-defined]


def test_a_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    path = tmp_path / "grey.jpg"
    write_photo(path, make_photo("grey"))
    with Image.open(path) as opened:
        assert opened.mode == "L"
    assert read_photo(path).grey


# --- Metadata ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exif_profile_and_captions_survive_byte_for_byte(tmp_path: Path, suffix: str, metadata: Metadata) -> None:
    path, again = tmp_path / f"photo{suffix}", tmp_path / f"again{suffix}"
    write_photo(path, replace(make_photo(), metadata=metadata))
    found = read_photo(path).metadata
    assert (found.icc, found.xmp) == (metadata.icc, metadata.xmp)
    assert found.photoshop == (metadata.photoshop if suffix in (".jpg", ".tif") else None)
    if suffix != ".tif":
        assert found.exif == metadata.exif
    if suffix != ".webp":
        assert found.dpi == pytest.approx((300, 300), abs=0.02)
    with Image.open(path) as opened:
        exif = opened.getexif()
        assert (exif[0x010F], exif[0x8298], exif.get_ifd(0x8769)[0x829A]) == ("A camera", "(c) somebody", (1, 250))
        assert exif.get_ifd(0x8769)[0x927C] == b"maker's note \x00\x01\x02 of bytes" * 3
    write_photo(again, read_photo(path))
    assert read_photo(again).metadata == found


def test_metadata_survive_from_every_format_to_every_other(tmp_path: Path, metadata: Metadata) -> None:
    for suffix in SUFFIXES:
        source = tmp_path / f"source{suffix}"
        write_photo(source, replace(make_photo(), metadata=metadata))
        for other in SUFFIXES:
            write_photo(tmp_path / f"other{other}", read_photo(source))
            with Image.open(tmp_path / f"other{other}") as opened:
                assert opened.info["icc_profile"] == metadata.icc
                assert opened.getexif()[0x010F] == "A camera"
                assert opened.getexif().get_ifd(0x8769)[0x829A] == (1, 250)


@pytest.mark.parametrize("denominator", [0, 1])
def test_a_resolution_that_is_none_is_left_out_of_every_format(tmp_path: Path, denominator: int) -> None:
    source = tmp_path / "source.tif"
    Image.fromarray(make_photo().pixels).save(source, dpi=(300, 300))
    said = struct.pack("<II", 300, 1)
    assert source.read_bytes().count(said) in (1, 2)
    source.write_bytes(source.read_bytes().replace(said, struct.pack("<II", 300, denominator)))
    photo = read_photo(source)
    assert photo.metadata.dpi == ((300.0, 300.0) if denominator else None)
    for suffix in SUFFIXES:
        write_photo(tmp_path / f"other{suffix}", photo)
        assert read_photo(tmp_path / f"other{suffix}").pixels.shape == photo.pixels.shape


def test_a_large_profile_spans_segments() -> None:
    large = Metadata(icc=bytes(range(256)) * 700)
    with Image.open(io.BytesIO(encode_photo(replace(make_photo(), metadata=large), "JPEG"))) as opened:
        assert opened.info["icc_profile"] == large.icc


def test_impossible_results_are_named() -> None:
    with pytest.raises(ValueError, match="no transparency"):
        encode_photo(make_photo("rgba"), "JPEG")
    with pytest.raises(ValueError, match="fit into no JPEG"):
        encode_photo(replace(make_photo(), metadata=Metadata(exif=b"II*\x00" + bytes(70000))), "JPEG")
    with pytest.raises(ValueError, match="not possible as WebP"):
        encode_photo(replace(make_photo(), pixels=np.zeros((1, 17000, 3), np.uint8)), "WEBP")
    with pytest.raises(ValueError, match="the result can be"):
        write_photo(Path("result.gif"), make_photo())


def test_masks_and_sizes_are_checked_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (400, 300), 255).save(path)
    assert read_photo_mask(path).shape == (300, 400)
    for read in (read_photo, read_photo_mask, read_header):
        with pytest.raises(ValueError, match=r"400x300 px, over the limit of 0.1 megapixels"):
            read(path, max_megapixels=0.1)
