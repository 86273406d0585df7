"""A folder of composites harmonized: matched with masks by stem, two at a time, resumable, a bad file reported and the rest done."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from attune.chosen_model import choose_model
from attune.files import read_json, write_json
from attune.harmonizing import Job, Settings, harmonize_file
from attune.model_files import read_model
from attune.photo import SUFFIXES
from attune.photo_files import read_header, read_mask_size
from attune.photo_harmonizing import check_mask_shape
from attune.prediction import load_predictor
from attune.unit_keys import unit_key

RECORD = ".attune.json"  # in the folder of results: what they were made with


@dataclass(frozen=True)
class Folders:
    """Where a batch's files lie."""

    composites: Path
    masks: Path
    out: Path
    plates: Path | None = None
    params: Path | None = None  # a file: one edit for all; a folder: `<composite's name>.json` each


@dataclass(frozen=True)
class Plan:
    """What a batch will do."""

    jobs: tuple[Job, ...]
    finished: tuple[Path, ...]  # results that are there and newer than what they are made of
    faults: tuple[str, ...]  # composites that cannot be done, each with the reason


def plan_batch(folders: Folders, settings: Settings, *, overwrite: bool) -> Plan:
    """Match composites with masks (and plates) of the same stem, and leave out what is finished.

    Raises ValueError if a folder is missing or holds no picture, the results would overwrite the composites, or the results there were made
    with other settings or other code.
    """
    pictures = _pictures(folders.composites)
    if not pictures:
        raise ValueError(f"{folders.composites}: no {', '.join(SUFFIXES)} file in it")
    masks = _by_stem(folders.masks)
    plates = _by_stem(folders.plates) if folders.plates is not None else None
    if folders.out.exists() and (not folders.out.is_dir() or folders.out.resolve() in _sources(folders)):
        raise ValueError(f"{folders.out}: results need a folder of their own")
    if not overwrite:
        _check_record(folders.out, settings, folders)
    jobs, finished, faults = [], [], []
    for composite in pictures:
        try:
            mask = _match(composite, masks, folders.masks)
            plate = _match(composite, plates, folders.plates) if plates is not None and folders.plates is not None else None
        except ValueError as fault:
            faults.append(str(fault))
            continue
        job = Job(composite, mask, folders.out / composite.name, plate, _params_of(folders.params, composite))
        if not overwrite and _is_finished(job):
            finished.append(job.out)
        else:
            jobs.append(job)
    return Plan(tuple(jobs), tuple(finished), tuple(faults))


def run_batch(plan: Plan, folders: Folders, settings: Settings, *, num_jobs: int, done: Callable[[Job, str | None], None]) -> None:
    """Work through `plan`, `num_jobs` pictures at once. done: called after each picture, with the fault's message or None.

    Only so many pictures as are worked on are in memory. Raises ValueError at once if there is no model to do it with.
    """
    if any(job.params is None or not job.params.exists() for job in plan.jobs):
        load_predictor(settings.model or choose_model(None).path)
    write_json(folders.out / RECORD, {"settings": _fingerprint(settings, folders)})
    waiting, running = iter(plan.jobs), dict[Future[object], Job]()
    with ThreadPoolExecutor(num_jobs) as pool:
        try:
            for job in islice(waiting, num_jobs):
                running[pool.submit(harmonize_file, job, settings)] = job
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done(running.pop(future), _fault(future))
                    for job in islice(waiting, 1):
                        running[pool.submit(harmonize_file, job, settings)] = job
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def foreseen_faults(plan: Plan, settings: Settings) -> Iterator[str]:
    """What a look at the headers alone says against the plan's pictures; no pixel is decoded."""
    for job in plan.jobs:
        try:
            picture = read_header(job.composite, max_megapixels=settings.max_megapixels)
            width, height = read_mask_size(job.mask, max_megapixels=settings.max_megapixels)
            check_mask_shape((height, width), (picture.height, picture.width), name=str(job.mask))
        except ValueError as error:
            yield str(error)


# --- Inside -----------------------------------------------------------------------------------------------------------------------------


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for path in _pictures(folder):
        stems.setdefault(path.stem, []).append(path)
    return stems


def _match(composite: Path, stems: dict[str, list[Path]], folder: Path) -> Path:
    found = stems.get(composite.stem, [])
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{composite}: {f'several files match: {names}' if found else f'nothing called {composite.stem}.*'} in {folder}")
    return found[0]


def _sources(folders: Folders) -> set[Path]:
    return {folder.resolve() for folder in (folders.composites, folders.masks, folders.plates) if folder is not None}


def _params_of(params: Path | None, composite: Path) -> Path | None:
    return params if params is None or params.is_file() else params / f"{composite.name}.json"


def _is_finished(job: Job) -> bool:
    """Whether the result is there and newer than everything that it is made of."""
    if not job.out.is_file():
        return False
    sources = (path for path in (job.composite, job.mask, job.plate) if path is not None and path.exists())
    return all(path.stat().st_mtime <= job.out.stat().st_mtime for path in sources)


def _fingerprint(settings: Settings, folders: Folders) -> str:
    """What must not change between the pictures of one folder of results."""
    chosen = asdict(settings) | {"threads": 0, "plates": folders.plates is not None, "params": str(folders.params)}
    if settings.model is not None:
        chosen["model"] = read_model(settings.model).sha256
    return unit_key(run_batch, chosen)


def _check_record(out: Path, settings: Settings, folders: Folders) -> None:
    path = out / RECORD
    if path.is_file() and read_json(path) != {"settings": _fingerprint(settings, folders)}:
        raise ValueError(f"{out}: made with other settings, or by another version; --overwrite makes all anew, or choose another folder")


def _fault(future: Future[object]) -> str | None:
    error = future.exception()
    if error is None:
        return None
    if os.environ.get("ATTUNE_TRACEBACK") or not isinstance(error, Exception):
        raise error
    message = " ".join(str(error).split())
    return message if isinstance(error, ValueError) and message else f"{type(error).__name__}: {message}"
