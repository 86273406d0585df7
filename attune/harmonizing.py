"""One composite from file to file: read, predicted or replayed, applied, written."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from attune.chosen_model import choose_model
from attune.edits import Points, adjust_edit, read_edit, write_edit
from attune.files import write_bytes
from attune.images import MaskImage
from attune.operators.operator import EditArrays
from attune.photo import Photo
from attune.photo_files import read_photo, read_photo_mask, read_photo_plate
from attune.photo_harmonizing import fit_mask, predict_photo_edit, render_photo
from attune.photo_writing import encode_photo, format_of
from attune.prediction import load_predictor


@dataclass(frozen=True)
class Settings:
    """What is the same for every picture of a command."""

    model: Path | None = None  # of a released model; None is the one inside the package
    strength: float = 1.0
    shading: float = 1.0
    curves: Mapping[str, Points] = field(default_factory=dict)
    quality: int | None = None
    max_megapixels: float = 120.0
    threads: int = 2  # per picture


@dataclass(frozen=True)
class Job:
    """The files of one picture."""

    composite: Path
    mask: Path
    out: Path
    plate: Path | None = None
    params: Path | None = None  # the edit before strength and curves by hand: replayed if it is there, else saved


def harmonize_file(job: Job, settings: Settings) -> EditArrays:
    """Write `job.out`, whole or not at all; the edit that was applied. `job.params` then holds what it was made of by `settings`: the same
    settings give the same picture again, and others go on from the model's edit, not from a weakened one.

    Raises ValueError (or OSError) naming the file, and why.
    """
    format_of(job.out)
    photo, mask = read_pair(job, settings)
    proposed = proposed_edit(job, photo, mask, settings)
    edit = adjust_edit(proposed, settings.strength, shading=settings.shading, curves=settings.curves)
    result = render_photo(photo, mask, edit, num_threads=settings.threads, in_place=True)
    try:
        data = encode_photo(result, format_of(job.out), quality=settings.quality, num_threads=settings.threads)
    except ValueError as error:
        raise ValueError(f"{job.out}: {error}") from error
    if job.params is not None and not job.params.exists():
        write_edit(job.params, proposed)
    write_bytes(job.out, data)  # last: what is there is finished
    return edit


def read_pair(job: Job, settings: Settings) -> tuple[Photo, MaskImage]:
    """The composite as its file has it, and its mask at the same size; both are decoded at once."""
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(read_photo_mask, job.mask, max_megapixels=settings.max_megapixels)
        photo = read_photo(job.composite, max_megapixels=settings.max_megapixels)
        return photo, fit_mask(coming.result(), *photo.pixels.shape[:2], name=str(job.mask))


def proposed_edit(job: Job, photo: Photo, mask: MaskImage, settings: Settings) -> EditArrays:
    """The edit of `job.params` where that file is there, else the model's."""
    if job.params is not None and job.params.exists():
        return read_edit(job.params)
    model = load_predictor(settings.model or choose_model(None).path)
    plate = read_photo_plate(job.plate, max_megapixels=settings.max_megapixels) if job.plate is not None else None
    try:
        return predict_photo_edit(model, photo, mask, plate=plate)
    except ValueError as error:
        raise ValueError(f"{job.composite} with {job.mask.name}: {error}") from error
