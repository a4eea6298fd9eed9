"""A document's place among the records of its component, project, space and the like, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from alchemy.quant.records import Records
from alchemy.quant.table import collect, column_blocks

GROUP_LABELS = ("components", "project", "space", "issuetype", "labels", "base", "epic", "table")
"""Labels whose values are groups that people compare within."""
NAMES: Mapping[str, str] = {"components": "component", "issuetype": "type", "labels": "label"}
TIMES: Mapping[str, str] = {
    "days_open": "days open",
    "hours_to_merge": "hours to merge",
    "hours_to_first_review": "hours to the first review",
}
"""Columns of which the highest is the slowest and the lowest the fastest."""
MIN_GROUP = 20
OUTER = 3
"""Places named at an end of a group."""
CLAUSES = 2
_ORDINALS = ("", "second-", "third-")
_SCHEMA = {
    "document_id": pl.String,
    "group": pl.String,
    "column": pl.String,
    "value": pl.Float64,
    "place": pl.UInt32,
    "size": pl.UInt32,
    "high": pl.Boolean,
}


def group_places(
    table: pl.LazyFrame, records: Path, columns: Sequence[str], rows: int, block_columns: int
) -> dict[str, str]:
    """Document id → a sentence about its first places in groups, for those that have one.

    A place counts where at most `OUTER` records of at least `MIN_GROUP` in the group are as extreme.

    Args:
        table: the canonical table; `columns` are the metrics to look at, of `rows` rows.
        records: `facts.parquet` of the same documents.
    """
    known = Records(records)
    found: list[pl.DataFrame] = []
    for label in (name for name in GROUP_LABELS if name in known.labels):
        groups = known.scan().select("document_id", pl.col(label).alias("group"))
        groups = groups.explode("group").drop_nulls()
        if int(collect(groups.select(pl.col("group").n_unique())).item()) < 2:
            continue  # one group is the whole source, of which the insight speaks anyway
        name = NAMES.get(label, label)
        for block in column_blocks(columns, rows, block_columns):
            joined = groups.join(table.select("document_id", *block), on="document_id")
            for column in block:
                ends = [True, False] if column in TIMES else [True]
                found += [_outer(joined, column, f"{name} ", high=high) for high in ends]
    if not found:
        return {}
    # the first places in the largest groups say most
    ranked = pl.concat(found).sort(
        ["document_id", "place", "size", "column", "group"],
        descending=[False, False, True, False, False],
    )
    chosen = ranked.group_by("document_id", maintain_order=True).head(CLAUSES)
    told: dict[str, list[str]] = {}
    for row in chosen.iter_rows(named=True):
        told.setdefault(row["document_id"], []).append(_clause(row))
    return {document: _sentence(clauses) for document, clauses in told.items()}


def _outer(joined: pl.LazyFrame, column: str, prefix: str, *, high: bool) -> pl.DataFrame:
    value = pl.col(column)
    places = (
        joined.select("document_id", "group", value.alias("value"))
        .drop_nulls("value")
        .with_columns(
            # with equal values nobody is first: the last place of the equal ones counts
            place=pl.col("value").rank("max", descending=high).over("group"),
            size=pl.len().over("group"),
        )
        .filter(pl.col("size") >= MIN_GROUP, pl.col("place") <= OUTER)
        .with_columns(group=prefix + pl.col("group"), column=pl.lit(column), high=pl.lit(high))
    )
    return collect(places).select(list(_SCHEMA)).cast(pl.Schema(_SCHEMA))


def _clause(row: Mapping[str, object]) -> str:
    column, place = str(row["column"]), int(str(row["place"]))
    ordinal = _ORDINALS[place - 1]
    value = (
        f"{float(str(row['value'])):,.10g}"
        if row["column"] not in TIMES
        else f"{float(str(row['value'])):,.1f}"
    )
    where = f"of {int(str(row['size'])):,} with {row['group']}"
    if column in TIMES:
        speed = "slowest" if row["high"] else "fastest"
        return f"{ordinal}{speed} {where} ({value} {TIMES[column]})"
    return f"{ordinal}highest {column.replace('_', ' ')} {where} ({value})"


def _sentence(clauses: Sequence[str]) -> str:
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."
