"""Which test images a benchmark looks at, and at which pixels: every protocol of the field is one entry of `evaluate.benchmarks`.

Published numbers differ by how images came to 256 x 256 px, and seldom say it. Here the convention has a name, the same for composite,
target, mask and plate; all squash, whatever the aspect:

| resize            | filter                                                              | as in                                       |
|-------------------|---------------------------------------------------------------------|---------------------------------------------|
| `pillow_bilinear` | antialiased triangle                                                | DoveNet, BargainNet; torchvision on Pillow  |
| `pillow_bicubic`  | antialiased cubic                                                   | IIH, HDNet                                  |
| `opencv_linear`   | two by two neighbours, not antialiased                              | iSSAM, CDTNet, DCCF, DucoNet                |
| `opencv_area`     | mean over the area                                                  | SSH on RealHM                               |
| `lanczos_jpeg`    | Lanczos over 8 x 8, then JPEG of quality 90 (masks: without)        | HAdobe5k at 1024 and 2048; never enlarges   |
| `none`            | the file's own pixels, with `size: native`                          | PCT-Net's full-resolution table             |
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attune.foreground import FOREGROUND_LEVEL
from attune.images import read_image, read_mask, resize_image
from tasks.evaluation.looks import LOOKS
from tasks.evaluation.looks_pairs import SOURCE as LOOKS_SOURCE
from tasks.evaluation.looks_pairs import looked, looks_rows
from tasks.index import read_index
from tasks.params import Benchmark, Params

EVERYTHING = "*"  # a benchmark's subset: all of the source
JPEG_QUALITY = 90  # of `lanczos_jpeg`
PICTURES = ("composite", "mask", "target", "plate")

Pixels = UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Example:
    """A test image at the benchmark's size: a pair where there is a target, a real composite where there is none."""

    row: Mapping[str, Any]  # of the index
    composite: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]
    target: UInt8[np.ndarray, "H W 3"] | None
    plate: UInt8[np.ndarray, "H W 3"] | None  # the background without the object, where the source has one

    @property
    def num_foreground(self) -> int:
        """Pixels of the foreground: `mask >= 0.5`. 0 if nothing of it is left at this size."""
        return int(np.count_nonzero(self.mask >= FOREGROUND_LEVEL))


def test_rows(params: Params, name: str) -> list[dict[str, Any]]:
    """The index's test rows of the benchmark `name`, sorted by key: pairs, or real composites where its source has no pairs.

    Those of the source `looks` are made of the index's test photographs, as many as `evaluate.looks` says.
    Raises ValueError naming the key and what there is, if there are none.
    """
    benchmark = params.evaluate.benchmarks[name]
    known: Counter[tuple[str, str]] = Counter()
    if benchmark.source == LOOKS_SOURCE:
        photographs = read_index(params.paths.index, "photographs", split="test")
        suitable = [row for row in photographs if benchmark.subset in (EVERYTHING, row["subset"])]
        if suitable:
            return looks_rows(suitable, **params.evaluate.looks.model_dump())
        known.update((LOOKS_SOURCE, row["subset"]) for row in photographs)
    for table in ("pairs", "composites"):
        rows = read_index(params.paths.index, table, split="test")
        found = [row for row in rows if row["source"] == benchmark.source and benchmark.subset in (EVERYTHING, row["subset"])]
        if found:
            return found
        known.update((row["source"], row["subset"]) for row in rows)
    shown = ", ".join(f"{source}/{subset} ({count})" for (source, subset), count in sorted(known.items())) or "none at all"
    raise ValueError(
        f"evaluate.benchmarks.{name}: no test images of source {benchmark.source!r}, subset {benchmark.subset!r} in "
        f"{params.paths.index}; there are: {shown}"
    )


def has_targets(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a benchmark's rows are pairs; real composites have nothing to be measured against."""
    return "target_path" in rows[0]


def read_example(row: Mapping[str, Any], benchmark: Benchmark, *, max_megapixels: float) -> Example:
    """The images of an index row at the benchmark's size. BadSample (a ValueError) names a file that cannot be read."""
    found = {name: at_size(image, benchmark) for name, image in read_pictures(row, max_megapixels=max_megapixels).items()}
    return Example(row, found["composite"], found["mask"], target=found.get("target"), plate=found.get("plate"))


def read_pictures(row: Mapping[str, Any], *, max_megapixels: float) -> dict[str, Pixels]:
    """composite and mask of an index row, and target and plate where it has them, at the files' own size. BadSample as `read_example`."""
    found: dict[str, Pixels] = {}
    for name in PICTURES:
        if row.get(f"{name}_path"):
            read = read_mask if name == "mask" else read_image
            found[name] = read(Path(row[f"{name}_path"]), max_megapixels=max_megapixels)
    if row.get("source") == LOOKS_SOURCE:
        found["composite"] = looked(found["target"], found["mask"], row)
    return found


def at_size(image: Pixels, benchmark: Benchmark) -> Pixels:
    """An image or mask, uint8, as the benchmark resizes it."""
    return image if benchmark.size == "native" else RESIZES[benchmark.resize](image, benchmark.size)


def describe(benchmark: Benchmark) -> str:
    """The protocol in a sentence, for people."""
    subsets = "all sub-sets" if benchmark.subset == EVERYTHING else benchmark.subset
    data = f"Test split of {benchmark.source}, {subsets}"
    if benchmark.source == LOOKS_SOURCE:
        data = f"Test photographs, {subsets}, whose object went through one of {len(LOOKS)} photographic looks that no training uses"
    if benchmark.size == "native":
        return f"{data}, at the files' own sizes."
    return f"{data}, squashed to {benchmark.size} x {benchmark.size} px ({benchmark.resize.replace('_', ', ')})."


def _pillow_bilinear(image: Pixels, size: int) -> Pixels:
    return resize_image(image, size, size)


def _pillow_bicubic(image: Pixels, size: int) -> Pixels:
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def _opencv_linear(image: Pixels, size: int) -> Pixels:
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR))


def _opencv_area(image: Pixels, size: int) -> Pixels:
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))


def _lanczos_jpeg(image: Pixels, size: int) -> Pixels:
    """Shrunk by Lanczos and through a JPEG, as the scripts that prepare high-resolution HAdobe5k store it; a small image stays as it is."""
    if max(image.shape[:2]) <= size:
        return _opencv_linear(image, size)
    small = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LANCZOS4))
    if image.ndim == 2:
        return small
    _, stored = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.cvtColor(cv2.imdecode(stored, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


RESIZES: dict[str, Callable[[Pixels, int], Pixels]] = {
    "pillow_bilinear": _pillow_bilinear,
    "pillow_bicubic": _pillow_bicubic,
    "opencv_linear": _opencv_linear,
    "opencv_area": _opencv_area,
    "lanczos_jpeg": _lanczos_jpeg,
}
