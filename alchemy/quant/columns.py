"""Figures of one feature's values, from one pass over them: what selection and ranking are based on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.table import collect

BINS = 10
TARGET_CLASSES = 20
SAMPLED_ROWS = 1 << 16
"""Rows of a source by which the usefulness of a feature is estimated."""
_FEW = 1000


@dataclass(frozen=True)
class Statistics:
    """One feature.

    Attributes:
        count: values that are not null; `overflowed` were beyond float64 and count as null.
        common_share: share of the value that is the most frequent of the sample's.
        digest: of values and nulls, row by row; equal for two that are equal, and by chance once
            in 2^64.
        score: usefulness, from `parts`.
        parts: `coverage` (values per row of the sources that have the feature), `spread` (entropy
            over decile bins, 1 = evenly spread) and `stability` (1 − KS distance between the older
            and the newer half of the documents); with a target `mutual_information`.
    """

    count: int
    overflowed: int
    common_share: float
    mean: float
    std: float
    digest: int
    score: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What features are ranked against.

    Attributes:
        codes: class of each row, −1 without one: int64[n].
    """

    codes: np.ndarray
    classes: int

    @classmethod
    def of(cls, values: pl.Series) -> Self:
        """Numbers fall into decile classes; text keeps its most frequent values as classes."""
        if values.dtype.is_numeric():
            numbers = values.cast(pl.Float64).to_numpy()
            present = np.isfinite(numbers)
            codes = np.full(len(numbers), -1, dtype=np.int64)
            own = numbers[present]
            codes[present] = np.searchsorted(_cuts(np.sort(own)), own, side="left")
        else:
            sizes = values.drop_nulls().cast(pl.String).value_counts(name="n")
            names = sizes.sort(["n", values.name], descending=[True, False])[values.name]
            own = {name: i for i, name in enumerate(names.head(TARGET_CLASSES))}
            rest = len(own)
            codes = np.array(
                [-1 if v is None else own.get(v, rest) for v in values.cast(pl.String)], np.int64
            )
        found = np.unique(codes[codes >= 0])
        if len(found) < 2:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"target {values.name!r} has fewer than two distinct values",
                "Choose a target that differs between documents.",
            )
        return cls(codes, int(found.max()) + 1)


@dataclass(frozen=True)
class Rows:
    """What the rows of a table are, besides their values.

    Attributes:
        older: whether a row is in its source's older half, by `created_at`, ties and rows without
            one by document id: bool[n].
        codes: number of a row's source: int64[n].
        sample: rows by which usefulness is estimated, ascending: all, or of each source the
            `SAMPLED_ROWS` whose document ids have the least hashes. int64[m]
    """

    older: np.ndarray
    codes: np.ndarray
    sample: np.ndarray

    @cached_property
    def weights(self) -> np.ndarray:
        """An odd number for each row: uint64[n]."""
        return np.random.default_rng(0).integers(0, 1 << 63, len(self.codes), np.uint64) * 2 + 1

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.bincount(self.codes)

    def in_sources_of(self, present: np.ndarray, count: int) -> int:
        """How many rows the sources have that have any of the `count` present ones."""
        if count == len(present):
            return count
        having = np.bincount(self.codes[present], minlength=len(self._sizes)) > 0
        return int(self._sizes[having].sum())

    @classmethod
    def of(cls, frame: pl.LazyFrame) -> Self:
        """Of the columns document_id, source and created_at."""
        names = collect(frame.select(pl.col("source").unique().sort()))["source"]
        code = pl.col("source").cast(pl.Enum(names)).to_physical().alias("code")
        placed = frame.with_row_index("row").sort("source", "created_at", "document_id")
        ordered = collect(placed.select("row", code))
        row, codes = ordered["row"].to_numpy(), ordered["code"].to_numpy().astype(np.int64)
        sizes = np.bincount(codes)
        place = np.arange(len(row)) - (np.cumsum(sizes) - sizes)[codes]
        older, own = np.empty(len(row), bool), np.empty(len(row), np.int64)
        older[row], own[row] = place * 2 < sizes[codes], codes
        hashes = collect(frame.select(pl.col("document_id").hash()))["document_id"].to_numpy()
        return cls(older, own, _drawn(hashes, own))


def _drawn(hashes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Of each source the rows with the least hashes, ascending."""
    found: list[np.ndarray] = []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        if len(rows) > SAMPLED_ROWS:
            rows = rows[np.argpartition(hashes[rows], SAMPLED_ROWS)[:SAMPLED_ROWS]]
        found.append(rows)
    return np.sort(np.concatenate(found))


def statistics(values: np.ndarray, rows: Rows, target: Target | None) -> Statistics:
    """Figures of one feature: float64[n] with NaN for null.

    All of them are exact but `parts`, which of many documents are those of a sample.
    """
    present = np.isfinite(values)
    count = int(np.count_nonzero(present))
    overflowed = int(np.count_nonzero(np.isinf(values))) if count < len(values) else 0
    canonical = values + 0.0  # one zero and one null: equal bits
    if count < len(values):
        canonical[~present] = np.nan
    digest = int((pl.Series(canonical).hash().to_numpy() * rows.weights).sum())
    if count == 0:
        return Statistics(0, overflowed, 0.0, 0.0, 0.0, digest)
    every = canonical if count == len(values) else canonical[present]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(every.mean()), float(every.std())
    sampled = rows.sample[present[rows.sample]]
    if len(sampled) < _FEW:  # a rare feature: all its rows are few
        sampled = np.flatnonzero(present)
    own, older = canonical[sampled], rows.older[sampled]
    keys = np.sort(_keys(own, older))
    ranked = keys >> 1
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of each tie
    runs = np.diff(ends, prepend=-1)
    share = int(runs.max()) / len(ranked)
    if len(ranked) < count:
        common = ranked[ends[np.argmax(runs)]]
        share = np.count_nonzero(_ranks(every) == common) / count
    if target is None:
        parts = {
            "coverage": count / rows.in_sources_of(present, count),
            "spread": _spread(ranked),
            "stability": 1.0 - _halves_distance(keys & 1, ends),
        }
        score = parts["coverage"] * parts["spread"] * parts["stability"]
    else:
        bins = np.searchsorted(_cuts(ranked), _ranks(own), side="left")
        score = _mutual_information(bins, target.codes[sampled], target.classes)
        parts = {"mutual_information": score}
    return Statistics(count, overflowed, share, mean, std, digest, score, parts)


def _ranks(values: np.ndarray) -> np.ndarray:
    """int64[n] in the order of the values; those that differ in their last bit alone are equal."""
    bits = values.view(np.int64)
    ordered = bits ^ ((bits >> 63) & np.iinfo(np.int64).max)  # negative ones descend as numbers
    return ordered >> 1


def _keys(values: np.ndarray, older: np.ndarray) -> np.ndarray:
    """`_ranks` with one bit more, for `older`: sorting them costs less than `argsort`."""
    return (_ranks(values) << 1) | older


def _cuts(ranked: np.ndarray) -> np.ndarray:
    """Upper ends of at most `BINS` about equally filled bins, ties never parted; not of the last."""
    return np.unique(ranked[np.arange(1, BINS) * len(ranked) // BINS])


def _spread(ranked: np.ndarray) -> float:
    ends = np.searchsorted(ranked, _cuts(ranked), side="right")
    shares = np.diff(ends, prepend=0, append=len(ranked)) / len(ranked)
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)) / np.log(BINS)) + 0.0


def _halves_distance(older: np.ndarray, ends: np.ndarray) -> float:
    """KS distance between older and newer documents; `older` in ascending order of the values."""
    seen = np.cumsum(older)
    first = int(seen[-1])
    second = len(older) - first
    if not first or not second:
        return 0.0
    seen = seen[ends]
    return float(np.max(np.abs(seen / first - (ends + 1 - seen) / second)))


def _mutual_information(bins: np.ndarray, classes: np.ndarray, number: int) -> float:
    """Mutual information in nats with the Miller-Madow correction, at least 0."""
    known = classes >= 0
    rows = int(np.count_nonzero(known))
    if rows == 0:
        return 0.0
    width = int(bins.max()) + 1
    cells = np.bincount(bins[known] * number + classes[known], minlength=width * number)
    joint = cells.reshape(width, number) / rows
    a, b = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    information = float(np.sum(joint[filled] * np.log(joint[filled] / (a @ b)[filled])))
    bias = (np.count_nonzero(a) - 1) * (np.count_nonzero(b) - 1) / (2 * rows)
    return max(0.0, information - bias)
