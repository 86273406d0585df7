"""The gate: whether a candidate may take the champion's place, by rules on numbers that both were measured for on the same images.

Each rule leaves its number, its limit and its verdict. A rule that cannot tell (no champion yet, too few images) says so and refuses
nothing; a number that is not one (NaN) refuses. A candidate equal to the champion passes: it has seen the newer data.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.statistics import bootstrap_interval
from tasks.params import Release
from tasks.seeds import numpy_generator

GROUPINGS = {"bucket": ("bucket",), "source": ("source", "subset")}  # kinds of group in which nothing may get much worse, and their columns


@dataclass(frozen=True)
class Figures:
    """What was measured of one model."""

    images: pa.Table  # one row per test image; columns of `tasks.evaluation.measurements.per_image_schema`
    natural_fmse: float | None  # squared grey levels: how far photographs that need nothing are changed inside their masks; None: unknown
    latency_ms: float  # to predict one edit
    megabytes: float  # of the model's files


@dataclass(frozen=True)
class Rule:
    """One rule of the gate, and what came of it."""

    name: str
    value: float  # NaN where there is none
    limit: float
    passed: bool | None  # None: cannot tell
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What the gate decides, and by which rules."""

    rules: tuple[Rule, ...]

    @property
    def accepted(self) -> bool:
        """Whether no rule refuses."""
        return all(rule.passed is not False for rule in self.rules)

    @property
    def word(self) -> str:
        """`accepted` or `refused`."""
        return "accepted" if self.accepted else "refused"

    @property
    def refusing(self) -> tuple[str, ...]:
        """The names of the rules that refuse."""
        return tuple(rule.name for rule in self.rules if rule.passed is False)

    @property
    def why(self) -> str:
        """What the verdict rests on, in a line."""
        if self.accepted:
            return f"every rule that can tell passes, {sum(rule.passed is True for rule in self.rules)} of {len(self.rules)}"
        return "; ".join(f"{rule.name}: {rule.detail}" for rule in self.rules if rule.passed is False)

    def as_json(self) -> dict[str, Any]:
        """Everything in it, JSON-able; a number that is not one becomes null."""
        rules = [{key: _finite(value) for key, value in asdict(rule).items()} for rule in self.rules]
        return {"verdict": self.word, "why": self.why, "rules": rules}


def decide(candidate: Figures, champion: Figures | None, limits: Release, seed: int) -> Verdict:
    """Hold `candidate` to every rule; by those that need a champion only if there is one. Equal inputs give equal verdicts."""
    rules = [_do_no_harm(candidate.images, limits), _natural(candidate, limits), *_costs(candidate, limits)]
    if champion is None:
        rules.append(Rule("not_inferior", math.nan, limits.max_fmse_growth, None, "no champion yet"))
        return Verdict(tuple(rules))
    pairs = pair_images(candidate.images, champion.images)
    rules = [_same_images(candidate.images, champion.images, pairs), _not_inferior(pairs, limits, seed), *rules]
    for kind in GROUPINGS:
        rules += _groups(kind, candidate.images, champion.images, limits)
    return Verdict(tuple(rules))


def pair_images(candidate: pa.Table, champion: pa.Table) -> list[tuple[str, float, float]]:
    """(photograph, candidate's fMSE, champion's fMSE) of each image that both tables have, in the order of benchmark and key."""
    ours, theirs = _by_image(candidate), _by_image(champion)
    return [(ours[image]["group"], ours[image]["fmse"], theirs[image]["fmse"]) for image in sorted(ours.keys() & theirs.keys())]


def mean_difference_bound(pairs: list[tuple[str, float, float]], rng: np.random.Generator, *, confidence: float, resamples: int) -> float:
    """The upper bound of the mean of candidate minus champion: the percentile `confidence` of its paired bootstrap over photographs."""
    differences, groups = [ours - theirs for _, ours, theirs in pairs], [group for group, _, _ in pairs]
    two_sided = 2 * confidence - 1
    return bootstrap_interval(differences, rng, groups=groups, num_resamples=resamples, level=two_sided)[1]


# --- The rules --------------------------------------------------------------------------------------------------------------------------


def _same_images(candidate: pa.Table, champion: pa.Table, pairs: list[tuple[str, float, float]]) -> Rule:
    unmatched = candidate.num_rows + champion.num_rows - 2 * len(pairs)
    return _at_most("same_images", float(unmatched), 0.0, f"{unmatched} of the test images were measured for one of the two alone")


def _not_inferior(pairs: list[tuple[str, float, float]], limits: Release, seed: int) -> Rule:
    if not pairs:
        return Rule("not_inferior", math.nan, limits.max_fmse_growth, False, "no test image in common")
    ours, theirs = _mean([pair[1] for pair in pairs]), _mean([pair[2] for pair in pairs])
    bound = mean_difference_bound(
        pairs, numpy_generator(seed, "release", "bootstrap"), confidence=limits.confidence, resamples=limits.resamples
    )
    return _at_most(
        "not_inferior", _growth(theirs + bound, theirs), limits.max_fmse_growth,
        f"fMSE {ours:.1f} where the champion has {theirs:.1f}; with {limits.confidence:.0%} confidence at most {theirs + bound:.1f}",
    )


def _do_no_harm(images: pa.Table, limits: Release) -> Rule:
    if not images.num_rows:
        return Rule("do_no_harm", math.nan, limits.min_do_no_harm, False, "no test images")
    better = sum(row["fmse"] < row["composite_fmse"] for row in _rows(images))
    share = better / images.num_rows
    detail = f"{better} of {images.num_rows} images are nearer to their target than the untouched composite"
    return Rule("do_no_harm", share, limits.min_do_no_harm, share >= limits.min_do_no_harm, detail)


def _natural(candidate: Figures, limits: Release) -> Rule:
    if candidate.natural_fmse is None:
        why = "too few photographs in the test split, or the model takes a plate, which they do not have"
        return Rule("natural", math.nan, limits.max_natural_fmse, None, why)
    detail = f"photographs that need nothing are changed by an fMSE of {candidate.natural_fmse:.1f}"
    return _at_most("natural", candidate.natural_fmse, limits.max_natural_fmse, detail)


def _costs(candidate: Figures, limits: Release) -> list[Rule]:
    return [
        _at_most("latency", candidate.latency_ms, limits.max_latency_ms, f"{candidate.latency_ms:.1f} ms to predict an edit"),
        _at_most("size", candidate.megabytes, limits.max_megabytes, f"{candidate.megabytes:.2f} MB on disk"),
    ]


def _groups(kind: str, candidate: pa.Table, champion: pa.Table, limits: Release) -> Iterator[Rule]:
    """One rule per group that either table has: a group that one of them lacks refuses."""
    ours, theirs = (_by_group(table, GROUPINGS[kind]) for table in (candidate, champion))
    for group in sorted(ours.keys() | theirs.keys()):
        name = f"{kind} {group}"
        here, there = ours.get(group, []), theirs.get(group, [])
        if not here or not there:
            missing = "candidate" if not here else "champion"
            yield Rule(name, math.nan, limits.max_group_growth, False, f"the {missing} was not measured there")
        elif min(len(here), len(there)) < limits.min_group_images:
            detail = f"{min(len(here), len(there))} images, too few to tell (release.min_group_images = {limits.min_group_images})"
            yield Rule(name, _growth(_mean(here), _mean(there)), limits.max_group_growth, None, detail)
        else:
            detail = f"fMSE {_mean(here):.1f} where the champion has {_mean(there):.1f}, {len(here)} images"
            yield _at_most(name, _growth(_mean(here), _mean(there)), limits.max_group_growth, detail)


def _at_most(name: str, value: float, limit: float, detail: str) -> Rule:
    return Rule(name, value, limit, value <= limit, detail)


def _growth(ours: float, theirs: float) -> float:
    """How much larger `ours` is, as a share of `theirs`; of nothing, any growth is without bound."""
    if theirs > 0:
        return ours / theirs - 1.0
    return 0.0 if ours <= 0 else math.inf if ours > 0 else math.nan


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(images: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = images.to_pylist()
    return rows


def _by_image(images: pa.Table) -> Mapping[tuple[str, str], dict[str, Any]]:
    return {(row["benchmark"], row["key"]): row for row in _rows(images)}


def _by_group(images: pa.Table, columns: tuple[str, ...]) -> Mapping[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for row in _rows(images):
        groups.setdefault("/".join(str(row[column]) for column in columns), []).append(row["fmse"])
    return groups
