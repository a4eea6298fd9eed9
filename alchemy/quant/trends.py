"""What changed since the last released run: the numbers of a source, and those of one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from alchemy.quant.groups import group_places
from alchemy.quant.profile import Profile
from alchemy.quant.records import Records
from alchemy.quant.table import Table, collect

KEPT = 100
"""Runs in a history."""
CLAUSES = 3
TEXT_COLUMNS = frozenset(
    {"chars", "words", "lines", "links", "code_share", "chunks", "headings", "description_chars"}
)
"""Measures of a text: that a text was edited is no news about its numbers."""
STATES = ("status", "priority", "state")
"""Labels whose change is told with the numbers."""


@dataclass(frozen=True)
class Facts:
    """`facts.parquet` of this run, and of the last released one where there is any."""

    now: Path
    before: Path | None

    def told(
        self, table: Table, columns: Sequence[str], rows: int, block_columns: int
    ) -> dict[str, str]:
        """Document id → what to say about its place in its groups and what changed."""
        places = group_places(table.scan(), self.now, columns, rows, block_columns)
        changed = changes(self.now, self.before, columns) if self.before else {}
        return {
            document: " ".join(
                part for part in (places.get(document), changed.get(document)) if part
            )
            for document in {**places, **changed}
        }


def with_run(
    history: Sequence[Mapping[str, Any]], run_id: str, profile: Profile
) -> list[Mapping[str, Any]]:
    """The history with this run's numbers: by source and column how many, mean and median."""
    sources: dict[str, dict[str, Any]] = {
        source: {"rows": rows, "columns": {}} for source, rows in profile.sources.items()
    }
    for name, column in profile.numbers().items():
        for source, numbers in column.by_source.items():
            sources[source]["columns"][name] = {
                "count": numbers.count,
                "mean": numbers.mean,
                "median": numbers.quantiles.get("p50"),
            }
    own = {"run": run_id, "rows": profile.rows, "sources": sources}
    return [*(entry for entry in history if entry["run"] != run_id), own][-KEPT:]


def changes(now: Path, before: Path, columns: Sequence[str]) -> dict[str, str]:
    """Document id → what became of its numbers and states, for records of both runs that changed.

    Args:
        now, before: `facts.parquet` of the two runs.
        columns: numbers worth telling.
    """
    mine, theirs = Records(now), Records(before)
    told: dict[str, list[tuple[float, str]]] = {}
    numbers = [
        n for n in columns if n in mine.numbers and n in theirs.numbers and n not in TEXT_COLUMNS
    ]
    for name in numbers:
        value = pl.col(name)
        for row in _both(mine, theirs, value.cast(pl.Float64)).iter_rows():
            document, old, new = row
            size = abs(new - old) / (abs(old) + 1.0)
            label = name.rpartition(".")[2].replace("_", " ")
            told.setdefault(document, []).append((-size, f"{label} {old:,.6g} → {new:,.6g}"))
    for name in (n for n in STATES if n in mine.labels and n in theirs.labels):
        value = pl.col(name).list.join(", ")
        for document, old, new in _both(mine, theirs, value).iter_rows():
            told.setdefault(document, []).append((float("-inf"), f"{name} {old} → {new}"))
    return {
        document: f"Since the last release: {', '.join(text for _, text in sorted(found)[:CLAUSES])}."
        for document, found in told.items()
    }


def _both(mine: Records, theirs: Records, value: pl.Expr) -> pl.DataFrame:
    old = theirs.scan().select("document_id", value.alias("old"))
    new = mine.scan().select("document_id", value.alias("new"))
    return collect(
        new.join(old, on="document_id")
        .filter(pl.col("old") != pl.col("new"))
        .select("document_id", "old", "new")
        .sort("document_id")
    )
