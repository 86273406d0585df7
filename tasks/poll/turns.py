"""What a poll shows: a folder of pictures per method, and whose turn it is, drawn evenly, in random order and on random sides.

Layout: `<folder>/<method>/<image>.png` or `.jpg`, the same images for each method; `<folder>/masks/<image>.png`, optional, lets raters
see which object was pasted.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tasks.poll.votes import Vote
from tasks.seeds import derive_seed

MASKS = "masks"  # the one folder that is no method
SUFFIXES = (".png", ".jpg", ".jpeg")
_METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Comparison:
    """Two methods' pictures of one image, as one rater sees them."""

    image: str
    left: str
    right: str


@dataclass(frozen=True)
class Poll:
    """The pictures of a poll."""

    methods: tuple[str, ...]
    images: tuple[str, ...]
    pictures: Mapping[tuple[str, str], Path]  # by method and image
    masks: Mapping[str, Path]
    digest: str  # of methods, images and the pictures' bytes

    @property
    def comparisons(self) -> list[tuple[str, str, str]]:
        """Everything there is to compare: an image, and two methods in alphabetical order."""
        return [(image, first, second) for image in self.images for first, second in combinations(self.methods, 2)]


def read_poll(folder: Path) -> Poll:
    """The poll whose pictures lie in `folder`.

    Raises ValueError naming folder and fault if there are fewer than two methods, or one lacks an image that another has, holds two files
    of one name, or a file that is no picture or not of the others' size.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    found = {path.name: _pictures(path) for path in folders}
    masks = found.pop(MASKS, {})
    if bad := [name for name in found if not _METHOD.fullmatch(name)]:
        raise ValueError(f"{folder / bad[0]}: a method's name is up to 64 letters, digits, '_', '.' and '-'")
    if len(found) < 2:
        raise ValueError(f"{folder}: pictures of two methods or more are needed, a folder each; there are: {', '.join(found) or 'none'}")
    images = tuple(sorted(set().union(*found.values())))
    for method, own in found.items():
        if missing := sorted(set(images) - set(own)):
            raise ValueError(f"{folder / method}: {len(missing)} of {len(images)} images are missing, {missing[0]!r} first")
    if not images:
        raise ValueError(f"{folder}: the methods' folders hold no pictures ({', '.join(SUFFIXES)})")
    for image in images:
        sizes = {method: _size(pictures[image]) for method, pictures in found.items()}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{method} {width}x{height}" for method, (width, height) in sizes.items())
            raise ValueError(f"{folder}: the pictures of {image!r} differ in size: {said}")
    pictures = {(method, image): path for method, own in found.items() for image, path in own.items()}
    return Poll(tuple(found), images, pictures, masks, _digest(pictures))


def next_comparison(poll: Poll, rater: str, votes: Sequence[Vote], *, seed: int) -> Comparison | None:
    """What `rater` is to see next after `votes`; None when there is nothing left that this rater has not compared.

    Drawn among the comparisons that have the fewest votes of all raters, of those the pairs of methods that this rater has compared least
    often, of those the images that this rater has seen least often, by lot. The side too is by lot. Equal arguments give equal answers:
    a page that is loaded again shows the same.
    votes: the ones that count (see `last_votes`), of this poll.
    """
    own = [vote.comparison for vote in votes if vote.rater == rater]
    compared, pairs, seen = set(own), Counter(key[1:] for key in own), Counter(key[0] for key in own)
    total = Counter(vote.comparison for vote in votes)
    open_ones = [key for key in poll.comparisons if key not in compared]
    if not open_ones:
        return None
    image, first, second = min(
        open_ones, key=lambda key: (total[key], pairs[key[1:]], seen[key[0]], derive_seed(seed, "study", "order", rater, *key))
    )
    swapped = derive_seed(seed, "study", "side", rater, image, first, second) % 2
    return Comparison(image, second, first) if swapped else Comparison(image, first, second)


def picture_token(poll: Poll, method: str, image: str) -> str:
    """A name for a picture (or for the mask, where `method` is MASKS) that does not tell a rater whose it is."""
    return hashlib.blake2b(f"{method}\x1f{image}".encode(), key=poll.digest.encode(), digest_size=16).hexdigest()


def _pictures(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise ValueError(f"{folder}: {found[path.stem].name} and {path.name} are two pictures of one image")
            found[path.stem] = path
    return found


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            return opened.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a picture that can be shown ({error})") from None


def _digest(pictures: Mapping[tuple[str, str], Path]) -> str:
    digest = hashlib.sha256()
    for (method, image), path in sorted(pictures.items()):
        with open(path, "rb") as handle:
            digest.update(f"{method}\x1f{image}\x1f{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
