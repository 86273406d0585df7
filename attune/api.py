"""The Python API: a pasted object made to fit, in one call or step by step.

A picture or a mask is a path, the bytes of a file, a Pillow image, or a NumPy array (RGB, uint8 or uint16), in any mixture. What comes back
is of the picture's kind, size and depth; outside the mask it is the picture, bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attune.chosen_model import choose_model
from attune.edits import adjust_edit, write_edit
from attune.edits import read_edit as read_arrays
from attune.operators.operator import EditArrays
from attune.photo_harmonizing import predict_photo_edit, render_photo
from attune.pictures import Given, Picture, given_back, mask_of, photo_of, plate_of
from attune.prediction import NUM_THREADS, Predictor, load_predictor


@dataclass(frozen=True)
class Edit:
    """What is done to the foreground: small, independent of the resolution, made for pixels encoded as those it was predicted for.

    >>> edit = load().predict("pasted.png", "mask.png")
    >>> [step.name for step in edit.arrays.steps]
    ['curves', 'shading']
    """

    arrays: EditArrays

    def scaled(self, strength: float, *, shading: float = 1.0) -> "Edit":
        """The edit, weaker or stronger: 0 changes nothing, 1 is the edit itself, 2 goes twice as far. shading: of the shading alone.

        Raises ValueError unless both are between 0 and 2.

        >>> edit = load().predict("pasted.png", "mask.png")
        >>> edit.scaled(1.0) == edit.scaled(0.7)
        False
        """
        return Edit(adjust_edit(self.arrays, strength, shading=shading))

    def save(self, path: str | Path) -> None:
        """Write the edit as JSON, whole or not at all; `attune harmonize --params` and `read_edit` read it to the last bit.

        >>> load().predict("pasted.png", "mask.png").save("edit.json")
        """
        write_edit(Path(path), self.arrays)

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, to the last bit."""
        from attune.edits import edit_to_json

        return isinstance(other, Edit) and edit_to_json(self.arrays) == edit_to_json(other.arrays)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Model:
    """A released model, loaded; safe to share by threads."""

    predictor: Predictor
    path: Path  # of its JSON
    origin: str  # why it is this one

    @property
    def about(self) -> Mapping[str, Any]:
        """What the model says of itself: training data and licences, figures, lineage."""
        return self.predictor.file.about

    def predict(self, picture: Picture, mask: Picture, *, plate: Picture | None = None) -> Edit:
        """The edit for the masked object of `picture`.

        mask: white (255, 65535, True) is the object, soft edges allowed; of the picture's shape. plate: the clean background, for models
        that take one. Raises ValueError if one of them cannot be read, they do not belong together, or the mask holds no foreground or no
        background.

        >>> edit = load().predict("pasted.png", "mask.png")
        """
        photo = photo_of(picture)
        behind = None if plate is None else plate_of(plate)
        return Edit(predict_photo_edit(self.predictor, photo, mask_of(mask, *photo.pixels.shape[:2]), plate=behind))


def load(model: str | Path | None = None, *, num_threads: int = NUM_THREADS) -> Model:
    """A released model: the one inside the package, or that of a folder or an .onnx file; loaded once per process.

    Raises ValueError naming the file and what is wrong with it.

    >>> load().predictor.size > 0
    True
    """
    chosen = choose_model(None if model is None else str(model))
    return Model(load_predictor(chosen.path, num_threads=num_threads), chosen.path, chosen.origin)


def apply(edit: Edit, picture: Given, mask: Picture, *, out: str | Path | None = None) -> Given:
    """`picture` with `edit` applied to what the mask shows, of the picture's own kind, size and depth; the picture itself is left alone.

    A path gives the path of a new file: `out`, or the picture's name with "_harmonized", beside it. EXIF, profile and captions are kept.
    Raises ValueError as `Model.predict`.

    >>> edit = load().predict("pasted.png", "mask.png")
    >>> apply(edit.scaled(0.7), "pasted.png", "mask.png", out="softer.png")
    'softer.png'
    """
    photo = photo_of(picture)
    rendered = render_photo(photo, mask_of(mask, *photo.pixels.shape[:2]), edit.arrays, in_place=True)
    return given_back(rendered, picture, out)


def harmonize(
    picture: Given, mask: Picture, *, model: Model | None = None, plate: Picture | None = None, strength: float = 1.0,
    out: str | Path | None = None,
) -> Given:
    """`picture` with the masked object fitted to the light and colour of its surroundings, of the picture's own kind, size and depth.

    model: as `load` gives it; None is the one inside the package. plate, mask and errors: as `Model.predict`. strength: see `Edit.scaled`.
    out: for a path, where the result is written; see `apply`.

    >>> harmonize("pasted.png", "mask.png")
    'pasted_harmonized.png'
    >>> import numpy as np
    >>> from PIL import Image
    >>> array, mask = np.array(Image.open("pasted.png")), np.array(Image.open("mask.png"))
    >>> harmonize(array, mask).shape == array.shape
    True
    """
    edit = (model or load()).predict(picture, mask, plate=plate)
    return apply(edit.scaled(strength), picture, mask, out=out)


def read_edit(path: str | Path) -> Edit:
    """The edit that `Edit.save` or `attune harmonize --params` wrote. Raises ValueError naming the file if it is no edit.

    >>> edit = load().predict("pasted.png", "mask.png")
    >>> edit.save("edit.json")
    >>> read_edit("edit.json") == edit
    True
    """
    return Edit(read_arrays(Path(path)))
