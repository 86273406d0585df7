"""Checking photographs beside the floor of decoding their files once; shrinking a 4K photograph beside Pillow's way.

`python -m benchmarks.ingest`. Photographs are those of `ATTUNE_DATA` or ../shared/data where they are, generated ones elsewhere. The line
at the end is the checking's: photographs per second with two threads (files read to their end, headers and sizes checked, luma decoded,
SHA-256 and perceptual hash taken, masks held against limits, outcomes filed) over those of one thread that decodes the same files, as the
pipeline reads them, and does nothing else. The bare decoders behind that, without header, colour and orientation looked at, are a line of
their own; so is the least that shrinking a JPEG can cost: every coefficient is read, and one of 64 is turned into grey levels.
"""

import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from attune.images import decode_image, decode_shrunk, encode_jpeg, encode_png, read_image, read_mask, shrink_to
from benchmarks.harness import close, measure, print_machine, print_table
from tasks.ingestion.check_cache import check_key
from tasks.ingestion.check_chunks import check_chunk, outcomes_folder, plan_checks
from tasks.params import Params, load_params
from tasks.sources.candidates import PhotographCandidate
from tasks.sources.photos import list_photos

CHECK_TARGET, SHRINK_TARGET = 1.5, 5.0
NUM_PHOTOGRAPHS, NUM_WORKERS = 600, 2
ROUNDS = 5
TALL, WIDE = 2160, 3840
SIDE = 256


def generate_photographs(folder: Path, count: int) -> None:
    """Write `count` photographs of 640 x 480 px with a mask each, in the layout of the source photos."""
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse: np.ndarray = cv2.resize(rng.uniform(20, 235, (15, 20, 3)).astype(np.float32), (640, 480), interpolation=cv2.INTER_CUBIC)
        image = np.clip(coarse + rng.normal(0, 4.0, (480, 640, 1)), 0, 255).astype(np.uint8)
        mask = np.zeros((480, 640), np.uint8)
        cv2.ellipse(mask, (320, 240), (150, 100), 0, 0, 360, 255, -1)
        for kind, name, data in (("images", f"{number:05d}.jpg", encode_jpeg(image, 85)), ("masks", f"{number:05d}.png", encode_png(mask))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / name).write_bytes(data)


def sample_photographs(work: Path) -> tuple[Params, list[PhotographCandidate]]:
    """Params that read the photographs, and the objects of `NUM_PHOTOGRAPHS` of them, spread over the whole."""
    raw = Path(os.environ.get("ATTUNE_DATA", "../shared/data"))
    if not (raw / "photos").is_dir():
        raw = work / "raw"
        generate_photographs(raw / "photos", NUM_PHOTOGRAPHS)
    settings = load_params()
    paths = settings.paths.model_copy(update={"raw": raw, "work": work / "work"})
    params = settings.model_copy(update={"paths": paths})
    objects = list_photos(params).photographs
    images = sorted({one.image_path for one in objects})
    chosen = set(images[:: max(1, len(images) // NUM_PHOTOGRAPHS)][:NUM_PHOTOGRAPHS])
    return params, [one for one in objects if one.image_path in chosen]


def decode_once(objects: list[PhotographCandidate]) -> None:
    """The floor: every image and every mask read and decoded once, and nothing else."""
    for path in sorted({one.image_path for one in objects}):
        read_image(Path(path))
    for one in objects:
        read_mask(Path(one.mask_path))


def decode_bare(objects: list[PhotographCandidate]) -> None:
    """The same files through the libraries alone."""
    for path in sorted({one.image_path for one in objects}):
        simplejpeg.decode_jpeg(Path(path).read_bytes(), colorspace="RGB")
    for one in objects:
        Image.open(io.BytesIO(Path(one.mask_path).read_bytes())).load()


def check_all(params: Params, objects: list[PhotographCandidate], num_workers: int) -> None:
    """What ingestion does with files that it has never seen."""
    shutil.rmtree(outcomes_folder(params), ignore_errors=True)
    chunks = plan_checks(params, ((check_key(one), one) for one in objects))
    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(lambda chunk: check_chunk(params, chunk), chunks))


def time_checking(work: Path) -> float:
    """Print photographs per second of checking and of the floor; how many times the floor's checking with two threads is."""
    params, objects = sample_photographs(work)
    count = len({one.image_path for one in objects})
    print(f"\n{count} photographs with {len(objects)} masks of {params.paths.raw}")
    contenders: dict[str, Callable[[], object]] = {
        "decode once, 1 thread": lambda: decode_once(objects),
        "bare decoders, 1 thread": lambda: decode_bare(objects),
        "check, 1 thread": lambda: check_all(params, objects, 1),
        f"check, {NUM_WORKERS} threads": lambda: check_all(params, objects, NUM_WORKERS),
    }
    timings = measure(contenders, num_rounds=ROUNDS)
    print_table("checking", timings, reference="decode once, 1 thread", units=count, unit="photograph")
    floor, ours = (_processor_seconds(contenders[name]) for name in ("decode once, 1 thread", "check, 1 thread"))
    each = f"{floor / count * 1e3:.2f} and {ours / count * 1e3:.2f} ms"
    print(f"processor time, whoever else is busy: {each}, so two free cores reach at most {NUM_WORKERS * floor / ours:.2f}")
    return timings.ratio(f"check, {NUM_WORKERS} threads", "decode once, 1 thread")


def _processor_seconds(work: Callable[[], object]) -> float:
    """What a call costs this process in processor time, the least of `ROUNDS`."""
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def time_shrinking() -> None:
    """Print what shrinking a 4K photograph to `SIDE` px takes, as sheets and composites need it."""
    rng = np.random.default_rng(0)
    coarse: np.ndarray = cv2.resize(rng.uniform(20, 235, (60, 108, 3)).astype(np.float32), (WIDE, TALL), interpolation=cv2.INTER_CUBIC)
    image = np.clip(coarse + rng.normal(0, 3.0, (TALL, WIDE, 1)), 0, 255).astype(np.uint8)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()  # 4:2:0, as cameras write it
    print(f"\n4K photograph of {len(data) / 1e6:.1f} MB")
    small = (SIDE, round(TALL * SIDE / WIDE))

    def with_pillow() -> None:
        np.asarray(Image.open(io.BytesIO(data)).resize(small, Image.Resampling.BILINEAR))

    timings = measure({
        "Pillow, decode and resize": with_pillow,
        "ours, decoded whole": lambda: shrink_to(decode_image(data, name="4K"), SIDE),
        "ours, decoded at 1/8": lambda: decode_shrunk(data, SIDE, name="4K"),
        "bare decoder, grey, at 1/8": lambda: simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=1, min_width=1),
    }, num_rounds=ROUNDS)
    print_table(f"4K to {SIDE} px", timings, reference="Pillow, decode and resize", unit="photograph")
    print(f"shrink: ratio {timings.ratio('ours, decoded at 1/8', 'Pillow, decode and resize'):.2f} target {SHRINK_TARGET:g}")


def main() -> None:
    """Time everything and print it."""
    print_machine()
    cv2.setNumThreads(1)
    time_shrinking()
    with tempfile.TemporaryDirectory() as folder:
        ratio = time_checking(Path(folder))
    close("ingest", ratio, CHECK_TARGET)


if __name__ == "__main__":
    main()
