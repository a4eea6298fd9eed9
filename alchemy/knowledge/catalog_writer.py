"""Chunks and insights → catalog, inverted index and row columns of one index version."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.access import Rows, seconds
from alchemy.knowledge.catalog import CATALOG_FILE, COLUMNS, ROWS_FILE, WORDS_FILE, Catalog
from alchemy.knowledge.terms import document_keys, index_terms
from alchemy.knowledge.words import WordsBuilder
from alchemy.types import Chunk, Insight, project_of

_SCHEMA = """
CREATE TABLE scopes (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL);
CREATE TABLE scope_groups (
    scope INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (scope, name)
) WITHOUT ROWID;
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE documents (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, title TEXT NOT NULL, uri TEXT NOT NULL,
    updated_at TEXT, first INTEGER NOT NULL, chunks INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE document_keys (
    key TEXT NOT NULL, document_id TEXT NOT NULL, PRIMARY KEY (key, document_id)
) WITHOUT ROWID;
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document_id TEXT NOT NULL,
    source TEXT NOT NULL, title TEXT NOT NULL, uri TEXT NOT NULL, tenant TEXT NOT NULL,
    acl TEXT NOT NULL, text TEXT NOT NULL, ordinal INTEGER NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL, heading_path TEXT NOT NULL, page INTEGER, updated_at TEXT,
    content_hash TEXT NOT NULL
);
CREATE TABLE insights (
    document_id TEXT PRIMARY KEY, text TEXT NOT NULL, rank_signal REAL
) WITHOUT ROWID;
CREATE TABLE terms (
    term TEXT PRIMARY KEY, start INTEGER NOT NULL, count INTEGER NOT NULL
) WITHOUT ROWID;
"""
_TITLE, _HEADINGS, _BODY, _FORMS = 4, 2, 1, 1
"""Weights of the fields; forms of compounds count once in each chunk."""
_BATCH = 1000


def write_catalog(
    directory: Path,
    chunks: Iterable[Chunk],
    insights: Iterable[Insight],
    previous: Catalog | None = None,
) -> int:
    """Write `catalog.sqlite`, `words.safetensors` and `rows.safetensors`; how many chunks.

    Same input, same bytes, with or without `previous`.

    Args:
        chunks: all chunks of a document next to each other.
        insights: at most one per document, of documents in `chunks` or not.
        previous: an earlier version; the words of chunks it has are taken over from it.

    Raises:
        AlchemyError: CORRUPT when a chunk id occurs twice or a document's chunks are torn apart.
    """
    connection = sqlite3.connect(directory / CATALOG_FILE, isolation_level=None)
    try:
        connection.execute("PRAGMA page_size = 8192")
        # the file is scratch until it is published whole: no journal, no syncs
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        writer = _Writer(connection, previous)
        for chunk in chunks:
            writer.add(chunk)
        writer.finish(directory, insights)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("VACUUM")
        return writer.count
    except sqlite3.IntegrityError as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"this run cannot be indexed: {error}",
            "Chunks must be unique and sorted by document, insights one per document: "
            "run stages 'wash' and 'quant' again.",
        ) from error
    finally:
        connection.close()


class _Names:
    """Numbers names in order of appearance, and keeps them in a table."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self._execute = connection.execute
        self._table = table
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        known = self._numbers.get(name)
        if known is None:
            known = self._numbers[name] = len(self._numbers)
            self._execute(f"INSERT INTO {self._table} VALUES (?, ?)", (known, name))
        return known


class _Writer:
    def __init__(self, connection: sqlite3.Connection, previous: Catalog | None) -> None:
        self._connection = connection
        self._known = previous.row_of_content() if previous else {}
        self._words = WordsBuilder((previous.words, previous.all_spans()) if previous else None)
        self._scopes: dict[tuple[str, tuple[str, ...]], int] = {}
        self._sources = _Names(connection, "sources")
        self._projects = _Names(connection, "projects")
        self._columns = {name: array("q") for name in Rows.__dataclass_fields__}
        self._held: list[tuple[object, ...]] = []
        self._document: Chunk | None = None
        self._documents = 0
        self._first = 0
        self.count = 0

    def add(self, chunk: Chunk) -> None:
        if self._document is None or self._document.document_id != chunk.document_id:
            self._close_document()
            self._document, self._first = chunk, self.count
            self._documents += 1
        self._held.append(
            (
                self.count,
                chunk.id,
                chunk.document_id,
                chunk.source,
                chunk.title,
                chunk.uri,
                chunk.tenant,
                json.dumps(chunk.acl, ensure_ascii=False),
                chunk.text,
                chunk.ordinal,
                chunk.start,
                chunk.end,
                json.dumps(chunk.heading_path, ensure_ascii=False),
                chunk.page,
                chunk.updated_at,
                chunk.content_hash,
            )
        )
        if len(self._held) == _BATCH:
            self._flush()
        values = {
            "scope": self._scope(chunk),
            "source": self._sources.number(chunk.source),
            "project": self._projects.number(project_of(chunk.document_id).lower()),
            "document": self._documents - 1,
            "updated": seconds(chunk.updated_at),
        }
        for name, value in values.items():
            self._columns[name].append(value)
        known = self._known.get((chunk.id, chunk.content_hash))
        if known is None:
            self._words.add(term_weights(chunk))
        else:
            self._words.take(known)
        self.count += 1

    def finish(self, directory: Path, insights: Iterable[Insight]) -> None:
        self._close_document()
        self._flush()
        self._connection.executemany(
            "INSERT INTO insights VALUES (?, ?, ?)",
            ((i.document_id, i.insight, i.rank_signal) for i in insights),
        )
        self._connection.executemany(
            "INSERT INTO terms VALUES (?, ?, ?)",
            ((s.term, s.start, s.count) for s in self._words.write(directory / WORDS_FILE)),
        )
        columns = {name: np.frombuffer(values, np.int64) for name, values in self._columns.items()}
        updated = columns.pop("updated")
        small = {name: values.astype(np.int32) for name, values in columns.items()}
        Rows(**small, updated=updated).write(directory / ROWS_FILE)

    def _flush(self) -> None:
        places = ", ".join("?" * 16)
        self._connection.executemany(
            f"INSERT INTO chunks (row, {COLUMNS}) VALUES ({places})", self._held
        )
        self._held.clear()

    def _close_document(self) -> None:
        chunk = self._document
        if chunk is None:
            return
        self._connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                chunk.document_id,
                chunk.source,
                chunk.title,
                chunk.uri,
                chunk.updated_at,
                self._first,
                self.count - self._first,
            ),
        )
        keys = ((key, chunk.document_id) for key in document_keys(chunk.document_id))
        self._connection.executemany("INSERT INTO document_keys VALUES (?, ?)", keys)

    def _scope(self, chunk: Chunk) -> int:
        scope = (chunk.tenant, tuple(sorted(set(chunk.acl))))
        number = self._scopes.get(scope)
        if number is None:
            number = self._scopes[scope] = len(self._scopes)
            self._connection.execute("INSERT INTO scopes VALUES (?, ?)", (number, chunk.tenant))
            self._connection.executemany(
                "INSERT INTO scope_groups VALUES (?, ?)", ((number, group) for group in scope[1])
            )
        return number


def term_weights(chunk: Chunk) -> dict[str, int]:
    """Term → sum of the weights of the fields it stands in, once per occurrence."""
    headings = " ".join(h for h in chunk.heading_path if h != chunk.title)
    fields = (
        (f"{chunk.title} {chunk.document_id.partition(':')[2]}", _TITLE),
        (headings, _HEADINGS),
        (chunk.text, _BODY),
    )
    weights: dict[str, int] = {}
    every: dict[str, None] = {}
    for text, weight in fields:
        words, forms = index_terms(text)
        for word in words:
            weights[word] = weights.get(word, 0) + weight
        every.update(dict.fromkeys(forms))
    for form in every:
        weights[form] = weights.get(form, 0) + _FORMS
    return weights
