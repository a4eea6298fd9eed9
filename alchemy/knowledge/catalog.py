"""Chunks, documents, access scopes, insights and full text of one index version, in SQLite.

A chunk's rowid is the position of its vector. A scope is one (tenant, groups) combination; there
are few, so whether a principal may read a row is a lookup of the row's scope.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.terms import (
    compounds,
    document_keys,
    full_text_query,
    is_commit,
    searchable,
)
from alchemy.types import Chunk, Insight, Principal

_SCHEMA = """
CREATE TABLE scopes (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL);
CREATE TABLE scope_groups (
    scope INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (scope, name)
) WITHOUT ROWID;
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE access (id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, source INTEGER NOT NULL);
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
CREATE VIRTUAL TABLE words USING fts5(
    title, headings, body, compounds,
    content='', tokenize='porter unicode61 remove_diacritics 2'
);
"""
_WEIGHTS = "4.0, 2.0, 1.0, 2.0"
"""bm25 weights of title, headings, body, compounds."""
_COLUMNS = (
    "id, document_id, source, title, uri, tenant, acl, text, ordinal, start, "
    '"end", heading_path, page, updated_at, content_hash'
)
_MASKS_KEPT = 64


def write_catalog(path: Path, chunks: Iterable[Chunk], insights: Iterable[Insight]) -> int:
    """Write the catalog of `chunks` in their order; how many. Same input, same bytes.

    Args:
        path: a new file.
        chunks: all chunks of a document next to each other.
        insights: at most one per document, of documents in `chunks` or not.

    Raises:
        AlchemyError: CORRUPT when a chunk id occurs twice or a document's chunks are torn apart.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA page_size = 8192")
        # the file is scratch until it is published whole: no journal, no syncs
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        writer = _Writer(connection)
        for chunk in chunks:
            writer.add(chunk)
        writer.finish(insights)
        connection.execute("COMMIT")
        connection.execute("INSERT INTO words(words) VALUES ('optimize')")
        connection.execute("ANALYZE")
        connection.execute("VACUUM")
        return writer.rows
    except sqlite3.IntegrityError as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"this run cannot be indexed: {error}",
            "Chunks must be unique and sorted by document, insights one per document: "
            "run stages 'wash' and 'quant' again.",
        ) from error
    finally:
        connection.close()


class _Writer:
    """Numbers scopes and sources in order of appearance while rows go in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._scopes: dict[tuple[str, tuple[str, ...]], int] = {}
        self._sources: dict[str, int] = {}
        self._document: Chunk | None = None
        self._first = 0
        self.rows = 0

    def add(self, chunk: Chunk) -> None:
        if self._document is None or self._document.document_id != chunk.document_id:
            self._close_document()
            self._document, self._first = chunk, self.rows
        row = self.rows
        self._execute(
            f"INSERT INTO chunks (row, {_COLUMNS}) VALUES ({', '.join('?' * 16)})",
            (
                row,
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
            ),
        )
        self._execute(
            "INSERT INTO access (id, scope, source) VALUES (?, ?, ?)",
            (row, self._scope(chunk), self._source(chunk.source)),
        )
        headings = " ".join(h for h in chunk.heading_path if h != chunk.title)
        self._execute(
            "INSERT INTO words (rowid, title, headings, body, compounds) VALUES (?, ?, ?, ?, ?)",
            (
                row,
                searchable(f"{chunk.title} {chunk.document_id.partition(':')[2]}"),
                searchable(headings),
                searchable(chunk.text),
                compounds(f"{chunk.document_id}\n{chunk.title}\n{headings}\n{chunk.text}"),
            ),
        )
        self.rows += 1

    def finish(self, insights: Iterable[Insight]) -> None:
        self._close_document()
        for insight in insights:
            self._execute(
                "INSERT INTO insights VALUES (?, ?, ?)",
                (insight.document_id, insight.insight, insight.rank_signal),
            )

    def _close_document(self) -> None:
        chunk = self._document
        if chunk is None:
            return
        self._execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                chunk.document_id,
                chunk.source,
                chunk.title,
                chunk.uri,
                chunk.updated_at,
                self._first,
                self.rows - self._first,
            ),
        )
        for key in document_keys(chunk.document_id):
            self._execute("INSERT INTO document_keys VALUES (?, ?)", (key, chunk.document_id))

    def _scope(self, chunk: Chunk) -> int:
        scope = (chunk.tenant, tuple(sorted(set(chunk.acl))))
        number = self._scopes.get(scope)
        if number is None:
            number = self._scopes[scope] = len(self._scopes)
            self._execute("INSERT INTO scopes VALUES (?, ?)", (number, chunk.tenant))
            for group in scope[1]:
                self._execute("INSERT INTO scope_groups VALUES (?, ?)", (number, group))
        return number

    def _source(self, name: str) -> int:
        number = self._sources.get(name)
        if number is None:
            number = self._sources[name] = len(self._sources)
            self._execute("INSERT INTO sources VALUES (?, ?)", (number, name))
        return number


@dataclass(frozen=True)
class _Hidden:
    """Rows of forgotten documents; `generation` tells the sets of one catalog apart."""

    generation: int
    rows: np.ndarray


class Access:
    """What one principal may see: the scopes and sources, and the same as a mask over rows.

    `hidden` holds the rows that the mask leaves out although scope and source would allow them.
    """

    def __init__(
        self, scopes: list[int], sources: list[int], mask: np.ndarray, hidden: np.ndarray
    ) -> None:
        self.scopes = json.dumps(scopes)
        self.sources = json.dumps(sources)
        self.hidden = json.dumps(hidden.tolist())
        self.mask = mask
        self.rows = int(np.count_nonzero(mask))


class Catalog:
    """Reads a written catalog. The file never changes; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False
        # a dropped SQLite connection is part of a reference cycle: without this its mapping would
        # stay until the next garbage collection
        weakref.finalize(self, _close_all, self._connections).atexit = False
        try:
            rows = self._all("SELECT scope, source FROM access ORDER BY id")
            groups = self._all(
                "SELECT scopes.id, tenant, name FROM scopes JOIN scope_groups ON scope = scopes.id"
            )
            self._sources: dict[str, int] = dict(self._all("SELECT name, id FROM sources"))
        except sqlite3.DatabaseError as error:
            raise AlchemyError(
                ErrorCode.CORRUPT, f"{path} is not a catalog: {error}", "Build the index again."
            ) from error
        self._row_scope = np.array([scope for scope, _ in rows], dtype=np.int32)
        self._row_source = np.array([source for _, source in rows], dtype=np.int32)
        self._scope_of: dict[tuple[str, str], set[int]] = {}
        for scope, tenant, group in groups:
            self._scope_of.setdefault((tenant, group), set()).add(scope)
        self._hidden = _Hidden(0, np.empty(0, np.int64))
        self._accesses: dict[tuple[int, str, frozenset[str], tuple[str, ...]], Access] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open read-only; CORRUPT when it is no catalog."""
        return cls(path)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return len(self._row_scope)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that occur, sorted."""
        return tuple(sorted(self._sources))

    def access(self, principal: Principal, sources: Sequence[str] = ()) -> Access:
        """Rows this principal may read, of these sources (none named: of all); no hidden ones."""
        hidden = self._hidden  # read once: `hide` may replace it meanwhile
        wanted = tuple(sorted(set(sources)))
        key = (hidden.generation, principal.tenant, frozenset(principal.groups), wanted)
        known = self._accesses.get(key)
        if known is None:
            known = self._make_access(hidden, *key[1:])
            if len(self._accesses) >= _MASKS_KEPT:
                self._accesses.clear()
            self._accesses[key] = known
        return known

    def hide(self, document_ids: Collection[str]) -> None:
        """Leave these documents out of every search that starts from now on.

        Replaces what was hidden before; ids that this index does not hold are ignored.
        """
        spans = [self.rows_of(document_id) for document_id in sorted(set(document_ids))]
        rows = np.array([row for span in spans for row in span], np.int64)
        with self._lock:
            self._hidden = _Hidden(self._hidden.generation + 1, rows)
            self._accesses.clear()

    def _make_access(
        self, hidden: _Hidden, tenant: str, groups: frozenset[str], sources: tuple[str, ...]
    ) -> Access:
        scopes = sorted(set().union(*(self._scope_of.get((tenant, g), set()) for g in groups)))
        wanted = sorted(
            self._sources[name] for name in (sources or self._sources) if name in self._sources
        )
        mask = np.isin(self._row_scope, scopes) & np.isin(self._row_source, wanted)
        left_out = hidden.rows[mask[hidden.rows]]
        mask[left_out] = False
        return Access(scopes, wanted, mask, left_out)

    def lexical(self, text: str, access: Access, limit: int) -> list[int]:
        """Rows of the best full-text matches for any user text, best first."""
        expression = full_text_query(text)
        if expression is None or not access.rows:
            return []
        found = self._all(
            f"""SELECT access.id FROM words JOIN access ON access.id = words.rowid
                WHERE words MATCH ? AND scope IN (SELECT value FROM json_each(?))
                AND source IN (SELECT value FROM json_each(?))
                AND access.id NOT IN (SELECT value FROM json_each(?))
                ORDER BY bm25(words, {_WEIGHTS}), access.id LIMIT ?""",
            (expression, access.scopes, access.sources, access.hidden, limit),
        )
        return [row for (row,) in found]

    def documents_named(self, keys: Sequence[str], limit: int) -> list[str]:
        """Ids of documents known under one of these keys, in the keys' order.

        A key that names more than `limit` documents names none: it is not an identifier. Commit
        hashes match when one is the beginning of the other.
        """
        found: dict[str, None] = {}
        for key in keys:
            condition, values = "key = ?", (key,)
            if is_commit(key):
                shorter = json.dumps([key[:length] for length in range(7, len(key))])
                condition = "key >= ? AND key < ? OR key IN (SELECT value FROM json_each(?))"
                values = (key, key + "g", shorter)
            ids = self._all(
                f"SELECT DISTINCT document_id FROM document_keys WHERE {condition} LIMIT ?",
                (*values, limit + 1),
            )
            if len(ids) <= limit:
                found.update(dict.fromkeys(document_id for (document_id,) in ids))
        return list(found)[:limit]

    def rows_of(self, document_id: str) -> range:
        """Rows of a document's chunks; empty for an unknown one."""
        spans = self._all("SELECT first, chunks FROM documents WHERE id = ?", (document_id,))
        return range(spans[0][0], sum(spans[0])) if spans else range(0)

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]:
        """The chunks at these rows."""
        found = self._all(
            f"SELECT row, {_COLUMNS} FROM chunks WHERE row IN (SELECT value FROM json_each(?))",
            (json.dumps([int(row) for row in rows]),),
        )
        return {record[0]: _chunk(record[1:]) for record in found}

    def insights(self, document_ids: Iterable[str]) -> dict[str, tuple[str, float | None]]:
        """Document id → what Quant says about it and its rank signal, for those that have it."""
        found = self._all(
            """SELECT document_id, text, rank_signal FROM insights
               WHERE document_id IN (SELECT value FROM json_each(?))""",
            (json.dumps(sorted(set(document_ids)), ensure_ascii=False),),
        )
        return {document_id: (text, signal) for document_id, text, signal in found}

    def close(self) -> None:
        """Close all connections; the catalog cannot be used afterwards."""
        with self._lock:
            self._closed = True
            _close_all(self._connections)

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._connection().execute(sql, parameters).fetchall()

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            # one per thread, so that searches run beside each other; closed from any thread
            connection = sqlite3.connect(self._uri, uri=True, check_same_thread=False)
            connection.execute("PRAGMA mmap_size = 1073741824")
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        if self._closed:
            raise AlchemyError(ErrorCode.NOT_READY, "this index version has been closed")
        return connection


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()
    connections.clear()


def _chunk(record: Sequence[Any]) -> Chunk:
    names = [name.strip().strip('"') for name in _COLUMNS.split(",")]
    values = dict(zip(names, record, strict=True))
    for name in ("acl", "heading_path"):
        values[name] = tuple(json.loads(values[name]))
    return Chunk(**values)
