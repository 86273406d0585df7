"""Pictures of what was mined: a page of plots, and a contact sheet per difficulty."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import wasserstein_distance

from attune.files import write_bytes
from attune.foreground import FOREGROUND_LEVEL
from attune.images import encode_png
from tasks.mining.gap import DIFFICULTIES, GAP_NAMES, gap_size
from tasks.mining.recipes import render_recipe

Recipe = Mapping[str, Any]

_COLUMNS, _ROWS = 4, 6  # of a contact sheet; each cell shows composite, matte's outline, natural sample
_PLOT = (520, 330)  # px, one plot
_INK, _PAPER, _BAR, _REAL = (40, 40, 40), (255, 255, 255), (70, 120, 180), (220, 90, 40)
_BINS = 24


def write_contact_sheets(folder: Path, recipes: Sequence[Recipe]) -> list[Path]:
    """One PNG per difficulty, `sheet_<difficulty>.png`: composite, the same with the matte's outline, and the natural sample, captioned."""
    paths = []
    for difficulty in DIFFICULTIES:
        found = [recipe for recipe in recipes if recipe["difficulty"] == difficulty]
        if not found:
            continue
        step = max(1, len(found) // (_COLUMNS * _ROWS))
        paths.append(folder / f"sheet_{difficulty}.png")
        write_bytes(paths[-1], encode_png(contact_sheet(found[::step][: _COLUMNS * _ROWS])))
    return paths


def contact_sheet(recipes: Sequence[Recipe]) -> UInt8[np.ndarray, "H W 3"]:
    """The recipes rendered side by side: composite, composite with the object outlined, natural sample."""
    size = recipes[0]["size"]
    height = size + 14
    sheet = Image.new("RGB", (_COLUMNS * (3 * size + 12), height * -(-len(recipes) // _COLUMNS)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for number, recipe in enumerate(recipes):
        left, top = number % _COLUMNS * (3 * size + 12), number // _COLUMNS * height
        sample = render_recipe(recipe).sample
        for position, image in enumerate((sample.composite, _outlined(sample.composite, sample.mask), sample.natural)):
            sheet.paste(Image.fromarray(image), (left + position * (size + 2), top))
        caption = f"{recipe['fg_label'] or '?'} for {recipe['bg_label'] or '?'}  gap {recipe['gap']:.2f}  fit {recipe['score']:.1f}"
        draw.text((left, top + size + 1), caption, fill=_INK, font=font)
    return np.asarray(sheet)


def write_summary(path: Path, recipes: Sequence[Recipe], rejects: Sequence[Mapping[str, Any]]) -> None:
    """One PNG: rejects per reason, area, appearance gap by difficulty, reuse of foregrounds and backgrounds."""
    reasons = Counter(reject["reason"] for reject in rejects).most_common()
    plots = [
        _bars("rejected objects by reason", [(str(name), count) for name, count in reasons]),
        _histogram("area of the foreground, share of the frame", [recipe["fg_ratio"] for recipe in recipes]),
        _histogram("appearance gap", [recipe["gap"] for recipe in recipes]),
        _bars("composites by difficulty", [(name, sum(recipe["difficulty"] == name for recipe in recipes)) for name in DIFFICULTIES]),
        _histogram("composites per foreground", list(Counter(recipe["fg_key"] for recipe in recipes).values())),
        _histogram("composites per background", list(Counter(recipe["bg_key"] for recipe in recipes).values())),
    ]
    page = np.concatenate([np.concatenate(plots[row : row + 2], axis=1) for row in (0, 2, 4)], axis=0)
    write_bytes(path, encode_png(page))


def write_gap_comparison(path: Path, mined: Float64[np.ndarray, "N 5"], real: Float64[np.ndarray, "M 5"]) -> None:
    """One PNG: the distribution of the gap and of each of its components, mined (filled) and real composites (outlined)."""
    columns = [("appearance gap", gap_size(mined), gap_size(real))]
    columns += [(name, mined[:, number], real[:, number]) for number, name in enumerate(GAP_NAMES)]
    plots = [_two_histograms(f"{name}: mined filled, real outlined", first, second) for name, first, second in columns]
    page = np.concatenate([np.concatenate(plots[row : row + 2], axis=1) for row in (0, 2, 4)], axis=0)
    write_bytes(path, encode_png(page))


def _two_histograms(title: str, first: Float64[np.ndarray, " N"], second: Float64[np.ndarray, " M"]) -> UInt8[np.ndarray, "H W 3"]:
    image = Image.new("RGB", _PLOT, _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    highest = float(np.quantile(np.concatenate([first, second]), 0.99))
    shares = [np.histogram(values, bins=_BINS, range=(0.0, highest))[0] / len(values) for values in (first, second)]
    width, floor = (_PLOT[0] - 40) / _BINS, _PLOT[1] - 30
    for number in range(_BINS):
        left, right = 20 + round(number * width), 20 + round((number + 1) * width) - 2
        tops = [floor - round((floor - 50) * float(share[number]) / max(float(share.max()) for share in shares)) for share in shares]
        draw.rectangle((left, tops[0], right, floor), fill=_BAR)
        draw.rectangle((left, tops[1], right, floor), outline=_REAL, width=2)
    distance = wasserstein_distance(first, second)
    draw.text((10, 6), title, fill=_INK, font=font)
    draw.text((10, 26), f"medians {np.median(first):.3g} and {np.median(second):.3g}, distance {distance:.3g}", fill=_INK, font=font)
    draw.text((_PLOT[0] - 60, floor + 6), f"{highest:.3g}", fill=_INK, font=font)
    return np.asarray(image)


def _outlined(image: UInt8[np.ndarray, "S S 3"], matte: UInt8[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S 3"]:
    inside = np.pad(matte >= FOREGROUND_LEVEL, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    outlined = image.copy()
    outlined[inside[1:-1, 1:-1] & ~core] = (255, 0, 255)
    return outlined


def _histogram(title: str, values: Sequence[float]) -> UInt8[np.ndarray, "H W 3"]:
    """Upright bars over equal bins, the axis' ends and the largest count written out."""
    image = Image.new("RGB", _PLOT, _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    draw.text((10, 6), f"{title} (n = {len(values)})", fill=_INK, font=font)
    if values:
        counts, _ = np.histogram(np.array(values, np.float64), bins=_bin_edges(values))
        width, floor = (_PLOT[0] - 40) / len(counts), _PLOT[1] - 30
        for number, count in enumerate(counts):
            top = floor - round((floor - 50) * int(count) / max(int(counts.max()), 1))
            draw.rectangle((20 + round(number * width), top, 20 + round((number + 1) * width) - 2, floor), fill=_BAR)
        draw.text((20, floor + 6), f"{min(values):.3g}", fill=_INK, font=font)
        draw.text((_PLOT[0] - 60, floor + 6), f"{max(values):.3g}", fill=_INK, font=font)
        draw.text((20, 28), f"highest bar {int(counts.max())}, median {float(np.median(values)):.3g}", fill=_INK, font=font)
    return np.asarray(image)


def _bin_edges(values: Sequence[float]) -> Float64[np.ndarray, " E"]:
    """Equal bins from the least to the largest value; of whole numbers, a bin holds as many of them as its neighbours do."""
    low, high = min(values), max(values)
    if all(isinstance(value, int) for value in values):
        step = -(-(high - low + 1) // _BINS)
        return np.arange(low, high + step + 1, step, dtype=np.float64)
    return np.histogram_bin_edges(np.array(values, np.float64), bins=_BINS)


def _bars(title: str, counts: Sequence[tuple[str, int]]) -> UInt8[np.ndarray, "H W 3"]:
    """Lying bars with their names and counts."""
    image = Image.new("RGB", _PLOT, _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    draw.text((10, 6), title, fill=_INK, font=font)
    largest = max((count for _, count in counts), default=1) or 1
    step = min(24, (_PLOT[1] - 40) // max(len(counts), 1))
    for number, (name, count) in enumerate(counts):
        top = 32 + number * step
        draw.text((10, top), name, fill=_INK, font=font)
        draw.rectangle((140, top + 2, 141 + round((_PLOT[0] - 220) * count / largest), top + step - 4), fill=_BAR)
        draw.text((_PLOT[0] - 70, top), str(count), fill=_INK, font=font)
    return np.asarray(image)
