"""Composites drawn anew in every step: an object's colours changed as other photographs, a light or a retouch would have them.

Nothing is stored, so that no composite is ever seen twice, and an object costs its photograph alone. The ways are those of `ingest`'s
composites that take a millisecond; strengths are as wide as the field's (5th, 50th and 95th percentile of the fMSE: see
`tasks/ingestion/synthesis.py`), and some composites need no change at all.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, UInt8

from attune.foreground import FOREGROUND, FOREGROUND_LEVEL
from tasks.color.difference import foreground_mse
from tasks.color.recolor import (
    Illuminants,
    apply_retouch,
    illuminants_for,
    map_illuminant,
    random_illuminant_change,
    random_retouch,
)
from tasks.color.transfer import MIN_PIXELS, TooFewPixels, match_fecker, match_monge_kantorovich, match_reinhard, match_xiao_ma
from tasks.params import DrawnComposites
from tasks.shard_samples import read_samples
from tasks.shards import MASK_MEMBER, ShardFolder, decode_jpeg_into, decode_mask_member, member

Pixels = Float32[np.ndarray, "N 3"]
Match = Callable[[Pixels, Pixels, Pixels], Pixels]

MATCHES: Mapping[str, Match] = {
    "reinhard": match_reinhard, "monge_kantorovich": match_monge_kantorovich, "xiao_ma": match_xiao_ma, "fecker": match_fecker,
}
PALETTE_SIZE = 1024  # pixels kept of each object, to take colours from
MIN_FMSE, MAX_FMSE = 60.0, 12000.0  # squared grey levels: what lies outside is drawn again
MAX_CLIPPED = 0.15  # share of the values that a change drives out of range
MAX_ATTEMPTS = 4
WEAKEST, STRONGEST = 0.4, 1.5  # of a change, where its strength is drawn
STRONGEST_RETOUCH = 1.4


@dataclass(frozen=True)
class FreshComposites:
    """The colours of all objects of a training set, and how composites are drawn from them.

    palettes: of each object pixels of its foreground; all 0 where it is too small. kin: for each object those of its label, itself among
    them. weights: of the ways by name: those of `MATCHES`, retouch, illuminant. kin_share: of the transfers, the colours are taken from
    kin. rescaled_share: of the changes, made weaker or stronger.
    """

    palettes: UInt8[np.ndarray, "M P 3"]
    kin: Sequence[Int[np.ndarray, " _K"]]
    weights: Mapping[str, float]
    kin_share: float
    rescaled_share: float
    illuminants: Illuminants | None = None

    def draw(
        self, target: Float32[np.ndarray, "3 H W"], mask: Float32[np.ndarray, "1 H W"], number: int, rng: np.random.Generator
    ) -> Float32[np.ndarray, "3 H W"]:
        """`target` with its foreground changed in a way drawn at random; equal to it where the mask is 0.

        target: sRGB-encoded in [0, 1]; number: of the object. Where no draw is within the limits, the last one stands; where the
        foreground is too small for statistics, a copy of the target.
        """
        inside = mask[0] > 0
        places = np.flatnonzero(inside)
        level = mask.reshape(-1)[places][:, None]
        solid = level[:, 0] > FOREGROUND
        hard = solid.astype(np.uint8)[None] * np.uint8(255)
        pixels = np.ascontiguousarray(target.reshape(3, -1).take(places, axis=1).T) * np.float32(255)
        if solid.sum() < MIN_PIXELS:
            return target.copy()
        changed = pixels
        for _ in range(MAX_ATTEMPTS):
            drawn = self._changed(target, inside, pixels, solid, number, rng)
            if drawn is None:
                continue
            if rng.random() < self.rescaled_share:
                drawn = pixels + np.float32(rng.uniform(WEAKEST, STRONGEST)) * (drawn - pixels)
            clipped = np.mean((drawn < 0) | (drawn > 255))
            changed = drawn.clip(0, 255)
            if MIN_FMSE < foreground_mse(changed[None], pixels[None], hard) < MAX_FMSE and clipped < MAX_CLIPPED:
                break
        result = target.copy()
        result.reshape(3, -1)[:, places] = ((pixels + level * (changed - pixels)) / np.float32(255)).T
        return result

    def reference(self, number: int, rng: np.random.Generator) -> Pixels:
        """Colours of another object, in [0, 255]; with a chance of `kin_share` of one of the same label."""
        kin = self.kin[number]
        other = rng.choice(kin) if len(kin) > 1 and rng.random() < self.kin_share else rng.integers(len(self.palettes))
        colors: Pixels = self.palettes[other].astype(np.float32)
        return colors

    def _changed(  # noqa: PLR0917
        self, target: np.ndarray, inside: np.ndarray, pixels: Pixels, solid: np.ndarray, number: int, rng: np.random.Generator
    ) -> Pixels | None:
        """The foreground's pixels under one change; None where it cannot be made. Values may leave [0, 255]."""
        names = list(self.weights)
        shares = np.array([self.weights[name] for name in names])
        name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        if name == "retouch":
            return _retouched(target, inside, rng)
        if name == "illuminant":
            assert self.illuminants is not None, "loaded where it has a weight"
            light = random_illuminant_change(self.illuminants, pixels[solid], rng=rng, max_attempts=8)
            return None if light is None else map_illuminant(pixels, light)
        try:
            return MATCHES[name](pixels, pixels[solid], self.reference(number, rng))
        except TooFewPixels:
            return None


def read_fresh_composites(folder: Path, section: DrawnComposites, raw: Path) -> FreshComposites:
    """How composites are drawn from the training samples of the shards in `folder`: their palettes and labels are read once.

    raw: where the measured illuminants lie, if they have a weight. Raises ValueError naming a file that is missing or damaged.
    """
    samples = read_samples(folder, "train")
    with ShardFolder(folder, "train") as shards, ThreadPoolExecutor() as threads:
        palettes = np.stack(list(threads.map(partial(_palette, shards), range(len(samples)))))
    by_label: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        by_label.setdefault(sample["label"] or sample["key"], []).append(number)
    kin = {label: np.array(numbers) for label, numbers in by_label.items()}
    return FreshComposites(
        palettes, [kin[sample["label"] or sample["key"]] for sample in samples], section.weights.model_dump(),
        section.kin_share, section.rescaled_share, illuminants_for(section.weights.illuminant, raw),
    )


def _palette(shards: ShardFolder, number: int) -> UInt8[np.ndarray, "P 3"]:
    """Pixels of a sample's foreground, evenly spaced."""
    sample, name = shards.read(number), shards.name(number)
    mask = decode_mask_member(member(sample, MASK_MEMBER, name=name), name=f"{name}.{MASK_MEMBER}")
    target = np.empty((*mask.shape, 3), np.uint8)
    decode_jpeg_into(member(sample, "target.jpg", name=name), target, name=f"{name}.target.jpg")
    inside = target[mask >= FOREGROUND_LEVEL]
    if len(inside) < MIN_PIXELS:
        return np.zeros((PALETTE_SIZE, 3), np.uint8)
    palette: np.ndarray = inside[np.linspace(0, len(inside) - 1, PALETTE_SIZE).astype(int)]
    return palette


def _retouched(target: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> Pixels:
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    crop = np.rint(target[:, box[0], box[1]].transpose(1, 2, 0) * 255).astype(np.uint8)
    retouched = apply_retouch(crop, random_retouch(rng, strength=rng.uniform(0.5, STRONGEST_RETOUCH)))
    pixels: Pixels = retouched[inside[box]].astype(np.float32)
    return pixels
