"""Correlations between two blocks of features in one streaming pass over the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from alchemy.quant.columns import Statistics
from alchemy.quant.features import Feature
from alchemy.quant.table import BLOCK_CELLS, row_batches

SLICE_CELLS = BLOCK_CELLS // 4
"""Values per slice of rows; the sums need about three arrays of that size."""
WIDER = 12
"""Features that are correlated at a time, for each column of a block of values: the sums of so many
pairs take about as much memory, and each block is computed anew for each other one."""


@dataclass(frozen=True)
class Correlations:
    """Pearson `r` and shared rows of each pair: float64[p, q]. `r` is 0 where undefined."""

    r: np.ndarray
    rows: np.ndarray


def correlations(
    frame: pl.LazyFrame,
    rows: int,
    left: Sequence[Feature],
    right: Sequence[Feature],
    stats: Mapping[str, Statistics],
) -> Correlations:
    """Correlate each of `left` with each of `right` over the rows where both have a value.

    The sums are taken of standardised values, so that one pass is numerically safe.
    """
    same = left is right
    features = [*left] if same else [*left, *right]
    mean = np.array([stats[f.name].mean for f in features])
    std = np.array([stats[f.name].std or 1.0 for f in features])
    sums = np.zeros((6, len(left), len(right)))
    held = _Products(np.empty(0), [])
    expressions = [f.expression() for f in features]
    for batch in row_batches(frame, expressions, rows, cells=SLICE_CELLS):
        values = batch.to_numpy()
        values = np.subtract(values, mean, out=values if values.flags.writeable else None)
        values /= std
        masks, own = _masks(values)
        whole = masks.min(axis=0) == 1
        for column in np.flatnonzero(~whole[own]):
            values[:, column] = np.nan_to_num(values[:, column])
        x, y = values[:, : len(left)], values[:, -len(right) :]
        squares = values * values
        xx, yy = squares[:, : len(left)], squares[:, -len(right) :]
        products = [masks.T @ masks, x.T @ masks, masks.T @ y, xx.T @ masks, masks.T @ yy, x.T @ y]
        if not held.add(own, products):
            held.into(sums)
            held = _Products(own, products)
    held.into(sums)
    n, sx, sy, sxx, syy, sxy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_x, variance_y = sxx - sx * sx / n, syy - sy * sy / n
        r = (sxy - sx * sy / n) / np.sqrt(variance_x * variance_y)
    # on the shared rows one of them may hardly vary: then rounding, not data, would decide
    steady = (variance_x <= 1e-9 * n) | (variance_y <= 1e-9 * n) | ~np.isfinite(r)
    return Correlations(np.where(steady, 0.0, np.clip(r, -1.0, 1.0)), n)


@dataclass
class _Products:
    """Products over rows, by pattern of missing values where that is enough.

    Attributes:
        own: the pattern of each feature: int64[left + right], or of one side that is both.
        sums: patterns × patterns, left × patterns, patterns × right twice, left × right.
    """

    own: np.ndarray
    sums: list[np.ndarray]

    def add(self, own: np.ndarray, products: Sequence[np.ndarray]) -> bool:
        """Add those of further rows; False when their patterns are others."""
        if not np.array_equal(own, self.own):
            return False
        for held, product in zip(self.sums, products, strict=True):
            held += product
        return True

    def into(self, sums: np.ndarray) -> None:
        """Add them to the sums over shared rows, of each pair of features: float64[6, p, q]."""
        if not self.sums:
            return
        of_x, of_y = self.own[: sums.shape[1]], self.own[-sums.shape[2] :]
        both, x, y, xx, yy, xy = self.sums
        sums[0] += both[np.ix_(of_x, of_y)]
        sums[1] += x[:, of_y]
        sums[2] += y[of_x]
        sums[3] += xx[:, of_y]
        sums[4] += yy[of_x]
        sums[5] += xy


def _masks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which values are there: the different columns of that, and which of them each feature has.

    Features made of the same columns lack the same values, so there are few: sums over shared rows
    then cost little.

    Returns:
        float64[rows, k] of 0 and 1, and int64[features].
    """
    packed = np.packbits(~np.isnan(values), axis=0).T
    numbers: dict[bytes, int] = {}
    own = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in packed])
    _, first = np.unique(own, return_index=True)
    return (~np.isnan(values[:, first])).astype(np.float64), own
