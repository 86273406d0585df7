"""iHarmony4 in its published layout; what is written in it, such as HVIDIT, ccHarmony and this project's own composites, is read alike.

    <folder>/IHD_train.txt, IHD_test.txt          lines: HAdobe5k/composite_images/a0001_1_1.jpg
    <folder>/<Sub>/<Sub>_train.txt, <Sub>_test.txt    lines: a0001_1_1.jpg
    <folder>/<Sub>/composite_images/<image>_<object>_<variant>.jpg
    <folder>/<Sub>/masks/<image>_<object>.png
    <folder>/<Sub>/real_images/<image>.jpg

Any folder below <folder> that holds composite_images/ is a sub-set. Names are read from the right, for Hday2night's images contain '-' and
ccHarmony's '_' (its objects are a and b). ccHarmony's own lists, train_list.txt and test_list.txt beside composite_images/, name masks
without suffix: such a line stands for every composite of that mask. Masks and targets are taken with whatever suffix they have. The lists
are joined: any kind is enough. There is no published validation list: where no `_val.txt` stands, the hash of the photograph takes
`ingest.val_share` of the training list.
Source: the READMEs and lists of bcmi/Image-Harmonization-Dataset-iHarmony4 and bcmi/Image-Harmonization-Dataset-ccHarmony.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from attune.files import write_bytes
from attune.rejects import BadSample, RejectReason
from tasks.params import Params
from tasks.sources.candidates import Candidates, ListingReject, PairCandidate
from tasks.sources.listing import IMAGE_SUFFIXES, check_inside, check_utf8, image_files, safe_key, source_folder
from tasks.sources.source import Source
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
    files = {kind: {subset: _files(folder / subset / kind) for subset in {subset for subset, _ in entries}} for kind in (MASKS, TARGETS)}
    pairs: dict[str, PairCandidate] = {}
    for (subset, name), split in sorted(entries.items()):
        key = safe_key(SOURCE, f"{subset}_{PurePosixPath(name).stem}")
        composite = folder / subset / COMPOSITES / name
        try:
            parts = parse_name(name)
            if key in pairs:
                raise BadSample(RejectReason.DUPLICATE, str(composite), f"{pairs[key].composite_path} is listed too")
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, subset, str(composite), bad.reason, bad.detail))
            continue
        group = f"{SOURCE}/{subset}/{parts.image}"
        if split == "train" and not has_val:
            split = choose_split(group, val_share=params.ingest.val_share, test_share=0.0)  # noqa: PLW2901
        mask = _named(files[MASKS][subset], f"{parts.image}_{parts.object}", ".png")
        target = _named(files[TARGETS][subset], parts.image, ".jpg")
        pairs[key] = PairCandidate(
            key=key, source=SOURCE, subset=subset, split=split, group=group, composite_path=composite.as_posix(),
            mask_path=(folder / subset / MASKS / mask).as_posix(), target_path=(folder / subset / TARGETS / target).as_posix(),
            label="", method=METHOD, licence="",
        )
    return Candidates(pairs=tuple(pairs[key] for key in sorted(pairs)), rejects=tuple(rejects))


def _files(folder: Path) -> dict[str, list[str]]:
    return image_files(folder) if folder.is_dir() else {}


def _named(files: dict[str, list[str]], stem: str, suffix: str) -> str:
    """The file with this stem; where there is none, or more than one, the one that the published layout has."""
    names = files.get(stem, [])
    return names[0] if len(names) == 1 else f"{stem}{suffix}"


def read_lists(folder: Path) -> tuple[dict[tuple[str, str], str], list[ListingReject]]:
    """The splits of the composites that the list files of `folder` name, by (sub-set, file name), and the lines that cannot be used.

    Raises ValueError if two lists put one composite into different splits.
    """
    entries: dict[tuple[str, str], str] = {}
    rejects: list[ListingReject] = []
    composites = _composites(folder, rejects)
    for split in SPLITS:
        lists = [(folder / f"IHD_{split}.txt", "")]
        lists += [(folder / subset / name, subset) for subset in composites for name in (f"{subset}_{split}.txt", f"{split}_list.txt")]
        for path, subset in lists:
            for line in _lines(path):
                try:
                    found = _entries(line, subset, folder, composites)
                except BadSample as bad:
                    key = safe_key(SOURCE, f"{subset or 'IHD'}_{line}")
                    rejects.append(ListingReject(key, SOURCE, subset or "IHD", bad.path, bad.reason, f"{path}: {bad.detail}"))
                    continue
                for entry in found:
                    if entries.setdefault(entry, split) != split:
                        raise ValueError(f"{path}: {'/'.join(entry)} is in the lists of two splits, {entries[entry]} and {split}")
    return entries, rejects


def _composites(folder: Path, rejects: list[ListingReject]) -> dict[str, dict[str, list[str]]]:
    """The composites' names by sub-set and, within it, by their mask's stem."""
    found: dict[str, dict[str, list[str]]] = {}
    for subset in sorted(path.name for path in folder.iterdir() if (path / COMPOSITES).is_dir()):
        try:
            check_utf8(f"{folder}/{subset}")
        except BadSample as bad:
            rejects.append(ListingReject(safe_key(SOURCE, subset), SOURCE, "IHD", bad.path, bad.reason, bad.detail))
            continue
        found[subset] = {}
        for stem, names in image_files(folder / subset / COMPOSITES).items():
            found[subset].setdefault(stem.rpartition("_")[0], []).extend(names)
    return found


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a list in UTF-8 ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _entries(line: str, subset: str, folder: Path, composites: dict[str, dict[str, list[str]]]) -> list[tuple[str, str]]:
    """What a line names as (sub-set, file name): one composite, or all those of a mask."""
    check_inside(line, folder)
    if subset and "/" not in line:
        if PurePosixPath(line).suffix.lower() in IMAGE_SUFFIXES:
            return [(subset, line)]
        if line not in composites[subset]:
            raise BadSample(RejectReason.MISSING, str(folder / subset / MASKS / line), f"no composite of a mask {line!r}")
        return [(subset, name) for name in composites[subset][line]]
    parts = PurePosixPath(line).parts
    if len(parts) != 3 or parts[1] != COMPOSITES or (subset and parts[0] != subset):
        expected = "a bare name" if subset else f"<Sub>/{COMPOSITES}/<name>"
        raise BadSample(RejectReason.BAD_NAME, line, f"not {expected}")
    return [(parts[0], parts[2])]


DATA = Source(list_iharmony4, layout=LAYOUT)
