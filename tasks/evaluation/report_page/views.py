"""What the page says of one benchmark: numbers become words, charts and cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from tasks.evaluation.case_files import Case
from tasks.evaluation.evaluation_report import BenchmarkReport, Comparison, RealReport
from tasks.evaluation.measurements import CHAMPION, COMPOSITE, HARMONIZED, Scored
from tasks.evaluation.metrics import BUCKETS, bucket_of
from tasks.evaluation.report_page.cases import case_view, share_left
from tasks.evaluation.report_page.charts import IntervalChart, IntervalRow, Mark, histogram, interval_chart, scatter
from tasks.evaluation.report_page.formats import bucket_name, counted, fixed, kind_of, label_of, number, share, slug
from tasks.evaluation.report_page.pictures import Picture
from tasks.evaluation.report_page.tables import (
    buckets_table,
    comparison_table,
    flavour_tables,
    kinds_tables,
    leaderboard_tables,
    methods_table,
)
from tasks.evaluation.statistics import bootstrap_interval
from tasks.seeds import numpy_generator


def benchmark_view(report: BenchmarkReport, pictures: Sequence[Sequence[Picture]]) -> dict[str, Any]:
    """What `benchmark.html` shows. pictures: those of each case, in the cases' order."""
    ours, name = report.methods[HARMONIZED], f"benchmark-{slug(report.name)}"
    shares = [share_left(scored) for scored in report.found]
    other = best_other(report.methods)
    return {
        "id": name, "name": report.name, "protocol": report.protocol, "num_images": ours["num_images"], "num_skipped": ours["num_skipped"],
        "tiles": _tiles(report.methods, other), "headline": _headline(report, other),
        "methods_chart": _methods_chart(report.methods), "methods_table": methods_table(report.methods),
        "comparison_table": comparison_table(report.comparisons), "flavour_tables": flavour_tables(report.methods),
        "leaderboards": [leaderboard_tables(board) for board in report.leaderboards],
        "buckets_chart": _buckets_chart(report, other), "buckets_table": buckets_table(report.methods),
        "kinds": kinds_tables(report.found, other, ours["left"]),
        "scatter": _scatter(report, name), "histogram": histogram(shares), "improved": ours["do_no_harm"],
        "median_share": float(np.median(shares)), "worst_share": float(np.quantile(shares, 0.9)),
        "cases": _cases(report.cases, pictures, name, other),
    }


def real_view(report: RealReport, pictures: Sequence[Sequence[Picture]]) -> dict[str, Any]:
    """What `real.html` shows. pictures: as for `benchmark_view`."""
    name, methods = f"real-{slug(report.name)}", [method for method in report.found[0].changes if method != COMPOSITE]
    groups = [changed.row["group"] for changed in report.found]
    rows = []
    for method in methods:
        values = [changed.changes[method] for changed in report.found]
        low, high = bootstrap_interval(values, numpy_generator(0, "report", report.name, method), groups=groups)
        rows.append(IntervalRow(label_of(method), kind_of(method), float(np.mean(values)), low, high))
    means = {method: row.value for method, row in zip(methods, rows, strict=True) if method not in (HARMONIZED, CHAMPION)}
    return {
        "id": name, "name": report.name, "protocol": report.protocol, "num_images": len(report.found),
        "chart": interval_chart([("", sorted(rows, key=lambda row: row.value))], unit="mean change, dE2000", metric="delta_e"),
        "cases": _cases(report.cases, pictures, name, min(means, key=lambda method: means[method], default=None)),
    }


def _cases(cases: Sequence[Case], pictures: Sequence[Sequence[Picture]], name: str, other: str | None) -> list[dict[str, Any]]:
    numbered = enumerate(zip(cases, pictures, strict=True), start=1)
    return [case_view(case, shown, f"{name}-case-{place}", place, other) for place, (case, shown) in numbered]


def best_other(methods: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The method with the lowest fMSE that is neither ours, nor the champion, nor doing nothing; None where there is none."""
    others = [method for method in methods if method not in (COMPOSITE, HARMONIZED, CHAMPION)]
    return min(others, key=lambda method: methods[method]["fmse"], default=None)


# --- In words ---------------------------------------------------------------------------------------------------------------------------


def _tiles(methods: Mapping[str, Mapping[str, Any]], other: str | None) -> list[dict[str, str]]:
    ours, untouched = methods[HARMONIZED], methods[COMPOSITE]
    others = f"untouched {number(untouched['psnr'], 'psnr')}"
    if other is not None:
        others += f", {label_of(other)} {number(methods[other]['psnr'], 'psnr')}"
    return [
        {"name": "fMSE, squared grey levels", "value": number(ours["fmse"], "fmse"), "beside": (
            f"95 %: {number(ours['fmse_low'], 'fmse')} to {number(ours['fmse_high'], 'fmse')}; "
            f"untouched {number(untouched['fmse'], 'fmse')}"
        )},
        {"name": "of the composite's error is left", "value": fixed(ours["fmse_of_composites"]), "beside": "1 is doing nothing"},
        {"name": "PSNR, dB", "value": number(ours["psnr"], "psnr"), "beside": (
            f"95 %: {number(ours['psnr_low'], 'psnr')} to {number(ours['psnr_high'], 'psnr')}; {others}"
        )},
        {"name": "better than untouched", "value": share(ours["do_no_harm"]), "beside": f"of {counted(ours['num_images'], 'image')}"},
    ]


def _headline(report: BenchmarkReport, other: str | None) -> str:
    """What came out, in words that go no further than the intervals."""
    ours, untouched = report.methods[HARMONIZED], report.methods[COMPOSITE]
    beside = {each.method: each for each in report.comparisons}
    if ours["fmse"] < untouched["fmse"]:
        gone = share(1 - ours["fmse_of_composites"])
        said = f"On average the harmonizer takes away {gone} of the composites' error{_doubt(beside, COMPOSITE)}."
    else:
        said = "On average the harmonizer takes away nothing of the composites' error: doing nothing is as good or better."
    if other is not None:
        verb = "is ahead of" if ours["fmse"] < report.methods[other]["fmse"] else "is behind"
        against = f"{label_of(other)} with {number(report.methods[other]['fmse'], 'fmse')}"
        said += f" It {verb} the best of the other methods, {against}{_doubt(beside, other)}."
    worse = 1 - ours["do_no_harm"]
    return f"{said} {share(worse)} of the images did not come out better than they were."


def _doubt(beside: Mapping[str, Comparison], method: str) -> str:
    """Whether the difference to `method`, image by image, could be chance; empty where that was not looked at."""
    if method not in beside:
        return ""
    low, high = beside[method].low, beside[method].high
    shown = f"{number(low, 'fmse')} to {number(high, 'fmse')}"
    return f" (a difference of {shown} fMSE at 95 %: {'it may be chance' if low <= 0 <= high else 'beyond chance'})"


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
        groups.append((f"{bucket_name(bucket)} of the image: {counted(len(inside), 'image')}", rows))
    return interval_chart(groups, unit="fMSE, squared grey levels", metric="fmse")

def _scatter(report: BenchmarkReport, name: str) -> Markup:
    marks = []
    for place, case in enumerate(report.cases, start=1):
        assert isinstance(case.measured, Scored)
        at = case.measured.fmse(COMPOSITE), case.measured.fmse(HARMONIZED)
        title = f"case {place}: {case.measured.row['key']}, {number(at[0], 'fmse')} before, {number(at[1], 'fmse')} after"
        marks.append(Mark(str(place), f"{name}-case-{place}", *at, title))
    before, after = ([scored.fmse(method) for scored in report.found] for method in (COMPOSITE, HARMONIZED))
    return scatter(before, after, marks, x_title="fMSE of the untouched composite", y_title="fMSE of the harmonized image")


def num_images(reports: Sequence[BenchmarkReport]) -> int:
    """How many test images there are; one that stands in several benchmarks is one."""
    return len({scored.row["key"] for report in reports for scored in report.found})


def num_others(reports: Sequence[BenchmarkReport]) -> int:
    """How many methods besides ours and doing nothing took part in any benchmark."""
    return len({method for report in reports for method in report.methods} - {COMPOSITE, HARMONIZED})
