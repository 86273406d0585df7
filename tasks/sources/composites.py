"""Real composites with masks and no ground truth.

    <folder>/images/<name>.<jpg|png|...>
    <folder>/masks/<name>.png
    <folder>/list.csv                       optional

Columns of the list: `name` (required), and where known `object` (becomes the label) and `bg_source` (the photograph that the background is
of: composites on one background share a split).
"""

from pathlib import Path

from attune.rejects import BadSample, RejectReason
from tasks.params import Params
from tasks.sources.candidates import Candidates, CompositeCandidate, ListingReject
from tasks.sources.listing import find_named, find_stem, image_files, read_csv, required_folder, safe_key, source_folder
from tasks.sources.source import Source

SOURCE = "composites"
LAYOUT = "images/, masks/ with files of equal names, and an optional list.csv"


def list_composites(params: Params) -> Candidates:
    """Every real composite of `ingest.folders.composites`, sorted by key: the list's where there is one, else the folder's."""
    folder = source_folder(params, SOURCE, LAYOUT)
    images = required_folder(folder, "images", source=SOURCE, layout=LAYOUT)
    masks = required_folder(folder, "masks", source=SOURCE, layout=LAYOUT)
    image_names, mask_names = image_files(images), image_files(masks)
    found: dict[str, CompositeCandidate] = {}
    rejects = []
    for row in _rows(folder / "list.csv", sorted(image_names)):
        name = row["name"]
        key = safe_key(SOURCE, name)
        try:
            image = find_named(images, image_names, name)
            key = safe_key(SOURCE, image.stem)
            mask = find_stem(masks, mask_names, image.stem)
            if key in found:
                raise BadSample(RejectReason.DUPLICATE, str(image), "listed twice in list.csv")
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, SOURCE, bad.path, bad.reason, bad.detail))
            continue
        found[key] = CompositeCandidate(
            key=key, source=SOURCE, subset=SOURCE, split=None, group=f"{SOURCE}/{row.get('bg_source') or image.stem}",
            composite_path=image.as_posix(), mask_path=mask.as_posix(), label=row.get("object", ""), licence="",
        )
    return Candidates(composites=tuple(found[key] for key in sorted(found)), rejects=tuple(rejects))


def _rows(list_file: Path, stems: list[str]) -> list[dict[str, str]]:
    return read_csv(list_file, ("name",)) if list_file.is_file() else [{"name": stem} for stem in stems]


DATA = Source(list_composites, layout=LAYOUT, takes_new=True, list_file=("list.csv", "name"))
