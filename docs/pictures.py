"""The pictures of the pages, drawn by the model that comes with `attune` on photographs that may be shown: `python -m docs.pictures`.

The photographs come with installed packages (public domain, CC0, CC BY 2.0). None of them is among those that the model was trained on.
Each of their objects goes through photographic looks that no training uses, drawn by lot: `fitted.jpg` shows cases drawn by lot from the
half in which the most error was taken away, one of a photograph, `failures.jpg` those in which the most was added. `pasted.jpg` has
objects of one photograph on another; what belongs there nobody knows, so that people must choose: of `LOTS` drawn by lot, those named in
`SHOWN_PASTES`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import attune
from attune.files import write_bytes
from attune.images import encode_jpeg, read_image, shrink_to
from tasks.color.recolor import IDENTITY, apply_retouch
from tasks.evaluation.looks import LOOKS, make_look
from tasks.lut_kernel import apply_lut_uint8
from tasks.seeds import numpy_generator
from tasks.sheets import Cell, Row, compose_sheet
from tasks.sources.starter import PHOTOGRAPHS, installed_file, paint_outline, starter_objects

FOLDER = Path(__file__).parent
SIDE = 480  # px, of the pictures that are harmonized
SHOWN = 300  # px, of the pictures in a sheet
HALF = 127  # of a mask's levels: above is foreground
QUALITY = 88  # of the sheets

SEED = 1
LOOKS_EACH = 3  # of each object
LEAST_FMSE, LEAST_SHARE = 600.0, 0.05  # of a change, of the frame: what is less is hardly seen
NUM_FITTED, NUM_FAILURES = 4, 2
WHOLE_OBJECTS = ("astronaut", "coffee", "flower", "grace_hopper", "motorcycle")  # whose first object is whole, and no needle
LOTS = 16  # pastes that are drawn
SHOWN_PASTES = (8, 12, 13)
DULLED = ("astronaut", 0, replace(IDENTITY, exposure=-0.9, temperature=-60.0))  # what strength.jpg shows
STRENGTHS = (0.0, 0.5, 1.0, 1.5)

Picture = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


@dataclass(frozen=True)
class Case:
    """A photograph whose object was changed, and what became of it."""

    name: str
    composite: Picture
    mask: Mask
    harmonized: Picture
    target: Picture

    def error(self, picture: Picture) -> float:
        """The fMSE of `picture`, squared grey levels."""
        inside = self.mask > HALF
        return float(np.mean(np.square(picture[inside].astype(np.float64) - self.target[inside])))

    @property
    def left(self) -> float:
        """The share of the change that is left."""
        return self.error(self.harmonized) / self.error(self.composite)

    @property
    def gained(self) -> float:
        """How much error was taken away, squared grey levels."""
        return self.error(self.composite) - self.error(self.harmonized)

    @property
    def row(self) -> Row:
        """As a sheet shows it."""
        shown = (Cell(self.composite), Cell(self.mask), Cell(self.harmonized, f"{self.left:.2f} of the error is left"), Cell(self.target))
        return Row(shown)


def photograph(name: str, number: int = 0) -> tuple[Picture, Mask]:
    """A photograph of an installed package, and the mask of one of its objects."""
    image = shrink_to(read_image(installed_file(PHOTOGRAPHS[name])), SIDE)
    return image, paint_outline(starter_objects()[name][number].outline, image.shape[0], image.shape[1])


def blend(foreground: Picture, background: Picture, mask: Mask) -> Picture:
    """The foreground over the background, by the mask."""
    share = mask[..., None] / 255.0
    return np.asarray(np.rint(foreground * share + background * (1.0 - share)).astype(np.uint8))


def cases() -> list[Case]:
    """Each object of each photograph under looks drawn by lot, harmonized; what is hardly seen is left out."""
    found = []
    for name in sorted(PHOTOGRAPHS):
        for number in range(len(starter_objects()[name])):
            image, mask = photograph(name, number)
            if (mask > HALF).mean() < LEAST_SHARE:
                continue
            for look in numpy_generator(SEED, "pictures", name, number).permutation(len(LOOKS))[:LOOKS_EACH]:
                composite = apply_lut_uint8(image, make_look(LOOKS[look]), mask)
                case = Case(name, composite, mask, attune.harmonize(composite, mask), image)
                if case.error(composite) >= LEAST_FMSE:
                    found.append(case)
    return found


def one_of_each(ordered: Sequence[Case], count: int) -> list[Case]:
    """The first `count` of `ordered` that are of different photographs."""
    first: dict[str, Case] = {}
    for case in ordered:
        first.setdefault(case.name, case)
    return list(first.values())[:count]


def drawn_pastes() -> list[tuple[Picture, Mask]]:
    """Composites and masks: whole objects on other photographs, which, how large and where drawn by lot."""
    rng = numpy_generator(SEED, "pastes")
    found = []
    for _ in range(LOTS):
        name, onto = rng.choice(WHOLE_OBJECTS), rng.choice(sorted(PHOTOGRAPHS))
        while onto == name:
            onto = rng.choice(sorted(PHOTOGRAPHS))
        found.append(pasted(str(name), 0, str(onto), rng.uniform(0.4, 0.75), (rng.uniform(0.25, 0.75), rng.uniform(0.5, 0.7))))
    return found


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
    """Write fitted.jpg, failures.jpg, pasted.jpg and strength.jpg beside this file."""
    ordered = sorted(cases(), key=lambda case: -case.gained)
    half = ordered[: len(ordered) // 2]
    lots = numpy_generator(SEED, "fitted").permutation(len(half))
    for name, chosen in (
        ("fitted.jpg", one_of_each([half[lot] for lot in lots], NUM_FITTED)), ("failures.jpg", one_of_each(ordered[::-1], NUM_FAILURES)),
    ):
        write_picture(name, [case.row for case in chosen], ("changed", "mask", "by attune", "as it was"))
    print(f"{len(ordered)} cases: {np.median([case.left for case in ordered]):.2f} of the error is left at the median")
    pastes = [drawn_pastes()[number] for number in SHOWN_PASTES]
    rows = [Row((Cell(composite), Cell(mask), Cell(attune.harmonize(composite, mask)))) for composite, mask in pastes]
    write_picture("pasted.jpg", rows, ("pasted", "mask", "by attune"))
    name, number, retouch = DULLED
    image, mask = photograph(name, number)
    composite = blend(apply_retouch(image, retouch), image, mask)
    edit = attune.load().predict(composite, mask)
    cells = tuple(Cell(attune.apply(edit.scaled(strength), composite, mask)) for strength in STRENGTHS)
    write_picture("strength.jpg", [Row(cells)], tuple(f"strength {strength:g}" for strength in STRENGTHS))


if __name__ == "__main__":
    main()
