"""What the votes of a poll say: Bradley-Terry scores with intervals, as JSON, as a plot, and as a finding for the report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from attune.files import write_json, written_atomically
from tasks.evaluation.findings import Estimate, Finding, write_finding
from tasks.params import Params
from tasks.poll.bradley_terry import (
    Comparisons,
    Intervals,
    bootstrap_intervals,
    check_connected,
    count_wins,
    fit_scores,
    is_separated,
)
from tasks.poll.votes import Vote, last_votes, read_votes
from tasks.seeds import numpy_generator


@dataclass(frozen=True)
class MethodScore:
    """One method in a poll. The score's unit: 1 more is a chance of 73 % to be preferred over the other."""

    method: str
    score: float
    low: float  # of the 95 % interval
    high: float
    share_best: float  # of the resamples in which no other method scored higher
    share_preferred: float  # of this method's votes, one for neither counted half
    num_votes: int


@dataclass(frozen=True)
class Duel:
    """Two methods beside each other."""

    first: str
    second: str
    num_votes: int
    share_first: float  # of the votes, one for neither counted half
    share_expected: float  # by the scores: far from `share_first` where the model does not fit
    difference: float  # of the scores, first minus second
    low: float  # of the 95 % interval of that difference: the methods are told apart if 0 lies outside
    high: float


@dataclass(frozen=True)
class PollScores:
    """The outcome of a poll, best method first."""

    poll: str  # the pictures' digest
    methods: tuple[MethodScore, ...]
    duels: tuple[Duel, ...]
    num_votes: int
    num_raters: int
    num_images: int
    num_neither: int
    num_superseded: int  # votes that their raters thought better of
    num_of_other_polls: int  # votes in the file on other pictures: left out
    share_left: float | None  # of the votes for a side: far from 0.5 where raters did not look
    separated: bool  # some method never won, or never lost: its score is as far out as the penalty lets it
    ridge: float
    resampled: tuple[str, ...]
    level: float
    median_seconds: float


def fit_poll(params: Params) -> PollScores:
    """The scores of the poll that was voted on last, written as `write_poll_scores` does. ValueError if there are no votes yet."""
    path = params.poll.folder / "votes.jsonl"
    votes = read_votes(path)
    if not votes:
        raise ValueError(f"{path}: no votes yet; `make poll` collects them")
    rng, settings = numpy_generator(params.seed, "study", "bootstrap"), params.poll
    found = score_poll(votes, votes[-1].poll, ridge=settings.ridge, num_resamples=settings.num_resamples, rng=rng)
    write_poll_scores(settings.folder, params.paths.metrics, found)
    return found


def score_poll(votes: Sequence[Vote], poll: str, *, ridge: float, num_resamples: int, rng: np.random.Generator) -> PollScores:
    """The scores of the methods on the pictures with digest `poll`.

    Raises ValueError if there is no vote on them, or the votes leave groups of methods that nobody compared.
    """
    own = [vote for vote in votes if vote.poll == poll]
    counted = last_votes(own)
    if not counted:
        raise ValueError(f"no votes on the pictures of poll {poll}; there are {len(votes)} on others")
    methods = sorted({method for vote in counted for method in (vote.left, vote.right)})
    comparisons = as_comparisons(counted, methods)
    wins = count_wins(comparisons, len(methods))
    check_connected(wins, methods)
    scores = fit_scores(wins, ridge=ridge)
    intervals = bootstrap_intervals(comparisons, len(methods), ridge=ridge, num_resamples=num_resamples, rng=rng)
    sided = [vote.choice for vote in counted if vote.choice != "neither"]
    return PollScores(
        poll=poll, methods=_method_scores(methods, wins, scores, intervals), duels=_duels(methods, wins, scores, intervals),
        num_votes=len(counted), num_raters=len({vote.rater for vote in counted}), num_images=len({vote.image for vote in counted}),
        num_neither=len(counted) - len(sided), num_superseded=len(own) - len(counted), num_of_other_polls=len(votes) - len(own),
        share_left=sided.count("left") / len(sided) if sided else None, separated=is_separated(wins), ridge=ridge,
        resampled=intervals.units, level=intervals.level, median_seconds=float(np.median([vote.milliseconds for vote in counted])) / 1000.0,
    )


def as_comparisons(votes: Sequence[Vote], methods: Sequence[str]) -> Comparisons:
    """The votes as indices into `methods`; raters and images are numbered as they come."""
    numbers = {method: number for number, method in enumerate(methods)}
    shares = {"left": 1.0, "right": 0.0, "neither": 0.5}
    return Comparisons(
        first=np.array([numbers[vote.left] for vote in votes]), second=np.array([numbers[vote.right] for vote in votes]),
        share=np.array([shares[vote.choice] for vote in votes]),
        rater=_numbered([vote.rater for vote in votes]), image=_numbered([vote.image for vote in votes]),
    )


def write_poll_scores(folder: Path, metrics: Path, found: PollScores) -> None:
    """Write `scores.json` (the fields of PollScores) and `scores.png` in `folder`, and the finding `poll` below `metrics`."""
    write_json(folder / "scores.json", asdict(found))
    _plot(folder / "scores.png", found)
    write_finding(metrics, "poll", _as_finding(found))


def _method_scores(methods: Sequence[str], wins: np.ndarray, scores: np.ndarray, intervals: Intervals) -> tuple[MethodScore, ...]:
    played = wins.sum(axis=1) + wins.sum(axis=0)
    rows = [
        MethodScore(
            method=method, score=float(scores[place]), low=float(intervals.low[place]), high=float(intervals.high[place]),
            share_best=float(intervals.share_best[place]), share_preferred=float(wins[place].sum() / played[place]),
            num_votes=round(played[place]),
        )
        for place, method in enumerate(methods)
    ]
    return tuple(sorted(rows, key=lambda row: -row.score))


def _duels(methods: Sequence[str], wins: np.ndarray, scores: np.ndarray, intervals: Intervals) -> tuple[Duel, ...]:
    order = sorted(range(len(methods)), key=lambda place: -scores[place])
    duels = []
    for rank, first in enumerate(order):
        for second in order[rank + 1 :]:
            votes, difference = wins[first, second] + wins[second, first], float(scores[first] - scores[second])
            if votes:
                duels.append(Duel(
                    first=methods[first], second=methods[second], num_votes=round(votes), share_first=float(wins[first, second] / votes),
                    share_expected=1.0 / (1.0 + math.exp(-difference)), difference=difference,
                    low=float(intervals.difference_low[first, second]), high=float(intervals.difference_high[first, second]),
                ))
    return tuple(duels)


def _numbered(names: Sequence[str]) -> np.ndarray:
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _as_finding(found: PollScores) -> Finding:
    drawn = " and ".join(f"{unit}s" for unit in found.resampled) or "nothing, for want of a second rater or image"
    apart = [f"{duel.first} over {duel.second}" for duel in found.duels if duel.low > 0]
    note = (
        f"{found.num_votes} votes of {found.num_raters} raters on {found.num_images} images; {found.num_neither} saw no difference and "
        f"count half for each. Intervals: {found.level:.0%}, from resampling {drawn}. Told apart: {', '.join(apart) or 'none'}. "
        f"Scores are comparable within this poll alone."
    )
    estimates = [Estimate(row.method, row.score, low=row.low, high=row.high, count=row.num_votes) for row in found.methods]
    return Finding(
        section="without ground truth", title="Poll", note=note, measure="Bradley-Terry score; 1 more is preferred in 73 % of votes",
        better="higher", estimates=tuple(estimates), command="make poll FIT=1",
    )


def _plot(path: Path, found: PollScores) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.2 + 0.45 * len(found.methods)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(found.methods), 0, -1)
    middle = [row.score for row in found.methods]
    spans = [[row.score - row.low for row in found.methods], [row.high - row.score for row in found.methods]]
    axes.errorbar(middle, places, xerr=np.maximum(spans, 0.0), fmt="o", capsize=4, color="#2a5d84")
    axes.set_yticks(list(places), [row.method for row in found.methods])
    axes.axvline(0.0, color="#999999", linewidth=0.8)
    axes.set_ylim(0.4, len(found.methods) + 0.6)
    axes.set_xlabel(f"Bradley-Terry score, {found.level:.0%} interval")
    axes.set_title(f"{found.num_votes} votes, {found.num_raters} raters, {found.num_images} images", fontsize="medium")
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": ""})
