"""Scout: the exact profile of a table, one block of columns in memory at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import polars as pl

from alchemy.quant.profile import ColumnProfile, Numbers, Profile, describe
from alchemy.quant.table import KEYS, Table, collect, column_blocks

ID_MIN_ROWS = 20


def scout(table: Table, block_columns: int) -> Profile:
    """Profile every column, overall and per source."""
    frame = table.scan()
    sizes = collect(frame.group_by("source").len()).sort("source")
    sources = {name: int(rows) for name, rows in sizes.iter_rows()}
    columns: dict[str, ColumnProfile] = {}
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:  # numpy works outside the GIL
        for block in column_blocks(table.numbers, table.rows, block_columns):
            data = collect(frame.select("source", *block))
            codes = source_codes(data["source"], list(sources))
            one = partial(_number, data=data, codes=codes, sources=sources, table=table)
            columns |= zip(block, threads.map(one, block), strict=True)
    columns |= _others(frame, table)
    duplicates = collect(
        frame.group_by("document_id").len().filter(pl.col("len") > 1, pl.col("document_id") != "")
    )
    example = duplicates["document_id"].drop_nulls().min()
    nulls = collect(frame.select(_no_id().sum())).item()
    return Profile(
        rows=table.rows,
        sources=sources,
        duplicate_ids=int(duplicates["document_id"].drop_nulls().len()),
        duplicate_example=None if example is None else str(example),
        null_ids=int(nulls),
        notes=table.notes,
        columns={name: columns[name] for name in table.dtypes},
    )


def source_codes(source: pl.Series, names: list[str]) -> np.ndarray:
    """Position of each row's source in `names`: int16[n]."""
    return source.cast(pl.Enum(names)).to_physical().cast(pl.Int16).to_numpy()


def _no_id() -> pl.Expr:
    return pl.col("document_id").is_null() | (pl.col("document_id") == "")


def _number(
    name: str, data: pl.DataFrame, codes: np.ndarray, sources: dict[str, int], table: Table
) -> ColumnProfile:
    values = data[name].to_numpy()
    present = ~np.isnan(values)
    overall = describe(np.sort(values[present]), table.rows)
    by_source: dict[str, Numbers] = {}
    if len(sources) == 1 and overall.count:
        by_source = dict.fromkeys(sources, overall)
        sources = {}
    for code, (source, rows) in enumerate(sources.items()):
        own = values[present & (codes == code)]
        if len(own):
            by_source[source] = describe(np.sort(own), rows)
    return ColumnProfile(
        name=name,
        kind="number",
        dtype=table.dtypes[name],
        nulls=table.rows - overall.count,
        n_unique=overall.n_unique,
        constant=overall.n_unique <= 1,
        id_like=_id_like(name, values[present], overall),
        infinite=table.infinite.get(name, 0),
        nan=table.nan.get(name, 0),
        overall=overall,
        by_source=by_source,
    )


def _id_like(name: str, values: np.ndarray, numbers: Numbers) -> bool:
    """Whole numbers, one per row, that either fill a range like a counter or are named an id."""
    if numbers.count < ID_MIN_ROWS or numbers.n_unique < numbers.count:
        return False
    if numbers.min is None or numbers.max is None or not np.all(values == np.floor(values)):
        return False
    dense = numbers.max - numbers.min < 2 * numbers.count
    return dense or name.lower() == "id" or name.lower().endswith("_id")


def _others(frame: pl.LazyFrame, table: Table) -> dict[str, ColumnProfile]:
    names = [c for c in table.dtypes if c not in set(table.numbers) and c not in KEYS]
    if not names:
        return {}
    row = collect(
        frame.select(
            *(pl.col(c).null_count().alias(f"n{i}") for i, c in enumerate(names)),
            *(
                pl.col(c).drop_nulls().cast(pl.String).approx_n_unique().alias(f"u{i}")
                for i, c in enumerate(names)
            ),
        )
    ).row(0, named=True)
    return {
        name: ColumnProfile(
            name=name,
            kind="text",
            dtype=table.dtypes[name],
            nulls=int(row[f"n{i}"]),
            n_unique=int(row[f"u{i}"]),
            constant=int(row[f"u{i}"]) <= 1,
            id_like=int(row[f"u{i}"]) >= 0.9 * table.rows,
        )
        for i, name in enumerate(names)
    }
