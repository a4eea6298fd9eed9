"""Reading any table: what is accepted, what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.tables import run_table
from alchemy.stores import open_lake


def _refused(settings: Settings, path: Path) -> AlchemyError:
    with pytest.raises(AlchemyError) as caught:
        run_table(path, path.parent / "out", settings)
    return caught.value


def _write(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_parquet_of_the_same_table_give_the_same_features(settings, tmp_path):
    csv = _write(tmp_path, "id,a,b\nx,1,\ny,2,0.5\nz,NA,-3e2\nw,4,7\n")
    columns = {"id": ["x", "y", "z", "w"], "a": [1, 2, None, 4], "b": [None, 0.5, -300.0, 7.0]}
    pl.DataFrame(columns).write_parquet(tmp_path / "table.parquet")
    run_table(csv, tmp_path / "one", settings)
    run_table(tmp_path / "table.parquet", tmp_path / "two", settings)
    for name in ("final_features.parquet", "insights.jsonl", "features.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_number_column_with_text_is_refused_with_column_line_and_value(settings, tmp_path):
    # the quoted field spans two lines: the line number is that of the file, not of the record
    rows = 'id,note,points\na,"two\nlines",1\nb,x,2\n\nc,y,many\nd,z,lots\n'
    error = _refused(settings, _write(tmp_path, rows))
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "table.csv:6: column 'points'" in error.message
    assert "'many' (and 1 more" in error.message


def test_blank_lines_are_no_records(settings, tmp_path):
    receipt = run_table(_write(tmp_path, "id,a\n\nx,1\n\ny,2\n\n"), tmp_path / "out", settings)
    assert receipt.rows == 2


def test_a_text_column_with_a_few_numbers_stays_text(settings, tmp_path):
    path = _write(tmp_path, "id,title\na,404\nb,not found\nc,gone\nd,moved\n")
    receipt = run_table(path, tmp_path / "out", settings)
    assert receipt.schema == ("document_id",)


@pytest.mark.parametrize("text", ["", "id,a\n"])
def test_a_file_without_rows_is_refused_by_name(settings, tmp_path, text):
    error = _refused(settings, _write(tmp_path, text))
    assert error.code is ErrorCode.INPUT_INVALID
    assert "table.csv has no rows" in error.message


def test_a_line_with_too_many_fields_is_named(settings, tmp_path):
    error = _refused(settings, _write(tmp_path, "id,a\nx,1\ny,2,3\n"))
    assert error.code is ErrorCode.INPUT_UNREADABLE
    assert "table.csv:3" in error.message


def test_a_damaged_parquet_file_is_named(settings, tmp_path):
    error = _refused(settings, _write(tmp_path, "not parquet at all", "table.parquet"))
    assert error.code is ErrorCode.INPUT_UNREADABLE
    assert "table.parquet" in error.message


def test_a_csv_file_of_another_encoding_is_named(settings, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("id,a\nn,é\n".encode("latin-1"))
    error = _refused(settings, path)
    assert error.code is ErrorCode.INPUT_UNREADABLE
    assert "table.csv" in error.message and "UTF-8" in error.remedy


def test_a_table_without_id_lists_its_columns(settings, tmp_path):
    error = _refused(settings, _write(tmp_path, "key,a\nx,1\n"))
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "key, a" in error.message and "document_id" in error.remedy


def test_a_column_given_twice_is_refused(settings, tmp_path):
    error = _refused(settings, _write(tmp_path, "id,a,a\nx,1,2\n"))
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "'a' occurs more than once" in error.message


def test_a_missing_file_and_another_kind_of_file_are_refused(settings, tmp_path):
    assert _refused(settings, tmp_path / "none.csv").code is ErrorCode.NOT_FOUND
    other = _refused(settings, _write(tmp_path, "{}", "table.json"))
    assert other.code is ErrorCode.INPUT_INVALID


def test_a_lake_key_is_read_when_there_is_no_such_file(settings, tmp_path):
    open_lake(settings.lake).write("uploads/t.csv", b"id,a\nx,1\ny,2\n")
    assert run_table("uploads/t.csv", tmp_path / "out", settings).rows == 2
    with pytest.raises(AlchemyError) as caught:
        run_table("uploads/other.csv", tmp_path / "out", settings)
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_duplicate_ids_are_refused_naming_the_id_and_the_report_says_so(settings, tmp_path):
    error = _refused(settings, _write(tmp_path, "id,a\nx,1\ny,2\ny,3\n"))
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "'y' occurs more than once" in error.message
    assert '"verdict": "stop"' in (tmp_path / "out" / "report.json").read_text()


def test_rows_without_id_are_refused(settings, tmp_path):
    error = _refused(settings, _write(tmp_path, "id,a\nx,1\n,2\n"))
    assert error.code is ErrorCode.SCHEMA_BROKEN
    assert "1 of 2 rows have no document_id" in error.message


def test_infinities_and_nan_become_nulls_and_are_counted(quant):
    values = [1.0, float("inf"), 3.0, float("-inf"), float("nan"), None]
    result = quant({"a": values})
    made_null = result.report["made_null"]
    assert made_null == {"infinite": {"a": 2}, "nan": {"a": 1}}
    assert result.profile["columns"]["a"]["overall"]["count"] == 2
    assert result.features["a"].null_count() == 4


def test_nulls_stay_nulls_in_every_feature(quant, rng):
    a, b = rng.normal(size=(2, 60))
    a[:20], b[40:] = np.nan, np.nan
    features = quant({"a": a, "b": b}).features
    assert features["a"].is_null().to_list() == [True] * 20 + [False] * 40
    assert features["a*b"].is_null().to_list() == [True] * 20 + [False] * 20 + [True] * 20


def test_an_output_directory_that_is_a_file_is_refused(settings, tmp_path):
    path = _write(tmp_path, "id,a\nx,1\n")
    with pytest.raises(AlchemyError, match="output directory"):
        run_table(path, path, settings)
