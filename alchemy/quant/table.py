"""Any CSV or Parquet table → the canonical Parquet table every later step reads.

Canonical: `document_id`, `source`, `created_at`, `updated_at` (text), then the other columns in
input order, numbers as float64 with NaN and infinities made null (and counted), the rest as it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from alchemy.errors import AlchemyError, ErrorCode

KEYS = ("document_id", "source", "created_at", "updated_at")
ID_COLUMNS = ("document_id", "id")
NO_SOURCE = "table"
"""Source of every row of a table without a source column."""
MAX_SOURCES = 32
OTHER_SOURCES = "other sources"
BLOCK_CELLS = 16_000_000
"""Values held at once by one pass (128 MB as float64): blocks of columns narrow as tables lengthen."""
_NULLS = ("", "NA", "N/A", "null", "NULL", "None")
_INPUT_ERRORS = (pl.exceptions.PolarsError, OSError, UnicodeDecodeError)


@dataclass(frozen=True)
class Table:
    """The canonical table and what reading it changed.

    Attributes:
        path: Parquet file.
        numbers: names of the float64 columns.
        dtypes: column → type in the input.
        infinite, nan: column → values made null.
        notes: other changes, in words. The last four are empty when opened after Scout's profile.
    """

    path: Path
    rows: int
    numbers: tuple[str, ...]
    dtypes: dict[str, str] = field(default_factory=dict)
    infinite: dict[str, int] = field(default_factory=dict)
    nan: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def scan(self) -> pl.LazyFrame:
        """The table, lazily."""
        return pl.scan_parquet(self.path)


def column_blocks(columns: Sequence[str], rows: int, block_columns: int) -> Iterator[list[str]]:
    """Consecutive blocks of at most `block_columns` columns and `BLOCK_CELLS` values."""
    width = max(1, min(block_columns, BLOCK_CELLS // max(rows, 1)))
    for start in range(0, len(columns), width):
        yield list(columns[start : start + width])


def row_batches(
    frame: pl.LazyFrame,
    expressions: Sequence[pl.Expr | str],
    rows: int,
    cells: int = BLOCK_CELLS // 2,
) -> Iterator[pl.DataFrame]:
    """Evaluate element-wise expressions over consecutive slices of the rows, in order.

    Slices rather than one streaming query: its readers run ahead of a slower consumer without a
    bound (measured: a whole wide table in memory), a slice never holds more than `cells` values. A
    slice of a file costs reading its whole row group: what the expressions need is read in larger
    ones.
    """
    needed = {n for e in expressions for n in ([e] if isinstance(e, str) else e.meta.root_names())}
    size, held = (
        int(np.clip(cells // max(count, 1), 1_000, 100_000))
        for count in (len(expressions), len(needed))
    )
    for start in range(0, rows, held):
        part = collect(frame.slice(start, held).select(sorted(needed)))
        for first in range(0, len(part), size):
            yield collect(part.lazy().slice(first, size).select(expressions))


def write_rows(
    frame: pl.LazyFrame, expressions: Sequence[pl.Expr | str], rows: int, output: Path
) -> None:
    """Evaluate element-wise expressions into a Parquet file, one row group per slice of rows."""
    writer: pq.ParquetWriter | None = None
    try:
        for batch in row_batches(frame, expressions, rows):
            data = batch.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(
                    output, data.schema, compression="zstd", use_dictionary=False
                )
            writer.write_table(data)
    finally:
        if writer is not None:
            writer.close()


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Run a lazy query on the streaming engine."""
    return frame.collect(engine="streaming")


def prepare(path: Path, output: Path, block_columns: int) -> Table:
    """Write the canonical table of `path` to `output`.

    Raises:
        AlchemyError: NOT_FOUND; INPUT_INVALID for another kind of file or one without rows;
            INPUT_UNREADABLE for a damaged one; SCHEMA_BROKEN when there is no id column or a CSV
            column mixes numbers and text (names column and line).
    """
    if not path.is_file():
        raise AlchemyError(ErrorCode.NOT_FOUND, f"there is no file {path}")
    if path.suffix.lower() not in (".csv", ".tsv", ".parquet"):
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"{path} is neither CSV nor Parquet",
            "Give a .csv, .tsv or .parquet file.",
        )
    if path.stat().st_size == 0:
        raise _empty(path)
    text = path.suffix.lower() != ".parquet"
    try:
        frame = _scan_text(path) if text else pl.scan_parquet(path)
        schema = frame.collect_schema()
        rows = int(collect(frame.select(pl.len())).item())
        if rows == 0:
            raise _empty(path)
        identifier = _id_column(path, list(schema))
        others = [c for c in schema if c not in (identifier, *KEYS)]
        if text:
            numbers = _number_columns(path, frame, others, block_columns)
        else:
            numbers = [c for c in others if _numeric(schema[c])]
        infinite, nan = _not_finite(frame, numbers, text, block_columns)
        source, notes = _source(frame, schema)
        numeric = set(numbers)
        kept = [c for c in others if c in numeric or _comparable(schema[c])]
        notes += [
            f"column {c!r} left out: it holds {schema[c]}" for c in others if c not in set(kept)
        ]
        dtypes = {c: "number" if text and c in numeric else str(schema[c]) for c in kept}
        expressions = [
            pl.col(identifier).cast(pl.String).alias("document_id"),
            source.alias("source"),
            *(_time(name, schema) for name in ("created_at", "updated_at")),
            *(_number(c, text).alias(c) if c in numeric else pl.col(c) for c in kept),
        ]
        if text:  # a slice of a CSV file costs reading all before it
            frame.select(expressions).sink_parquet(output, engine="streaming")
        else:
            write_rows(frame, expressions, rows, output)
    except _INPUT_ERRORS as error:
        raise _unreadable(path, error, text) from error
    return Table(output, rows, tuple(numbers), dtypes, infinite, nan, tuple(notes))


def _scan_text(path: Path) -> pl.LazyFrame:
    """Every column as text: types are judged over the whole file, not over its first lines."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file, delimiter=separator), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise AlchemyError(
            ErrorCode.SCHEMA_BROKEN,
            f"{path}:1: column {twice[0]!r} occurs more than once",
            "Give every column its own name.",
        )
    frame = pl.scan_csv(path, separator=separator, infer_schema=False, null_values=list(_NULLS))
    return frame.filter(pl.any_horizontal(pl.all().is_not_null()))  # a blank line is no record


def _id_column(path: Path, columns: list[str]) -> str:
    for name in ID_COLUMNS:
        if name in columns:
            return name
    shown = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")
    raise AlchemyError(
        ErrorCode.SCHEMA_BROKEN,
        f"{path} has no id column (columns: {shown})",
        "Name the column that identifies a row 'document_id' or 'id'.",
    )


def _numeric(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null


def _comparable(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and dtype not in (pl.Binary, pl.Object)


def _raw_number(name: str, text: bool) -> pl.Expr:
    column = pl.col(name)
    return (column.str.strip_chars() if text else column).cast(pl.Float64, strict=not text)


def _number(name: str, text: bool) -> pl.Expr:
    value = _raw_number(name, text)
    # + 0.0 turns -0.0 into 0.0, which would otherwise be a different value to a fingerprint
    return pl.when(value.is_finite()).then(value + 0.0)


def _number_columns(
    path: Path, frame: pl.LazyFrame, columns: list[str], block_columns: int
) -> list[str]:
    """Columns whose every value is a number.

    A column with fewer numbers than other values is text; one with more numbers is broken.
    """
    numbers: list[str] = []
    for block in column_blocks(columns, 1, block_columns):
        counts = collect(
            frame.select(
                *(pl.col(c).count().alias(f"v{i}") for i, c in enumerate(block)),
                *(_raw_number(c, True).count().alias(f"n{i}") for i, c in enumerate(block)),
            )
        ).row(0, named=True)
        for i, column in enumerate(block):
            values, parsed = counts[f"v{i}"], counts[f"n{i}"]
            if values == parsed:
                numbers.append(column)
            elif parsed * 2 >= values:
                raise _mixed(path, frame, column, values - parsed)
    return numbers


def _mixed(path: Path, frame: pl.LazyFrame, column: str, bad: int) -> AlchemyError:
    broken = pl.col(column).is_not_null() & _raw_number(column, True).is_null()
    first = collect(frame.with_row_index("row").filter(broken).select("row", column).head(1))
    record, value = first.row(0)
    line = next((line for i, (line, _) in enumerate(_records(path)) if i == record + 1), record + 2)
    return AlchemyError(
        ErrorCode.SCHEMA_BROKEN,
        f"{path}:{line}: column {column!r} holds numbers, but here {_shown(value)}"
        + (f" (and {bad - 1} more such values)" if bad > 1 else ""),
        "Write a number, or leave the field empty for a missing one.",
    )


def _records(path: Path) -> Iterator[tuple[int, int]]:
    """(first line, fields) of each record, header included; only read to explain an error."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        line = 1
        for record in reader:
            if any(field not in _NULLS for field in record):  # as `_scan_text` counts them
                yield line, len(record)
            line = reader.line_num + 1


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")


def _not_finite(
    frame: pl.LazyFrame, columns: list[str], text: bool, block_columns: int
) -> tuple[dict[str, int], dict[str, int]]:
    infinite: dict[str, int] = {}
    nan: dict[str, int] = {}
    for block in column_blocks(columns, 1, block_columns):
        values = [_raw_number(c, text) for c in block]
        row = collect(
            frame.select(
                *(v.is_infinite().sum().alias(f"i{i}") for i, v in enumerate(values)),
                *(v.is_nan().sum().alias(f"n{i}") for i, v in enumerate(values)),
            )
        ).row(0, named=True)
        infinite |= {c: n for i, c in enumerate(block) if (n := int(row[f"i{i}"] or 0))}
        nan |= {c: n for i, c in enumerate(block) if (n := int(row[f"n{i}"] or 0))}
    return infinite, nan


def _source(frame: pl.LazyFrame, schema: pl.Schema) -> tuple[pl.Expr, list[str]]:
    """The source of a row; rare ones are pooled, since every source gets its own statistics."""
    if "source" not in schema:
        return pl.lit(NO_SOURCE), []
    name = pl.col("source").cast(pl.String).fill_null("unknown")
    sizes = collect(frame.select(name.alias("source")).group_by("source").len())
    if len(sizes) <= MAX_SOURCES:
        return name, []
    largest = sizes.sort(["len", "source"], descending=[True, False])["source"]
    own = largest.head(MAX_SOURCES - 1).to_list()
    note = f"{len(sizes)} sources: the {len(own)} largest are kept apart, the others pooled"
    return pl.when(name.is_in(own)).then(name).otherwise(pl.lit(OTHER_SOURCES)), [note]


def _time(name: str, schema: pl.Schema) -> pl.Expr:
    if name not in schema:
        return pl.lit(None, dtype=pl.String).alias(name)
    column = pl.col(name)
    if schema[name].is_temporal():
        return column.cast(pl.Datetime("us")).dt.to_string("iso:strict").alias(name)
    return column.cast(pl.String)


def _empty(path: Path) -> AlchemyError:
    return AlchemyError(
        ErrorCode.INPUT_INVALID, f"{path} has no rows", "Give a table with a header and records."
    )


def _unreadable(path: Path, error: Exception, text: bool) -> AlchemyError:
    if isinstance(error, pl.exceptions.NoDataError):
        return _empty(path)
    where = str(path)
    if text and "more fields" in str(error):
        records = list(_records(path))
        line = next((line for line, fields in records if fields > records[0][1]), None)
        where = f"{path}:{line}" if line else where
    reason = str(error).split("\n", 1)[0]
    return AlchemyError(
        ErrorCode.INPUT_UNREADABLE,
        f"cannot read {where}: {reason}",
        "Mend the file, or write it again as UTF-8 CSV or Parquet.",
    )
