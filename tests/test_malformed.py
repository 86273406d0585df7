"""Malformed input of every source: each has its one reason, or is taken by the documented rule; nothing crashes, nothing good is lost.

All of it is planted at once beside good neighbours and ingested once; every case is then looked up by its key.
"""

import io
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from attune.images import encode_jpeg, encode_png
from attune.rejects import RejectReason
from tasks.index import read_index
from tasks.ingest import finish_ingest, plan_ingest, settle_ingest
from tasks.ingestion.check_chunks import check_chunk
from tasks.ingestion.composite_chunks import compose_chunk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")  # Pillow says of broken EXIF what the outcome says too

HEIGHT, WIDTH = 48, 64
TAKEN = None  # the outcome of what is unusual but good
R = RejectReason
EASY = {
    "ingest.max_reject_fraction": 1.0, "ingest.min_side": 32, "ingest.val_share": 0.0, "ingest.test_share": 0.1, "speed.num_workers": 2,
    "ingest.synthesis.composites_per_object": 1, "ingest.synthesis.composites_per_test_object": 1, "ingest.synthesis.max_side": 32,
    "ingest.synthesis.max_attempts": 3, "ingest.synthesis.min_fmse": 0.0, "ingest.synthesis.max_gradient_ratio": 8.0,
}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class Pictures:
    """A different picture for every call, so that no two files are duplicates."""

    def __init__(self, draw: Callable[[int, int, int], np.ndarray]) -> None:
        self.draw, self.seed = draw, 100

    def pixels(self, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
        self.seed += 1
        return self.draw(height, width, self.seed)

    def image(self, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
        return Image.fromarray(self.pixels(height, width))

    def jpeg(self, height: int = HEIGHT, width: int = WIDTH) -> bytes:
        return encode_jpeg(self.pixels(height, width), 92)


def mask_of(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4: -(height // 4), width // 4: -(width // 4)] = 255
    return mask


MASK = encode_png(mask_of())


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def tiff_that_claims(width: int, height: int) -> bytes:
    whole = bytearray(saved(Image.new("RGB", (40, 40)), "TIFF"))
    (start,) = struct.unpack_from("<I", whole, 4)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", whole, start)[0], 12):
        tag = struct.unpack_from("<H", whole, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", whole, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(whole)


def turned(image: Image.Image, kind: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, kind, exif=exif)


def profile_of(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def cielab(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert converted is not None
    return converted


# --- Photographs: one file each, the other half is good -----------------------------------------------------------------------------------

# name: (bytes of the image, bytes of the mask, outcome); None as bytes is a good file, b"-" none at all
Files = Callable[[Pictures], bytes]
IMAGES: dict[str, tuple[str, Files, RejectReason | None]] = {
    "zero bytes": ("jpg", lambda p: b"", R.UNREADABLE),
    "jpeg cut in half": ("jpg", lambda p: p.jpeg()[:800], R.UNREADABLE),
    "jpeg cut in its header": ("jpg", lambda p: p.jpeg()[:30], R.UNREADABLE),
    "jpeg without its end": ("jpg", lambda p: p.jpeg()[:-40], R.UNREADABLE),
    "png cut in half": ("png", lambda p: encode_png(p.pixels())[:3000], R.UNREADABLE),
    "png with a broken checksum": ("png", lambda p: encode_png(p.pixels())[:-20] + b"\0" * 20, R.UNREADABLE),
    "webp cut in half": ("webp", lambda p: saved(p.image(), "WEBP", lossless=True)[:900], R.UNREADABLE),
    "tiff cut in half": ("tif", lambda p: saved(p.image(), "TIFF")[:500], R.UNREADABLE),
    "text": ("jpg", lambda p: b"this is no photograph\n" * 40, R.UNREADABLE),
    "web page": ("jpg", lambda p: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", R.UNREADABLE),
    "postscript": ("jpg", lambda p: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n", R.UNREADABLE),
    "gif": ("jpg", lambda p: saved(p.image(), "GIF"), R.UNREADABLE),
    "svg": ("png", lambda p: b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"/>', R.UNREADABLE),
    "float pixels": ("tif", lambda p: saved(Image.fromarray(p.pixels()[..., 0].astype(np.float32)), "TIFF"), R.UNSUPPORTED),
    "32-bit pixels": ("tif", lambda p: saved(Image.fromarray(p.pixels()[..., 0].astype(np.int32)), "TIFF"), R.UNSUPPORTED),
    "cielab pixels": ("tif", lambda p: saved(cielab(p.image()), "TIFF"), R.UNSUPPORTED),
    "png bomb": ("png", lambda p: png_that_claims(60000, 60000), R.TOO_LARGE),
    "png just over the limit": ("png", lambda p: png_that_claims(12000, 10001), R.TOO_LARGE),
    "tiff bomb": ("tif", lambda p: tiff_that_claims(50000, 50000), R.TOO_LARGE),
    "a thumbnail": ("jpg", lambda p: p.jpeg(8, 8), R.TOO_SMALL),
    "a line": ("png", lambda p: encode_png(p.pixels(1, 5000)), R.TOO_SMALL),
    "turned by exif while its mask is not": ("jpg", lambda p: turned(p.image(), "JPEG"), R.SIZE_MISMATCH),
    "png called jpg": ("jpg", lambda p: encode_png(p.pixels()), TAKEN),
    "jpeg called png": ("png", lambda p: p.jpeg(), TAKEN),
    "capital suffix": ("JPEG", lambda p: p.jpeg(), TAKEN),
    "cmyk jpeg": ("jpg", lambda p: saved(p.image().convert("CMYK"), "JPEG"), TAKEN),
    "grey jpeg": ("jpg", lambda p: saved(p.image().convert("L"), "JPEG"), TAKEN),
    "16-bit png": ("png", lambda p: saved(Image.fromarray(p.pixels()[..., 0].astype(np.uint16) * 257), "PNG"), TAKEN),
    "16-bit tiff": ("tif", lambda p: saved(Image.fromarray(p.pixels()[..., 0].astype(np.uint16) * 257), "TIFF"), TAKEN),
    "transparent png": ("png", lambda p: saved(p.image().convert("RGBA"), "PNG"), TAKEN),
    "palette png": ("png", lambda p: saved(p.image().quantize(64), "PNG"), TAKEN),
    "animated webp": ("webp", lambda p: saved(p.image(), "WEBP", save_all=True, append_images=[p.image()]), TAKEN),
    "animated png": ("png", lambda p: saved(p.image(), "PNG", save_all=True, append_images=[p.image()]), TAKEN),
    "tiff of two pages": ("tif", lambda p: saved(p.image(), "TIFF", save_all=True, append_images=[p.image()]), TAKEN),
    "broken profile": ("jpg", lambda p: saved(p.image(), "JPEG", icc_profile=b"nonsense" * 40), TAKEN),
    "profile cut off": ("png", lambda p: saved(p.image(), "PNG", icc_profile=profile_of("sRGB")[:200]), TAKEN),
    "profile of another colour model": ("jpg", lambda p: saved(p.image(), "JPEG", icc_profile=profile_of("LAB")), TAKEN),
    "broken exif": ("jpg", lambda p: saved(p.image(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), TAKEN),
    "orientation out of range": ("jpg", lambda p: turned(p.image(), "JPEG", 99), TAKEN),
    "garbage after its end": ("jpg", lambda p: p.jpeg() + b"\0garbage" * 50, TAKEN),
    "progressive jpeg": ("jpg", lambda p: saved(p.image(), "JPEG", progressive=True), TAKEN),
    "quotes ' \" and a\nline break": ("jpg", lambda p: p.jpeg(), TAKEN),
    "Grüße \N{CAT FACE}": ("jpg", lambda p: p.jpeg(), TAKEN),
    "x" * 251: ("jpg", lambda p: p.jpeg(), TAKEN),
}
MASKS: dict[str, tuple[Files, RejectReason | None]] = {
    "mask of another size": (lambda p: encode_png(mask_of(HEIGHT, WIDTH + 2)), R.SIZE_MISMATCH),
    "mask on its side": (lambda p: encode_png(mask_of(WIDTH, HEIGHT)), R.SIZE_MISMATCH),
    "empty mask": (lambda p: encode_png(np.zeros((HEIGHT, WIDTH), np.uint8)), R.EMPTY_MASK),
    "mask that never reaches half": (lambda p: encode_png(np.full((HEIGHT, WIDTH), 127, np.uint8)), R.EMPTY_MASK),
    "wholly transparent mask": (lambda p: saved(Image.new("RGBA", (WIDTH, HEIGHT)), "PNG"), R.EMPTY_MASK),
    "full mask": (lambda p: encode_png(np.full((HEIGHT, WIDTH), 255, np.uint8)), R.FG_TOO_LARGE),
    "mask of one pixel": (lambda p: encode_png(np.pad(np.uint8([[255]]), ((5, HEIGHT - 6), (5, WIDTH - 6)))), R.FG_TOO_SMALL),
    "mask that is text": (lambda p: b"0 0 1 1 0 0", R.UNREADABLE),
    "mask bomb": (lambda p: png_that_claims(60000, 60000), R.TOO_LARGE),
    "float mask": (lambda p: saved(Image.fromarray(mask_of().astype(np.float32)), "TIFF"), R.UNSUPPORTED),
    "mask of ones": (lambda p: encode_png(mask_of() // 255), TAKEN),
    "mask of one bit": (lambda p: saved(Image.fromarray(mask_of()).convert("1"), "PNG"), TAKEN),
    "red mask": (lambda p: saved(Image.merge("RGB", [Image.fromarray(mask_of()), *[Image.new("L", (WIDTH, HEIGHT))] * 2]), "PNG"), TAKEN),
    "cut-out as a mask": (lambda p: saved(Image.merge("LA", [p.image().convert("L"), Image.fromarray(mask_of())]), "PNG"), TAKEN),
    "16-bit mask": (lambda p: saved(Image.fromarray(mask_of().astype(np.uint16) * 257), "PNG"), TAKEN),
}


@dataclass(frozen=True)
class Case:
    """What was planted: where its row is to be found, and what is to stand there."""

    source: str
    name: str
    outcome: RejectReason | None

    def __str__(self) -> str:
        return f"{self.source}: {self.name[:40]!a}"


def plant_photographs(raw: Path, pictures: Pictures) -> None:
    images, masks = raw / "photos" / "images", raw / "photos" / "masks"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for name, (suffix, draw, _) in IMAGES.items():
        (images / f"{name}.{suffix}").write_bytes(draw(pictures))
        (masks / f"{name}.png").write_bytes(MASK)
    for name, (draw, _) in MASKS.items():
        (images / f"{name}.jpg").write_bytes(pictures.jpeg())
        (masks / f"{name}.png").write_bytes(draw(pictures))
    plant_odd_files(images, masks, pictures)
    for number in range(6):
        (images / f"good {number}.jpg").write_bytes(pictures.jpeg())
        (masks / f"good {number}.png").write_bytes(MASK)


ODD: dict[str, RejectReason | None] = {
    "without a mask": R.NO_MASK, "without an image": R.MISSING, "twice": R.DUPLICATE, "link to itself": R.UNREADABLE,
    "link to nothing": R.MISSING, "folder": R.MISSING, "pipe": R.UNREADABLE, "device": R.UNREADABLE, "three gigabytes": R.TOO_LARGE,
    "not to be read": R.UNREADABLE if os.geteuid() else TAKEN, "turned by exif with its mask": TAKEN, "link to a good file": TAKEN,
    "caf\udce9": R.BAD_NAME,
}


def plant_odd_files(images: Path, masks: Path, pictures: Pictures) -> None:
    for name in ODD:
        if name != "without a mask":
            (masks / f"{name}.png").write_bytes(MASK)
    (images / "without a mask.jpg").write_bytes(pictures.jpeg())
    (images / "twice.jpg").write_bytes(pictures.jpeg())
    (images / "twice.png").write_bytes(encode_png(pictures.pixels()))
    (images / "link to itself.jpg").symlink_to("link to itself.jpg")
    (images / "link to nothing.jpg").symlink_to("nothing.jpg")
    (images / "folder.jpg").mkdir()
    os.mkfifo(images / "pipe.jpg")
    (images / "device.jpg").symlink_to("/dev/zero")
    with (images / "three gigabytes.jpg").open("wb") as handle:
        handle.truncate(3 << 30)
    (images / "not to be read.jpg").write_bytes(pictures.jpeg())
    (images / "not to be read.jpg").chmod(0)
    (images / "turned by exif with its mask.jpg").write_bytes(turned(pictures.image(), "JPEG"))
    (masks / "turned by exif with its mask.png").write_bytes(turned(Image.fromarray(mask_of()), "PNG"))
    (images.parent / "elsewhere.jpg").write_bytes(pictures.jpeg())
    (images / "link to a good file.jpg").symlink_to(images.parent / "elsewhere.jpg")
    (images / "caf\udce9.jpg").write_bytes(pictures.jpeg())


# --- iHarmony4 ----------------------------------------------------------------------------------------------------------------------------

LINES: dict[str, tuple[str, RejectReason | None]] = {  # a line of HCOCO_test.txt, by the stem that its key holds
    "c1_1_1": ("c1_1_1.jpg", TAKEN), "c1_1_2": ("  c1_1_2.jpg\r", TAKEN), "c2_1_1": ("HCOCO/composite_images/c2_1_1.jpg", TAKEN),
    "../../secret_1_1.jpg": ("../../secret_1_1.jpg", R.OUTSIDE), "/etc/passwd_1_1.jpg": ("/etc/passwd_1_1.jpg", R.OUTSIDE),
    "c1\0_1_1.jpg": ("c1\0_1_1.jpg", R.BAD_NAME), "nonsense": ("nonsense.jpg", R.BAD_NAME), "c9_9": ("c9_9", R.MISSING),
    "HFlickr/composite_images/f1_1_1.jpg": ("HFlickr/composite_images/f1_1_1.jpg", R.BAD_NAME),
    "c3_1_1": ("c3_1_1.jpg", R.MISSING), "c4_1_1": ("c4_1_1.jpg", R.MISSING), "c5_1_1": ("c5_1_1.jpg", R.MISSING),
    "c6_1_1": ("c6_1_1.jpg", R.SIZE_MISMATCH), "c7_1_1": ("c7_1_1.jpg", R.UNREADABLE), "c8_1_1": ("c8_1_1.jpg", R.SIZE_MISMATCH),
}


LEAKED = 10  # the photograph of a training composite that is a test photograph, copied


def plant_iharmony4(raw: Path, pictures: Pictures) -> None:
    folder = raw / "iHarmony4" / "HCOCO"
    for number in (*range(1, 9), LEAKED):
        composites = [f"composite_images/c{number}_1_{k}.jpg" for k in (1, 2)]
        for name, data in {**{name: pictures.jpeg() for name in composites}, f"masks/c{number}_1.png": MASK,
                           f"real_images/c{number}.jpg": pictures.jpeg()}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    (folder / "real_images" / f"c{LEAKED}.jpg").write_bytes((folder / "real_images" / "c2.jpg").read_bytes())
    (folder / "HCOCO_train.txt").write_text(f"c{LEAKED}_1_1.jpg\n")
    (folder / "composite_images" / "c3_1_1.jpg").unlink()
    (folder / "masks" / "c4_1.png").unlink()
    (folder / "real_images" / "c5.jpg").unlink()
    (folder / "real_images" / "c6.jpg").write_bytes(pictures.jpeg(HEIGHT, WIDTH + 2))
    (folder / "real_images" / "c7.jpg").write_bytes(pictures.jpeg()[:500])
    (folder / "masks" / "c8_1.png").write_bytes(encode_png(mask_of(HEIGHT + 2, WIDTH)))
    lines = [line for line, _ in LINES.values()]
    (folder / "HCOCO_test.txt").write_bytes(b"\xef\xbb\xbf" + "\n\n".join([*lines, lines[0]]).encode())


# --- The smaller sources ------------------------------------------------------------------------------------------------------------------

RETOUCHES: dict[str, RejectReason | None] = {
    "good": TAKEN, "no after": R.MISSING, "no before": R.MISSING, "unequal": R.SIZE_MISMATCH, "damaged": R.UNREADABLE,
    "mask of nothing": R.MISSING, "empty mask": R.EMPTY_MASK,
}


def plant_retouches(raw: Path, pictures: Pictures) -> None:
    folder = raw / "retouch_pairs"
    for name in ("before", "after", "masks"):
        (folder / name).mkdir(parents=True)
    for name in RETOUCHES:
        if name not in ("no before", "mask of nothing"):
            (folder / "before" / f"{name}.jpg").write_bytes(pictures.jpeg())
        if name not in ("no after", "mask of nothing"):
            (folder / "after" / f"{name}.jpg").write_bytes(pictures.jpeg(HEIGHT, WIDTH + (name == "unequal")))
    (folder / "after" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "masks" / "mask of nothing.png").write_bytes(MASK)
    (folder / "masks" / "empty mask.png").write_bytes(encode_png(np.zeros((HEIGHT, WIDTH), np.uint8)))


COMPOSITES: dict[str, RejectReason | None] = {
    "good": TAKEN, "again": TAKEN, "../../secret": R.OUTSIDE, "unknown": R.MISSING, "unmasked": R.MISSING, "damaged": R.UNREADABLE,
    "nu\0l": R.BAD_NAME, "": R.BAD_NAME,
}


def plant_composites(raw: Path, pictures: Pictures) -> None:
    folder = raw / "real_composites"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for name in ("good", "again", "unmasked", "damaged"):
        (folder / "images" / f"{name}.jpg").write_bytes(pictures.jpeg() if name != "damaged" else b"\0" * 300)
        if name != "unmasked":
            (folder / "masks" / f"{name}.png").write_bytes(MASK)
    rows = [*COMPOSITES, "again.jpg"]  # the last is a second row of one file
    (folder / "list.csv").write_text("name,object\n" + "".join(f'"{name}",thing\n' for name in rows))


ITEMS: dict[str, RejectReason | None] = {"good": TAKEN, "no mask": R.MISSING, "no target": R.MISSING, "unequal": R.SIZE_MISMATCH,
                                         "damaged": R.UNREADABLE, "unequal target": R.SIZE_MISMATCH}


def plant_realhm(raw: Path, pictures: Pictures) -> None:
    folder = raw / "RealHM"
    folder.mkdir()
    for name in ITEMS:
        for part in ("", "_mask", "_fore", "_gt"):
            wider = (name, part) in (("unequal", "_fore"), ("unequal target", "_gt"))
            data = encode_jpeg(np.repeat(mask_of()[..., None], 3, 2), 90) if part == "_mask" else pictures.jpeg(HEIGHT, WIDTH + 2 * wider)
            (folder / f"{name}{part}.jpg").write_bytes(data)
    (folder / "no mask_mask.jpg").unlink()
    (folder / "no target_gt.jpg").unlink()
    (folder / "damaged_fore.jpg").write_bytes(b"")


SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]
ANNOTATIONS: dict[str, tuple[dict[str, Any], RejectReason | None]] = {
    "1": ({"image_id": 1}, TAKEN), "2": ({"image_id": 99}, R.UNKNOWN_ID), "3": ({"category_id": "dog"}, R.UNKNOWN_ID),
    "4": ({"segmentation": [[1, 2, 3]]}, R.BAD_ANNOTATION), "5": ({"segmentation": [[0, 0, 1e12, 0, 9, 9]]}, R.BAD_ANNOTATION),
    "6": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "oooooooo"}}, R.BAD_ANNOTATION), "7": ({"image_id": 2}, R.OUTSIDE),
    "8": ({"image_id": 3}, R.MISSING), "9": ({"image_id": 4}, R.TOO_LARGE), "10": ({"image_id": 5}, R.SIZE_MISMATCH),
    "11": ({"image_id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [200, 800, HEIGHT * WIDTH - 1000]}}, TAKEN),
    "12": ({"segmentation": None}, R.BAD_ANNOTATION),
}


def plant_coco(raw: Path, pictures: Pictures) -> None:
    folder = raw / "coco"
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    for name in ("1", "5"):
        (folder / "val2017" / f"{name}.jpg").write_bytes(pictures.jpeg())
    images = [("1.jpg", HEIGHT, WIDTH), ("../../../secret.jpg", HEIGHT, WIDTH), ("3.jpg", HEIGHT, WIDTH), ("4.jpg", 10**6, 10**6),
              ("5.jpg", HEIGHT + 5, WIDTH)]
    content = {
        "images": [{"id": k, "file_name": name, "height": high, "width": wide} for k, (name, high, wide) in enumerate(images, start=1)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": int(number), "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": SQUARE, **changes}
                        for number, (changes, _) in ANNOTATIONS.items()],
    }
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


CASES = [
    *(Case("photos", name, outcome) for name, (_, _, outcome) in IMAGES.items()),
    *(Case("photos", name, outcome) for name, (_, outcome) in MASKS.items()),
    *(Case("photos", name, outcome) for name, outcome in ODD.items()),
    *(Case("iharmony4", name, outcome) for name, (_, outcome) in LINES.items()), Case("iharmony4", f"c{LEAKED}_1_1", R.LEAK),
    *(Case("retouch", name, outcome) for name, outcome in RETOUCHES.items()),
    *(Case("composites", name, outcome) for name, outcome in COMPOSITES.items()),
    *(Case("realhm", name, outcome) for name, outcome in ITEMS.items()),
    *(Case("coco", name, outcome) for name, (_, outcome) in ANNOTATIONS.items()),
]
TABLES = {"photos": "photographs", "coco": "photographs", "iharmony4": "pairs", "realhm": "pairs", "retouch": "retouches",
          "composites": "composites"}
PREFIXES = {"iharmony4": "HCOCO_", "coco": "val2017_"}


@dataclass(frozen=True)
class Ingested:
    """What came of all that was planted: paths or keys that were taken, and the rejects."""

    taken: dict[str, list[dict[str, Any]]]
    rejects: list[dict[str, Any]]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory, configure, photograph) -> Ingested:
    """Everything planted in one project, and ingested."""
    root = tmp_path_factory.mktemp("malformed")
    pictures = Pictures(photograph)
    params = configure({**EASY, "ingest.sources": list(TABLES)})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        raw = root / params.paths.raw
        raw.mkdir(parents=True)
        for plant in (plant_photographs, plant_iharmony4, plant_retouches, plant_composites, plant_realhm, plant_coco):
            plant(raw, pictures)
        for chunk in plan_ingest(params):
            check_chunk(params, chunk)
        for unit in settle_ingest(params):
            compose_chunk(params, unit)
        finish_ingest(params)
        taken = {table: read_index(params.paths.index, table) for table in set(TABLES.values())}
        rejects = [row for row in read_index(params.paths.index, "rejects") if row["reason"] != R.SYNTHESIS_FAILED]
    return Ingested(taken, rejects)


def key_of(case: Case) -> str:
    from tasks.sources.listing import safe_key

    return safe_key(case.source, PREFIXES.get(case.source, "") + case.name)


def test_the_corpus_is_large_and_of_every_kind():
    assert sum(case.outcome is not TAKEN for case in CASES) >= 70
    assert {case.outcome for case in CASES} >= set(R) - {R.SYNTHESIS_FAILED}
    assert {case.source for case in CASES} == set(TABLES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_has_its_reason_or_is_taken(ingested, case):
    key = key_of(case)
    found = [row["reason"] for row in ingested.rejects if row["key"] == key]
    taken = [row for row in ingested.taken[TABLES[case.source]] if row["key"] == key]
    if case.outcome is TAKEN:
        assert (found, len(taken)) == ([R.DUPLICATE.value] if case.name == "again" else [], 1)
    else:
        assert (found, len(taken)) == ([case.outcome.value], 0)


def test_nothing_else_is_rejected_and_nothing_good_is_lost(ingested):
    expected = Counter(key_of(case) for case in CASES if case.outcome is not TAKEN)
    expected["composites_again"] += 1
    assert Counter(row["key"] for row in ingested.rejects) == expected
    good = {row["key"] for row in ingested.taken["photographs"] if row["key"].startswith("photos_good")}
    assert len(good) == 6
    for row in ingested.rejects:
        assert row["detail"]
        assert row["reason"] in set(R)


# --- Lists that stop the stage: a fault in the list itself, named -------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "file", "words"), [
    ("photos", ("photos/manifest.csv", b"image,mask\ncaf\xe9,a\n"), r"manifest\.csv: not a CSV in UTF-8"),
    ("photos", ("photos/manifest.csv", b""), r"manifest\.csv: no column image, mask"),
    ("photos", ("photos/manifest.csv", b"image,mask\n" + b"x" * 200000 + b",a\n"), r"manifest\.csv: not a CSV"),
    ("iharmony4", ("iHarmony4/IHD_test.txt", b"HCOCO/composite_images/caf\xe9_1_1.jpg\n"), r"IHD_test\.txt: not a list in UTF-8"),
    ("composites", ("real_composites/list.csv", b"title\na\n"), r"list\.csv: no column name"),
    ("coco", ("coco/annotations/instances_x.json", b"\xff\xfe{"), r"instances_x\.json: not JSON"),
])
def test_a_list_that_cannot_be_read_stops_the_stage_by_name(project, configure, source, file, words):
    raw, (name, content) = project / "data" / "raw", file
    for folder in ("photos/images", "photos/masks", "real_composites/images", "real_composites/masks", "iHarmony4/HCOCO/composite_images"):
        (raw / folder).mkdir(parents=True)
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        plan_ingest(configure({**EASY, "ingest.sources": [source]}))
