"""What ingestion found, to look at: counts as a table, one page of plots, and a contact sheet per source.

Read from the index alone, so that it can be drawn again at any time, and by columns: a million rows are no matter.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import UInt8

from attune.files import clear_folder, write_bytes
from attune.foreground import FOREGROUND_LEVEL
from attune.images import read_mask, read_shrunk
from tasks.ingestion.plots import KINDS, Kind, write_page
from tasks.params import Params
from tasks.sheets import Cell, Row, write_sheet

COLUMNS, SIDE = 6, 190  # of a contact sheet; px
SAMPLES = {"photographs": 12, "pairs": 9, "retouches": 6, "composites": 12}  # of each source and kind
COUNTED = ("source", "kind", "split", "what", "value", "count")
RATIO_EDGES = (0.0, 0.01, 0.05, 0.15, 0.30, 0.80, 1.0)  # the field's buckets, and HCOCO's limits
SIDE_EDGES = (0, 256, 512, 1024, 2048, 4096, 1 << 20)  # px
OUTLINE = (255, 40, 160)
PLAIN = pa.schema([pa.field("subset", pa.string()), pa.field("key", pa.string())])  # dictionaries are not sorted by their values


def write_data_report(params: Params) -> Path:
    """Write `counts.csv`, `summary.png` and `sheet_<source>.png` to `paths.data_report`, from the index; the folder.

    Equal tables give equal bytes. Raises ValueError naming the file if an image of the index is gone.
    """
    folder, index = clear_folder(params.paths.data_report), params.paths.index
    kinds = list(read_kinds(index))
    reasons, actions = read_counts(index / "rejects.parquet", "reason"), read_counts(index / "duplicates.parquet", "action")
    counts = [*count_kinds(kinds), *count_others("reject", reasons), *count_others("near-duplicate", actions)]
    write_bytes(folder / "counts.csv", as_csv([COUNTED, *counts]).encode())
    write_page(folder / "summary.png", kinds, reasons, actions)
    for source in dict.fromkeys(kind.source for kind in kinds):
        rows = [row for kind in kinds if kind.source == source for row in _sheet_rows(index, kind, params)]
        title, note = f"{source}: what was ingested", "Outlined: the foreground. Drawn evenly from all of the source's samples."
        write_sheet(folder / f"sheet_{source}.png", rows, columns=[""] * COLUMNS, title=title, note=note, side=SIDE)
    return folder


def read_kinds(index: Path) -> Iterator[Kind]:
    """The rows of the index by source and kind, sources in order."""
    for table in KINDS:
        path = index / f"{table}.parquet"
        names = set(pq.read_schema(path).names)
        wanted = [name for name in ("source", "split", "label", "width", "height", "fg_ratio", "method", "composite_fmse") if name in names]
        columns = {name: column.to_numpy() for name, column in zip(wanted, pq.read_table(path, columns=wanted).columns, strict=True)}
        for source in sorted(set(columns["source"].tolist())):
            own = {name: column[columns["source"] == source] for name, column in columns.items()}
            nothing = np.array([])
            yield Kind(
                source=source, table=table, splits=own["split"], labels=own.get("label", nothing), methods=own.get("method", nothing),
                sides=np.maximum(own["width"], own["height"]), ratios=own["fg_ratio"].astype(np.float64),
                fmse=own.get("composite_fmse", nothing).astype(np.float64),
            )


def read_counts(path: Path, column: str) -> dict[str, Counter[str]]:
    """How often each value of a column stands beside each source in a table, sources in order."""
    table = pq.read_table(path, columns=["source", column])
    counts: dict[str, Counter[str]] = {}
    for source, value in zip(table["source"].to_pylist(), table[column].to_pylist(), strict=True):
        counts.setdefault(source, Counter())[value] += 1
    return dict(sorted(counts.items()))


def count_kinds(kinds: Sequence[Kind]) -> list[tuple[Any, ...]]:
    """One row (`COUNTED`) per source, kind, split and what is counted: samples, labels, methods, longer sides, foreground ratios."""
    rows: list[tuple[Any, ...]] = []
    for kind in kinds:
        for split in sorted(set(kind.splits.tolist())):
            inside = kind.splits == split
            here = (kind.source, kind.name, split)
            rows.append((*here, "samples", "all", int(inside.sum())))
            for what, values in (("label", kind.labels), ("method", kind.methods)):
                if len(values):
                    rows += [(*here, what, value, count) for value, count in sorted(Counter(values[inside].tolist()).items())]
            for what, values, edges in (("longer side", kind.sides, SIDE_EDGES), ("foreground ratio", kind.ratios, RATIO_EDGES)):
                counts, _ = np.histogram(values[inside], bins=np.array(edges, np.float64))
                rows += [(*here, what, f"{low}-{high}", int(count))
                         for low, high, count in zip(edges, edges[1:], counts, strict=False) if count]
    return rows


def count_others(what: str, counts: Mapping[str, Counter[str]]) -> list[tuple[Any, ...]]:
    """The rows (`COUNTED`) of what has neither kind nor split."""
    return [(source, "", "", what, value, count) for source, own in counts.items() for value, count in sorted(own.items())]


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """Rows, the header first, as the text of a CSV file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


# --- Contact sheets -----------------------------------------------------------------------------------------------------------------------


def _sheet_rows(index: Path, kind: Kind, params: Params) -> list[Row]:
    """Samples drawn evenly over sub-sets and keys, as rows of the sheet."""
    table = pq.read_table(index / f"{kind.table}.parquet", filters=[("source", "=", kind.source)], columns=_columns(kind.table))
    wanted = min(SAMPLES[kind.table], len(table))
    order = pc.sort_indices(table.select(["subset", "key"]).cast(PLAIN), sort_keys=[("subset", "ascending"), ("key", "ascending")])
    chosen = table.take(order.take([(2 * place + 1) * len(table) // (2 * wanted) for place in range(wanted)]))
    cells = [cell for row in chosen.to_pylist() for cell in _cells(kind.table, row, params.ingest.max_megapixels)]
    empty = Cell(np.full((1, SIDE, 3), 255, np.uint8))
    cells += [empty] * (-len(cells) % COLUMNS)
    label = f"{kind.name}: {len(table):,}" + {"pairs": " (composite, target)", "retouches": " (before, after)"}.get(kind.table, "")
    return [Row(tuple(cells[first:first + COLUMNS]), label) for first in range(0, len(cells), COLUMNS)]


def _columns(table: str) -> list[str]:
    paths = {"photographs": ["image_path"], "pairs": ["composite_path", "target_path", "method", "composite_fmse"],
             "retouches": ["before_path", "after_path"], "composites": ["composite_path"]}[table]
    return ["key", "subset", "split", "fg_ratio", "mask_path", *paths, *([] if table == "retouches" else ["label"])]


def _cells(table: str, row: dict[str, Any], max_megapixels: float) -> list[Cell]:
    def shown(name: str) -> UInt8[np.ndarray, "H W 3"]:
        return read_shrunk(Path(row[name]), SIDE, max_megapixels=max_megapixels)

    about = f"{row['subset']}, {row['split']}"
    named = f"{row.get('label') or 'no label'}, {row['fg_ratio']:.1%}"
    if table == "retouches":
        return [Cell(shown("before_path"), about), Cell(shown("after_path"))]
    first = shown("image_path" if table == "photographs" else "composite_path")
    outlined = _outlined(first, read_mask(Path(row["mask_path"]), max_megapixels=max_megapixels))
    if table == "pairs":
        return [Cell(outlined, f"{named}\n{about}"), Cell(shown("target_path"), f"{row['method']}\nfMSE {row['composite_fmse']:.0f}")]
    return [Cell(outlined, f"{named}\n{about}")]


def _outlined(image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "H W 3"]:
    inside = (cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA) >= FOREGROUND_LEVEL).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn: UInt8[np.ndarray, "H W 3"] = cv2.drawContours(image.copy(), outlines, -1, OUTLINE, 1, cv2.LINE_AA)
    return drawn
