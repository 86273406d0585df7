"""Photographs before and after a retouch, pixel-aligned.

    <folder>/before/<name>.<jpg|png|...>
    <folder>/after/<name>.<jpg|png|...>     the same stem and the same size
    <folder>/masks/<name>.png               optional: the object

Where a pair has no mask its `mask_path` is the empty string, and whoever writes shards draws a region of the frame from the pair's key
(`tasks.augment.random_region`): a retouch of the whole frame is a fair example with any region as its foreground. Both directions are used:
once the photograph before the retouch is the target, once the one after it.
"""

from attune.rejects import BadSample, RejectReason
from tasks.params import Params
from tasks.sources.candidates import Candidates, ListingReject, RetouchCandidate
from tasks.sources.listing import find_stem, image_files, required_folder, safe_key, source_folder
from tasks.sources.source import Source

SOURCE = "retouch"
LAYOUT = "before/ and after/ with files of equal names, and an optional masks/"


def list_retouch(params: Params) -> Candidates:
    """Every before/after pair of `ingest.folders.retouch`, sorted by key; a missing half is a reject."""
    folder = source_folder(params, SOURCE, LAYOUT)
    before = required_folder(folder, "before", source=SOURCE, layout=LAYOUT)
    after = required_folder(folder, "after", source=SOURCE, layout=LAYOUT)
    masks = folder / "masks"
    befores, afters = image_files(before), image_files(after)
    mask_names = image_files(masks) if masks.is_dir() else {}
    found, rejects = [], []
    for stem in sorted(set(befores) | set(afters)):
        key = safe_key(SOURCE, stem)
        try:
            first, second = find_stem(before, befores, stem), find_stem(after, afters, stem)
            mask = find_stem(masks, mask_names, stem).as_posix() if stem in mask_names else ""
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, SOURCE, bad.path, bad.reason, bad.detail))
            continue
        found.append(RetouchCandidate(
            key=key, source=SOURCE, subset=SOURCE, split=None, group=f"{SOURCE}/{stem}",
            before_path=first.as_posix(), after_path=second.as_posix(), mask_path=mask, label="", licence="",
        ))
    rejects += [_orphan(stem) for stem in sorted(set(mask_names) - set(befores) - set(afters))]
    return Candidates(retouches=tuple(sorted(found, key=lambda pair: pair.key)), rejects=tuple(rejects))


def _orphan(stem: str) -> ListingReject:
    detail = "a mask of no photograph in before/ or after/"
    return ListingReject(safe_key(SOURCE, stem), SOURCE, SOURCE, f"masks/{stem!a}", RejectReason.MISSING, detail)


DATA = Source(list_retouch, layout=LAYOUT, takes_new=True)
