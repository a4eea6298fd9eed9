"""Correlations between two blocks of features in one streaming pass over the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from alchemy.quant.columns import Statistics
from alchemy.quant.features import Feature
from alchemy.quant.table import BLOCK_CELLS, row_batches

SLICE_CELLS = BLOCK_CELLS // 8
"""Values per slice of rows; the sums need about six arrays of that size."""


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
    expressions = [f.expression() for f in features]
    for batch in row_batches(frame, expressions, rows, cells=SLICE_CELLS):
        values = batch.to_numpy()
        values = np.subtract(values, mean, out=values if values.flags.writeable else None)
        values /= std
        masks, own = _masks(values)
        whole = masks.min(axis=0) == 1
        for column in np.flatnonzero(~whole[own]):
            values[:, column] = np.nan_to_num(values[:, column])
        x, in_x = values[:, : len(left)], own[: len(left)]
        y, in_y = (x, in_x) if same else (values[:, len(left) :], own[len(left) :])
        squares = values * values
        xx, yy = squares[:, : len(left)], squares[:, -len(right) :]
        sums += (
            (masks.T @ masks)[np.ix_(in_x, in_y)],
            (x.T @ masks)[:, in_y],
            (masks.T @ y)[in_x],
            (xx.T @ masks)[:, in_y],
            (masks.T @ yy)[in_x],
            x.T @ y,
        )
    n, sx, sy, sxx, syy, sxy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_x, variance_y = sxx - sx * sx / n, syy - sy * sy / n
        r = (sxy - sx * sy / n) / np.sqrt(variance_x * variance_y)
    # on the shared rows one of them may hardly vary: then rounding, not data, would decide
    steady = (variance_x <= 1e-9 * n) | (variance_y <= 1e-9 * n) | ~np.isfinite(r)
    return Correlations(np.where(steady, 0.0, np.clip(r, -1.0, 1.0)), n)


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
