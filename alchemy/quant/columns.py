"""Figures of one feature's values, from one pass over them: what selection and ranking are based on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.table import collect

BINS = 10
TARGET_CLASSES = 20


@dataclass(frozen=True)
class Statistics:
    """One feature.

    Attributes:
        count: values that are not null; `overflowed` were beyond float64 and count as null.
        common_share: share of the most frequent value among the values.
        digest: equal for two features exactly when their values and nulls are equal.
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
    digest: bytes
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
            codes[present] = _bins(np.sort(numbers[present]), numbers[present])
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


def older_half(frame: pl.LazyFrame) -> tuple[np.ndarray, np.ndarray]:
    """(whether a row is in its source's older half: bool[n], source number of a row: int64[n]).

    By `created_at`, ties and rows without one by document id.
    """
    keys = collect(frame.select("document_id", "source", "created_at")).with_row_index("row")
    ordered = keys.sort(["source", "created_at", "document_id"]).with_columns(
        pl.int_range(pl.len()).over("source").alias("place"), pl.len().over("source").alias("size")
    )
    marked = ordered.select(
        "row",
        (pl.col("place") * 2 < pl.col("size")).alias("older"),
        pl.col("source").rank("dense").cast(pl.Int64).alias("code") - 1,
    ).sort("row")
    return marked["older"].to_numpy(), marked["code"].to_numpy()


def statistics(
    values: np.ndarray, older: np.ndarray, codes: np.ndarray, target: Target | None
) -> Statistics:
    """Figures of one feature: float64[n] with NaN for null."""
    present = np.isfinite(values)
    overflowed = int(np.count_nonzero(np.isinf(values)))
    canonical = np.where(present, values + 0.0, np.nan)  # one null, one zero: equal bytes
    digest = hashlib.blake2b(canonical.tobytes(), digest_size=16).digest()
    count = int(np.count_nonzero(present))
    if count == 0:
        return Statistics(0, overflowed, 0.0, 0.0, 0.0, digest)
    own = values[present]
    order = np.argsort(own, kind="stable")
    ranked = own[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), count - 1)  # last place of each tie
    runs = np.diff(np.append(-1, ends))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(ranked.mean()), float(ranked.std())
    if target is None:
        parts = {
            "coverage": count / int(np.bincount(codes)[np.unique(codes[present])].sum()),
            "spread": _spread(ranked),
            "stability": 1.0 - _halves_distance(older[present][order], ends),
        }
        score = parts["coverage"] * parts["spread"] * parts["stability"]
    else:
        score = _mutual_information(_bins(ranked, own), target.codes[present], target.classes)
        parts = {"mutual_information": score}
    return Statistics(count, overflowed, int(runs.max()) / count, mean, std, digest, score, parts)


def _bins(ranked: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bin of each value among at most `BINS` about equally filled ones, ties never parted."""
    places = np.arange(1, BINS) * len(ranked) // BINS
    return np.searchsorted(np.unique(ranked[places]), values, side="left")


def _spread(ranked: np.ndarray) -> float:
    shares = np.bincount(_bins(ranked, ranked)) / len(ranked)
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)) / np.log(BINS)) + 0.0


def _halves_distance(older: np.ndarray, ends: np.ndarray) -> float:
    """KS distance between older and newer documents; `older` in ascending order of the values."""
    first = int(np.count_nonzero(older))
    second = len(older) - first
    if not first or not second:
        return 0.0
    seen = np.cumsum(older)[ends]
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
