"""The index's tables: byte-equal for equal rows, dictionary-encoded, described, and nothing that does not fit."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import index
from tasks.index import PAIRS, PHOTOGRAPHS, REJECTS, SCHEMA_VERSION, TABLES, iterate_table, read_index, read_table, write_table


def row(number: int, **changes) -> dict:
    return {
        "key": f"k{number:04d}", "source": "photos", "subset": f"s{number % 3}", "group": "g",
        "split": ("train", "val", "test")[number % 3],
        "image_path": f"a/{number}.jpg", "mask_path": "m", "width": 3, "height": 4, "fg_ratio": 0.25, "label": f"l{number % 7}",
        "image_phash": 2**64 - 1 - number, "image_sha256": "x", "mask_sha256": "y", "licence": "", **changes,
    }


def test_equal_rows_in_any_order_and_any_batches_give_equal_bytes(tmp_path, monkeypatch):
    rows = [row(number) for number in range(100)]
    write_table(tmp_path / "a.parquet", rows, PHOTOGRAPHS, {"tools": "t"})
    random.Random(1).shuffle(rows)
    monkeypatch.setattr(index, "BATCH_ROWS", 7)
    assert write_table(tmp_path / "b.parquet", iter(rows), PHOTOGRAPHS, {"tools": "t"}) == 100
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert list(iterate_table(tmp_path / "b.parquet")) == sorted(rows, key=lambda one: one["key"]) == read_table(
        tmp_path / "a.parquet", PHOTOGRAPHS)


def test_a_table_says_its_version_and_what_made_it_and_repeats_no_text(tmp_path):
    write_table(tmp_path / "a.parquet", [row(number) for number in range(50)], PHOTOGRAPHS, {"params_sha256": "p"})
    found = pq.read_schema(tmp_path / "a.parquet")
    assert found.metadata == {b"schema_version": SCHEMA_VERSION.encode(), b"params_sha256": b"p"}
    assert found.equals(PHOTOGRAPHS, check_metadata=False)
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    for name in ("source", "subset", "split", "label", "licence"):
        assert found.field(name).type == pa.dictionary(pa.int32(), pa.string())
        assert "RLE_DICTIONARY" in columns[name].encodings


def test_rows_are_filtered_by_value_and_hashes_keep_all_their_bits(tmp_path):
    write_table(tmp_path / "photographs.parquet", [row(number) for number in range(30)], PHOTOGRAPHS)
    found = read_index(tmp_path, "photographs", split="val", label="l1")
    assert [one["key"] for one in found] == [f"k{number:04d}" for number in range(30) if number % 3 == 1 and number % 7 == 1]
    assert found[0]["image_phash"] == 2**64 - 2


def test_an_empty_table_is_a_table(tmp_path):
    for name, schema in TABLES.items():
        assert write_table(tmp_path / f"{name}.parquet", [], schema) == 0
        assert read_index(tmp_path, name) == []


def test_a_key_that_stands_twice_and_a_row_that_does_not_fit_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.parquet: key 'k0003' stands twice \(sources photos and other\)"):
        write_table(tmp_path / "a.parquet", [row(1), row(3), row(2), row(3, source="other")], PHOTOGRAPHS)
    for bad in ({"width": "wide"}, {"width": 2**40}, {"image_phash": -1}):
        with pytest.raises(ValueError, match=r"a\.parquet: a row does not fit"):
            write_table(tmp_path / "a.parquet", [row(1, **bad)], PHOTOGRAPHS)
    assert not (tmp_path / "a.parquet").exists()


def test_rejects_may_repeat_a_key_and_keep_their_order(tmp_path):
    rows = [{"key": "k", "source": "s", "subset": "s", "path": path, "reason": "missing", "detail": detail}
            for path, detail in (("b", "1"), ("a", "2"), ("b", "3"))]
    write_table(tmp_path / "rejects.parquet", rows, REJECTS)
    assert [one["detail"] for one in read_index(tmp_path, "rejects")] == ["2", "1", "3"]


def test_a_table_of_the_version_before_is_read_without_what_it_lacks(tmp_path):
    older = pa.schema([field for field in PAIRS if field.name != "method_params"])
    write_table(tmp_path / "pairs.parquet", [], older, {"schema_version": "2"})
    assert read_index(tmp_path, "pairs") == []
    numbers = {field.name for field in older if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)}
    filled = {name: 1 if name in numbers else "text" for name in older.names}
    write_table(tmp_path / "pairs.parquet", [filled], older, {"schema_version": "2"})
    assert read_index(tmp_path, "pairs") == [{**filled, "method_params": None}]
    write_table(tmp_path / "pairs.parquet", [filled], older, {"schema_version": "1"})
    with pytest.raises(ValueError, match=r"schema version 1, where .* of version 3 were expected; run `dvc repro` again"):
        read_index(tmp_path, "pairs")


def test_a_missing_table_and_one_of_another_schema_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="no such table; `dvc repro`"):
        read_index(tmp_path, "pairs")
    write_table(tmp_path / "pairs.parquet", [], REJECTS)
    with pytest.raises(ValueError, match="run `dvc repro` again"):
        read_index(tmp_path, "pairs")
