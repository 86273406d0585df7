"""Witnesses of tasks.sheets: pictures stand on the sheet pixel for pixel, captions leave ink, and equal sheets are equal bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.sheets import GAP, MARGIN, Cell, Row, compose_sheet, write_sheet


def rows(number: int = 2, side: int = 64) -> list[Row]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (number, side, side, 3), dtype=np.uint8)
    return [Row((Cell(image, f"fMSE {index}"), Cell(image[..., 0], "9 %")), label="best") for index, image in enumerate(images)]


def find(sheet: np.ndarray, picture: np.ndarray, left: int) -> list[int]:
    """The rows of the sheet at which `picture` stands in the column that begins at `left`."""
    height, width = picture.shape[:2]
    return [top for top in range(len(sheet) - height) if np.array_equal(sheet[top : top + height, left : left + width], picture)]


def test_pictures_of_the_columns_side_stand_on_the_sheet_pixel_for_pixel() -> None:
    given = rows()
    sheet = compose_sheet(given, ["composite", "mask"], title="a title", side=64)
    assert sheet.shape[1] == 2 * MARGIN + 2 * 64 + GAP
    tops = [find(sheet, np.asarray(row.cells[0].image), MARGIN) for row in given]
    assert [len(found) for found in tops] == [1, 1]
    assert tops[0][0] + 64 < tops[1][0]
    grey = np.repeat(np.asarray(given[0].cells[1].image)[..., None], 3, axis=2)
    assert find(sheet, grey, MARGIN + 64 + GAP) == tops[0]


def test_small_pictures_are_enlarged_by_whole_multiples_and_large_ones_keep_their_aspect() -> None:
    wide = np.zeros((40, 130, 3), np.uint8)
    sheet = compose_sheet([Row((Cell(wide),))], ["composite"], side=100)
    assert (sheet[:, MARGIN + 50] == 0).all(axis=1).sum() == 31  # 40 * 100 / 130, and no letter stands in this column
    small = np.zeros((40, 40, 3), np.uint8)
    assert (compose_sheet([Row((Cell(small),))], ["x"], side=100)[:, MARGIN + 70] == 0).all(axis=1).sum() == 80


def test_captions_heads_titles_and_labels_leave_ink_and_need_room() -> None:
    plain = [Row(tuple(Cell(cell.image) for cell in row.cells)) for row in rows()]
    bare = compose_sheet(plain, ["", ""], side=64)
    told = compose_sheet(rows(), ["composite", "mask"], title="a title", note="two\nlines", side=64)
    assert len(told) > len(bare)
    white = told.min(axis=(1, 2)) == 255
    assert not white[MARGIN : MARGIN + 20].all()


def test_long_captions_stay_in_their_column() -> None:
    image = np.full((64, 64, 3), 255, np.uint8)
    sheet = compose_sheet([Row((Cell(image, "a caption far too long for sixty-four pixels"), Cell(image)))], ["", ""], side=64)
    assert (sheet[:, MARGIN + 64 : MARGIN + 64 + GAP] == 255).all()
    assert (sheet < 255).any()


def test_two_writes_of_a_sheet_are_byte_equal(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_sheet(tmp_path / name, rows(), columns=["composite", "mask"], title="a title", side=64)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    composed = compose_sheet(rows(), ["composite", "mask"], title="a title", side=64)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), composed)


def test_rows_that_do_not_fit_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cells where there are 3 columns"):
        compose_sheet(rows(), ["composite", "mask", "target"])
    with pytest.raises(ValueError, match="at least one row"):
        compose_sheet([], ["composite"])
