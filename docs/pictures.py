"""The pictures of the pages, drawn by the model that comes with `attune` on photographs that may be shown: `python -m docs.pictures`.

The photographs come with installed packages (public domain, CC0, CC BY 2.0). None of them is among those that the model was trained on. In
`fitted.jpg` the changes are written down here, not chosen by how well they are undone; `pasted.jpg` has no truth to be held against.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import attune
from attune.files import write_bytes
from attune.images import encode_jpeg, read_image, shrink_to
from tasks.color.recolor import IDENTITY, Retouch, apply_retouch
from tasks.sheets import Cell, Row, compose_sheet
from tasks.sources.starter import PHOTOGRAPHS, installed_file, paint_outline, starter_objects

FOLDER = Path(__file__).parent
SIDE = 480  # px, of the pictures that are harmonized
SHOWN = 300  # px, of the pictures in a sheet
QUALITY = 88  # of the sheets

# Photograph, object, and what is done to the object.
CHANGES: tuple[tuple[str, int, Retouch], ...] = (
    ("astronaut", 0, replace(IDENTITY, exposure=-0.9, temperature=-60.0)),
    ("coffee", 1, replace(IDENTITY, exposure=0.8, saturation=0.6)),
    ("motorcycle", 0, replace(IDENTITY, exposure=0.7, temperature=70.0)),
    ("china", 0, replace(IDENTITY, exposure=-0.8, contrast=-0.4)),
)
# Object of one photograph, onto another: its height as a share of the picture's, and where its middle goes.
PASTED: tuple[tuple[str, int, str, float, tuple[float, float]], ...] = (
    ("grace_hopper", 0, "china", 0.75, (0.32, 0.63)),
    ("coffee", 1, "motorcycle", 0.33, (0.2, 0.8)),
    ("astronaut", 0, "rocket", 0.8, (0.35, 0.6)),
)
STRENGTHS = (0.0, 0.5, 1.0, 1.5)

Picture = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


def photograph(name: str, number: int = 0) -> tuple[Picture, Mask]:
    """A photograph of an installed package, and the mask of one of its objects."""
    image = shrink_to(read_image(installed_file(PHOTOGRAPHS[name])), SIDE)
    return image, paint_outline(starter_objects()[name][number].outline, image.shape[0], image.shape[1])


def blend(foreground: Picture, background: Picture, mask: Mask) -> Picture:
    """The foreground over the background, by the mask."""
    share = mask[..., None] / 255.0
    return np.asarray(np.rint(foreground * share + background * (1.0 - share)).astype(np.uint8))


def changed(name: str, number: int, retouch: Retouch) -> tuple[Picture, Mask, Picture]:
    """A photograph with its object changed, the mask, and the photograph as it was."""
    image, mask = photograph(name, number)
    return blend(apply_retouch(image, retouch), image, mask), mask, image


def pasted(name: str, number: int, onto: str, height: float, middle: tuple[float, float]) -> tuple[Picture, Mask]:
    """The object of one photograph on another one, and its mask there."""
    image, mask = photograph(name, number)
    background, _ = photograph(onto)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    scale = height * background.shape[0] / (box[3] - box[1])
    size = (round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale))
    corner = (round(middle[0] * background.shape[1] - size[0] / 2), round(middle[1] * background.shape[0] - size[1] / 2))
    layer, matte = Image.fromarray(background), Image.new("L", (background.shape[1], background.shape[0]))
    layer.paste(Image.fromarray(image).crop(box).resize(size, Image.Resampling.LANCZOS), corner)
    matte.paste(Image.fromarray(mask).crop(box).resize(size, Image.Resampling.LANCZOS), corner)
    placed = np.asarray(matte)
    return blend(np.asarray(layer), background, placed), placed


def write_picture(name: str, rows: list[Row], columns: tuple[str, ...]) -> None:
    """Write a sheet beside this file, as JPEG."""
    write_bytes(FOLDER / name, encode_jpeg(compose_sheet(rows, columns, side=SHOWN), QUALITY))


def main() -> None:
    """Write fitted.jpg, pasted.jpg and strength.jpg beside this file."""
    rows = []
    for name, number, retouch in CHANGES:
        composite, mask, target = changed(name, number, retouch)
        rows.append(Row(tuple(Cell(picture) for picture in (composite, mask, attune.harmonize(composite, mask), target))))
    write_picture("fitted.jpg", rows, ("changed", "mask", "by attune", "as it was"))
    rows = []
    for case in PASTED:
        composite, mask = pasted(*case)
        rows.append(Row((Cell(composite), Cell(mask), Cell(attune.harmonize(composite, mask)))))
    write_picture("pasted.jpg", rows, ("pasted", "mask", "by attune"))
    composite, mask, _ = changed(*CHANGES[0])
    edit = attune.load().predict(composite, mask)
    cells = tuple(Cell(attune.apply(edit.scaled(strength), composite, mask)) for strength in STRENGTHS)
    write_picture("strength.jpg", [Row(cells)], tuple(f"strength {strength:g}" for strength in STRENGTHS))


if __name__ == "__main__":
    main()
