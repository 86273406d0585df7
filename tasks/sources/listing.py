"""What the sources share when they list a folder: files by stem, names that stay inside, keys that any format can carry."""

import csv
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from attune.rejects import BadSample, RejectReason
from tasks.params import Params

LONGEST_NAME = 160  # letters of a file's name that go into names of ours, which a file system lets be 255 bytes long
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})


def source_folder(params: Params, source: str, layout: str) -> Path:
    """The folder of a `source` that has but one; errors as `source_folders`."""
    (folder,) = source_folders(params, source, layout)
    return folder


def source_folders(params: Params, source: str, layout: str) -> list[Path]:
    """The folders of `source` below `paths.raw`. ValueError naming key, path and the expected `layout` if one is not there."""
    listed: Mapping[str, Sequence[Path]] = {str(name): each for name, each in params.ingest.folders.items()}
    if source not in listed:
        raise ValueError(f"ingest.folders.{source}: missing, while ingest.sources names {source}; expected a folder with {layout}")
    folders = [params.paths.raw / name for name in listed[source]]
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(
                f"ingest.folders.{source}: no folder {folder} (paths.raw is {params.paths.raw}); expected {layout}; "
                f"bring it, point paths.raw at it, or take {source} out of ingest.sources"
            )
    return folders


def required_folder(folder: Path, name: str, *, source: str, layout: str) -> Path:
    """`folder/name`, or ValueError naming what is missing and the expected `layout`."""
    if not (folder / name).is_dir():
        raise ValueError(f"ingest.folders.{source}: no folder {folder / name}; expected {layout}")
    return folder / name


def image_files(folder: Path) -> dict[str, list[str]]:
    """The names of the image files in `folder` (not below it) by stem, each list sorted; hidden files and folders are passed over."""
    found: dict[str, list[str]] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not _is_folder(entry))
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
            found.setdefault(path.stem, []).append(name)
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads nowhere: whoever reads it says so


def find_named(folder: Path, files: Mapping[str, list[str]], name: str) -> Path:
    """The file in `folder` that a listing calls `name`: a whole file name, or a stem. `files`: what `image_files` found there.

    Raises BadSample if the name leads outside the folder, no file has it, or it is the stem of several files.
    """
    check_inside(name, folder)
    if name in files.get(PurePosixPath(name).stem, ()):
        return folder / name
    return find_stem(folder, files, name)


def find_stem(folder: Path, files: Mapping[str, list[str]], stem: str) -> Path:
    """The one file in `folder` with this stem. BadSample if its name is not UTF-8, there is none, or there are several."""
    check_utf8(f"{folder}/{stem}")
    names = files.get(stem, [])
    if len(names) > 1:
        raise BadSample(RejectReason.DUPLICATE, str(folder / stem), f"{stem!r} may be any of {', '.join(names)}")
    if not names:
        raise BadSample(RejectReason.MISSING, str(folder / stem), f"no image file {stem!r} in {folder}")
    return folder / names[0]


def check_utf8(name: str) -> None:
    """Raise BadSample if a file's name is not UTF-8: no table could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="surrogateescape").decode("latin-1")
        raise BadSample(RejectReason.BAD_NAME, shown, "the name is not UTF-8") from None


def check_inside(name: str, folder: Path) -> None:
    """Raise BadSample if a listed `name` is empty, absolute, or climbs out of `folder`.

    Judged by the name alone: a link inside the folder may point elsewhere, as DVC's own links into its cache do.
    """
    path = PurePosixPath(name)
    if not name or "\0" in name:
        raise BadSample(RejectReason.BAD_NAME, f"{folder}/{name!r}", "empty, or with a zero byte")
    if path.is_absolute() or ".." in path.parts:
        raise BadSample(RejectReason.OUTSIDE, name, f"leads outside {folder}")


def read_csv(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV with a header, values stripped, missing ones empty.

    Raises ValueError naming the file if a required column is missing or the file is not UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, restval="")
            columns = reader.fieldnames or []
            missing = [name for name in required if name not in columns]
            if missing:
                raise ValueError(f"{path}: no column {', '.join(missing)}; found {', '.join(columns)}")
            return [{name: (value or "").strip() for name, value in row.items() if isinstance(name, str)} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV in UTF-8 ({error})") from error


def safe_key(source: str, name: str) -> str:
    """`<source>_<name>` of letters, digits, '_' and '-' only, fit for file names and tar members.

    Other characters become '-', long names are cut, and then a hash of the true name is appended, so that different names keep different
    keys.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:LONGEST_NAME]
    if plain != name:
        plain = f"{plain}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return f"{source}_{plain}"
