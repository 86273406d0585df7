"""Composites and photographs that people judged: does it look real? For measuring alone: all of them stand in the test split.

    <folder>/images/<name>.<jpg|png|...>
    <folder>/masks/<name>.png
    <folder>/labels.csv

Columns of the list: `name`, `label` (unrealistic or realistic: a composite; real: an untouched photograph) and, where known, `object`
(becomes the label of the index). The sub-set of a picture is what people said of it.
"""

from attune.rejects import BadSample, RejectReason
from tasks.params import Params
from tasks.sources.candidates import Candidates, CompositeCandidate, ListingReject
from tasks.sources.listing import find_named, find_stem, image_files, read_csv, required_folder, safe_key, source_folder
from tasks.sources.source import Source

SOURCE = "realism_labels"
LAYOUT = "images/, masks/ with files of equal names, and labels.csv"
SUBSETS = {"unrealistic": "unrealistic", "realistic": "realistic", "real": "natural"}  # by what labels.csv says


def list_realism_labels(params: Params) -> Candidates:
    """Every judged picture of `ingest.folders.realism_labels`, sorted by key."""
    folder = source_folder(params, SOURCE, LAYOUT)
    images = required_folder(folder, "images", source=SOURCE, layout=LAYOUT)
    masks = required_folder(folder, "masks", source=SOURCE, layout=LAYOUT)
    if not (folder / "labels.csv").is_file():
        raise ValueError(f"ingest.folders.{SOURCE}: no file {folder / 'labels.csv'}; expected {LAYOUT}")
    image_names, mask_names = image_files(images), image_files(masks)
    found: dict[str, CompositeCandidate] = {}
    rejects = []
    for row in read_csv(folder / "labels.csv", ("name", "label")):
        key = safe_key(SOURCE, row["name"])
        try:
            image = find_named(images, image_names, row["name"])
            key = safe_key(SOURCE, image.stem)
            mask = find_stem(masks, mask_names, image.stem)
            if key in found:
                raise BadSample(RejectReason.DUPLICATE, str(image), "listed twice in labels.csv")
            if row["label"] not in SUBSETS:
                raise BadSample(RejectReason.BAD_NAME, str(image), f"label {row['label']!r}; expected {', '.join(SUBSETS)}")
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, SOURCE, bad.path, bad.reason, bad.detail))
            continue
        found[key] = CompositeCandidate(
            key=key, source=SOURCE, subset=SUBSETS[row["label"]], split="test", group=f"{SOURCE}/{image.stem}",
            composite_path=image.as_posix(), mask_path=mask.as_posix(), label=row.get("object", ""), licence="",
        )
    return Candidates(composites=tuple(found[key] for key in sorted(found)), rejects=tuple(rejects))


DATA = Source(list_realism_labels, layout=LAYOUT)
