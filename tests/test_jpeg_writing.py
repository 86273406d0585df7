"""Witnesses of jpeg_writing: OpenCV's and Pillow's encoders in one pass, and three decoders that read the joined strips."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attune.jpeg_writing import MAX_INTERVAL, SAMPLINGS, STRIP_ROWS, encode_jpeg, quality_of, strip_shape
from attune.photo import Coding, Metadata

OWN_TABLES = (tuple(range(3, 67)), tuple(range(9, 73)))  # of no standard quality


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, subsampling: int = 0, *, tables: tuple[tuple[int, ...], ...] = (), num_threads: int = 2) -> bytes:
    coding = Coding("JPEG", jpeg_tables=tables, jpeg_subsampling=subsampling)
    return encode_jpeg(pixels, coding, Metadata(), quality=91, num_threads=num_threads)


def in_one_pass(pixels: np.ndarray, subsampling: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 91, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[subsampling]]
    return cv2.imencode(".jpg", pixels if pixels.ndim == 2 else pixels[..., ::-1], options)[1].tobytes()


def decoded(data: bytes) -> list[np.ndarray]:
    """By Pillow, OpenCV and TurboJPEG."""
    with Image.open(io.BytesIO(data)) as opened:
        by_pillow = np.array(opened.convert("RGB"))
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    return [by_pillow, by_opencv, simplejpeg.decode_jpeg(data, colorspace="RGB")]


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 3 * STRIP_ROWS), width=st.integers(1, 90), subsampling=st.integers(0, 2), grey=st.booleans())
def test_strips_hold_the_pixels_of_one_pass(height: int, width: int, subsampling: int, grey: bool) -> None:
    pixels = picture(height, width)
    pixels = np.ascontiguousarray(pixels[..., 0]) if grey else pixels
    for ours, theirs in zip(decoded(encode(pixels, subsampling)), decoded(in_one_pass(pixels, subsampling)), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_cameras_own_tables_are_kept_in_every_strip(subsampling: int) -> None:
    pixels, one_pass = picture(600, 70), io.BytesIO()
    Image.fromarray(pixels).save(one_pass, "JPEG", qtables=[list(table) for table in OWN_TABLES], subsampling=subsampling)
    data = encode(pixels, subsampling, tables=OWN_TABLES)
    for ours, theirs in zip(decoded(data), decoded(one_pass.getvalue()), strict=True):
        assert np.array_equal(ours, theirs)
    with Image.open(io.BytesIO(data)) as opened:
        assert tuple(tuple(table) for table in opened.quantization.values()) == OWN_TABLES  # type: ignore[attr-defined]
    assert quality_of(OWN_TABLES) is None


def test_the_number_of_threads_changes_no_byte() -> None:
    pixels = picture(900, 64)
    assert encode(pixels, 2, num_threads=1) == encode(pixels, 2, num_threads=3)


def test_a_picture_of_one_strip_is_opencvs_file() -> None:
    pixels = picture(STRIP_ROWS, 120)
    assert encode(pixels, 2) == in_one_pass(pixels, 2)


def test_strips_cost_a_few_bytes_each() -> None:
    pixels = picture(8 * STRIP_ROWS, 64)
    assert abs(len(encode(pixels)) - len(in_one_pass(pixels, 0))) < 8 * 16


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_no_strip_holds_more_units_than_a_restart_interval_can_name(subsampling: int) -> None:
    for width in (1, 640, 7680, 65500):
        rows, interval = strip_shape(np.empty((1, width, 3), np.uint8), subsampling)
        assert 0 < interval <= MAX_INTERVAL
        assert rows % (16 if subsampling == 2 else 8) == 0
    wide = np.zeros((260, 40_000, 3), np.uint8)
    wide[250:] = 200
    assert np.array_equal(simplejpeg.decode_jpeg(encode(wide, subsampling))[..., 0][[0, -1], [0, -1]], [0, 200])


def test_too_much_metadata_is_refused_before_any_work() -> None:
    coding, metadata = Coding("JPEG"), replace(Metadata(), xmp=bytes(70_000))
    with pytest.raises(ValueError, match=r"metadata of 70029 bytes fit into no JPEG .*choose \.tif"):
        encode_jpeg(picture(8, 8), coding, metadata, quality=91, num_threads=1)
