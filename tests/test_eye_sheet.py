"""Laws of what is judged by eye: drawn by lot, numbered alike on sheets and in the table, read back with faults named."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.evaluation.eye_sheet import HEADER, Judged, draw_for_the_eye, read_verdicts, write_eye_sheets, write_eye_table

ROWS = [{"key": f"composites_{number:03}"} for number in range(90)]


def test_the_draw_is_a_matter_of_keys_and_seed_and_favours_nobody() -> None:
    drawn = draw_for_the_eye(ROWS, 40, 1)
    assert draw_for_the_eye(ROWS[::-1], 40, 1) == drawn
    assert len({row["key"] for row in drawn}) == 40
    assert draw_for_the_eye(ROWS, 40, 2) != drawn
    often = np.zeros(90)
    for seed in range(300):
        for row in draw_for_the_eye(ROWS, 40, seed):
            often[int(row["key"][-3:])] += 1
    assert np.abs(often / 300 - 40 / 90).max() < 4 * (0.247 / 300) ** 0.5, "four standard deviations of a share"


def test_where_there_are_fewer_all_are_taken() -> None:
    assert len(draw_for_the_eye(ROWS[:7], 40, 1)) == 7


def test_forty_pictures_are_four_sheets_and_every_picture_is_on_them(tmp_path: Path) -> None:
    """Each picture is one colour of its own: all of them can be found again."""
    colors = [(10 + 6 * number, 250 - 6 * number, 3 * number) for number in range(40)]
    mask = np.full((30, 40), 255, np.uint8)
    pictures = [(np.full((30, 40, 3), color, np.uint8), mask, np.full((30, 40, 3), color[::-1], np.uint8)) for color in colors]
    paths = write_eye_sheets(tmp_path, pictures)
    assert [path.name for path in paths] == ["eye_1.png", "eye_2.png", "eye_3.png", "eye_4.png"]
    found: set[tuple[int, ...]] = set()
    for path in paths:
        with Image.open(path) as sheet:
            found |= {tuple(color) for color in np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)}
    assert {*colors, *(color[::-1] for color in colors)} <= found
    again = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_eye_sheets(tmp_path, pictures)] == again


def test_a_table_that_nobody_filled_in_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "eye.csv"
    assert read_verdicts(path) is None
    write_eye_table(path, ["a", "b"], "0123abcd")
    assert read_verdicts(path) is None
    with path.open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["number"], row["key"], row["model"], row["verdict"]) for row in rows] == [
        ("1", "a", "0123abcd", ""), ("2", "b", "0123abcd", ""),
    ]


def test_verdicts_are_counted_in_any_case_and_gaps_are_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "eye.csv"
    path.write_text(f"{','.join(HEADER)}\n1,a,m,Better\n2,b,m,\n3,c,m, worse \n4,d,m,same\n5,e,m,better\n")
    assert read_verdicts(path) == Judged(better=2, same=1, worse=1, models=("m",))
    judged = read_verdicts(path)
    assert judged is not None
    assert judged.num_images == 4


def test_what_is_no_verdict_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "eye.csv"
    path.write_text(f"{','.join(HEADER)}\n1,a,m,better\n2,b,m,nice\n")
    with pytest.raises(ValueError, match=r"eye.csv, line 3: verdict 'nice'; expected better, same, worse"):
        read_verdicts(path)
    path.write_text("number,key\n1,a\n")
    with pytest.raises(ValueError, match="no column model, verdict"):
        read_verdicts(path)
