"""Witnesses of tasks.evaluation.report_audit: an index written by hand, counted by hand."""

from pathlib import Path
from typing import Any

import pytest

from tasks.evaluation.report_audit import audit_index
from tasks.index import TABLES, write_table


def row_of(table: str, **values: Any) -> dict[str, Any]:
    """A row with every column of the table, empty but for `values`."""
    blank: dict[str, Any] = dict.fromkeys(TABLES[table].names)
    return blank | {"source": "photos", "subset": "a"} | values


def write_index(folder: Path, **tables: list[dict[str, Any]]) -> None:
    for name in ("photographs", "pairs", "rejects", "duplicates"):
        write_table(folder / f"{name}.parquet", tables.get(name, []), TABLES[name])


def test_photographs_objects_and_pairs_are_counted_by_source_subset_and_split(tmp_path: Path) -> None:
    write_index(
        tmp_path,
        photographs=[  # two objects of one photograph, and one of another
            row_of("photographs", key="1", group="g1", split="train", image_path="one.jpg"),
            row_of("photographs", key="2", group="g1", split="train", image_path="one.jpg"),
            row_of("photographs", key="3", group="g2", split="test", image_path="two.jpg"),
        ],
        pairs=[
            row_of("pairs", key="1", group="g1", split="train"), row_of("pairs", key="2", group="g2", split="test"),
            row_of("pairs", key="3", group="g2", split="test"), row_of("pairs", key="4", group="g3", split="val", subset="b"),
        ],
        rejects=[
            row_of("rejects", key="1", path="x.jpg", reason="unreadable", detail="x.jpg: truncated"),
            row_of("rejects", key="2", path="y.jpg", reason="unreadable", detail="y.jpg: truncated"),
            row_of("rejects", key="3", path="z.jpg", reason="too_small", detail="z.jpg: 3 px"),
        ],
    )
    found = audit_index(tmp_path)
    assert found.counts == [
        {"source": "photos", "subset": "a", "photographs": 2, "objects": 3, "train": 1, "val": 0, "test": 2},
        {"source": "photos", "subset": "b", "photographs": 0, "objects": 0, "train": 0, "val": 1, "test": 0},
    ]
    assert found.rejects == [
        {"source": "photos", "reason": "unreadable", "count": 2, "example": "x.jpg: truncated"},
        {"source": "photos", "reason": "too_small", "count": 1, "example": "z.jpg: 3 px"},
    ]
    assert found.shared_groups == 0
    assert (found.duplicates, found.duplicate_groups) == ([], 0)


def test_a_photograph_on_two_sides_is_found_across_tables_too(tmp_path: Path) -> None:
    write_index(
        tmp_path,
        photographs=[row_of("photographs", key="1", group="g1", split="train", image_path="one.jpg")],
        pairs=[row_of("pairs", key="1", group="g1", split="test"), row_of("pairs", key="2", group="g2", split="test")],
    )
    assert audit_index(tmp_path).shared_groups == 1


def test_photographs_under_several_names_are_counted_with_what_was_done(tmp_path: Path) -> None:
    write_index(tmp_path, duplicates=[
        row_of("duplicates", key="a", group="a", action="kept"), row_of("duplicates", key="b", group="a", action="moved"),
        row_of("duplicates", key="d", group="c", action="kept"), row_of("duplicates", key="c", group="c", action="kept"),
    ])
    found = audit_index(tmp_path)
    assert found.duplicate_groups == 2
    assert found.duplicates == [
        {"source": "photos", "action": "kept", "count": 3, "example": "a"},
        {"source": "photos", "action": "moved", "count": 1, "example": "b"},
    ]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"photographs\.parquet: no such table"):
        audit_index(tmp_path)
