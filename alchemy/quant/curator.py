"""Curator: removes features that say nothing or nothing new, and ranks the rest.

Works on blocks of columns: never more than one block (values) or one pair of blocks (correlations)
in memory. Features are taken in a fixed order of preference (simpler kind, more values, name), so
which of two equal ones survives does not depend on the order of the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alchemy.config import QuantSettings
from alchemy.quant.columns import Rows, Statistics, Target, statistics
from alchemy.quant.correlation import WIDER, Correlations, correlations
from alchemy.quant.features import KINDS, Feature, Recipes
from alchemy.quant.table import collect, column_blocks, write_rows
from alchemy.stage import Progress, no_progress
from alchemy.types import JsonRecord

MIN_OVERLAP = 10
"""Rows two features must share before their correlation counts."""
MIN_OVERLAP_SHARE = 0.95
"""Share of the weaker feature's values that the stronger one must cover to replace it."""


@dataclass(frozen=True)
class Decision(JsonRecord):
    """What became of one column or feature.

    Attributes:
        action: `kept` or `removed`.
        survivor: the feature that makes a removed one superfluous.
        correlation: with the survivor, over the rows both have.
        score, rank: usefulness of a kept feature; rank 1 is best. Without a target the score is
            coverage × spread × stability, with one the mutual information in nats.
    """

    feature: str
    action: str
    reason: str
    survivor: str | None = None
    correlation: float | None = None
    rank: int | None = None
    score: float | None = None
    parts: dict[str, float] | None = None


@dataclass(frozen=True)
class Curation:
    """Kept features, best first, and one decision per column and feature.

    `overflowed`: feature → values beyond float64, made null.
    """

    kept: tuple[Feature, ...]
    decisions: tuple[Decision, ...]
    overflowed: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The part of `report.json` about selection."""
        return {
            "kept": [f.name for f in self.kept],
            "overflowed": self.overflowed,
            "decisions": [d.to_dict() for d in self.decisions],
        }


def curate(
    base: Path,
    recipes: Recipes,
    rows: int,
    settings: QuantSettings,
    target: pl.Series | None = None,
    progress: Progress = no_progress,
) -> Curation:
    """Select features over the file `write_base` wrote.

    Args:
        target: one value per row of `base`, in its order (numbers, or text as classes).
    """
    frame = pl.scan_parquet(base)
    of_rows = Rows.of(frame)
    measured = Target.of(target) if target is not None else None
    names = [f.name for f in recipes.features]
    by_name = {f.name: f for f in recipes.features}
    stats: dict[str, Statistics] = {}
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:  # numpy works outside the GIL
        for block in column_blocks(names, rows, settings.block_columns):
            data = collect(frame.select(by_name[name].value() for name in block))
            columns = (data[name].to_numpy() for name in block)
            found = threads.map(lambda values: statistics(values, of_rows, measured), columns)
            stats |= zip(block, found, strict=True)
            progress("quant.measured", {"features": len(stats), "of": len(names)})

    decisions = [Decision(c, "removed", reason) for c, reason in recipes.dropped.items()]
    remaining: list[Feature] = []
    seen: dict[int, str] = {}
    for feature in sorted(recipes.features, key=lambda f: _preference(f, stats)):
        figures = stats[feature.name]
        if figures.count == 0:
            decisions.append(Decision(feature.name, "removed", "all values are null"))
        elif figures.common_share >= settings.near_constant_share:
            reason = f"near-constant: {figures.common_share:.2%} of the values are equal"
            decisions.append(Decision(feature.name, "removed", reason))
        elif figures.digest in seen:
            twin = seen[figures.digest]
            reason = f"duplicate: the same values as {twin!r}"
            decisions.append(Decision(feature.name, "removed", reason, twin, 1.0))
        else:
            seen[figures.digest] = feature.name
            remaining.append(feature)
    kept, collinear = _independent(frame, rows, remaining, stats, settings, progress)
    decisions += collinear
    kept.sort(key=lambda f: (-stats[f.name].score, KINDS.index(f.kind), f.name))
    decisions += [
        Decision(
            f.name,
            "kept",
            "mutual information with the target" if measured else "coverage × spread × stability",
            rank=rank,
            score=round(stats[f.name].score, 6),
            parts={k: round(v, 6) for k, v in stats[f.name].parts.items()},
        )
        for rank, f in enumerate(kept, 1)
    ]
    overflowed = {name: s.overflowed for name, s in stats.items() if s.overflowed}
    return Curation(tuple(kept), tuple(decisions), overflowed)


def write_features(base: Path, kept: Sequence[Feature], rows: int, output: Path) -> None:
    """Stream `document_id` and the kept features, best first, into a Parquet file."""
    expressions = ["document_id", *(f.expression() for f in kept)]
    write_rows(pl.scan_parquet(base), expressions, rows, output)


def _preference(feature: Feature, stats: Mapping[str, Statistics]) -> tuple[int, int, str]:
    return (KINDS.index(feature.kind), -stats[feature.name].count, feature.name)


def _independent(
    frame: pl.LazyFrame,
    rows: int,
    features: Sequence[Feature],
    stats: Mapping[str, Statistics],
    settings: QuantSettings,
    progress: Progress,
) -> tuple[list[Feature], list[Decision]]:
    """Walk the features in order of preference and drop each that a kept one already tells."""
    width = WIDER * settings.block_columns
    kept: list[Feature] = []
    decisions: list[Decision] = []
    for start in range(0, len(features), width):
        block = list(features[start : start + width])
        for first in range(0, len(kept), width):
            block = _against(
                frame, rows, block, kept[first : first + width], stats, settings, decisions
            )
        kept += _within(frame, rows, block, stats, settings, decisions)
        progress("quant.compared", {"features": start + width, "of": len(features)})
    return kept, decisions


def _against(
    frame: pl.LazyFrame,
    rows: int,
    block: list[Feature],
    kept: list[Feature],
    stats: Mapping[str, Statistics],
    settings: QuantSettings,
    decisions: list[Decision],
) -> list[Feature]:
    if not block:
        return block
    found = correlations(frame, rows, block, kept, stats)
    told = _told(found, block, stats, settings)
    remaining: list[Feature] = []
    for i, feature in enumerate(block):
        hits = np.flatnonzero(told[i])
        if len(hits):
            j = int(hits[0])
            decisions.append(_collinear(feature, kept[j], float(found.r[i, j])))
        else:
            remaining.append(feature)
    return remaining


def _within(
    frame: pl.LazyFrame,
    rows: int,
    block: list[Feature],
    stats: Mapping[str, Statistics],
    settings: QuantSettings,
    decisions: list[Decision],
) -> list[Feature]:
    if len(block) < 2:
        return block
    found = correlations(frame, rows, block, block, stats)
    told = _told(found, block, stats, settings)
    alive: list[int] = []
    for i, feature in enumerate(block):
        survivor = next((j for j in alive if told[i, j]), None)
        if survivor is None:
            alive.append(i)
        else:
            r = float(found.r[i, survivor])
            decisions.append(_collinear(feature, block[survivor], r))
    return [block[i] for i in alive]


def _told(
    found: Correlations,
    block: Sequence[Feature],
    stats: Mapping[str, Statistics],
    settings: QuantSettings,
) -> np.ndarray:
    """Whether each feature of the block (rows) is told by each of the others: bool[p, q]."""
    counts = np.array([[stats[f.name].count] for f in block])
    enough = (found.rows >= MIN_OVERLAP) & (found.rows >= MIN_OVERLAP_SHARE * counts)
    return enough & (np.abs(found.r) >= settings.max_correlation)


def _collinear(feature: Feature, survivor: Feature, r: float) -> Decision:
    reason = f"collinear with {survivor.name!r} (r = {r:.4f})"
    return Decision(feature.name, "removed", reason, survivor.name, round(r, 6))
