"""Which foreground could go onto which background: neighbours in an index, scored.

Never all pairs: each background that is needed asks k-d trees (one per label, one over everything) for a few neighbours in place, size
and aspect. Memory grows with the objects plus the possible pairs; time with n log n of the objects plus the composites asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import sparse
from scipy.spatial import cKDTree

from tasks.mining.gap import Appearance, gap_components, gap_size
from tasks.params import Mine

Positions = Int[np.ndarray, " M"]

SCORE_NAMES = ("semantic", "scale", "position", "aspect", "shape")
UNNAMED = -1

# Standard deviations of what still looks alike: centre and foot of the box (shares of the frame), ln of height, ln of aspect.
_TOLERANCES = np.array([0.25, 0.10, 0.50, 0.35])
_RELATED = 0.5  # a label that only occurs together with the removed one counts at most this much
_OVERHANG = 1.25  # a mined foreground may be this much wider or taller than the box of the removed object
_LEAST_SHARE = 0.01  # of the frame, covered by the pasted object: less is a sliver, of which choke and feather leave a few pixels or none
_CHUNK = 1024  # backgrounds whose possible pairs are scored at a time: bounds the memory
_SPARE = 1.5  # backgrounds asked for possible pairs, per composite wanted
_LEAST_DRAWN = 64  # and this many more, so that a handful of composites has a choice


@dataclass(frozen=True)
class Objects:
    """N usable objects of one split, as arrays. Boxes are (left, top, right, bottom)."""

    group: Int[np.ndarray, " N"]  # the photograph; equal numbers are the same one
    label: Int[np.ndarray, " N"]  # UNNAMED where the label says nothing
    is_background: Bool[np.ndarray, " N"]
    photo_size: Float32[np.ndarray, "N 2"]  # width, height in px
    source_box: Float32[np.ndarray, "N 4"]  # px of the photograph
    contact: Bool[np.ndarray, "N 4"]
    shape: Float32[np.ndarray, "N cells"]
    foreground: Appearance
    ring: Appearance

    @property
    def frame_box(self) -> Float32[np.ndarray, "N 4"]:
        """The boxes as shares of the photograph."""
        shares: np.ndarray = self.source_box / np.tile(self.photo_size, 2)
        return shares


@dataclass(frozen=True)
class PossiblePairs:
    """M pairs that could be pasted, sorted by background. `background` and `foreground` are positions in Objects.

    fits: whether labels and score speak for the pair (always, in mode `pih_random`).
    """

    background: Positions
    foreground: Positions
    fits: Bool[np.ndarray, " M"]
    score: Float32[np.ndarray, " M"]
    gap: Float32[np.ndarray, " M"]

    def __getitem__(self, chosen: Positions) -> "PossiblePairs":
        return PossiblePairs(**{name: column[chosen] for name, column in vars(self).items()})


def label_relations(
    group: Int[np.ndarray, " R"], label: Int[np.ndarray, " R"], *, frame_box: Float[np.ndarray, "R 4"], num_labels: int
) -> Float32[np.ndarray, "L L"]:
    """How well one label stands in for another: 1 for itself, else at most 0.5.

    Rows are all indexed objects, also those that the filters reject; boxes as shares of the photograph. Two labels are related by how often
    both occur in one photograph, n(a, b) / min(n(a), n(b)), times how alike their usual place and size are: a car and the sky above it
    share every street, but neither stands where the other does.
    """
    named = label != UNNAMED
    pairs = np.unique(np.stack([group[named], label[named]], axis=1), axis=0)
    shape = (int(group.max(initial=0)) + 1, num_labels)
    occurs = sparse.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)
    together = (occurs.T @ occurs).toarray()
    alone = np.maximum(together.diagonal(), 1.0)
    usual = np.zeros((num_labels, 2))
    points = np.stack([frame_box[:, 3], np.log(frame_box[:, 3] - frame_box[:, 1] + 1e-3)], axis=1)[named] / _TOLERANCES[1:3]
    np.add.at(usual, label[named], points)
    usual /= np.maximum(np.bincount(label[named], minlength=num_labels), 1)[:, None]
    apart = np.square(usual[:, None] - usual[None]).sum(axis=2)
    relations: np.ndarray = (_RELATED * together / np.minimum(alone[:, None], alone[None, :]) * np.exp(-0.5 * apart)).astype(np.float32)
    np.fill_diagonal(relations, 1.0)
    return relations


def find_possible_pairs(
    objects: Objects, relations: Float32[np.ndarray, "L L"], *, mine: Mine, num_wanted: int, rng: np.random.Generator
) -> PossiblePairs:
    """Scored pairs for as many randomly drawn backgrounds as `num_wanted` composites need, those with a named object first.

    Left out: pairs within one photograph, gaps that are hopeless, objects that would become slivers, and, in mode `mined`, objects that
    would be enlarged too much or are cut off by their photograph's edge where the removed object was not.
    """
    drawn = rng.permutation(np.flatnonzero(objects.is_background))
    named_first = np.argsort(objects.label[drawn] == UNNAMED, kind="stable")
    drawn = np.sort(drawn[named_first][: int(num_wanted * _SPARE) + _LEAST_DRAWN])
    neighbours = _random_neighbours if mine.mode == "pih_random" else _near_neighbours
    parts = [_score(objects, relations, *pairs, mine=mine) for pairs in neighbours(objects, drawn, mine.neighbours, rng)]
    columns = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])} if parts else vars(_empty())
    return PossiblePairs(**columns)[np.lexsort((columns["foreground"], columns["background"]))]


def paste_scale(objects: Objects, background: Positions, foreground: Positions, mode: str) -> Float[np.ndarray, " M"]:
    """Pixels of the background's photograph per pixel of the foreground's.

    mined: the pasted box gets the removed one's area, but stands over by a quarter at most. pih_random: it fits inside.
    """
    ratios = (_sides(objects, background) / _sides(objects, foreground)).astype(np.float64)
    inside: np.ndarray = ratios.min(axis=1)
    return inside if mode == "pih_random" else np.minimum(np.sqrt(ratios.prod(axis=1)), inside * _OVERHANG)


def score_components(
    objects: Objects, relations: Float32[np.ndarray, "L L"], background: Positions, foreground: Positions
) -> Float[np.ndarray, "M 5"]:
    """How well each foreground fits in the removed object's place, columns as SCORE_NAMES, each in [0, 1]."""
    first, second = objects.label[background], objects.label[foreground]
    named = (first != UNNAMED) & (second != UNNAMED)
    semantic = np.zeros(len(named), relations.dtype)
    semantic[named] = relations[first[named], second[named]]  # there may be no label at all, and nothing to look up
    apart = _geometry(objects, background) - _geometry(objects, foreground)  # in standard deviations
    likeness = np.exp(-0.5 * apart**2)
    shapes = objects.shape[background], objects.shape[foreground]
    overlap = np.minimum(*shapes).sum(axis=1) / np.maximum(np.maximum(*shapes).sum(axis=1), 1e-6)
    columns: np.ndarray = np.stack([semantic, likeness[:, 2], likeness[:, 0] * likeness[:, 1], likeness[:, 3], overlap], axis=1)
    return columns


def _geometry(objects: Objects, chosen: Positions) -> Float[np.ndarray, "M 4"]:
    """Centre, foot, ln height (in the frame) and ln aspect (in the photograph) of the boxes, in units of their tolerances."""
    source = objects.source_box[chosen]
    frame = source / np.tile(objects.photo_size[chosen], 2)
    extent = np.maximum(source[:, 2:] - source[:, :2], 1.0)
    columns = [(frame[:, 0] + frame[:, 2]) / 2, frame[:, 3], np.log(frame[:, 3] - frame[:, 1] + 1e-3), np.log(extent[:, 1] / extent[:, 0])]
    scaled: np.ndarray = np.stack(columns, axis=1) / _TOLERANCES
    return scaled


def _near_neighbours(
    objects: Objects, drawn: Positions, count: int, rng: np.random.Generator
) -> Iterable[tuple[Positions, Positions]]:
    """Pairs (background, foreground): three quarters of `count` from the same label where it has a name, the rest from all."""
    everything = np.arange(objects.group.size)
    points = _geometry(objects, everything)
    groups = [(drawn, everything, max(count // 4, 1))]
    for label in np.unique(objects.label[drawn]):
        members = everything if label == UNNAMED else np.flatnonzero(objects.label == label)
        groups.append((drawn[objects.label[drawn] == label], members, count - count // 4))
    pairs = []
    whole = cKDTree(points)
    for backgrounds, members, wanted in groups:
        tree = whole if members is everything else cKDTree(points[members])
        amount = min(wanted + 4, members.size)  # a few more: the photograph's own objects are near themselves
        _, near = tree.query(points[backgrounds], k=amount)
        foregrounds = members[near.reshape(len(backgrounds), amount)]
        pairs.append(np.stack([np.repeat(backgrounds, amount), foregrounds.reshape(-1)], axis=1))
    joined = np.unique(np.concatenate(pairs), axis=0)
    for first in range(0, len(joined), _CHUNK * count):
        part = joined[first : first + _CHUNK * count]
        yield part[:, 0], part[:, 1]


def _random_neighbours(
    objects: Objects, drawn: Positions, count: int, rng: np.random.Generator
) -> Iterable[tuple[Positions, Positions]]:
    """Pairs (background, foreground) with `count` uniformly drawn foregrounds each."""
    for first in range(0, drawn.size, _CHUNK):
        backgrounds = np.repeat(drawn[first : first + _CHUNK], count)
        pairs = np.unique(np.stack([backgrounds, rng.integers(objects.group.size, size=backgrounds.size)], axis=1), axis=0)
        yield pairs[:, 0], pairs[:, 1]


def _score(
    objects: Objects, relations: Float32[np.ndarray, "L L"], background: Positions, foreground: Positions, *, mine: Mine
) -> PossiblePairs:
    keep = objects.group[background] != objects.group[foreground]
    scale = paste_scale(objects, background, foreground, mine.mode)
    keep &= _pasted_share(objects, background, foreground, scale) >= _LEAST_SHARE
    if mine.mode == "mined":
        keep &= ~(objects.contact[foreground] & ~objects.contact[background]).any(axis=1)
        keep &= scale * mine.size / objects.photo_size[background].min(axis=1) <= mine.max_upsampling
    background, foreground = background[keep], foreground[keep]
    components = gap_components(objects.foreground[foreground], objects.ring[background])
    keep = (components[:, 0] <= mine.max_lightness_gap) & (components[:, 1] <= mine.max_colour_gap)
    background, foreground, components = background[keep], foreground[keep], components[keep]
    weights = np.array([getattr(mine.weights, name) for name in SCORE_NAMES])
    score, fits = np.zeros(background.size), np.ones(background.size, bool)
    if mine.mode == "mined":
        fit = score_components(objects, relations, background, foreground)
        score = fit @ weights
        fits = (fit[:, 0] >= mine.min_semantic) & (score >= mine.min_fit * weights.sum())
    return PossiblePairs(background, foreground, fits, score.astype(np.float32), gap_size(components).astype(np.float32))


def _sides(objects: Objects, chosen: Positions) -> Float32[np.ndarray, "M 2"]:
    """Width and height of the boxes, px of their photographs."""
    sides: np.ndarray = objects.source_box[chosen, 2:] - objects.source_box[chosen, :2]
    return sides


def _pasted_share(
    objects: Objects, background: Positions, foreground: Positions, scale: Float[np.ndarray, " M"]
) -> Float[np.ndarray, " M"]:
    """The share of the frame that each pasted object will cover."""
    covered = _sides(objects, foreground).prod(axis=1) * objects.shape[foreground].mean(axis=1)
    shares: np.ndarray = scale**2 * covered / objects.photo_size[background].prod(axis=1)
    return shares


def _empty() -> PossiblePairs:
    nothing = np.zeros(0, np.int64)
    return PossiblePairs(nothing, nothing, nothing.astype(bool), nothing.astype(np.float32), nothing.astype(np.float32))
