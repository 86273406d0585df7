"""Images: one meaning for every kind of file, refusal before decoding, exact round trips."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms, ImageOps
from skimage.metrics import peak_signal_noise_ratio

from attune.images import (
    decode_grey,
    decode_image,
    decode_mask,
    decode_shrunk,
    encode_jpeg,
    encode_png,
    read_image,
    read_mask,
    read_shrunk,
    resize_image,
    shrink_to,
)
from attune.rejects import BadSample, RejectReason
from tasks.tensors import to_tensor, to_uint8


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason_of(data: bytes, **options: float) -> RejectReason:
    with pytest.raises(BadSample) as raised:
        decode_image(data, name="the-file", **options)
    assert "the-file" in str(raised.value)
    return raised.value.reason


def test_a_plain_jpeg_decodes_to_pillows_pixels(photograph):
    data = saved(Image.fromarray(photograph(70, 91, 1)), "JPEG", quality=85)
    assert np.array_equal(decode_image(data, name="x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_applies_it(photograph, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(photograph(40, 56, 2)), kind, exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(decode_image(data, name="x"), wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(photograph, orientation):
    image = photograph(40, 56, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = decode_image(saved(Image.fromarray(image), "PNG", exif=exif), name="x")
    turned = decode_image(saved(Image.fromarray(image), "TIFF", tiffinfo={0x0112: orientation}), name="x")
    assert np.array_equal(turned, plain)


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [
    b"Exif\0\0nonsense", b"Exif\0\0MM\0*\xff\xff\xff\xff",
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\xff\0\x01\0\0\0\0\0\0\0",
])
def test_exif_that_cannot_be_read_turns_nothing(photograph, kind, exif):
    data = saved(Image.fromarray(photograph(40, 56, 2)), kind, exif=exif)
    assert decode_image(data, name="x").shape == (40, 56, 3)
    assert decode_mask(data, name="x").shape == (40, 56)


def test_orientation_turns_a_mask_with_its_image(photograph, object_mask):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(saved(Image.fromarray(photograph(40, 56, 2)), "JPEG", exif=exif), name="x")
    mask = decode_mask(saved(Image.fromarray(object_mask(40, 56)), "PNG", exif=exif), name="x")
    assert image.shape[:2] == mask.shape == (56, 40)


def test_grey_becomes_three_equal_channels(photograph):
    grey = photograph(20, 30, 3)[..., 0]
    decoded = decode_image(saved(Image.fromarray(grey), "PNG"), name="x")
    assert np.array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_keep_their_high_byte(photograph):
    grey = photograph(20, 30, 3)[..., 0]
    sixteen = cv2.imencode(".png", grey.astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(decode_image(sixteen, name="x")[..., 0], grey)
    assert np.array_equal(decode_mask(sixteen, name="x"), grey)


def test_cmyk_without_a_profile_is_its_complement():
    cmyk = Image.new("CMYK", (50, 50), (255, 0, 0, 0))
    decoded = decode_image(saved(cmyk, "TIFF"), name="x")
    assert np.array_equal(decoded[0, 0], [0, 255, 255])


def test_transparency_is_composited_over_white():
    half = Image.new("RGBA", (60, 60), (0, 0, 0, 128))
    assert np.abs(decode_image(saved(half, "PNG"), name="x").astype(int) - 127).max() <= 1
    clear = Image.new("RGBA", (60, 60), (9, 9, 9, 0))
    assert (decode_image(saved(clear, "PNG"), name="x") == 255).all()


def test_an_embedded_srgb_profile_changes_no_pixel_by_more_than_a_level(photograph):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = photograph(30, 40, 4)
    decoded = decode_image(saved(Image.fromarray(image), "PNG", icc_profile=profile), name="x")
    assert np.abs(decoded.astype(int) - image).max() <= 1


def profile_with_red_and_blue_exchanged() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {name: offset for name, offset, _ in struct.iter_unpack(">4sII", bytes(profile[132:132 + 12 * count]))}
    red, blue = (slice(tags[name], tags[name] + 20) for name in (b"rXYZ", b"bXYZ"))
    profile[red], profile[blue] = profile[blue], profile[red]
    return bytes(profile)


def test_a_profile_of_another_space_is_converted():
    image = np.full((20, 20, 3), 128, np.uint8)
    image[..., 0] = 200
    decoded = decode_image(saved(Image.fromarray(image), "PNG", icc_profile=profile_with_red_and_blue_exchanged()), name="x")
    assert np.abs(decoded[0, 0].astype(int) - [128, 128, 200]).max() <= 2


@pytest.mark.parametrize("form", [lambda image: image.convert("RGBA"), lambda image: image.quantize(4)])
def test_a_profile_counts_beside_transparency_and_palettes(form):
    image = form(Image.new("RGB", (20, 20), (200, 128, 128)))
    decoded = decode_image(saved(image, "PNG", icc_profile=profile_with_red_and_blue_exchanged()), name="x")
    assert np.abs(decoded[0, 0].astype(int) - [128, 128, 200]).max() <= 2


def test_a_broken_profile_counts_as_srgb(photograph):
    image = photograph(30, 40, 4)
    assert np.array_equal(decode_image(saved(Image.fromarray(image), "PNG", icc_profile=b"nonsense" * 30), name="x"), image)


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (50, 50), color) for color in ("red", "blue")]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(decode_image(data, name="x")[0, 0], [255, 0, 0])


def test_a_mask_means_the_same_in_every_form(object_mask):
    mask = object_mask(40, 50)
    grey = Image.fromarray(mask)
    palette = Image.fromarray((mask // 255) * 3).convert("P")
    palette.putpalette([0, 0, 0, 5, 5, 5, 7, 7, 7, 128, 0, 0] + [0] * (768 - 12))
    cutout = Image.merge("RGBA", [Image.new("L", grey.size, 77)] * 3 + [grey])
    red = Image.merge("RGB", [grey, Image.new("L", grey.size), Image.new("L", grey.size)])
    ones = Image.fromarray(mask // 255)
    for form in (grey, grey.convert("1"), palette, cutout, red, ones):
        assert np.array_equal(decode_mask(saved(form, "PNG"), name="x"), mask)


def test_soft_masks_keep_their_values():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode_mask(encode_png(ramp), name="x"), ramp)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (12000, 10001), (11000, 9000)])
def test_a_bomb_is_refused_by_its_header_and_the_message_names_the_limit(width, height):
    with pytest.raises(BadSample, match="max_megapixels") as raised:
        decode_image(bomb(width, height), name="x", max_megapixels=90.0)
    assert raised.value.reason is RejectReason.TOO_LARGE


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_images_between_pillows_limit_and_ours_are_read_without_a_warning(monkeypatch, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # Pillow's is 89 megapixels: it warns from there on, and warnings are errors here
    data = saved(Image.new("RGB", (50, 40)), kind)
    assert decode_image(data, name="x").shape == (40, 50, 3)
    with pytest.raises(BadSample, match=r"50x40 px, over ingest\.max_megapixels = 0\.0019"):
        decode_image(data, name="x", max_megapixels=0.0019)


def test_an_image_over_twice_pillows_limit_is_too_large_where_pillow_insists(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    assert reason_of(saved(Image.new("RGB", (50, 40)), "TIFF")) is RejectReason.TOO_LARGE


def test_damaged_and_foreign_bytes_are_unreadable(photograph):
    jpeg, png = encode_jpeg(photograph(60, 60, 5), 90), encode_png(photograph(60, 60, 5))
    foreign = (b"", b"\0" * 64, b"%PDF-1.4 nonsense", b"%!PS-Adobe-3.0 EPSF-3.0\n")
    for data in (*foreign, jpeg[: len(jpeg) // 2], png[: len(png) // 2], jpeg[:10]):
        assert reason_of(data) is RejectReason.UNREADABLE


def test_pixels_without_an_agreed_range_are_unsupported():
    cielab = ImageCms.profileToProfile(
        Image.new("RGB", (20, 20), (9, 99, 199)), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB",
    )
    for image in (Image.fromarray(np.zeros((20, 20), np.float32)), Image.fromarray(np.zeros((20, 20), np.int32)), cielab):
        data = saved(image, "TIFF")
        assert reason_of(data) is RejectReason.UNSUPPORTED
        with pytest.raises(BadSample, match="no agreed range"):
            decode_mask(data, name="x")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_become_pixels_or_a_reason(damaged_files, data):
    content = bytearray(data.draw(st.sampled_from(damaged_files)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_image, decode_mask):
        with contextlib.suppress(BadSample), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert decode(bytes(content[: data.draw(st.integers(1, len(content)))]), name="x", max_megapixels=1.0).dtype == np.uint8


@pytest.fixture(scope="module")
def damaged_files(photograph):
    """One small file of each kind, to be damaged."""
    image = Image.fromarray(photograph(12, 16, 1))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        saved(image, "JPEG", exif=exif), saved(image, "JPEG", icc_profile=profile), saved(image.convert("CMYK"), "JPEG"),
        saved(image, "PNG", exif=exif, icc_profile=profile), saved(image.convert("P"), "PNG"), saved(image, "BMP"),
        saved(image, "WEBP", exif=exif), saved(image, "TIFF"), saved(image.convert("CMYK"), "TIFF"),
    ]


def test_missing_files_and_folders_are_bad_samples(tmp_path):
    for reader in (read_image, read_mask):
        with pytest.raises(BadSample) as raised:
            reader(tmp_path / "none.png")
        assert raised.value.reason is RejectReason.MISSING
        with pytest.raises(BadSample) as raised:
            reader(tmp_path)
        assert raised.value.reason is RejectReason.UNREADABLE


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(BadSample, match="not a plain file"):
        read_image(tmp_path / "x.png")


def test_a_file_beyond_all_images_is_not_read(tmp_path):
    with (tmp_path / "x.png").open("wb") as handle:
        handle.truncate((2 << 30) + 1)  # no byte of it on the disk
    with pytest.raises(BadSample) as raised:
        read_image(tmp_path / "x.png")
    assert raised.value.reason is RejectReason.TOO_LARGE


def test_a_link_loop_is_unreadable(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(BadSample) as raised:
        read_image(tmp_path / "a.png")
    assert raised.value.reason is RejectReason.UNREADABLE


def test_png_round_trips_exactly(photograph, tmp_path):
    image = photograph(33, 47, 6)
    (tmp_path / "x.png").write_bytes(encode_png(image))
    assert np.array_equal(read_image(tmp_path / "x.png"), image)


def test_jpeg_keeps_full_chroma_and_the_order_of_channels(photograph):
    image = photograph(64, 64, 7)
    image[20:40, 20:40] = (250, 10, 10)
    data = encode_jpeg(image, 95)
    with Image.open(io.BytesIO(data)) as opened:
        assert {part[1:3] for part in opened.layer} == {(1, 1)}
    assert peak_signal_noise_ratio(image, decode_image(data, name="x")) > 35
    assert encode_jpeg(image, 95) == data


def test_resizing_to_the_same_size_is_exact_and_a_copy(photograph):
    image = photograph(20, 24, 8)
    resized = resize_image(image, 20, 24)
    assert np.array_equal(resized, image)
    assert not np.shares_memory(resized, image)


def test_shrinking_is_antialiased_and_keeps_the_mean():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_image(stripes, 8, 8).astype(int) - 127).max() <= 6


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 256))
@settings(max_examples=60, deadline=None)
def test_shrinking_bounds_the_longer_side_and_never_enlarges(height, width, limit):
    shrunk = shrink_to(np.zeros((height, width), np.uint8), limit)
    if max(height, width) <= limit:
        assert shrunk.shape == (height, width)
    else:
        assert max(shrunk.shape) == limit
        assert min(shrunk.shape) >= 1


@given(arrays(np.uint8, (2, 5, 7, 3)))
@settings(max_examples=20, deadline=None)
def test_every_grey_level_survives_the_tensor(images):
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor.is_contiguous()
    assert np.array_equal(to_uint8(tensor), images)


def test_tensors_hold_a_255th_and_masks_get_one_channel(object_mask):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert torch.equal(to_tensor(levels).flatten(), torch.arange(256) / 255)
    assert to_tensor(object_mask(6, 8)).shape == (1, 1, 6, 8)
    assert to_tensor(np.zeros((4, 6, 8), np.uint8)).shape == (4, 1, 6, 8)
    assert to_tensor(np.zeros((6, 8, 3), np.uint8)).shape == (1, 3, 6, 8)
    with pytest.raises(ValueError, match="shape"):
        to_tensor(np.zeros(5, np.uint8))


def test_rounding_is_to_nearest_never_truncation():
    values = torch.tensor([0.999 / 255 * 3, 3.4 / 255, 3.6 / 255, -0.2, 1.2]).view(1, 1, 1, 5)
    assert to_uint8(values).flatten().tolist() == [3, 3, 4, 0, 255]


def test_reading_leaves_pillows_limit_alone(tmp_path, photograph):
    limit = Image.MAX_IMAGE_PIXELS
    path = Path(tmp_path / "x.png")
    path.write_bytes(encode_png(photograph(20, 20, 1)))
    read_image(path)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("size", [(600, 800), (601, 401), (256, 100), (1000, 1001), (99, 70)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_shrunk_jpeg_has_the_size_and_nearly_the_pixels_of_the_long_way(photograph, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = cv2.GaussianBlur(photograph(*size, 1), (0, 0), 2.0)
    data = saved(Image.fromarray(smooth), "JPEG", quality=95, exif=exif)
    short, long = decode_shrunk(data, 128, name="x"), shrink_to(decode_image(data, name="x"), 128)
    assert short.shape == long.shape
    assert np.square(short.astype(float) - long).mean() < 255**2 * 10**-3.8  # 38 dB


def test_what_is_no_plain_jpeg_is_shrunk_the_long_way_and_damage_is_refused_alike(tmp_path, photograph):
    image = photograph(300, 500, 2)
    for kind in ("PNG", "TIFF"):
        data = saved(Image.fromarray(image), kind)
        assert (decode_shrunk(data, 100, name="x") == shrink_to(image, 100)).all()
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(image, 90)[:-2000])
    for read in (lambda path: read_shrunk(path, 64), read_image):
        with pytest.raises(BadSample) as raised:
            read(tmp_path / "a.jpg")
        assert raised.value.reason == RejectReason.UNREADABLE


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_grey_levels_are_the_photographs_luma_upright_with_the_size_of_the_whole(photograph, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(photograph(300, 420, 1)).save(buffer, "JPEG", quality=95, exif=exif)
    whole = decode_image(buffer.getvalue(), name="x")
    grey, shape = decode_grey(buffer.getvalue(), 100, name="x")
    assert shape == whole.shape[:2]
    assert 100 <= min(grey.shape) < 200
    luma = cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY)
    assert np.abs(cv2.resize(luma, grey.shape[::-1], interpolation=cv2.INTER_AREA).astype(int) - grey).mean() < 2
    assert np.abs(decode_grey(buffer.getvalue(), 1000, name="x")[0].astype(int) - luma).max() <= 3


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.97])
def test_damage_is_found_although_a_fraction_is_decoded(photograph, kept):
    data = encode_jpeg(photograph(600, 800, 1), 90)
    for read in (lambda cut: decode_grey(cut, 64, name="x"), lambda cut: decode_shrunk(cut, 64, name="x")):
        with pytest.raises(BadSample, match="cannot be decoded"):
            read(data[: int(len(data) * kept)])
    png = encode_png(photograph(60, 80, 1))
    grey, shape = decode_grey(png, 16, name="x")
    assert grey.shape == shape == (60, 80)
    with pytest.raises(BadSample, match="cannot be decoded"):
        decode_grey(png[:-20] + b"\0" * 20, 16, name="x")
