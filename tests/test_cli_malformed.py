"""Inputs that are no pictures, or want to do harm: each is refused in one line, nothing crashes, and the rest of a folder is done."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from shapes import edit_of

from attune.cli import main
from attune.edits import write_edit
from attune.photo import Coding, Metadata, Photo
from attune.photo_files import Refused, read_photo, read_photo_mask
from attune.photo_writing import encode_photo
from attune.rejects import BadSample

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(PICTURE)).save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen(name: str) -> bytes:
    return encode_photo(Photo(PICTURE.astype(np.uint16) * 257, None, False, 1, Metadata(), Coding(name, compressed=False)), name)


def png(width: int, height: int, *, depth: int = 8, color: int = 2, body: bytes = b"") -> bytes:
    """A PNG with this header and this compressed body."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int, int]], *, following: int = 0) -> bytes:
    """A little-endian TIFF with this directory and no pixels."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + rows + struct.pack("<I", following)


def tags(width: int = 80, height: int = 64, *, offset: int = 10**8, bits: int = 8) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, offset),
            (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height)]


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(saved("JPEG", quality=90))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def several(kind: str, **options: object) -> bytes:
    frames = [Image.fromarray(np.full((64, 80, 3), level, np.uint8)) for level in (10, 90, 200)]
    return saved(kind, frames[0], save_all=True, append_images=frames[1:], **options)


JPEG, PNG, TIFF, WEBP = saved("JPEG"), saved("PNG"), saved("TIFF"), saved("WEBP")
INPUTS: dict[str, tuple[bytes, str]] = {
    # no pictures at all
    "empty.jpg": (b"", "the file is empty"),
    "text.png": (b"hello, this is text", "not a picture"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "not a picture"),
    "noise.webp": (np.random.default_rng(1).bytes(5000), "not a picture"),
    "zeros.tif": (bytes(5000), "not a picture"),
    "archive.png": (b"PK\x03\x04" + bytes(200), "not a picture"),
    "code.jpg": (b"cos\nsystem\n(S'touch pwned'\ntR.", "not a picture"),
    "vector.png": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>', "not a picture"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n", "not a picture"),
    "document.tif": (b"%PDF-1.7\n" + bytes(100), "not a picture"),
    # pictures of other kinds under a false name
    "animation.png": (saved("GIF"), "not a picture"),
    "bitmap.jpg": (saved("BMP"), "not a picture"),
    "icon.png": (saved("ICO"), "not a picture"),
    "jpeg2000.jpg": (saved("JPEG2000"), "not a picture"),
    # cut off, or damaged
    "start_only.jpg": (JPEG[:2], "not a picture"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "cannot be decoded"),
    "no_scan.jpg": (JPEG[: JPEG.index(b"\xff\xda")], "cannot be decoded"),
    "header_only.png": (PNG[:33], "picture"),
    "half.png": (PNG[: len(PNG) // 2], "cannot be decoded"),
    "bad_checksum.png": (PNG[:29] + b"\x00\x00\x00\x00" + PNG[33:], "not a picture"),
    "no_width.png": (png(0, 64), "picture"),
    "broken_stream.png": (png(80, 64, body=b"\x78\x9c" + b"\xff" * 50), "cannot be decoded"),
    "short_stream.png": (png(80, 64, body=zlib.compress(bytes(100))), "cannot be decoded"),
    "half_deep.png": (sixteen("PNG")[:9000], "cannot be decoded"),
    "long_chunk.png": (sixteen("PNG")[:33] + b"\x66\x00\x20\x00" + sixteen("PNG")[37:], "beyond the end of the file"),
    "header_only.tif": (TIFF[:8], "not a picture"),
    "no_pixels.tif": (tiff(tags()), "cannot be decoded"),
    "no_tags.tif": (tiff([]), "not a picture"),
    "half_deep.tif": (sixteen("TIFF")[:9000], "picture"),
    "half.webp": (WEBP[: len(WEBP) // 2], "picture"),
    "riff_only.webp": (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "picture"),
    # too large
    "bomb.png": (png(60_000, 60_000, depth=1, color=0, body=zlib.compress(bytes(10**6))), "px, over the limit of 120 megapixels"),
    "bomb.jpg": (jpeg_of_size(65_500, 65_500), "65500x65500 px, over the limit"),
    "bomb.tif": (tiff(tags(60_000, 60_000)), "picture|megapixels"),
    # pixels that an edit cannot be applied to
    "cmyk.jpg": (saved("JPEG", Image.new("CMYK", (80, 64))), "CMYK; convert it to RGB first"),
    "cmyk.tif": (saved("TIFF", Image.new("CMYK", (80, 64))), "CMYK; convert it to RGB first"),
    "float.tif": (saved("TIFF", Image.new("F", (80, 64))), "mode F"),
    "deep.tif": (saved("TIFF", Image.new("I", (80, 64))), "mode I"),
    "lab.tif": (saved("TIFF", Image.new("LAB", (80, 64))), "mode LAB"),
    "one_bit.png": (saved("PNG", Image.new("1", (80, 64))), "mode 1"),
    "pages.tif": (several("TIFF"), "3 frames or pages"),
    "moving.webp": (several("WEBP"), "3 frames or pages"),
    "moving.png": (several("PNG"), "3 frames or pages"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a mask and an edit to replay: no model is needed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    mask = np.zeros((64, 80), np.uint8)
    mask[20:40, 20:50] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(PICTURE).save("picture.png")
    write_edit(Path("edit.json"), edit_of(np.tile([0.2, 0.7], (3, 1)), np.zeros((2, 2)), "symmetric", 1.5))
    return tmp_path


def run(*arguments: object) -> int:
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


REPLAY = ("--params", "edit.json", "-o", "out.png")


def refused(capfd: pytest.CaptureFixture[str], said: str) -> None:
    """One line that says it, and no result."""
    err = capfd.readouterr().err
    ours = [line for line in err.splitlines() if line.startswith("attune: ")]
    assert len(ours) == 1, err
    assert any(part in ours[0] for part in said.split("|")), ours[0]
    assert "Traceback" not in err
    assert not Path("out.png").exists()
    assert not list(Path().glob(".tmp-*"))


@pytest.mark.parametrize("name", INPUTS)
def test_a_malformed_composite_is_refused_in_one_line(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    data, said = INPUTS[name]
    Path(name).write_bytes(data)
    assert run("harmonize", name, "mask.png", *REPLAY) == 1
    refused(capfd, said)


MASKS_TAKEN = {"one_bit.png", "cmyk.jpg", "cmyk.tif", "lab.tif", "pages.tif", "moving.webp", "moving.png"}  # a mask is only looked at


@pytest.mark.parametrize("name", sorted(set(INPUTS) - MASKS_TAKEN))
def test_a_malformed_mask_is_refused_in_one_line(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    Path(name).write_bytes(INPUTS[name][0])
    assert run("harmonize", "picture.png", name, *REPLAY) == 1
    refused(capfd, name)


def test_a_whole_folder_of_them_goes_on_to_its_end(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = {name: saved("PNG") for name in ("a good one.png", "a..\\..\\evil.png", "new\nline.png", "-o.png")}
    good |= {"zz [bold]good.jpg": saved("JPEG"), "~root.webp": saved("WEBP")}
    for name, data in {**{name: data for name, (data, _) in INPUTS.items()}, **good}.items():
        Path("composites").mkdir(exist_ok=True)
        Path("masks").mkdir(exist_ok=True)
        Path("composites", name).write_bytes(data)
        Path("masks", f"{Path(name).stem}.png").write_bytes(Path("mask.png").read_bytes())
    Path("composites/folder.png").mkdir()
    Path("masks/folder.png").write_bytes(Path("mask.png").read_bytes())
    assert run("harmonize", "--composites", "composites", "--masks", "masks", "--out", "out", "--params", "edit.json") == 1
    said = capfd.readouterr()
    assert said.out == f"{len(good)} harmonized, {len(INPUTS) + 1} at fault\n"
    assert sorted(path.name for path in Path("out").iterdir() if path.name != ".attune.json") == sorted(good)
    assert sorted(path.name for path in folder.iterdir()) == ["composites", "edit.json", "mask.png", "masks", "out", "picture.png"]


def test_what_is_no_file_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe.png")  # would be waited for
    os.symlink("/dev/zero", "endless.png")
    os.symlink("nowhere", "dangling.png")
    Path("folder.png").mkdir()
    for name, said in {"pipe.png": "not a file", "endless.png": "not a file", "folder.png": "not a file", "dangling.png": "no such file",
                       "missing.png": "no such file", "x" * 300 + ".png": "File name too long"}.items():
        for arguments in ((name, "mask.png"), ("picture.png", name)):
            assert run("harmonize", *arguments, *REPLAY) == 1
            refused(capfd, said)


def test_a_result_through_a_link_replaces_the_link_alone(folder: Path) -> None:
    Path("precious.txt").write_text("kept")
    os.symlink("precious.txt", "out.png")
    assert run("harmonize", "picture.png", "mask.png", *REPLAY) == 0
    assert Path("precious.txt").read_text() == "kept"
    assert not Path("out.png").is_symlink()


def test_malformed_edits_are_refused_in_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begun = b'{"format": "attune edit"'
    for data in (b"", b"{", b"[]", begun + b"}", b"\xff\xfe", b"[" * 10**5, PNG, begun + b', "version": 1e999}'):
        Path("broken.json").write_bytes(data)
        assert run("harmonize", "picture.png", "mask.png", "--params", "broken.json", "-o", "out.png") == 1
        refused(capfd, "broken.json: ")
        assert run("export", "broken.json", "-o", "tools") == 1
        refused(capfd, "broken.json: ")


BYTES = {
    "picture.jpg": JPEG, "picture.png": PNG, "picture.tif": TIFF, "picture.webp": WEBP, "deep.png": sixteen("PNG"),
    "deep.tif": sixteen("TIFF"),
}


@pytest.mark.parametrize("name", BYTES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), head=st.booleans())
def test_any_change_of_bytes_gives_a_picture_or_a_refusal(
    tmp_path: Path, name: str, changes: list[tuple[float, int]], head: bool
) -> None:
    data = bytearray(BYTES[name])
    for where, value in changes:
        data[int(where * (min(len(data), 300 if head else len(data)) - 1))] = value
    path = tmp_path / name
    path.write_bytes(data)
    read: Callable[..., object]
    for read in (read_photo, read_photo_mask):
        with contextlib.suppress(Refused, BadSample):  # anything else is a crash
            read(path, max_megapixels=1)
