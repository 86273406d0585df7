"""A batch of new samples: which files, what the lists say of them, and its moves, which may be cut off anywhere and are finished by doing
them again.

A batch moves as one: into `paths.raw` once a model that has learned from it is champion, or aside into `refused/<batch>/` in the inbox.
"""

import csv
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from attune.files import write_bytes, written_atomically
from tasks.params import Params
from tasks.sources.candidates import CompositeCandidate, PhotographCandidate, RetouchCandidate
from tasks.sources.listing import read_csv
from tasks.sources.registry import SOURCES

ASIDE = "refused"  # in the inbox: batches whose candidate the gate refused
LISTERS = {name: source.list for name, source in SOURCES.items() if source.takes_new}
LISTS = {name: source.list_file for name, source in SOURCES.items() if source.list_file}  # and the column that names its samples

Sample = PhotographCandidate | RetouchCandidate | CompositeCandidate
ListRow = Mapping[str, str]


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


def source_folders(params: Params) -> dict[str, Path]:
    """The folder below the inbox, and below `paths.raw`, of each source that is taken from the inbox: the first, where it has several."""
    folders: Mapping[str, Path] = {str(name): each[0] for name, each in params.ingest.folders.items()}
    return {source: folders[source] for source in LISTERS if source in params.ingest.sources and source in folders}


# --- Lists ------------------------------------------------------------------------------------------------------------------------------


def list_rows(source: str, folder: Path, taken: Sequence[Sample]) -> list[ListRow]:
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
        folder = target / source_folders(params)[source]
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
        write_rows(folder / name, [*(row for row in present if _stem(row[column]) not in taken), *new])


def _forget(batch: Batch, inbox: Path, params: Params) -> None:
    """Take the batch's samples off the inbox's lists; an empty list goes."""
    for source in batch.listed:
        name, column = LISTS[source]
        path = inbox / source_folders(params)[source] / name
        if path.is_file():
            taken = {_stem(row[column]) for row in batch.rows[source]}
            kept = [row for row in read_csv(path, (column,)) if _stem(row[column]) not in taken]
            write_rows(path, kept) if kept else path.unlink()


def write_rows(path: Path, rows: Sequence[ListRow]) -> None:
    """Write rows as CSV with a header of all their columns, whole or not at all."""
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
