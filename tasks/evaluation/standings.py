"""Ours beside others: paired comparisons within a run, and the published leaderboards with what of them may be compared."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tasks.evaluation.evaluation_report import Comparison, Leaderboard, LeaderboardRow
from tasks.evaluation.leaderboard import ALL, PROTOCOLS, PublishedRow, compare_protocols, read_leaderboard, tables_for
from tasks.evaluation.measurements import HARMONIZED, Scored
from tasks.evaluation.metrics import FLAVOURS, METRICS, Flavour, average
from tasks.evaluation.statistics import compare, holm
from tasks.params import Benchmark
from tasks.seeds import numpy_generator

NOTES: Mapping[Flavour, str] = {
    "raw": "background as it is, PSNR's peak 255, foreground where mask >= 0.5",
    "masked": "background's error zeroed, PSNR's peak 255, foreground where mask >= 0.5",
    "issam": "background as it is, PSNR's peak the target's own, foreground weighed by the soft mask",
}


def compare_with_others(name: str, found: Sequence[Scored], seed: int) -> list[Comparison]:
    """The harmonizer's fMSE against every other method's on the same images of benchmark `name`, by photograph.

    p-values are of randomly flipped signs, corrected by Holm's procedure for the number of methods.
    """
    groups = [scored.row["group"] for scored in found]
    ours = [scored.fmse(HARMONIZED) for scored in found]
    others = [method for method in found[0].scores if method != HARMONIZED]
    compared = {}
    for other in others:
        rng = numpy_generator(seed, "evaluate", "compare", name, other)
        compared[other] = compare(ours, [scored.fmse(other) for scored in found], rng, groups=groups)
    corrected = holm({other: result.p_flip for other, result in compared.items()})
    return [
        Comparison(other, result.difference, result.low, result.high, corrected[other], result.wins) for other, result in compared.items()
    ]


def leaderboards_for(benchmark: Benchmark, found: Sequence[Scored]) -> list[Leaderboard]:
    """Published tables of the benchmark's protocol, ours among the rows: per sub-set and flavour in which something is comparable.

    A table of which nothing is comparable stands there once, with the reasons.
    """
    by_subset: dict[str, list[Scored]] = defaultdict(list)
    for scored in found:
        by_subset[scored.row["subset"]].append(scored)
        if benchmark.subset == "*":
            by_subset[ALL].append(scored)
    boards = []
    published = read_leaderboard()
    for table in tables_for(benchmark):
        rows = [row for row in published if row.table == table]
        wanted = sorted(set(PROTOCOLS[table].num_images) & set(by_subset), key=lambda subset: (subset != ALL, subset))
        boards += _boards_of(table, {subset: by_subset[subset] for subset in wanted}, rows, benchmark)
    return boards


def _boards_of(
    table: str, by_subset: Mapping[str, Sequence[Scored]], rows: Sequence[PublishedRow], benchmark: Benchmark
) -> list[Leaderboard]:
    boards = []
    for subset, found in by_subset.items():
        mine = [row for row in rows if row.subset == subset]
        for flavour in FLAVOURS if subset in (ALL, *list(by_subset)[:1]) else FLAVOURS[:1]:
            lines = [_line(row, flavour, benchmark, len(found)) for row in mine]
            if any(not line.why_not for line in lines):
                boards.append(_board(table, subset, flavour, lines, found))
    if not boards and by_subset:
        subset = next(iter(by_subset))
        lines = [_line(row, "raw", benchmark, len(by_subset[subset])) for row in rows if row.subset == subset]
        boards.append(_board(table, subset, "raw", lines, by_subset[subset]))
    return boards


def _board(table: str, subset: str, flavour: Flavour, lines: Sequence[LeaderboardRow], found: Sequence[Scored]) -> Leaderboard:
    metrics = tuple(metric for metric in METRICS if any(metric in line.values for line in lines))
    own = []
    for method in found[0].scores:
        means = average([scored.scores[method][flavour] for scored in found])
        own.append(LeaderboardRow(method, {metric: means[metric] for metric in metrics}, "this run", ours=True))
    title = PROTOCOLS[table].title + ("" if subset == ALL else f", {subset}")
    return Leaderboard(f"{title} ({flavour})", NOTES[flavour], metrics, (*own, *lines))


def _line(row: PublishedRow, flavour: Flavour, benchmark: Benchmark, num_images: int) -> LeaderboardRow:
    comparability = compare_protocols(row, benchmark, num_images)
    if comparability.comparable and comparability.flavour == flavour:
        source = "; ".join([row.source, *comparability.reasons])
        return LeaderboardRow(row.method, {metric: row.values[metric] for metric in comparability.metrics}, source)
    why = [f"comparable with flavour {comparability.flavour}"] if comparability.comparable else comparability.reasons
    return LeaderboardRow(row.method, row.values, row.source, why_not="; ".join(why))
