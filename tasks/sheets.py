"""Sheets of pictures: rows of captioned images under column heads, to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from attune.files import write_bytes
from attune.images import encode_png, resize_image

PAPER, INK, FAINT, RULE = (255, 255, 255), (24, 24, 24), (110, 110, 110), (214, 214, 214)
MARGIN, GAP = 16, 10  # px, around the sheet and between pictures
HEAD_SIZE, CAPTION_SIZE, TITLE_SIZE = 15, 13, 20  # px, of the letters
LINE = 1.35  # of a letter's size, from line to line

Picture = UInt8[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W"]


@dataclass(frozen=True)
class Cell:
    """A picture (RGB, or a grey mask) and what stands below it."""

    image: Picture
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Cells from left to right; `label` stands above them, and a rule where it differs from the row's before."""

    cells: tuple[Cell, ...]
    label: str = ""


def compose_sheet(
    rows: Sequence[Row], columns: Sequence[str], *, title: str = "", note: str = "", side: int = 256
) -> UInt8[np.ndarray, "H W 3"]:
    """The rows below one another, each picture fitted into `side` x `side` px with its aspect kept; never enlarged beyond whole multiples.

    columns: the heads. title, note: above everything, large and small. Captions too long for their column are cut with an ellipsis.
    Raises ValueError if there are no rows, or a row has not as many cells as there are columns.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"a row has {len(row.cells)} cells where there are {len(columns)} columns: {', '.join(columns)}")
    pen = _Pen(side, columns)
    heights = pen.heights(rows, title=title, note=note)
    sheet = Image.new("RGB", (pen.width, sum(heights) + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN + pen.draw_head(draw, title, note)
    label = None
    for row in rows:
        top += pen.draw_row(sheet, draw, row, top, labelled=row.label != label)
        label = row.label
    return np.asarray(sheet)


def write_sheet(
    path: Path, rows: Sequence[Row], *, columns: Sequence[str], title: str = "", note: str = "", side: int = 256
) -> None:
    """`compose_sheet` as a PNG, whole or not at all; equal pictures give equal bytes."""
    write_bytes(path, encode_png(compose_sheet(rows, columns, title=title, note=note, side=side)))


class _Pen:
    """Where things stand on a sheet, and the drawing of them."""

    def __init__(self, side: int, columns: Sequence[str]) -> None:
        self.side, self.columns = side, columns
        self.width = 2 * MARGIN + len(columns) * side + (len(columns) - 1) * GAP
        # Pillow's own typeface: the same letters on every machine.
        self.head, self.caption, self.title = (ImageFont.load_default(size) for size in (HEAD_SIZE, CAPTION_SIZE, TITLE_SIZE))

    def heights(self, rows: Sequence[Row], *, title: str, note: str) -> list[int]:
        """Of the head and of each row, in px."""
        before = [None, *(row.label for row in rows[:-1])]
        return [self.head_height(title, note), *(self.row_height(row, row.label != label) for row, label in zip(rows, before, strict=True))]

    def head_height(self, title: str, note: str) -> int:
        lines = (_lines(TITLE_SIZE) if title else 0) + (_lines(CAPTION_SIZE) * len(note.splitlines()))
        return lines + (GAP if lines else 0) + _lines(HEAD_SIZE) + GAP // 2

    def row_height(self, row: Row, labelled: bool) -> int:
        pictures = max(self._fitted(cell.image)[1] for cell in row.cells)
        captions = max(len(cell.caption.splitlines()) for cell in row.cells)
        return pictures + _lines(CAPTION_SIZE) * captions + GAP + self._label_height(row, labelled)

    def draw_head(self, draw: ImageDraw.ImageDraw, title: str, note: str) -> int:
        top = MARGIN
        if title:
            draw.text((MARGIN, top), self._cut(title, self.title, self.width - 2 * MARGIN), fill=INK, font=self.title)
            top += _lines(TITLE_SIZE)
        for line in note.splitlines():
            draw.text((MARGIN, top), self._cut(line, self.caption, self.width - 2 * MARGIN), fill=FAINT, font=self.caption)
            top += _lines(CAPTION_SIZE)
        top += GAP if top > MARGIN else 0
        for number, name in enumerate(self.columns):
            draw.text((self._left(number), top), self._cut(name, self.head, self.side), fill=INK, font=self.head)
        return self.head_height(title, note)

    def draw_row(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int, *, labelled: bool) -> int:
        if labelled and row.label:
            draw.line((MARGIN, top, self.width - MARGIN, top), fill=RULE)
            draw.text((MARGIN, top + GAP // 2), self._cut(row.label, self.head, self.width - 2 * MARGIN), fill=FAINT, font=self.head)
        start = top + self._label_height(row, labelled)
        below = start + max(self._fitted(cell.image)[1] for cell in row.cells) + 2
        for number, cell in enumerate(row.cells):
            sheet.paste(self._shown(cell.image), (self._left(number), start))
            for offset, line in enumerate(cell.caption.splitlines()):
                at = (self._left(number), below + offset * _lines(CAPTION_SIZE))
                draw.text(at, self._cut(line, self.caption, self.side), fill=INK, font=self.caption)
        return self.row_height(row, labelled)

    def _label_height(self, row: Row, labelled: bool) -> int:
        return _lines(HEAD_SIZE) + GAP if labelled and row.label else 0

    def _left(self, column: int) -> int:
        return MARGIN + column * (self.side + GAP)

    def _fitted(self, image: Picture) -> tuple[int, int]:
        """Width and height on the sheet: whole multiples keep small pictures crisp."""
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        scale = float(int(scale)) if scale >= 1 else scale
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _shown(self, image: Picture) -> Image.Image:
        width, height = self._fitted(image)
        times = width // image.shape[1]
        whole = np.ascontiguousarray(image)
        resized = whole.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else resize_image(whole, height, width)
        return Image.fromarray(resized).convert("RGB")

    def _cut(self, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(text + "...") > width:
            text = text[:-1]
        return text + "..."


def _lines(size: int) -> int:
    return round(size * LINE)
