"""Photographs with object masks: a folder of yours, or several.

    <folder>/images/<image>.<jpg|png|...>
    <folder>/masks/<image>.png              one object, or
    <folder>/masks/<image>_<k>.png          several: k = 0, 1, 2 ...
    <folder>/manifest.csv                   optional; one row per object

Columns of the manifest: `image` and `mask` (file names or stems, required), and where known `source` (becomes the subset), `split`
(train | val | test), `label`, `source_key` (photographs that share one, such as frames of a film, share a split), `licence`.
Without a split, the hash of the group chooses one.

Of several folders (`ingest.folders.photos: [photos, photos_more]`) each has its own images, masks and manifest; all stand side by side
in one index. Keys are the masks' names, and groups the photographs' (or `source_key`): only where an earlier folder of the list has the
same name does a later one's get the folder's name too, `<folder>/<name>`. So photographs that are called alike never meet, and a folder
that is added last renames nothing. One `source_key` of one `source` is one photograph, in whatever folder.
"""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from attune.rejects import BadSample, RejectReason
from tasks.params import Params
from tasks.sources.candidates import Candidates, ListingReject, PhotographCandidate
from tasks.sources.listing import find_named, find_stem, image_files, read_csv, required_folder, safe_key, source_folders
from tasks.sources.source import Source
from tasks.splits import SPLITS

SOURCE = "photos"
LAYOUT = "images/, masks/ (<image>.png or <image>_<k>.png) and an optional manifest.csv"


def list_photos(params: Params) -> Candidates:
    """Every object of the folders `ingest.folders.photos`, sorted by key; what names no usable sample is among the rejects."""
    found: dict[str, PhotographCandidate] = {}
    rejects: list[ListingReject] = []
    for folder in source_folders(params, SOURCE, LAYOUT):
        listed, name = _list_folder(folder), folder.relative_to(params.paths.raw).as_posix()
        groups = {one.group for one in found.values()}
        apart = [_told_apart(one, name, keys=found, groups=groups) for one in listed.photographs]
        found |= {one.key: one for one in apart}
        rejects += listed.rejects
    return Candidates(photographs=tuple(found[key] for key in sorted(found)), rejects=tuple(rejects))


def _told_apart(one: PhotographCandidate, folder: str, *, keys: Container[str], groups: Container[str]) -> PhotographCandidate:
    """An object under names that no earlier folder has, of which these are the `keys` and `groups`."""
    stem = Path(one.image_path).stem
    if one.key in keys:
        one = replace(one, key=safe_key(SOURCE, f"{folder}/{Path(one.mask_path).stem}"))
    if one.group in groups and one.group == f"{SOURCE}/{one.subset}/{stem}":  # named after its file: what is called alike may be another
        one = replace(one, group=f"{SOURCE}/{one.subset}/{folder}/{stem}")
    return one


def _list_folder(folder: Path) -> Candidates:
    images = required_folder(folder, "images", source=SOURCE, layout=LAYOUT)
    masks = required_folder(folder, "masks", source=SOURCE, layout=LAYOUT)
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return _from_manifest(manifest, images, masks)
    return _from_names(images, masks)


def _from_manifest(manifest: Path, images: Path, masks: Path) -> Candidates:
    image_names, mask_names = image_files(images), image_files(masks)
    found: dict[str, PhotographCandidate] = {}
    rejects = []
    for line, row in enumerate(read_csv(manifest, ("image", "mask")), start=2):
        split = row.get("split") or None
        if split is not None and split not in SPLITS:
            raise ValueError(f"{manifest}, line {line}: split is {split!r}, not one of {', '.join(SPLITS)}")
        subset = row.get("source") or SOURCE
        key = safe_key(SOURCE, row["mask"])
        try:
            image = find_named(images, image_names, row["image"])
            mask = find_named(masks, mask_names, row["mask"])
            key = safe_key(SOURCE, mask.stem if len(mask_names[mask.stem]) == 1 else mask.name)  # however the manifest calls it
            if key in found:
                raise BadSample(RejectReason.DUPLICATE, str(mask), f"listed twice in {manifest}, again in line {line}")
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, subset, bad.path, bad.reason, f"{manifest}, line {line}: {bad.detail}"))
            continue
        found[key] = PhotographCandidate(
            key=key, source=SOURCE, subset=subset, split=split, group=f"{SOURCE}/{subset}/{row.get('source_key') or image.stem}",
            image_path=image.as_posix(), mask_path=mask.as_posix(), label=row.get("label", ""), licence=row.get("licence", ""),
        )
    return Candidates(photographs=tuple(found[key] for key in sorted(found)), rejects=tuple(rejects))


def _from_names(images: Path, masks: Path) -> Candidates:
    image_names, mask_names = image_files(images), image_files(masks)
    found: dict[str, PhotographCandidate] = {}
    rejects = []
    used = set()
    for stem in sorted(mask_names):
        key, owner = safe_key(SOURCE, stem), _owner(stem, image_names)
        used.add(owner)
        try:
            mask = find_stem(masks, mask_names, stem)
            image = find_stem(images, image_names, owner)
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, SOURCE, bad.path, bad.reason, bad.detail))
            continue
        found[key] = PhotographCandidate(
            key=key, source=SOURCE, subset=SOURCE, split=None, group=f"{SOURCE}/{SOURCE}/{owner}",
            image_path=image.as_posix(), mask_path=mask.as_posix(), label="", licence="",
        )
    for stem in sorted(set(image_names) - used):
        rejects.append(_unmasked(stem, images, image_names))
    return Candidates(photographs=tuple(found[key] for key in sorted(found)), rejects=tuple(rejects))


def _owner(stem: str, image_names: dict[str, list[str]]) -> str:
    if stem in image_names:
        return stem
    owner, _, number = stem.rpartition("_")
    return owner if number.isdecimal() else stem


def _unmasked(stem: str, images: Path, image_names: dict[str, list[str]]) -> ListingReject:
    try:
        path = str(find_stem(images, image_names, stem))
        reason, detail = RejectReason.NO_MASK, f"no mask {stem}.png or {stem}_<k>.png"
    except BadSample as bad:
        path, reason, detail = bad.path, bad.reason, bad.detail
    return ListingReject(safe_key(SOURCE, stem), SOURCE, SOURCE, path, reason, detail)


DATA = Source(list_photos, layout=LAYOUT, has_several_folders=True, takes_new=True, list_file=("manifest.csv", "mask"))
