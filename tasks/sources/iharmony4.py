"""iHarmony4 in its published layout; anything written in it, such as ccHarmony, HVIDIT or this project's own composites, is read alike.

    <folder>/IHD_train.txt, IHD_test.txt          lines: HAdobe5k/composite_images/a0001_1_1.jpg
    <folder>/<Sub>/<Sub>_train.txt, <Sub>_test.txt    lines: a0001_1_1.jpg
    <folder>/<Sub>/composite_images/<image>_<object>_<variant>.jpg
    <folder>/<Sub>/masks/<image>_<object>.png
    <folder>/<Sub>/real_images/<image>.jpg

Names are read from the right, for Hday2night's images contain '-' and others' may contain '_'. The list files are joined: either kind is
enough. There is no published validation list: where no `_val.txt` stands, the hash of the photograph takes `ingest.val_share` of the
training list.
Source: the README and lists of bcmi/Image-Harmonization-Dataset-iHarmony4.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.files import write_bytes
from tasks.params import Params
from tasks.rejects import BadSample, RejectReason
from tasks.sources.candidates import Candidates, ListingReject, PairCandidate
from tasks.sources.listing import check_inside, safe_key, source_folder
from tasks.splits import SPLITS, choose_split

SOURCE = "iharmony4"
METHOD = "published"
LAYOUT = "<Sub>/{composite_images,masks,real_images}/ with <Sub>_<split>.txt beside them, or IHD_<split>.txt above"
COMPOSITES, MASKS, TARGETS = "composite_images", "masks", "real_images"


@dataclass(frozen=True)
class CompositeName:
    """The three parts of a composite's name."""

    image: str
    object: str
    variant: str


def parse_name(name: str) -> CompositeName:
    """The parts of `<image>_<object>_<variant>.<suffix>`, split from the right. BadSample (a ValueError) if there are fewer."""
    parts = PurePosixPath(name).stem.rsplit("_", 2)
    if len(parts) != 3 or not all(parts):
        raise BadSample(RejectReason.BAD_NAME, name, "not of the form <image>_<object>_<variant>.jpg")
    return CompositeName(*parts)


def write_lists(folder: Path, entries: Iterable[tuple[str, str, str]]) -> None:
    """Write the list files of composites in this layout below `folder`; `entries`: (sub-set, file name, split) of each.

    Every sub-set gets a list for every split, if only an empty one. Lines are sorted.
    """
    ordered = sorted(set(entries))
    for split in SPLITS:
        chosen = [(subset, name) for subset, name, own in ordered if own == split]
        _write_lines(folder / f"IHD_{split}.txt", [f"{subset}/{COMPOSITES}/{name}" for subset, name in chosen])
        for subset in sorted({subset for subset, _, _ in ordered}):
            _write_lines(folder / subset / f"{subset}_{split}.txt", [name for owner, name in chosen if owner == subset])


def _write_lines(path: Path, lines: list[str]) -> None:
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def list_iharmony4(params: Params) -> Candidates:
    """Every pair that the list files of `ingest.folders.iharmony4` name, sorted by key."""
    folder = source_folder(params, SOURCE, LAYOUT)
    entries, rejects = read_lists(folder)
    if not entries and not rejects:
        raise ValueError(f"ingest.folders.{SOURCE}: no list file below {folder} names a composite; expected {LAYOUT}")
    has_val = any(folder.glob("IHD_val.txt")) or any(folder.glob("*/*_val.txt"))
    pairs = []
    for (subset, name), split in sorted(entries.items()):
        key = safe_key(SOURCE, f"{subset}_{PurePosixPath(name).stem}")
        try:
            parts = parse_name(name)
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, subset, str(folder / subset / COMPOSITES / name), bad.reason, bad.detail))
            continue
        group = f"{SOURCE}/{subset}/{parts.image}"
        if split == "train" and not has_val:
            split = choose_split(group, val_share=params.ingest.val_share, test_share=0.0)  # noqa: PLW2901
        pairs.append(PairCandidate(
            key=key, source=SOURCE, subset=subset, split=split, group=group,
            composite_path=(folder / subset / COMPOSITES / name).as_posix(),
            mask_path=(folder / subset / MASKS / f"{parts.image}_{parts.object}.png").as_posix(),
            target_path=(folder / subset / TARGETS / f"{parts.image}.jpg").as_posix(),
            label="", method=METHOD, licence="",
        ))
    return Candidates(pairs=tuple(sorted(pairs, key=lambda pair: pair.key)), rejects=tuple(rejects))


def read_lists(folder: Path) -> tuple[dict[tuple[str, str], str], list[ListingReject]]:
    """The splits of the composites that the list files of `folder` name, by (sub-set, file name), and the lines that cannot be used.

    Raises ValueError if two lists put one composite into different splits.
    """
    entries: dict[tuple[str, str], str] = {}
    rejects: list[ListingReject] = []
    subsets = sorted(path.name for path in folder.iterdir() if (path / COMPOSITES).is_dir())
    for split in SPLITS:
        lists = [(folder / f"IHD_{split}.txt", "")] + [(folder / subset / f"{subset}_{split}.txt", subset) for subset in subsets]
        for path, subset in lists:
            for line in _lines(path):
                try:
                    entry = _entry(line, subset, folder)
                except BadSample as bad:
                    key = safe_key(SOURCE, f"{subset or 'IHD'}_{line}")
                    rejects.append(ListingReject(key, SOURCE, subset or "IHD", bad.path, bad.reason, f"{path}: {bad.detail}"))
                    continue
                if entries.setdefault(entry, split) != split:
                    raise ValueError(f"{path}: {'/'.join(entry)} is in the lists of two splits, {entries[entry]} and {split}")
    return entries, rejects


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a list in UTF-8 ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _entry(line: str, subset: str, folder: Path) -> tuple[str, str]:
    check_inside(line, folder)
    if subset and "/" not in line:
        return subset, line
    parts = PurePosixPath(line).parts
    if len(parts) != 3 or parts[1] != COMPOSITES or (subset and parts[0] != subset):
        expected = "a bare name" if subset else f"<Sub>/{COMPOSITES}/<name>"
        raise BadSample(RejectReason.BAD_NAME, line, f"not {expected}")
    return parts[0], parts[2]
