"""The data report: counts that are the index's, published figures as published, a sheet per source, equal bytes for equal tables."""

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attune.images import encode_jpeg, encode_png, read_image, read_shrunk
from tasks.index import TABLES, write_table
from tasks.ingestion import report as data_report
from tasks.ingestion.plots import KINDS, PUBLISHED_FMSE, Kind, draw_page
from tasks.ingestion.report import count_kinds, read_counts, read_kinds, write_data_report


def photograph_rows(folder: Path, count: int, draw, mask, *, source: str = "photos") -> list[dict[str, object]]:
    rows = []
    for number in range(count):
        image_path, mask_path = (folder / f"{source}_{number}_{part}.png" for part in ("image", "mask"))
        image_path.write_bytes(encode_jpeg(draw(40, 60, number), 90))
        mask_path.write_bytes(encode_png(mask(40, 60)))
        rows.append({
            "key": f"{source}_{number:03d}", "source": source, "subset": f"sub{number % 3}", "split": ("train", "val", "test")[number % 3],
            "group": f"{source}/{number}", "image_path": str(image_path), "mask_path": str(mask_path), "width": 60, "height": 40,
            "fg_ratio": 0.2 + 0.01 * number, "label": "cat" if number % 2 else "dog",
        })
    return rows


def pair_row(photograph: dict[str, object], number: int) -> dict[str, object]:
    paths = {"composite_path": photograph["image_path"], "target_path": photograph["image_path"]}
    return {**photograph, **paths, "key": f"{photograph['key']}_{number}", "method": ("reinhard", "retouch")[number % 2],
            "composite_fmse": 100.0 * (number + 1)}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, configure, photograph, object_mask):
    """Params of an index with two sources of photographs, pairs, a retouch, a reject and a near-duplicate; the report is written."""
    folder = tmp_path_factory.mktemp("indexed")
    params = configure({"paths.index": str(folder / "index"), "paths.data_report": str(folder / "data_report")})
    index = params.paths.index
    first = photograph_rows(folder, 14, photograph, object_mask)
    second = photograph_rows(folder, 2, photograph, object_mask, source="coco")
    retouch = {**first[0], "source": "retouch", "before_path": first[0]["image_path"], "after_path": first[1]["image_path"],
               "mask_path": "", "fg_ratio": 0.0}
    rows = {
        "photographs": [*first, *second], "pairs": [pair_row(row, number) for number, row in enumerate(first)], "retouches": [retouch],
        "rejects": [{"key": "x", "source": "photos", "subset": "a", "path": "p", "reason": "no_mask", "detail": "d"}],
        "duplicates": [{"key": "y", "source": "coco", "subset": "a", "action": "kept"}],
    }
    for table, schema in TABLES.items():
        known = [{name: row[name] for name in schema.names if name in row} for row in rows.get(table, [])]
        write_table(index / f"{table}.parquet", known, schema)
    write_data_report(params)
    return params


def counted(params) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((params.paths.data_report / "counts.csv").read_text())))


def test_every_count_is_the_indexs(indexed):
    rows = counted(indexed)
    sums: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        sums[row["source"], row["kind"], row["what"]] += int(row["count"])
    for what in ("samples", "label", "longer side", "foreground ratio"):
        assert sums["photos", "objects", what] == 14
        assert sums["photos", "pairs", what] == 14
        assert sums["coco", "objects", what] == 2
    assert sums["photos", "pairs", "method"] == 14
    assert (sums["retouch", "retouches", "samples"], sums["retouch", "retouches", "label"]) == (1, 0)
    by_split = {row["split"]: row["count"] for row in rows if (row["source"], row["kind"], row["what"]) == ("photos", "objects", "samples")}
    assert by_split == {"train": "5", "val": "5", "test": "4"}
    others = [(row["source"], row["what"], row["value"], row["count"]) for row in rows if not row["kind"]]
    assert others == [("photos", "reject", "no_mask", "1"), ("coco", "near-duplicate", "kept", "1")]


def test_there_is_a_page_and_a_sheet_for_every_source(indexed):
    folder = indexed.paths.data_report
    assert sorted(path.name for path in folder.iterdir()) == [
        "counts.csv", "sheet_coco.png", "sheet_photos.png", "sheet_retouch.png", "summary.png",
    ]
    assert read_image(folder / "summary.png").shape[1] > 1000
    sheet = read_image(folder / "sheet_photos.png")
    pink = (np.abs(sheet.astype(int) - data_report.OUTLINE) < 60).all(axis=2)
    assert pink.sum() > 500, "foregrounds are outlined"


def test_equal_tables_give_equal_bytes_and_leftovers_go(indexed):
    def contents(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    first = contents(indexed.paths.data_report)
    (indexed.paths.data_report / "sheet_gone.png").touch()
    assert contents(write_data_report(indexed)) == first


def test_samples_are_drawn_evenly_over_sub_sets(indexed, monkeypatch):
    taken = []
    monkeypatch.setattr(data_report, "SAMPLES", {**data_report.SAMPLES, "photographs": 3})
    monkeypatch.setattr(data_report, "read_shrunk", lambda path, side, **_: (taken.append(path), read_shrunk(path, side))[1])
    kind = next(kind for kind in read_kinds(indexed.paths.index) if kind.source == "photos")
    data_report._sheet_rows(indexed.paths.index, kind, indexed)
    numbers = [int(path.name.split("_")[1]) for path in taken]
    assert [number % 3 for number in numbers] == [0, 1, 2]


def make_kind(values: np.ndarray) -> Kind:
    count = len(values)
    return Kind(
        source="photos", table="pairs", splits=np.full(count, "train"), labels=np.full(count, "cat"), sides=np.full(count, 256),
        ratios=np.full(count, 0.2), methods=np.full(count, "retouch"), fmse=values,
    )


def test_our_percentiles_stand_beside_the_published_ones():
    values = np.random.default_rng(0).lognormal(7.0, 1.0, 500)
    figure = draw_page([make_kind(values)], {}, {})
    words = [text.get_text() for text in figure.axes[-1].texts]
    low, middle, high = np.percentile(values, (5, 50, 95))
    assert words == [
        "photos: 500 pairs", f"{low:,.0f} / {middle:,.0f} / {high:,.0f}", "iHarmony4 HCOCO, published", "187 / 738 / 3,183",
        "iHarmony4 HFlickr, published", "229 / 1,091 / 5,399", "iHarmony4 HAdobe5k, published", "177 / 1,402 / 6,997",
    ]
    spans = [line.get_xdata() for line in figure.axes[-1].lines if len(line.get_xdata()) == 2][:-1]
    assert [tuple(span) for span in spans] == [(low, high), *((low, high) for low, _, high in PUBLISHED_FMSE.values())]


def test_a_handful_of_samples_does_not_dwarf_the_others():
    figure = draw_page([make_kind(np.array([900.0, 901.0])), make_kind(np.random.default_rng(0).lognormal(7.0, 1.0, 500))], {}, {})
    heights = [patch.get_data().values.max() for patch in figure.axes[-1].patches]
    assert max(heights) < 0.15
    assert "photos: 2 pairs" in [text.get_text() for text in figure.axes[-1].texts]


def test_nothing_at_all_is_drawn_too(tmp_path):
    for table, schema in TABLES.items():
        write_table(tmp_path / f"{table}.parquet", [], schema)
    assert list(read_kinds(tmp_path)) == []
    assert (count_kinds([]), read_counts(tmp_path / "rejects.parquet", "reason")) == ([], {})
    draw_page([], {}, {}).draw_without_rendering()
    assert set(KINDS) <= set(TABLES)
