"""Insights: what is notable about each document's numbers, in words.

Notable: a value that at most 5 % of the documents of the same source reach or exceed (or, at the
other end, reach or fall below), where at least `MIN_GROUP` documents of that source have a value.
Everything is a rank within the source, so changing one document changes another's insight only when
the other's value lies between the old and the new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl

from alchemy.quant.scout import source_codes
from alchemy.quant.table import NO_SOURCE, collect, column_blocks
from alchemy.types import Insight

MIN_GROUP = 20
NOTABLE_SHARE = 0.05
CLAUSES = 3
"""Columns named in the text, the rarest first; `outliers` lists all."""

_LABELS = {"chars": "text length", "description_chars": "description length", "chunks": "passages"}
"""Columns whose name alone would read badly in a sentence."""


@dataclass(frozen=True)
class Ranks:
    """Places of one column's values among the values of their source; one entry per row.

    Attributes:
        values: float64[n], NaN for null.
        below, at_most: values of the source < and ≤ this one. int64[n], 0 for null.
        group: values of the source. int64[n]
    """

    values: np.ndarray
    below: np.ndarray
    at_most: np.ndarray
    group: np.ndarray

    def percentile(self) -> np.ndarray:
        """Share of the source's values below, equal ones counted half: float64[n] in [0, 100]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            middle = 50.0 * (self.below + self.at_most) / self.group
        return np.where(np.isnan(self.values), np.nan, middle)


def ranks(values: np.ndarray, codes: np.ndarray) -> Ranks:
    """Rank each value within its source (`codes`: source number of each row)."""
    below, at_most, group = (np.zeros(len(values), dtype=np.int64) for _ in range(3))
    for code in np.unique(codes):
        own = np.flatnonzero((codes == code) & ~np.isnan(values))
        ranked = np.sort(values[own])
        below[own] = np.searchsorted(ranked, values[own], side="left")
        at_most[own] = np.searchsorted(ranked, values[own], side="right")
        group[own] = len(ranked)
    return Ranks(values, below, at_most, group)


@dataclass(frozen=True)
class _Notable:
    """The notable values of all columns, by row; parallel arrays."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    beyond: np.ndarray  # values of the source as extreme as this one or more
    group: np.ndarray
    high: np.ndarray
    percentile: np.ndarray


def insights(
    frame: pl.LazyFrame,
    columns: Sequence[str],
    rows: int,
    block_columns: int,
    places: Mapping[str, str] | None = None,
) -> Iterator[Insight]:
    """The insights of a canonical table, by document id.

    Args:
        columns: the metric columns to look at (the ones Curator kept, so that no two say the same).
        places: document id → a further sentence, about its place in its groups.
    """
    places = places or {}
    keys = collect(frame.select("document_id", "source"))
    sources = keys["source"].unique().sort().to_list()
    codes = source_codes(keys["source"], sources)
    total, known = np.zeros(rows), np.zeros(rows, dtype=np.int32)
    parts: list[_Notable] = []
    for block in column_blocks(columns, rows, block_columns):
        data = collect(frame.select(block))
        for name in block:
            place = ranks(data[name].to_numpy(), codes)
            percentile = place.percentile()
            present = ~np.isnan(percentile)
            total[present] += percentile[present]
            known += present
            parts.append(_notable(place, percentile, len(parts)))
    if not parts:
        return
    found = _joined(parts)
    by_id = np.empty(rows, dtype=np.int64)
    by_id[keys["document_id"].arg_sort().to_numpy()] = np.arange(rows)
    # documents by id, within one the rarest value first, then the column's name
    names = np.argsort(np.argsort(np.array(columns)))
    share = found.beyond / found.group
    order = np.lexsort((names[found.column], share, by_id[found.row]))
    ids = keys["document_id"]
    notable = {
        row: list(items) for row, items in groupby(order.tolist(), lambda i: int(found.row[i]))
    }
    placed = np.flatnonzero(ids.is_in(list(places)).to_numpy()).tolist()
    for row in sorted({*notable, *placed}, key=by_id.__getitem__):
        chosen = notable.get(row, [])
        text = _text(found, chosen[:CLAUSES], columns, sources[codes[row]]) if chosen else ""
        yield Insight(
            document_id=ids[row],
            insight=" ".join(part for part in (text, places.get(ids[row], "")) if part),
            outliers={
                columns[int(found.column[i])]: round(float(found.percentile[i]), 1) for i in chosen
            },
            rank_signal=round(float(total[row] / known[row]) / 100, 4),
        )


def _notable(place: Ranks, percentile: np.ndarray, column: int) -> _Notable:
    above = place.group - place.below  # this value or higher
    limit = NOTABLE_SHARE * place.group
    enough = place.group >= MIN_GROUP
    high = enough & (above <= limit)
    row = np.flatnonzero(high | (enough & (place.at_most <= limit)))
    return _Notable(
        row=row,
        column=np.full(len(row), column),
        value=place.values[row],
        beyond=np.where(high, above, place.at_most)[row],
        group=place.group[row],
        high=high[row],
        percentile=percentile[row],
    )


def _joined(parts: Sequence[_Notable]) -> _Notable:
    return _Notable(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])}
    )


def _text(found: _Notable, chosen: Sequence[int], columns: Sequence[str], source: str) -> str:
    first, *rest = chosen
    kind = "documents" if source == NO_SOURCE else f"{source.replace('_', ' ')} documents"
    group = f"{found.group[first]:,} {kind}"
    high, beyond = bool(found.high[first]), int(found.beyond[first])
    if beyond == 1:
        place = f"the {'highest' if high else 'lowest'} of {group}"
    else:
        share = _floor_percent(1 - beyond / int(found.group[first]))
        place = f"{'higher' if high else 'lower'} than {share} of {group}"
    label = _label(columns[int(found.column[first])])
    text = f"{label[:1].upper()}{label[1:]} {_number(found.value[first])}: {place}"
    for i in rest:
        share = max(1, math.ceil(100 * found.beyond[i] / found.group[i] - 1e-9))
        side = "highest" if found.high[i] else "lowest"
        label = _label(columns[int(found.column[i])])
        text += f"; {label} {_number(found.value[i])} in the {side} {share} %"
    return text + "."


def _label(column: str) -> str:
    return _LABELS.get(column, column.replace("_", " ").strip())


def _floor_percent(share: float) -> str:
    """A percentage never rounded up: `99.9 %` of documents, not `100 %`."""
    percent = math.floor(1000 * share + 1e-9) / 10
    return f"{percent:.1f} %" if percent > 99 else f"{math.floor(percent)} %"


def _number(value: float) -> str:
    if value == math.floor(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if 0.01 <= abs(value) < 1e15 else f"{value:.3g}"
