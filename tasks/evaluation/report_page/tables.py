"""What the page says of one benchmark in tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.evaluation.evaluation_report import Comparison, Leaderboard
from tasks.evaluation.measurements import COMPOSITE, HARMONIZED, TOLD_APART_BY, Scored
from tasks.evaluation.metrics import METRICS, do_no_harm_rate, shown_metrics
from tasks.evaluation.report_page.formats import (
    Head,
    Line,
    Table,
    bucket_name,
    counted,
    fixed,
    label_of,
    number,
    share,
    thousands,
)

FLAVOUR_NOTES = {
    "masked": "masked: the background's error set to zero, peak 255, as PCT-Net and DCCF measure",
    "issam": "issam: the target's own peak, the soft mask, as iSSAM, CDTNet and DucoNet measure",
}
KINDS = {  # captions, by the columns of `TOLD_APART_BY`
    "subset": "Mean fMSE by sub-set. The mean over all images is not the mean of these.",
    "method": "Mean fMSE by how the composite was made.",
}


def methods_table(methods: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every method's means in the flavour `raw`."""
    _, *others = shown_metrics()  # fMSE has more columns than one
    heads = [
        Head("method", number=False), Head("fMSE"), Head("median"), Head("of composite's"),
        *(Head(METRICS[metric].label) for metric in others), Head("better than untouched"),
    ]
    rows = [
        Line(
            [
                label_of(method), number(values["fmse"], "fmse"), number(values["median_fmse"], "fmse"),
                fixed(values["fmse_of_composites"]),
                *(number(values[metric], metric) for metric in others),
                "" if method == COMPOSITE else share(values["do_no_harm"]),
            ],
            ours=method == HARMONIZED,
        )
        for method, values in methods.items()
    ]
    images = counted(methods[HARMONIZED]["num_images"], "image")
    higher = ", ".join(METRICS[metric].label for metric in others if not METRICS[metric].lower_is_better)
    return Table(f"Means over {images}, flavour raw. Higher is better for {higher}; lower for the others.", heads, rows)


def comparison_table(comparisons: Sequence[Comparison]) -> Table | None:
    """Ours minus each other method; None where nothing was compared."""
    if not comparisons:
        return None
    numbers = ("mean difference of fMSE", "95 %", "ours is better on", "p")
    rows = [
        Line([
            label_of(each.method), number(each.difference, "fmse"), f"{number(each.low, 'fmse')} to {number(each.high, 'fmse')}",
            share(each.wins), "" if each.p_value is None else f"{each.p_value:.2g}",
        ])
        for each in comparisons
    ]
    return Table(
        "The same images side by side, drawn by photograph: below 0 is a gain, and an interval that does not hold 0 is one beyond chance. "
        "p: of signs flipped at random, corrected for the number of methods.",
        [Head("ours minus", number=False), *map(Head, numbers)], rows,
    )


def flavour_tables(methods: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Every method's means in the flavours of `FLAVOUR_NOTES`."""
    metrics = [metric for metric in shown_metrics() if METRICS[metric].has_flavours]
    heads = [Head("method", number=False), *(Head(METRICS[metric].label) for metric in metrics)]
    return [
        Table(note, heads, [
            Line([label_of(method), *(number(values[flavour][metric], metric) for metric in metrics)], ours=method == HARMONIZED)
            for method, values in methods.items()
        ])
        for flavour, note in FLAVOUR_NOTES.items()
    ]


def leaderboard_tables(board: Leaderboard) -> dict[str, Any]:
    """The board's note, its comparable rows, and the others with the reason; both by the first metric."""
    def lines(comparable: bool) -> list[Line]:
        rows = [row for row in board.rows if (not row.why_not) == comparable]
        return [
            Line(
                [
                    label_of(row.method) if row.ours else row.method,
                    *(number(row.values[metric], metric) if metric in row.values else "" for metric in board.metrics),
                    row.source if comparable else row.why_not,
                ],
                ours=row.ours and row.method == HARMONIZED,
            )
            for row in sorted(rows, key=lambda row: row.values.get(board.metrics[0], np.inf))
        ]

    heads = [Head("method", number=False), *(Head(METRICS[metric].label) for metric in board.metrics)]
    return {
        "note": board.note,
        "comparable": Table(f"{board.title}: comparable rows", [*heads, Head("source", number=False)], lines(True)),
        "others": Table(f"{board.title}: rows measured otherwise", [*heads, Head("why not", number=False)], lines(False)),
    }


def buckets_table(methods: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every method's means by the foreground's share of the image."""
    present = methods[HARMONIZED]["buckets"]
    metrics = ("fmse", "mse", "psnr")
    heads = [Head("method", number=False)]
    heads += [Head(f"{METRICS[metric].label} at {bucket_name(bucket)}") for bucket in present for metric in metrics]
    rows = [
        Line(
            [label_of(method), *(number(values["buckets"][bucket][metric], metric) for bucket in present for metric in metrics)],
            ours=method == HARMONIZED,
        )
        for method, values in methods.items()
    ]
    return Table("Means by the share of the image that the foreground covers.", heads, rows)


def kinds_tables(found: Sequence[Scored], other: str | None, left: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Table]:
    """Mean fMSE by each column of the index that tells images apart.

    other: a method to stand beside ours. left: by column and kind, the interval of the share that ours leaves (`Left`), where it is known.
    """
    several = [column for column in TOLD_APART_BY if len({scored.row[column] for scored in found}) > 1]
    return [_kinds_table(found, other, column, left.get(column, {})) for column in several]


def _kinds_table(found: Sequence[Scored], other: str | None, column: str, left: Mapping[str, Mapping[str, float]]) -> Table:
    """Mean fMSE of the images of each kind; `column` of the index tells them apart."""
    shown = [method for method in (COMPOSITE, other, HARMONIZED) if method is not None]
    heads = [
        Head("kind", number=False), Head("images"), *(Head(label_of(method)) for method in shown), Head("of composite's"),
        Head("95 %"), Head("better than untouched"),
    ]
    rows = []
    for kind in sorted({str(scored.row[column]) for scored in found}):
        inside = [scored for scored in found if str(scored.row[column]) == kind]
        means = {method: float(np.mean([scored.fmse(method) for scored in inside])) for method in shown}
        better = do_no_harm_rate([scored.fmse(HARMONIZED) for scored in inside], [scored.fmse(COMPOSITE) for scored in inside])
        rows.append(Line([
            kind, thousands(len(inside)), *(number(means[method], "fmse") for method in shown),
            fixed(means[HARMONIZED] / max(means[COMPOSITE], 1e-9)),
            f"{fixed(left[kind]['low'])} to {fixed(left[kind]['high'])}" if kind in left else "", share(better),
        ]))
    return Table(KINDS[column], heads, rows)
