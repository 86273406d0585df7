"""RealHM: real composites that an expert retouched, each with the photograph it was pasted onto. For evaluation only.

    <folder>/<anywhere>/<name>.jpg          the foreground, in its place on a canvas of the background's size
    <folder>/<anywhere>/<name>_mask.jpg     soft
    <folder>/<anywhere>/<name>_fore.jpg     the BACKGROUND, whatever it is called: a clean plate
    <folder>/<anywhere>/<name>_gt.jpg       the expert's version: the target
    <folder>/<anywhere>/<name>_small.jpg    the foreground cut out, as a thumbnail: not used

There is no composite among them: it is `foreground * mask + background * (1 - mask)`, pasted here at full size, rounded, and written as PNG
below `paths.prepared`. The background is the row's `plate_path`. Every pair is of the test split.
Source: the demo of VITA-Group/SSHarmonization (Jiang et al., ICCV 2021), which publishes the set; folders vendor_testing_1 to 3.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from attune.images import encode_png, read_image, read_mask
from attune.rejects import BadSample, RejectReason
from tasks.color.transfer import paste
from tasks.params import Params
from tasks.sources.candidates import Candidates, ListingReject, PairCandidate
from tasks.sources.listing import check_utf8, safe_key, source_folder
from tasks.sources.prepared import clear_others, is_up_to_date, time_made, write_prepared
from tasks.sources.source import Source

SOURCE = "realhm"
METHOD = "published"
LAYOUT = "<name>.jpg, <name>_mask.jpg, <name>_fore.jpg (the background) and <name>_gt.jpg, in any sub-folder"
FOREGROUND, MASK, BACKGROUND, TARGET, THUMBNAIL = "", "_mask", "_fore", "_gt", "_small"  # what follows the name
NEEDED = (FOREGROUND, MASK, BACKGROUND, TARGET)

Parts = Mapping[str, Path]  # of one item, by what follows its name


def list_realhm(params: Params) -> Candidates:
    """Every complete item of `ingest.folders.realhm`, sorted by key, its composite pasted; incomplete and broken ones are rejects."""
    folder = source_folder(params, SOURCE, LAYOUT)
    items = find_items(folder)
    if not items:
        raise ValueError(f"ingest.folders.{SOURCE}: no *.jpg below {folder}; expected {LAYOUT}")
    outputs = {name: params.paths.prepared / SOURCE / f"{safe_key(SOURCE, name.replace('/', '_'))}.png" for name in items}

    def prepare(name: str) -> BadSample | None:
        try:
            _paste(name, items[name], outputs[name], max_megapixels=params.ingest.max_megapixels)
        except BadSample as bad:
            return bad
        return None

    with ThreadPoolExecutor(params.speed.num_workers) as pool:
        faults = dict(zip(items, pool.map(prepare, items), strict=True))
    clear_others(params.paths.prepared / SOURCE, (outputs[name] for name, bad in faults.items() if bad is None))
    pairs = [_candidate(folder, name, items[name], outputs[name]) for name, bad in faults.items() if bad is None]
    rejects = tuple(
        ListingReject(outputs[name].stem, SOURCE, SOURCE, bad.path, bad.reason, bad.detail)
        for name, bad in faults.items() if bad is not None
    )
    return Candidates(pairs=tuple(sorted(pairs, key=lambda pair: pair.key)), rejects=rejects)


def find_items(folder: Path) -> dict[str, dict[str, Path]]:
    """The files of each item below `folder` by what follows its name; names are relative to `folder`, without suffix, and sorted."""
    items: dict[str, dict[str, Path]] = {}
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            if path.suffix.lower() not in (".jpg", ".jpeg") or file.startswith("."):
                continue
            part = next((ending for ending in (MASK, BACKGROUND, TARGET, THUMBNAIL) if path.stem.endswith(ending)), FOREGROUND)
            name = path.with_name(path.stem.removesuffix(part)).relative_to(folder).as_posix()
            items.setdefault(name, {}).setdefault(part, path)
    return dict(sorted(items.items()))


def _paste(name: str, parts: Parts, output: Path, *, max_megapixels: float) -> None:
    """Write the composite of an item, unless it is there already. BadSample if a part is missing, broken, or of another size."""
    check_utf8(name)
    for part in NEEDED:
        if part not in parts:
            raise BadSample(RejectReason.MISSING, f"{name}{part}.jpg", f"no {name}{part}.jpg beside {', '.join(map(str, parts.values()))}")
    made_from = time_made(_paste, (parts[part] for part in (FOREGROUND, MASK, BACKGROUND)))
    if is_up_to_date(output, made_from):
        return
    foreground = read_image(parts[FOREGROUND], max_megapixels=max_megapixels)
    background = read_image(parts[BACKGROUND], max_megapixels=max_megapixels)
    mask = read_mask(parts[MASK], max_megapixels=max_megapixels)
    for path, pixels in ((parts[BACKGROUND], background), (parts[MASK], mask)):
        if pixels.shape[:2] != foreground.shape[:2]:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (pixels.shape, foreground.shape)]
            raise BadSample(RejectReason.SIZE_MISMATCH, str(path), f"{sizes[0]} px, where {parts[FOREGROUND]} is {sizes[1]} px")
    whole = (slice(0, mask.shape[0]), slice(0, mask.shape[1]))
    write_prepared(output, encode_png(paste(background, mask, whole, foreground.astype(np.float32))), made_from=made_from)


def _candidate(folder: Path, name: str, parts: Parts, output: Path) -> PairCandidate:
    return PairCandidate(
        key=output.stem, source=SOURCE, subset=Path(name).parts[0] if "/" in name else SOURCE, split="test", group=f"{SOURCE}/{name}",
        composite_path=output.as_posix(), mask_path=parts[MASK].as_posix(), target_path=parts[TARGET].as_posix(),
        label="", method=METHOD, licence="", plate_path=parts[BACKGROUND].as_posix(),
    )


DATA = Source(list_realhm, layout=LAYOUT)
