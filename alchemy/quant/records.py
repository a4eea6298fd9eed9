"""What can be counted: one row per document of a run, with its labels and its numbers.

A label is a short text or a list of them that the source gives a record (status, components, table
of a database row); a number is a metric. `facts.parquet` travels with the index version, so that a
release computes from the records whose text it searches.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from alchemy.quant.table import KEYS, collect
from alchemy.types import Document, project_of

RECORDS = "facts.parquet"
IDENTITY = (*KEYS, "kind", "title")
UNREADABLE = "unreadable"
"""Kind of the rows that stand for what is in quarantine: counted apart, never with the others."""
SAME_AS = "same_as"
"""Of a record that search leaves out: the document that has its text."""
_NUMBER = "_number"
"""After the name of a number that is a label's, too."""
TEXT_OF = pl.coalesce(SAME_AS, "document_id")
"""The document in whose text a record's words stand."""
DATES = ("created_at", "updated_at", "closed_at")
LONGEST_LABEL = 80
"""Characters; longer values are texts."""
MOST_VALUES = 5_000
"""Distinct values up to which a label's values are recognised in questions."""
_BATCH = 5_000
_NOT_LABELS = frozenset(
    {
        *("columns", "parents", "path", "head", "encoding", "front_matter", "links", "issues"),
        *("references", "same_as"),
    }
)
LINKED: Mapping[str, str] = {
    "linked_commits": "commit",
    "linked_pull_requests": "pull request",
}
"""Numbers of an issue: how many records of that kind name its key."""
_ISSUE = "jira:"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_KINDS = {"jira": "issue", "confluence": "page", "documents": "document", "database": "row"}


def kind_of(document: Document) -> str:
    """What people call the record: `issue`, `pull request`, `commit`, `page`, `row` and the like."""
    if document.source == "git_pr":
        return "pull request" if "#" in document.id else "commit"
    return _KINDS.get(document.source, document.source)


def labels_of(document: Document) -> dict[str, list[str]]:
    """Label column → values of a document; no column for one that has none."""
    found = {"project": [project]} if (project := project_of(document.id)) else {}
    extra: dict[str, Any] = {**(document.extra.get("custom") or {}), **document.extra}
    for name, value in extra.items():
        values = value if isinstance(value, list) else ["yes"] if value is True else [value]
        short = [v for v in values if isinstance(v, str) and 0 < len(v) <= LONGEST_LABEL]
        if short and len(short) == len(values) and name not in _NOT_LABELS | {*IDENTITY, *LINKED}:
            found[name] = list(dict.fromkeys(short))
    return found


def write_records(
    corpus: Path, metrics: Path, copies: Path, output: Path, quarantine: Path | None = None
) -> int:
    """Write the records of a run; how many.

    Args:
        corpus: `cleaned_corpus.jsonl`.
        metrics: `metrics.parquet` of the same documents.
        copies: `copies.jsonl`, records that search leaves out since another says the same: they
            count all the same, and `same_as` names the other one.
        quarantine: `quarantine.jsonl`; how many of a source could not be read is said with a result.
    """
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        kept = _scanned(corpus, Path(scratch) / "kept")
        others = _scanned(copies, Path(scratch) / "copies")
        if kept is None:
            schema: dict[str, Any] = dict.fromkeys((*IDENTITY, SAME_AS, "closed_at"), pl.String)
            pl.DataFrame(schema=schema).write_parquet(output)
            return 0
        # of those that stay the metrics are measured with their chunks
        own = [name for name, dtype in kept.collect_schema().items() if dtype.is_numeric()]
        numbers = pl.scan_parquet(metrics).drop("source", "created_at", "updated_at", strict=False)
        labels = set(kept.collect_schema()) - {"document_id", *own}
        numbers = numbers.rename(
            {n: f"{n}{_NUMBER}" for n in labels & set(numbers.collect_schema())}
        )
        joined = kept.drop(own).join(numbers, on="document_id", how="left", maintain_order="left")
        every = [frame for frame in (joined, others, _unreadable(quarantine)) if frame is not None]
        frame = pl.concat(every, how="diagonal_relaxed") if len(every) > 1 else joined
        columns = set(frame.collect_schema())
        title = pl.col("title").str.len_chars().cast(pl.Float64)
        if "untitled" in columns:
            title = pl.when(pl.col("untitled").is_null()).then(title)
        frame = frame.with_columns(_closed_at(columns), title.alias("title_chars"))
        frame = frame.drop("untitled", strict=False)
        frame.sink_parquet(output, compression="zstd", maintain_order=True)
    return int(collect(pl.scan_parquet(output).select(pl.len())).item())


def _unreadable(quarantine: Path | None) -> pl.LazyFrame | None:
    """A row without id for each record that could not be read."""
    if quarantine is None:
        return None
    with quarantine.open(encoding="utf-8") as lines:
        sources = [json.loads(line)["source"] for line in lines]
    schema = {"source": pl.String, "kind": pl.String}
    return pl.LazyFrame({"source": sources, "kind": [UNREADABLE] * len(sources)}, schema=schema)


def _closed_at(columns: set[str]) -> pl.Expr:
    """When an issue was resolved or a pull request merged: its creation and how long that took."""
    spans = [
        (pl.col(name) * microseconds).cast(pl.Int64).cast(pl.Duration("us"))
        for name, microseconds in (("days_open", 86_400e6), ("hours_to_merge", 3_600e6))
        if name in columns
    ]
    made = pl.col("created_at").str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)
    ended = made + pl.coalesce(*spans) if spans else pl.lit(None, pl.Datetime)
    return ended.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("closed_at")


def _scanned(path: Path, scratch: Path) -> pl.LazyFrame | None:
    """The documents of a JSON Lines file as identity, labels and numbers; None for an empty file."""
    scratch.mkdir()
    parts: list[pl.LazyFrame] = []
    with path.open(encoding="utf-8") as lines:
        documents = (Document.from_dict(json.loads(line)) for line in lines)
        while batch := list(itertools.islice(documents, _BATCH)):
            part = scratch / f"{len(parts):06d}.parquet"
            _frame(batch).write_parquet(part)
            parts.append(pl.scan_parquet(part))
    return pl.concat(parts, how="diagonal_relaxed") if parts else None


def _frame(documents: list[Document]) -> pl.DataFrame:
    rows: list[Mapping[str, Any]] = []
    lists: dict[str, None] = {}
    numbers: dict[str, None] = {}
    for document in documents:
        labels = labels_of(document)
        lists.update(dict.fromkeys(labels))
        own = {f"{n}{_NUMBER}" if n in labels else n: v for n, v in document.metrics.items()}
        own = {f"{n}{_NUMBER}" if n in LINKED else n: v for n, v in own.items()}
        numbers.update(dict.fromkeys(own))
        identity = {name: getattr(document, name, None) for name in IDENTITY}
        identity |= {"document_id": document.id, "kind": kind_of(document)}
        rows.append({**own, **labels, **identity, SAME_AS: document.extra.get(SAME_AS)})
    schema: dict[str, Any] = dict.fromkeys((*IDENTITY, SAME_AS), pl.String)
    schema |= {name: pl.List(pl.String) for name in sorted(lists)}
    schema |= {name: pl.Float64 for name in sorted(numbers) if name not in schema}
    return pl.DataFrame(rows, schema=schema)


@dataclass(frozen=True)
class Records:
    """The records that somebody may count, lazily read.

    Attributes:
        path: `facts.parquet`.
        allowed: ids of the documents that exist for this reader, and with them their copies; None
            for all. Not even the names of columns and values of others are seen.
        hidden: ids that do not count although their text is another document's, too.
    """

    path: Path
    allowed: pl.Series | None = None
    hidden: frozenset[str] = frozenset()

    def scan(self) -> pl.LazyFrame:
        """The rows, in order of `document_id`; of issues with what is linked to them."""
        frame = self._rows()
        for counts in self._linked:
            frame = frame.join(counts.lazy(), on="document_id", how="left", maintain_order="left")
            name = counts.columns[1]
            linked = pl.when(pl.col("kind") == "issue").then(pl.col(name).fill_null(0.0))
            frame = frame.with_columns(linked.alias(name))
        return frame

    @cached_property
    def _linked(self) -> list[pl.DataFrame]:
        """Issue → how many of the records that this reader may count name its key, by kind."""
        rows = self._rows()
        if "jira_keys" not in rows.collect_schema():
            return []
        found: list[pl.DataFrame] = []
        for name, kind in LINKED.items():
            keys = rows.filter(pl.col("kind") == kind).select(pl.col("jira_keys").explode())
            counts = collect(
                keys.drop_nulls()
                .group_by((_ISSUE + pl.col("jira_keys")).alias("document_id"))
                .agg(pl.len().cast(pl.Float64).alias(name))
            )
            found += [counts] * (not counts.is_empty())
        return found

    def _rows(self) -> pl.LazyFrame:
        frame = pl.scan_parquet(self.path).filter(pl.col("kind") != UNREADABLE)
        if self.allowed is not None:
            frame = frame.filter(TEXT_OF.is_in(self.allowed.implode()))
        if self.hidden:
            frame = frame.filter(~pl.col("document_id").is_in(sorted(self.hidden)))
        return frame

    @cached_property
    def unreadable(self) -> dict[str, int]:
        """Source → records of it that could not be read."""
        rows = pl.scan_parquet(self.path).filter(pl.col("kind") == UNREADABLE)
        counted = collect(rows.group_by("source").len()).sort("source")
        return {str(source): int(count) for source, count in counted.iter_rows()}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns that have any value."""
        return self._filled([n for n, t in self._schema.items() if isinstance(t, pl.List)])

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numeric columns that have any value."""
        return self._filled([n for n, t in self._schema.items() if t.is_numeric()])

    @cached_property
    def dated(self) -> tuple[str, ...]:
        """Which dates any record has."""
        return self._filled([n for n in DATES if n in self._schema])

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Kind → how many records."""
        counted = collect(self.scan().group_by("kind").len()).sort("kind")
        return {str(kind): int(count) for kind, count in counted.iter_rows()}

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Label column → its distinct values, sorted; not of columns with more than `MOST_VALUES`.

        Dates (`due_date`) are no names and are left out.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name in self.labels:
            distinct = self.scan().select(pl.col(name).explode().drop_nulls().unique())
            values = [str(v) for v in collect(distinct.head(MOST_VALUES + 1))[name]]
            if len(values) <= MOST_VALUES:
                found[name] = tuple(sorted(v for v in values if not _DATE.match(v)))
        return found

    def _filled(self, names: list[str]) -> tuple[str, ...]:
        counts = collect(self.scan().select(pl.col(names).count())).row(0) if names else ()
        return tuple(name for name, count in zip(names, counts, strict=True) if count)

    @cached_property
    def _schema(self) -> dict[str, pl.DataType]:
        return dict(self.scan().collect_schema())
