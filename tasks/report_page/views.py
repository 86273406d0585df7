"""What the page says of one benchmark: numbers become words, charts and cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from tasks.evaluation_report import BenchmarkReport, Case
from tasks.measurements import CHAMPION, COMPOSITE, HARMONIZED, Scored
from tasks.metrics import BUCKETS, bucket_of
from tasks.report_page.charts import Mark, Scale, histogram, scale_of, scatter, tone_curves
from tasks.report_page.formats import bucket_name, fixed, kind_of, label_of, number, share, slug, thousands
from tasks.report_page.pictures import Picture, gain_range, shading_picture
from tasks.report_page.tables import buckets_table, comparison_table, flavour_tables, kinds_tables, leaderboard_tables, methods_table
from tasks.seeds import numpy_generator
from tasks.statistics import bootstrap_interval


@dataclass(frozen=True)
class IntervalRow:
    """A line of an interval chart."""

    name: str
    kind: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None
    reference: float | None = None  # where a dashed line crosses it


@dataclass(frozen=True)
class IntervalChart:
    """Dots with intervals on one axis, in named groups."""

    scale: Scale
    unit: str
    metric: str  # decides the digits
    groups: Sequence[tuple[str, Sequence[IntervalRow]]]


def interval_chart(
    groups: Sequence[tuple[str, Sequence[IntervalRow]]], *, unit: str, metric: str = "", from_zero: bool = True
) -> IntervalChart:
    """A chart whose axis holds every value and interval."""
    rows = [row for _, group in groups for row in group]
    values = [value for row in rows for value in (row.value, row.low, row.high, row.reference) if value is not None]
    return IntervalChart(scale_of(values, from_zero=from_zero), unit, metric, groups)


def benchmark_view(report: BenchmarkReport, pictures: Sequence[Sequence[Picture]]) -> dict[str, Any]:
    """What `benchmark.html` shows. pictures: those of each case, in the cases' order."""
    ours, name = report.methods[HARMONIZED], f"benchmark-{slug(report.name)}"
    shares = [_share_left(scored) for scored in report.found]
    other = best_other(report.methods)
    return {
        "id": name, "name": report.name, "protocol": report.protocol, "num_images": ours["num_images"], "num_skipped": ours["num_skipped"],
        "tiles": _tiles(report.methods, other), "verdict": _verdict(report.methods, other),
        "methods_chart": _methods_chart(report.methods), "methods_table": methods_table(report.methods),
        "comparison_table": comparison_table(report.comparisons), "flavour_tables": flavour_tables(report.methods),
        "leaderboards": [leaderboard_tables(board) for board in report.leaderboards],
        "buckets_chart": _buckets_chart(report, other), "buckets_table": buckets_table(report.methods),
        "kinds": kinds_tables(report.found, other),
        "scatter": _scatter(report, name), "histogram": histogram(shares), "improved": ours["do_no_harm"],
        "median_share": float(np.median(shares)), "worst_share": float(np.quantile(shares, 0.9)),
        "cases": [
            _case(case, shown, f"{name}-case-{place}", place, other) for place, (case, shown) in
            enumerate(zip(report.cases, pictures, strict=True), start=1)
        ],
    }


def best_other(methods: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The method with the lowest fMSE that is neither ours, nor the champion, nor doing nothing; None where there is none."""
    others = [method for method in methods if method not in (COMPOSITE, HARMONIZED, CHAMPION)]
    return min(others, key=lambda method: methods[method]["fmse"], default=None)


# --- In words ---------------------------------------------------------------------------------------------------------------------------


def _tiles(methods: Mapping[str, Mapping[str, Any]], other: str | None) -> list[dict[str, str]]:
    ours, untouched = methods[HARMONIZED], methods[COMPOSITE]
    beside = f"{untouched['psnr']:.2f} untouched" + (f", {methods[other]['psnr']:.2f} {label_of(other)}" if other else "")
    return [
        {"name": "fMSE, squared grey levels", "value": number(ours["fmse"], "fmse"), "beside": (
            f"95 %: {number(ours['fmse_low'], 'fmse')} to {number(ours['fmse_high'], 'fmse')}; "
            f"untouched {number(untouched['fmse'], 'fmse')}"
        )},
        {"name": "of the composite's error is left", "value": fixed(ours["fmse_of_composites"]), "beside": "1 is doing nothing"},
        {"name": "PSNR, dB", "value": number(ours["psnr"], "psnr"), "beside": beside},
        {"name": "better than untouched", "value": share(ours["do_no_harm"]), "beside": f"of {thousands(ours['num_images'])} images"},
    ]


def _verdict(methods: Mapping[str, Mapping[str, Any]], other: str | None) -> str:
    ours, untouched = methods[HARMONIZED], methods[COMPOSITE]
    apart = ours["fmse_high"] < untouched["fmse_low"]
    if ours["fmse"] < untouched["fmse"]:
        said = f"On average the harmonizer takes away {share(1 - ours['fmse_of_composites'])} of the composites' error, "
        said += "and the two intervals lie apart." if apart else "but the two intervals overlap."
    else:
        said = "On average the harmonizer takes away nothing of the composites' error: doing nothing is as good or better."
    if other is not None:
        against = f"{label_of(other)} ({number(methods[other]['fmse'], 'fmse')})"
        verb = "is ahead of" if ours["fmse"] < methods[other]["fmse"] else "is behind"
        said += f" It {verb} the best of the other methods, {against}."
    worse = 1 - ours["do_no_harm"]
    return f"{said} {share(worse)} of the images did not come out better than they were."


# --- Charts and cases -------------------------------------------------------------------------------------------------------------------


def _methods_chart(methods: Mapping[str, Mapping[str, Any]]) -> IntervalChart:
    untouched = methods[COMPOSITE]["fmse"]
    rows = [
        IntervalRow(label_of(method), kind_of(method), values["fmse"], values["fmse_low"], values["fmse_high"], reference=untouched)
        for method, values in sorted(methods.items(), key=lambda item: float(item[1]["fmse"]))
    ]
    return interval_chart([("", rows)], unit="fMSE, squared grey levels", metric="fmse")


def _buckets_chart(report: BenchmarkReport, other: str | None) -> IntervalChart:
    shown = [method for method in (COMPOSITE, other, HARMONIZED) if method is not None]
    groups = []
    for bucket in BUCKETS:
        inside = [scored for scored in report.found if bucket_of(scored.row["fg_ratio"]) == bucket]
        if not inside:
            continue
        untouched = float(np.mean([scored.fmse(COMPOSITE) for scored in inside]))
        rows = []
        for method in shown:
            values = [scored.fmse(method) for scored in inside]
            rng = numpy_generator(0, "report", report.name, bucket, method)
            low, high = bootstrap_interval(values, rng, groups=[scored.row["group"] for scored in inside])
            rows.append(IntervalRow(label_of(method), kind_of(method), float(np.mean(values)), low, high, reference=untouched))
        groups.append((f"{bucket_name(bucket)} of the image: {thousands(len(inside))} images", rows))
    return interval_chart(groups, unit="fMSE, squared grey levels", metric="fmse")

def _share_left(scored: Scored) -> float:
    return scored.fmse(HARMONIZED) / max(scored.fmse(COMPOSITE), 1e-9)


def _scatter(report: BenchmarkReport, name: str) -> Markup:
    marks = [
        Mark(
            str(place), f"{name}-case-{place}", case.scored.fmse(COMPOSITE), case.scored.fmse(HARMONIZED),
            f"case {place}: {case.scored.row['key']}, {number(case.scored.fmse(COMPOSITE), 'fmse')} before, "
            f"{number(case.scored.fmse(HARMONIZED), 'fmse')} after",
        )
        for place, case in enumerate(report.cases, start=1)
    ]
    before, after = ([scored.fmse(method) for scored in report.found] for method in (COMPOSITE, HARMONIZED))
    return scatter(before, after, marks, x_title="fMSE of the untouched composite", y_title="fMSE of the harmonized image")


def _case(case: Case, pictures: Sequence[Picture], name: str, place: int, other: str | None) -> dict[str, Any]:
    row, raw = case.scored.row, {method: scores["raw"] for method, scores in case.scored.scores.items()}
    thing = str(row.get("label") or "")
    first = pictures[0]
    subject = f"test image {row['key']}" + (f" ({thing})" if thing else "")
    alts = {
        "composite": f"Composite of {subject}: the foreground does not fit yet.", "harmonized": f"The harmonizer's answer to {subject}.",
        "target": f"The target of {subject}: the photograph as it was.", "mask": f"Mask of {subject}: the foreground in white.",
    }
    view = {
        "id": name, "number": place, "label": case.label, "key": row["key"], "pictures": pictures, "alts": alts,
        "ratio": round(100 * first.height / first.width, 3), "share": _share_left(case.scored), "fg_ratio": row["fg_ratio"], "thing": thing,
        "made_by": row.get("method", ""), "curves": None,
        "scores": [
            {"name": label_of(method), "ours": method == HARMONIZED, "fmse": raw[method].fmse, "fpsnr": raw[method].fpsnr}
            for method in (COMPOSITE, other, HARMONIZED) if method in raw
        ],
    }
    if case.edit is not None:
        limit = case.edit.shading_limit
        view |= {
            "curves": tone_curves(case.edit.curves), "shading": shading_picture(case.edit, case.mask),
            "gains": gain_range(case.edit, case.mask), "limits": (min(limit, 1 / limit), max(limit, 1 / limit)),
        }
    return view


def num_others(reports: Sequence[BenchmarkReport]) -> int:
    """How many methods besides ours and doing nothing took part in any benchmark."""
    return len({method for report in reports for method in report.methods} - {COMPOSITE, HARMONIZED})
