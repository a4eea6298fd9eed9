"""Numbers about a document: its own and those every document has."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from alchemy.markdown import fenced_spans
from alchemy.types import Document

IDENTITY = ("document_id", "source", "created_at", "updated_at")
GENERIC = ("chars", "chunks", "code_share", "lines", "links", "words")

_LINK = re.compile(r"\b(?:https?|ftp)://")
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def document_metrics(document: Document, chunks: int) -> dict[str, float | None]:
    """The document's own metrics and the generic ones, which keep their names to themselves.

    Generic: `chars`, `words` (a Chinese character is a word), `lines`, `code_share` (of the
    characters, in fenced code), `links` (web addresses), `chunks`.
    """
    text = document.text
    code = sum(end - start for start, end in fenced_spans(text))
    generic: dict[str, float | None] = {
        "chars": float(len(text)),
        "words": float(len(_WORD.findall(text))),
        "lines": float(text.count("\n") + 1 if text else 0),
        "code_share": round(code / len(text), 6) if text else 0.0,
        "links": float(len(_LINK.findall(text))),
        "chunks": float(chunks),
    }
    own = {
        f"own_{name}" if name in IDENTITY else name: _number(value)
        for name, value in document.metrics.items()
    }
    return own | generic


def metrics_schema(names: Iterable[str]) -> pa.Schema:
    """Columns of metrics.parquet: identity, then every metric, sorted, nullable."""
    identity = [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("created_at", pa.string()),
        pa.field("updated_at", pa.string()),
    ]
    metrics = [pa.field(name, pa.float64()) for name in sorted({*names, *GENERIC})]
    return pa.schema(identity + metrics)


def aligned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table under a schema with more columns: what it has not is null."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _number(value: float | None) -> float | None:
    """NaN and infinity are no measurements."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return float(value)
