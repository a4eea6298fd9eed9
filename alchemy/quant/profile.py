"""What Scout knows about a table: `profile.json`, the memory that later runs are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import JsonRecord

PROFILE_VERSION = 1
QUANTILES = {
    "p01": 0.01,
    "p05": 0.05,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
}
SKETCH_SHARES = np.linspace(0.0, 1.0, 51)
"""Where the sketch cuts the sorted values: every 2 %."""


@dataclass(frozen=True)
class Numbers(JsonRecord):
    """Exact figures of the values of one column (nulls left out), overall or of one source.

    Attributes:
        rows: rows of the group, nulls included.
        count: values.
        std: population standard deviation; skew and kurtosis (excess) are the biased moments.
            None when undefined (no values, no spread, or beyond float64).
        quantiles: by linear interpolation, as `numpy.quantile`.
        cuts, cumulative: the sketch: values of the column at every 2 % (distinct, ascending) and the
            exact share of values ≤ each, so any later data can be counted against the same cuts.
    """

    rows: int
    count: int
    n_unique: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    skew: float | None
    kurtosis: float | None
    quantiles: dict[str, float]
    cuts: tuple[float, ...]
    cumulative: tuple[float, ...]

    @property
    def null_share(self) -> float:
        """Share of the group's rows without a value."""
        return 1.0 - self.count / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class ColumnProfile(JsonRecord):
    """One column.

    Attributes:
        kind: `number` (float64 in the table) or `text` (anything else; never a feature).
        dtype: type in the input file.
        infinite, nan: values that were made null on reading.
        n_unique: exact for numbers, approximate for text.
        constant: at most one distinct value.
        id_like: a number that only numbers the records.
        by_source: the same figures per source that has values.
    """

    name: str
    kind: str
    dtype: str
    nulls: int
    n_unique: int
    constant: bool
    id_like: bool
    infinite: int = 0
    nan: int = 0
    overall: Numbers | None = None
    by_source: dict[str, Numbers] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        overall = data.get("overall")
        return cls(
            **{
                **data,
                "overall": Numbers.from_dict(overall) if overall else None,
                "by_source": {k: Numbers.from_dict(v) for k, v in data["by_source"].items()},
            }
        )


@dataclass(frozen=True)
class Profile(JsonRecord):
    """A whole table.

    Attributes:
        sources: source → rows.
        duplicate_ids: ids that occur more than once; `duplicate_example` is the first in order.
        null_ids: rows without an id.
        notes: what was changed on reading, in words.
    """

    rows: int
    sources: dict[str, int]
    duplicate_ids: int
    duplicate_example: str | None
    null_ids: int
    notes: tuple[str, ...]
    columns: dict[str, ColumnProfile]
    version: int = PROFILE_VERSION

    def numbers(self) -> dict[str, ColumnProfile]:
        """The numeric columns, in table order."""
        return {name: c for name, c in self.columns.items() if c.kind == "number"}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output; CORRUPT when it is none of this version."""
        try:
            if data["version"] != PROFILE_VERSION:
                raise ValueError(f"profile version {data['version']!r}")
            columns = {k: ColumnProfile.from_dict(v) for k, v in data["columns"].items()}
            return cls(**{**data, "notes": tuple(data["notes"]), "columns": columns})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"a stored quant profile cannot be read: {error!r}",
                "Run the quant stage of the run that wrote it again.",
            ) from error


def describe(values: np.ndarray, rows: int) -> Numbers:
    """Figures of one column's values: float64[n], sorted ascending, finite.

    Computed on the sorted array, so they do not depend on row order or on threads.
    """
    count = len(values)
    if count == 0:
        return Numbers(rows, 0, 0, None, None, None, None, None, None, {}, (), ())
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float64 becomes None below
        mean = values.mean()
        centred = values - mean
        squares = centred * centred  # products: a power costs fifty times as much
        variance = np.mean(squares)
        std = np.sqrt(variance)
        spread = std > 1e-12 * max(1.0, abs(mean))
        skew = np.mean(squares * centred) / std**3 if spread else np.nan
        kurtosis = np.mean(squares * squares) / variance**2 - 3.0 if spread else np.nan
        quantiles = np.quantile(values, list(QUANTILES.values()))
    places = np.maximum(np.ceil(SKETCH_SHARES * count).astype(np.int64) - 1, 0)
    cuts = np.unique(values[places])
    return Numbers(
        rows=rows,
        count=count,
        n_unique=1 + int(np.count_nonzero(np.diff(values))),
        min=float(values[0]),
        max=float(values[-1]),
        mean=_finite(mean),
        std=_finite(std),
        skew=_finite(skew),
        kurtosis=_finite(kurtosis),
        quantiles={k: float(v) for k, v in zip(QUANTILES, quantiles, strict=True)},
        cuts=tuple(cuts.tolist()),
        cumulative=tuple((np.searchsorted(values, cuts, side="right") / count).tolist()),
    )


def _finite(value: float | np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
