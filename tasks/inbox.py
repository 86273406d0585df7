"""New data on its way in: what passes ingestion's checks becomes a batch, the rest stays where it is, with a reason each.

The inbox is laid out as the folder `paths.raw`: `photos/`, `retouch_pairs/`, `real_composites/` (as `ingest.folders` names them), of the
sources that `ingest.sources` names. Published benchmarks are whole or nothing, and go into `paths.raw` by hand. A batch moves as one: into
`paths.raw` once a model that has learned from it is champion, or aside into `refused/<batch>/`. Moving may be cut off anywhere and is
finished by doing it again.
"""

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.checks import check_composite, check_image, check_mask, check_retouch
from tasks.files import write_bytes, written_atomically
from tasks.params import Ingest, Params
from tasks.rejects import BadSample, RejectReason
from tasks.sources.candidates import Candidates, CompositeCandidate, PhotographCandidate, RetouchCandidate
from tasks.sources.composites import list_composites
from tasks.sources.listing import read_csv
from tasks.sources.photos import list_photos
from tasks.sources.retouch import list_retouch

LEFT = "left.csv"  # in the inbox: what was not taken, and why
ASIDE = "refused"  # in the inbox: batches whose candidate the gate refused
LISTERS: dict[str, Callable[[Params], Candidates]] = {"photos": list_photos, "retouch": list_retouch, "composites": list_composites}
LISTS = {"photos": ("manifest.csv", "mask"), "composites": ("list.csv", "name")}  # a source's list, and the column that names its samples

Sample = PhotographCandidate | RetouchCandidate | CompositeCandidate
ListRow = Mapping[str, str]


@dataclass(frozen=True)
class Left:
    """A file or folder that is not taken."""

    path: str
    reason: str  # of `tasks.rejects.RejectReason`, or "layout"
    detail: str


@dataclass(frozen=True)
class Batch:
    """Files that may be taken, as one. Paths are relative to the inbox, and equally to the folder that they move to."""

    digest: str  # of names and contents; "" for an empty batch
    files: tuple[str, ...]
    rows: Mapping[str, tuple[ListRow, ...]]  # by source: what its list says of these samples
    listed: tuple[str, ...]  # sources whose inbox has a list of its own
    num_samples: int

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Batch":
        """The batch that `dataclasses.asdict` made JSON-able."""
        rows = {source: tuple(entries) for source, entries in value["rows"].items()}
        return Batch(value["digest"], tuple(value["files"]), rows, tuple(value["listed"]), value["num_samples"])


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
    for source, folder in _source_folders(params).items():
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
            rows[source] = tuple(_list_rows(source, inbox / folder, taken))
            listed += [source] if (inbox / folder / LISTS[source][0]).is_file() else []
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12] if files else ""
    return Batch(digest, tuple(sorted(files)), rows, tuple(listed), num_samples), sorted(left, key=lambda one: one.path)


def write_left(inbox: Path, left: Sequence[Left]) -> None:
    """Write what was not taken to `left.csv` in the inbox; no file if everything was."""
    if left:
        _write_rows(inbox / LEFT, [{"path": one.path, "reason": one.reason, "detail": one.detail} for one in left])
    else:
        (inbox / LEFT).unlink(missing_ok=True)


def _source_folders(params: Params) -> dict[str, Path]:
    folders: Mapping[str, Path] = {str(name): path for name, path in params.ingest.folders.items()}
    return {source: folders[source] for source in LISTERS if source in params.ingest.sources and source in folders}


def _strangers(params: Params) -> list[Left]:
    known = {folder.parts[0]: source for source, folder in _source_folders(params).items()}
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
        left.append(Left((params.release.inbox / _source_folders(params)[source]).as_posix(), "layout", str(error)))
        return []
    left += [Left(reject.path, reject.reason.value, reject.detail) for reject in listed.rejects]

    def check(sample: Sample) -> tuple[Sample, dict[Path, str]] | BadSample:
        try:
            return sample, _check(sample, params.ingest)
        except BadSample as bad:
            return bad

    samples: list[Sample] = [*listed.photographs, *listed.retouches, *listed.composites]
    passed = []
    with ThreadPoolExecutor(params.ingest.num_workers) as pool:
        for answer in pool.map(check, samples):
            if isinstance(answer, BadSample):
                left.append(Left(answer.path, answer.reason.value, answer.detail))
            else:
                passed.append(answer)
    return passed


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


# --- Lists ------------------------------------------------------------------------------------------------------------------------------


def _list_rows(source: str, folder: Path, taken: Sequence[Sample]) -> list[ListRow]:
    """What the list in the inbox says of each sample, or its bare names where there is no list."""
    name, column = LISTS[source]
    if not (folder / name).is_file():
        return [_bare_row(sample) for sample in taken]
    said = {_stem(row[column]): row for row in read_csv(folder / name, (column,))}
    return [said[_stem(_bare_row(sample)[column])] for sample in taken]


def _bare_row(sample: Sample) -> ListRow:
    if isinstance(sample, PhotographCandidate):
        return {"image": Path(sample.image_path).name, "mask": Path(sample.mask_path).name}
    assert isinstance(sample, CompositeCandidate)
    return {"name": Path(sample.composite_path).name}


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def merge_lists(batch: Batch, target: Path, params: Params) -> None:
    """Have the lists below `target` name the batch's samples too, where there are lists: there, or in the inbox.

    A folder without a list gets one that names what lies in it; nothing stands twice. The old file's links see no change.
    """
    below = params.model_copy(update={"paths": params.paths.model_copy(update={"raw": target})})
    for source, new in batch.rows.items():
        folder = target / _source_folders(params)[source]
        name, column = LISTS[source]
        if (folder / name).is_file():
            present: list[ListRow] = list(read_csv(folder / name, (column,)))
        elif source in batch.listed:
            listed = LISTERS[source](below)
            there: list[Sample] = [*listed.photographs, *listed.composites]
            present = [_bare_row(sample) for sample in there]
        else:
            continue
        taken = {_stem(row[column]) for row in new}
        _write_rows(folder / name, [*(row for row in present if _stem(row[column]) not in taken), *new])


def _forget(batch: Batch, inbox: Path, params: Params) -> None:
    """Take the batch's samples off the inbox's lists; an empty list goes."""
    for source in batch.listed:
        name, column = LISTS[source]
        path = inbox / _source_folders(params)[source] / name
        if path.is_file():
            taken = {_stem(row[column]) for row in batch.rows[source]}
            kept = [row for row in read_csv(path, (column,)) if _stem(row[column]) not in taken]
            _write_rows(path, kept) if kept else path.unlink()


def _write_rows(path: Path, rows: Sequence[ListRow]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())


# --- Moving -----------------------------------------------------------------------------------------------------------------------------


def take_in(batch: Batch, params: Params) -> None:
    """Move the batch from the inbox to `paths.raw`; again after a kill, it finishes what was begun."""
    _move(batch, params.paths.raw, params)


def put_aside(batch: Batch, params: Params) -> Path:
    """Move the batch to a folder of its own below `refused/` in the inbox, as `take_in`; the folder."""
    target = params.release.inbox / ASIDE / batch.digest
    _move(batch, target, params)
    return target


def _move(batch: Batch, target: Path, params: Params) -> None:
    for name in batch.files:
        source, destination = params.release.inbox / name, target / name
        if source.is_file():
            destination.parent.mkdir(parents=True, exist_ok=True)
            _move_file(source, destination)
    merge_lists(batch, target, params)
    _forget(batch, params.release.inbox, params)


def _move_file(source: Path, destination: Path) -> None:
    try:
        os.replace(source, destination)
    except OSError:  # another file system
        with written_atomically(destination) as temporary:
            shutil.copyfile(source, temporary)
        source.unlink()


def link_files(names: Iterable[str], source: Path, target: Path) -> None:
    """Let the files `names` of one folder appear in another: as hard links, or as symbolic ones across file systems."""
    for name in names:
        link = target / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            os.link(source / name, link)
        except OSError:
            link.symlink_to((source / name).absolute())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
