"""Features: per-source robust scaling, log1p, ranks, squares and products, as lazy recipes.

Only the columns of first degree are written (`base_features.parquet`). Squares and products stay
recipes: computing one is cheaper than reading it back, and only the selected ones are ever stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from alchemy.config import QuantSettings
from alchemy.quant.profile import ColumnProfile, Numbers, Profile
from alchemy.quant.table import KEYS, Table, write_rows
from alchemy.types import JsonRecord

KINDS = ("scaled", "log1p", "rank", "square", "product")
"""In order of preference: of two features that say the same, the simpler one survives."""
_STORED = ("scaled", "log1p", "rank")
HEAVY_TAIL = 3.0
"""Excess kurtosis (a Laplace distribution's) from which a column's ranks are a feature, too: below,
they follow the values so closely that they say nothing new."""


@dataclass(frozen=True)
class Feature(JsonRecord):
    """One feature.

    Attributes:
        name: column of the output; `x`, `log1p(x)`, `rank(x)`, `x^2` or `x*y`.
        kind: one of `KINDS`.
        columns: the table columns it is made of.
    """

    name: str
    kind: str
    columns: tuple[str, ...]

    def value(self) -> pl.Expr:
        """The feature over `base_features.parquet`; infinite where it is beyond float64."""
        if self.kind == "square":
            return (pl.col(self.columns[0]) * pl.col(self.columns[0])).alias(self.name)
        if self.kind == "product":
            return (pl.col(self.columns[0]) * pl.col(self.columns[1])).alias(self.name)
        return pl.col(self.name)

    def expression(self) -> pl.Expr:
        """The feature over `base_features.parquet`; null where it is beyond float64."""
        value = self.value()
        return value if self.kind in _STORED else pl.when(value.is_finite()).then(value)


@dataclass(frozen=True)
class Recipes(JsonRecord):
    """`features.json`: all that is needed to compute the features of a table.

    Attributes:
        scaling: column → source → (centre, scale).
        ranking: column → source → (cuts, cumulative) of its sketch: a value's rank is the share of
            the source's values up to it, linear between two cuts. Only heavy-tailed columns.
        dropped: column → why it makes no feature.
        first_degree_only: columns beyond `quant.max_base_columns`: in no square or product.
        products_skipped: pairs of columns that no source has both of.
    """

    scaling: dict[str, dict[str, tuple[float, float]]]
    features: tuple[Feature, ...]
    dropped: dict[str, str] = field(default_factory=dict)
    first_degree_only: tuple[str, ...] = ()
    products_skipped: int = 0
    ranking: dict[str, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = field(
        default_factory=dict
    )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        scaling = {
            column: {source: (pair[0], pair[1]) for source, pair in by_source.items()}
            for column, by_source in data["scaling"].items()
        }
        ranking = {
            column: {source: (tuple(own[0]), tuple(own[1])) for source, own in by_source.items()}
            for column, by_source in data["ranking"].items()
        }
        read = {
            "scaling": scaling,
            "ranking": ranking,
            "features": tuple(Feature.from_dict(f) for f in data["features"]),
            "first_degree_only": tuple(data["first_degree_only"]),
        }
        return cls(**{**data, **read})


def plan(profile: Profile, settings: QuantSettings, exclude: Iterable[str] = ()) -> Recipes:
    """The features of a profiled table.

    Args:
        exclude: columns that must not become features (a target).
    """
    dropped: dict[str, str] = {}
    used: list[ColumnProfile] = []
    excluded = set(exclude)
    for name, column in profile.columns.items():
        reason = "it is the target" if name in excluded else _unusable(column)
        if reason:
            dropped[name] = reason
        else:
            used.append(column)
    names = _Names(c.name for c in used)
    features = [Feature(c.name, "scaled", (c.name,)) for c in used]
    features += [
        Feature(names.new(f"log1p({c.name})"), "log1p", (c.name,)) for c in used if _positive(c)
    ]
    heavy = [c for c in used if _heavy_tailed(c)]
    features += [Feature(names.new(f"rank({c.name})"), "rank", (c.name,)) for c in heavy]
    by_weight = sorted(used, key=lambda c: (-_count(c), -c.n_unique, c.name))
    chosen = {c.name for c in by_weight[: settings.max_base_columns]}
    second = [c for c in used if c.name in chosen]
    features += [Feature(names.new(f"{c.name}^2"), "square", (c.name,)) for c in second]
    skipped = 0
    for a, b in combinations(second, 2):
        if a.by_source.keys().isdisjoint(b.by_source):
            skipped += 1
        else:
            features.append(Feature(names.new(f"{a.name}*{b.name}"), "product", (a.name, b.name)))
    return Recipes(
        scaling={c.name: {s: _scale(n) for s, n in c.by_source.items()} for c in used},
        features=tuple(features),
        dropped=dropped,
        first_degree_only=tuple(c.name for c in used if c.name not in chosen),
        products_skipped=skipped,
        ranking={
            c.name: {s: (n.cuts, n.cumulative) for s, n in c.by_source.items()} for c in heavy
        },
    )


def write_base(table: Table, recipes: Recipes, output: Path) -> None:
    """Stream the key columns and the features of first degree into a Parquet file."""
    base = [f for f in recipes.features if f.kind in _STORED]
    keys = ["document_id", "source", "created_at"]
    expressions = [*keys, *(_base_expression(f, recipes) for f in base)]
    write_rows(table.scan(), expressions, table.rows, output)


def _base_expression(feature: Feature, recipes: Recipes) -> pl.Expr:
    column = pl.col(feature.columns[0])
    if feature.kind == "log1p":
        return column.log1p().alias(feature.name)
    value = pl.lit(None, dtype=pl.Float64)
    if feature.kind == "rank":
        of_source = {
            s: _rank(column, *own) for s, own in recipes.ranking[feature.columns[0]].items()
        }
    else:
        scaling = recipes.scaling[feature.columns[0]].items()
        of_source = {source: (column - centre) / scale for source, (centre, scale) in scaling}
    for source, own in of_source.items():
        value = pl.when(pl.col("source") == source).then(own).otherwise(value)
    return pl.when(value.is_finite()).then(value).alias(feature.name)


def _rank(column: pl.Expr, cuts: tuple[float, ...], cumulative: tuple[float, ...]) -> pl.Expr:
    """Share of the sketched values up to each value; null stays null."""

    def shares(values: pl.Series) -> pl.Series:
        given = values.to_numpy()
        found = np.interp(given, cuts, cumulative)
        return pl.Series(values.name, np.where(np.isnan(given), np.nan, found)).fill_nan(None)

    return column.map_batches(shares, return_dtype=pl.Float64, is_elementwise=True)


def _heavy_tailed(column: ColumnProfile) -> bool:
    """Whether ranks may say something new; where nearly all values are equal they do not."""
    own = column.overall
    if own is None or own.kurtosis is None or own.quantiles["p05"] == own.quantiles["p95"]:
        return False
    return own.kurtosis > HEAVY_TAIL


def _unusable(column: ColumnProfile) -> str | None:
    if column.kind != "number":
        return f"not a number ({column.dtype})"
    if not column.by_source:
        return "all values are null"
    if column.constant:
        return "constant: one distinct value"
    if column.id_like:
        return "id-like: it only numbers the records"
    return None


def _scale(numbers: Numbers) -> tuple[float, float]:
    """Median and interquartile range; where half the values are equal, the next wider spread."""
    q = numbers.quantiles
    for scale in (q["p75"] - q["p25"], q["p95"] - q["p05"], numbers.std or 0.0):
        if scale > 0:
            return q["p50"], scale
    return q["p50"], 1.0


def _positive(column: ColumnProfile) -> bool:
    return column.overall is not None and column.overall.min is not None and column.overall.min >= 0


def _count(column: ColumnProfile) -> int:
    return column.overall.count if column.overall else 0


class _Names:
    """Hands out feature names that no table column has (a table may have a column `a*b`)."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {*KEYS, *taken}

    def new(self, name: str) -> str:
        while name in self._taken:
            name += "'"
        self._taken.add(name)
        return name
