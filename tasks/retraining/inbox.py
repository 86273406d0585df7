"""New data on its way in: what passes ingestion's checks becomes a batch, the rest stays where it is, with a reason each.

The inbox is laid out as the folder `paths.raw`: `photos/`, `retouch_pairs/`, `real_composites/` (as `ingest.folders` names them), of the
sources that `ingest.sources` names. Published benchmarks are whole or nothing, and go into `paths.raw` by hand.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from attune.rejects import BadSample, RejectReason
from tasks.ingestion.checks import check_composite, check_image, check_mask, check_retouch
from tasks.params import Ingest, Params
from tasks.retraining.batches import ASIDE, LISTERS, LISTS, Batch, ListRow, Sample, list_rows, source_folders, write_rows
from tasks.sources.candidates import PhotographCandidate, RetouchCandidate
from tasks.sources.listing import image_files, read_csv

LEFT = "left.csv"  # in the inbox: what was not taken, and why


@dataclass(frozen=True)
class Left:
    """A file or folder that is not taken."""

    path: str
    reason: str  # of `attune.rejects.RejectReason`, or "layout"
    detail: str


# --- Looking --------------------------------------------------------------------------------------------------------------------------


def sort_inbox(params: Params) -> tuple[Batch, list[Left]]:
    """What of the inbox passes ingestion's checks and has no namesake below `paths.raw`, and what does not. Nothing is written or moved.

    Every file is opened and decoded in full. An inbox that does not exist is empty. I/O errors that a retry may heal pass through.
    """
    inbox, raw = params.release.inbox, params.paths.raw
    left = _strangers(params) if inbox.is_dir() else []
    files: dict[str, str] = {}
    rows: dict[str, tuple[ListRow, ...]] = {}
    listed, num_samples = [], 0
    for source, folder in source_folders(params).items():
        if not (inbox / folder).is_dir():
            continue
        taken = []
        for sample, found in _checked(source, params, left):
            try:
                files |= _without_namesakes(found, inbox, raw)
                taken.append(sample)
            except BadSample as bad:
                left.append(Left(bad.path, bad.reason.value, bad.detail))
        num_samples += len(taken)
        if taken and source in LISTS:
            rows[source] = tuple(list_rows(source, inbox / folder, taken))
            listed += [source] if (inbox / folder / LISTS[source][0]).is_file() else []
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12] if files else ""
    return Batch(digest, tuple(sorted(files)), rows, tuple(listed), num_samples), sorted(left, key=lambda one: one.path)


def write_left(inbox: Path, left: Sequence[Left]) -> None:
    """Write what was not taken to `left.csv` in the inbox; no file if everything was."""
    if left:
        write_rows(inbox / LEFT, [{"path": one.path, "reason": one.reason, "detail": one.detail} for one in left])
    else:
        (inbox / LEFT).unlink(missing_ok=True)


def _strangers(params: Params) -> list[Left]:
    known = {folder.parts[0]: source for source, folder in source_folders(params).items()}
    names = ", ".join(f"{name}/ ({source})" for name, source in known.items()) or "none; ingest.sources names no source that has an inbox"
    return [
        Left(entry.as_posix(), "layout", f"not the folder of a source that is taken from the inbox; those are: {names}")
        for entry in sorted(params.release.inbox.iterdir())
        if entry.name not in (*known, ASIDE, LEFT) and not entry.name.startswith(".")
    ]


def _checked(source: str, params: Params, left: list[Left]) -> list[tuple[Sample, dict[Path, str]]]:
    """The samples of a source's inbox that pass, with their files' SHA-256; the others are added to `left`."""
    below = params.model_copy(update={"paths": params.paths.model_copy(update={"raw": params.release.inbox})})
    try:
        listed = LISTERS[source](below)
    except ValueError as error:
        left.append(Left((params.release.inbox / source_folders(params)[source]).as_posix(), "layout", str(error)))
        return []
    left += [Left(reject.path, reject.reason.value, reject.detail) for reject in listed.rejects]
    left += _unlisted(source, params.release.inbox / source_folders(params)[source])

    def check(sample: Sample) -> tuple[Sample, dict[Path, str]] | BadSample:
        try:
            return sample, _check(sample, params.ingest)
        except BadSample as bad:
            return bad

    samples: list[Sample] = [*listed.photographs, *listed.retouches, *listed.composites]
    passed = []
    with ThreadPoolExecutor(params.speed.num_workers) as pool:
        for answer in pool.map(check, samples):
            if isinstance(answer, BadSample):
                left.append(Left(answer.path, answer.reason.value, answer.detail))
            else:
                passed.append(answer)
    return passed


def _unlisted(source: str, folder: Path) -> list[Left]:
    """Pictures that the list in the inbox, where there is one, does not name: they would wait for ever."""
    name, column = LISTS.get(source, ("", ""))
    if not (folder / name).is_file():
        return []
    named = {PurePosixPath(value).stem for row in read_csv(folder / name, (column,)) for value in (row[column], row.get("image", ""))}
    return [
        Left((folder / "images" / file).as_posix(), "layout", f"{folder / name} does not name it")
        for stem, files in image_files(folder / "images").items() if stem not in named for file in files
    ]


def _check(sample: Sample, limits: Ingest) -> dict[Path, str]:
    """A sample's files and their SHA-256, all checks of ingestion passed; else BadSample."""
    paths = {field.name: Path(getattr(sample, field.name)) for field in fields(sample) if field.name.endswith("_path")}
    given = {name: path for name, path in paths.items() if getattr(sample, name)}
    for path in given.values():
        if path.is_symlink():
            raise BadSample(RejectReason.OUTSIDE, str(path), "a link; the inbox takes files alone")
    if isinstance(sample, PhotographCandidate):
        image = check_image(sample.image_path, limits)
        mask = check_mask(sample.mask_path, image, limits)
        return {Path(sample.image_path): image.sha256, Path(sample.mask_path): mask.sha256}
    row = check_retouch(sample, limits) if isinstance(sample, RetouchCandidate) else check_composite(sample, limits)
    return {path: str(row[name.replace("_path", "_sha256")]) for name, path in given.items()}


def _without_namesakes(found: Mapping[Path, str], inbox: Path, raw: Path) -> dict[str, str]:
    """The files of a sample by their relative names; BadSample if one of them would meet another file of its stem below `raw`.

    A photograph that is there already, byte for byte, does not stand in the way of a new mask.
    """
    names = {path.relative_to(inbox).as_posix(): digest for path, digest in found.items()}
    meeting = {name: _namesake(raw / name) for name in names}
    same = {name for name, other in meeting.items() if other == raw / name and _sha256(other) == names[name]}
    if same == set(names):
        raise BadSample(RejectReason.DUPLICATE, str(inbox / min(names)), f"already below {raw}")
    for name, other in meeting.items():
        if other is not None and name not in same:
            raise BadSample(RejectReason.DUPLICATE, str(inbox / name), f"another file of that name is there: {other}")
    return names


def _namesake(path: Path) -> Path | None:
    if path.exists():
        return path
    return next((other for other in sorted(path.parent.glob(f"{_escaped(path.stem)}.*")) if other.stem == path.stem), None)


def _escaped(stem: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in stem)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
