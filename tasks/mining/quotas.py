"""Choosing among scored pairs: quotas per difficulty, caps per object, and chance in proportion to the score."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int

from tasks.mining.pairing import Positions, PossiblePairs
from tasks.params import Mine


def quota_counts(num_wanted: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `num_wanted`, each within 1 of its share (largest remainder)."""
    exact = np.array(shares, np.float64) * num_wanted
    counts = np.floor(exact + 1e-9).astype(int)
    for position in np.argsort(-(exact - counts), kind="stable")[: num_wanted - int(counts.sum())]:
        counts[position] += 1
    return [int(count) for count in counts]


def choose_pairs(
    possible: PossiblePairs, bins: Positions, *, counts: Sequence[int], mine: Mine, rng: np.random.Generator
) -> Int[np.ndarray, " K"]:
    """Positions of the chosen ones, at most `counts[bin]` of each bin; fewer where the caps leave no more.

    Round by round each background, in random order, takes one foreground: its bin in proportion to what is still wanted, then within
    the bin by exp(score / temperature). No pair is taken twice, and no object more often than its cap. Pairs that do not fit only fill
    what the others leave over.
    """
    if possible.background.size == 0:
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.diff(possible.background, prepend=-1))
    spans = np.stack([starts, np.append(starts[1:], possible.background.size)], axis=1)
    state = _Choice(possible, bins, mine, wanted=np.array(counts, np.int64))
    for allowed in (possible.fits, ~possible.fits):
        if allowed.any():
            state.fill(spans, allowed, rng)
    return np.array(state.chosen, np.int64)


class _Choice:
    """What has been chosen so far, and what the caps and quotas still allow."""

    def __init__(self, possible: PossiblePairs, bins: Positions, mine: Mine, *, wanted: Int[np.ndarray, " K"]) -> None:
        self.possible, self.bins, self.mine, self.wanted = possible, bins, mine, wanted
        self.foreground_uses = np.zeros(int(possible.foreground.max(initial=0)) + 1, np.int64)
        self.background_uses = np.zeros(int(possible.background.max(initial=0)) + 1, np.int64)
        self.free = np.ones(possible.background.size, bool)
        self.chosen: list[int] = []

    def fill(self, spans: Int[np.ndarray, "B 2"], allowed: Bool[np.ndarray, " M"], rng: np.random.Generator) -> None:
        """Rounds over all backgrounds until nothing is wanted or a round finds nothing."""
        found = True
        while found and self.wanted.any():
            found = False
            for span in rng.permutation(spans):
                if not self.wanted.any():
                    return
                found |= self._take_one(span, allowed, rng)

    def _take_one(self, span: Int[np.ndarray, "2"], allowed: Bool[np.ndarray, " M"], rng: np.random.Generator) -> bool:
        inside = np.arange(span[0], span[1])
        background = self.possible.background[span[0]]
        if self.background_uses[background] >= self.mine.max_per_background:
            return False
        usable = self.foreground_uses[self.possible.foreground[inside]] < self.mine.max_per_foreground
        inside = inside[usable & allowed[inside] & self.free[inside] & (self.wanted[self.bins[inside]] > 0)]
        if inside.size == 0:
            return False
        picked = _pick(inside, self.possible.score, self.bins, wanted=self.wanted, temperature=self.mine.temperature, rng=rng)
        self.free[picked] = False
        self.foreground_uses[self.possible.foreground[picked]] += 1
        self.background_uses[background] += 1
        self.wanted[self.bins[picked]] -= 1
        self.chosen.append(picked)
        return True


def _pick(
    open_: Positions, score: Float32[np.ndarray, " A"], bins: Int[np.ndarray, " A"], *,
    wanted: Int[np.ndarray, " D"], temperature: float, rng: np.random.Generator,
) -> int:
    present = np.unique(bins[open_])
    share = wanted[present].astype(np.float64)
    bin_ = present[np.searchsorted(np.cumsum(share / share.sum()), rng.random(), side="right").clip(max=present.size - 1)]
    inside = open_[bins[open_] == bin_]
    weight = np.exp((score[inside].astype(np.float64) - score[inside].max()) / temperature)
    total = np.cumsum(weight / weight.sum())
    return int(inside[np.searchsorted(total, rng.random(), side="right").clip(max=inside.size - 1)])
