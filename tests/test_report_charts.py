"""Witnesses of the page's charts and pictures: places computed by hand, ranges held, colours that mean what the caption says."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attune.operators.shading import Shading
from tasks.evaluation.findings import Estimate, Finding
from tasks.evaluation.report_page.charts import (
    IntervalRow,
    Scale,
    histogram,
    interval,
    interval_chart,
    readable,
    scale_of,
    scatter,
    tone_curves,
)
from tasks.evaluation.report_page.formats import label_of, number, sentence, share, slug, table_of
from tasks.evaluation.report_page.line_chart import line_chart
from tasks.evaluation.report_page.pictures import gain_range, outline, shading_picture

finite = st.floats(-1e6, 1e6, allow_nan=False)


def shading_of(logits: np.ndarray, limit: float = 1.6) -> Shading:
    return Shading(logits, "symmetric", limit)


@given(st.lists(finite, min_size=1, max_size=20), st.booleans())
def test_an_axis_holds_every_value_and_its_ticks_lie_on_it(values: list[float], from_zero: bool) -> None:
    scale = scale_of(values, from_zero=from_zero)
    assert scale.low <= min(values)
    assert scale.high >= max(values)
    assert not from_zero or scale.low <= 0 <= scale.high
    ticks = scale.ticks()
    assert len(ticks) <= 9
    slack = 1e-9 * (scale.high - scale.low)
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)
    assert sorted(map(scale, values)) == [scale(value) for value in sorted(values)]


def test_places_on_both_kinds_of_axis_by_hand() -> None:
    assert [Scale(0, 200)(value) for value in (-10, 0, 50, 200, 300)] == [0, 0, 25, 100, 100]
    decades = Scale(10, 10_000, log=True)
    assert [decades(value) for value in (1, 10, 100, 10_000)] == pytest.approx([0, 0, 33.33, 100], abs=0.01)
    assert decades.ticks() == [10, 100, 1000, 10_000]
    assert Scale(0, 4766).ticks() == [0, 2000, 4000]
    assert Scale(700, 7000, log=True).ticks() == [1000, 2000, 5000]


def test_one_large_value_does_not_crowd_the_others() -> None:
    def chart_of(values: list[float], *, from_zero: bool) -> Scale:
        return interval_chart([("", [IntervalRow("a", "ink", value) for value in values])], unit="", from_zero=from_zero).scale

    assert chart_of([800.0, 900.0, 7000.0], from_zero=False).log
    for values, from_zero in (([800.0, 900.0], False), ([-1.0, 900.0, 7000.0], False), ([800.0, 7000.0], True)):
        assert not chart_of(values, from_zero=from_zero).log


def test_an_interval_is_drawn_from_its_low_to_its_high_end() -> None:
    drawn = interval(Scale(0, 100), 40.0, 30.0, 60.0, kind="ours", reference=80.0)
    assert '<line x1="30.0%" x2="60.0%" y1="50%" y2="50%" class="whisker"/>' in drawn
    assert '<circle cx="40.0%"' in drawn
    assert '<line x1="80.0%" x2="80.0%" y1="0" y2="100%" class="reference"/>' in drawn
    assert "whisker" not in interval(Scale(0, 100), 40.0, None, None, kind="ours", reference=None)


def test_the_scatter_has_a_dot_per_image_and_an_unchanged_one_lies_on_the_diagonal() -> None:
    before, after = [100.0, 1000.0, 0.0], [100.0, 10.0, 0.0]
    drawn = scatter(before, after, [], x_title="before", y_title="after")
    dots = [(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h0", drawn)]
    assert len(dots) == 3
    assert all(x + y == 1000 for x, y in (dots[0], dots[2]))
    assert dots[1][0] + dots[1][1] > 1000  # below the diagonal: SVG counts from the top


@given(st.lists(st.floats(0, 1e4, allow_nan=False), min_size=1, max_size=50))
def test_the_histogram_counts_every_image_once(shares: list[float]) -> None:
    drawn = histogram(shares)
    assert sum(map(int, re.findall(r"<title>(\d+) images", drawn))) == len(shares)
    better = sum(int(count) for count in re.findall(r'class="bar ours"><title>(\d+) images', drawn))
    assert better == sum(value < 1 for value in shares)


def test_identity_curves_lie_on_the_diagonal() -> None:
    drawn = tone_curves(np.stack([np.linspace(0, 1, 5)] * 3))
    assert drawn.count('points="0,1000 250,750 500,500 750,250 1000,0"') == 3
    assert "red 128, green 128, blue 128" in drawn


def decode(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return np.asarray(image)


def test_the_shading_map_is_amber_where_it_brightens_blue_where_it_darkens_and_clear_where_it_does_nothing() -> None:
    mask = np.zeros((40, 60), np.uint8)
    for logits, check in (
        (np.full((4, 4), 9.0), lambda pixel: pixel[0] > pixel[2] and pixel[3] == 255),
        (np.full((4, 4), -9.0), lambda pixel: pixel[2] > pixel[0] and pixel[3] == 255),
        (np.zeros((4, 4)), lambda pixel: pixel[3] == 0),
    ):
        picture = shading_picture(shading_of(logits), mask)
        assert (picture.width, picture.height) == (60, 40)
        assert check(decode(picture.uri)[20, 30].astype(int))


def test_gains_are_read_inside_the_mask_alone() -> None:
    logits = np.repeat(np.array([[-9.0, -9.0, 9.0, 9.0]]), 4, axis=0)  # dark on the left, bright on the right
    mask = np.zeros((40, 80), np.uint8)
    mask[:, :8] = 255
    assert gain_range(shading_of(logits), mask) == pytest.approx((1 / 1.6, 1 / 1.6), rel=1e-3)
    assert gain_range(shading_of(logits), np.full((40, 80), 255, np.uint8)) == pytest.approx((1 / 1.6, 1.6), rel=1e-3)


def test_the_outline_is_the_foregrounds_rim_and_not_the_pictures() -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[2:, 2:] = 255
    rim = outline(mask)
    assert rim.sum() == 4 + 3
    assert rim[2, 2:].all()
    assert rim[2:, 2].all()


def test_numbers_are_written_as_people_read_them() -> None:
    assert [number(1180.02, "fmse"), number(28.329, "psnr"), number(0.96831, "ssim")] == ["1,180", "28.33", "0.9683"]
    assert [share(0.734), share(0.0123), share(0.0), share(1.0)] == ["73%", "1.2%", "0%", "100%"]
    assert [readable(value) for value in (0, 2500, 0.25, 40)] == ["0", "2,500", "0.25", "40"]
    assert slug("HAdobe5k @ 1024 px!") == "hadobe5k-1024-px"
    assert slug("<>") == "untitled"
    assert label_of("somebody's net") == "somebody's net"


def test_a_sentence_begins_with_a_capital_but_where_the_word_has_its_own() -> None:
    assert [sentence(text) for text in ("mean change", "fMSE", "PSNR", "", "x")] == ["Mean change", "fMSE", "PSNR", "", "X"]


def _lines(values: dict[str, list[float]], places: tuple[float, ...] = (60.0, 600.0)) -> Finding:
    estimates = [
        Estimate(name, value, value - 10, value + 10, 3, group, at)
        for group in ("a", "b") for name, row in values.items() for at, value in zip(places, row, strict=True)
    ]
    return Finding("ablations and claims", "T", "N", "fMSE", "lower", tuple(estimates), axis="photographs")


def test_a_line_falls_where_its_values_do_and_every_number_stands_in_the_table() -> None:
    chart = line_chart(_lines({"none": [900.0, 500.0], "composite": [1000.0, 1000.0]}))
    assert [title for title, _ in chart.panels] == ["a", "b"]
    assert chart.key == [("none", "series-0"), ("untouched composite", "composite")]
    for _, panel in chart.panels:
        (first, last), (level, same) = ([tuple(map(int, point.split(","))) for point in line.split()]
                                        for line in re.findall(r'points="([^"]*)"', panel))
        assert first[0] < last[0]
        assert first[1] < last[1], "SVG counts from the top"
        assert level[1] == same[1] < first[1]
        assert panel.count("whisker") == 4
    cells = [list(row.cells) for row in chart.table.rows]
    assert cells[0] == ["a, none", "900 [890, 910]", "500 [490, 510]"]
    assert len(cells) == 4


def test_all_panels_share_their_axes_so_that_they_can_be_compared() -> None:
    finding = _lines({"none": [900.0, 500.0]})
    moved = [replace(each, value=each.value - 5) if each.group == "b" else each for each in finding.estimates]
    first, second = line_chart(replace(finding, estimates=tuple(moved))).panels
    heights = [[int(y) for y in re.findall(r",(\d+)", re.findall(r'points="([^"]*)"', panel)[0])] for _, panel in (first, second)]
    assert all(lower > upper for upper, lower in zip(*heights, strict=True))


def test_columns_with_a_word_in_them_are_words() -> None:
    table = table_of("counts", {"name": "name", "count": "count", "mixed": "mixed"}, [
        {"name": "a", "count": 1200, "mixed": 1}, {"name": "b", "count": 3, "mixed": "none"},
    ])
    assert [head.number for head in table.heads] == [False, True, False]
    assert [list(line.cells) for line in table.rows] == [["a", "1,200", "1"], ["b", "3", "none"]]
