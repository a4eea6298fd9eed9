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
from itertools import islice
from typing import NamedTuple

import numpy as np
import polars as pl

from alchemy.quant.scout import source_codes
from alchemy.quant.table import NO_SOURCE, collect, column_blocks
from alchemy.types import Insight

MIN_GROUP = 20
NOTABLE_SHARE = 0.05
CLAUSES = 3
"""Columns named in the text, the rarest first; `outliers` lists all."""

_TOLD_ROWS = 1 << 16
"""Documents whose sentences are made at a time."""
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

    row: np.ndarray  # int32
    column: np.ndarray  # int32
    value: np.ndarray  # float64
    beyond: np.ndarray  # int32: values of the source as extreme as this one or more
    group: np.ndarray  # int32
    high: np.ndarray  # bool
    percentile: np.ndarray  # float32


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
    ids = keys["document_id"]
    by_id = ids.arg_sort().to_numpy()
    position = np.empty(rows, dtype=np.int64)
    position[by_id] = np.arange(rows)
    # documents by id, within one the rarest value first, then the column's name
    names = np.argsort(np.argsort(np.array(columns)))
    order = np.lexsort((names[found.column], found.beyond / found.group, position[found.row]))
    ends = np.cumsum(np.bincount(position[found.row], minlength=rows))
    signal = np.round(total / np.maximum(known, 1) / 100, 4)
    for start in range(0, rows, _TOLD_ROWS):
        those = by_id[start : start + _TOLD_ROWS]
        first = int(ends[start - 1]) if start else 0
        clauses = _clauses(found, order[first : ends[start + len(those) - 1]], columns)
        counts = np.diff(ends[start : start + len(those)], prepend=first).tolist()
        told = zip(
            ids.gather(those).to_list(),
            codes[those].tolist(),
            signal[those].tolist(),
            counts,
            strict=True,
        )
        for identity, code, mean, count in told:
            chosen = list(islice(clauses, count))
            place = places.get(identity, "")
            if chosen or place:
                text = _text(chosen[:CLAUSES], sources[code]) if chosen else ""
                yield Insight(
                    document_id=identity,
                    insight=f"{text} {place}".strip(),
                    outliers={clause.column: round(clause.percentile, 1) for clause in chosen},
                    rank_signal=mean,
                )


def _notable(place: Ranks, percentile: np.ndarray, column: int) -> _Notable:
    above = place.group - place.below  # this value or higher
    limit = NOTABLE_SHARE * place.group
    enough = place.group >= MIN_GROUP
    high = enough & (above <= limit)
    row = np.flatnonzero(high | (enough & (place.at_most <= limit)))
    return _Notable(
        row=row.astype(np.int32),
        column=np.full(len(row), column, np.int32),
        value=place.values[row],
        beyond=np.where(high, above, place.at_most)[row].astype(np.int32),
        group=place.group[row].astype(np.int32),
        high=high[row],
        percentile=percentile[row].astype(np.float32),
    )


def _joined(parts: Sequence[_Notable]) -> _Notable:
    return _Notable(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])}
    )


class _Clause(NamedTuple):
    """One notable value; see `_Notable`."""

    column: str
    value: float
    beyond: int
    group: int
    high: bool
    percentile: float


def _clauses(found: _Notable, order: np.ndarray, columns: Sequence[str]) -> Iterator[_Clause]:
    """The notable values in this order; as Python's own numbers, which are quicker one by one."""
    values = (getattr(found, name)[order].tolist() for name in _Clause._fields)
    names, *others = values
    return map(_Clause, [columns[n] for n in names], *others)


def _text(chosen: Sequence[_Clause], source: str) -> str:
    first, *rest = chosen
    kind = "documents" if source == NO_SOURCE else f"{source.replace('_', ' ')} documents"
    group = f"{first.group:,} {kind}"
    if first.beyond == 1:
        place = f"the {'highest' if first.high else 'lowest'} of {group}"
    else:
        share = _floor_percent(1 - first.beyond / first.group)
        place = f"{'higher' if first.high else 'lower'} than {share} of {group}"
    label = _label(first.column)
    text = f"{label[:1].upper()}{label[1:]} {_number(first.value)}: {place}"
    for clause in rest:
        share = max(1, math.ceil(100 * clause.beyond / clause.group - 1e-9))
        side = "highest" if clause.high else "lowest"
        text += f"; {_label(clause.column)} {_number(clause.value)} in the {side} {share} %"
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
