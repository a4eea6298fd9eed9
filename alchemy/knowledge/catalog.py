"""Chunks, documents, access scopes and insights of one index version, in SQLite; read side.

A chunk's row is the position of its vector and its number in the inverted index.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.access import NO_DATE, Access, Gate, Rows
from alchemy.knowledge.terms import is_commit
from alchemy.knowledge.words import Span, Words
from alchemy.types import NO_LIMITS, Chunk, Filters, Principal

CATALOG_FILE = "catalog.sqlite"
WORDS_FILE = "words.safetensors"
ROWS_FILE = "rows.safetensors"
COLUMNS = (
    "id, document_id, source, title, uri, tenant, acl, text, ordinal, start, "
    '"end", heading_path, page, updated_at, content_hash'
)


class Catalog:
    """Reads a written catalog. The files never change; safe to use from several threads.

    Attributes:
        words: the inverted index.
        rows: the values per chunk.
        newest: when the last update was, seconds since 1970; `NO_DATE` without dates.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / CATALOG_FILE
        self._uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False
        # a dropped SQLite connection is part of a reference cycle: without this its mapping would
        # stay until the next garbage collection
        weakref.finalize(self, _close_all, self._connections).atexit = False
        try:
            groups = self._all(
                "SELECT tenant, name, scopes.id FROM scopes JOIN scope_groups ON scope = scopes.id"
            )
            self._sources: dict[str, int] = dict(self._all("SELECT name, id FROM sources"))
            self._projects: dict[str, int] = dict(self._all("SELECT name, id FROM projects"))
            (count,) = self._all("SELECT coalesce(max(row) + 1, 0) FROM chunks")[0]
        except sqlite3.DatabaseError as error:
            raise AlchemyError(
                ErrorCode.CORRUPT, f"{path} is not a catalog: {error}", "Build the index again."
            ) from error
        self.words = Words.open(directory / WORDS_FILE)
        self.rows = Rows.open(directory / ROWS_FILE)
        sizes = {CATALOG_FILE: count, WORDS_FILE: self.words.count, ROWS_FILE: len(self.rows.scope)}
        if len(set(sizes.values())) > 1:
            self.close()
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"the files in {directory} do not belong together; chunks in each: {sizes}",
                "Build the index again.",
            )
        scopes: dict[tuple[str, str], set[int]] = {}
        for tenant, group, scope in groups:
            scopes.setdefault((tenant, group), set()).add(scope)
        self.newest = int(self.rows.updated.max(initial=NO_DATE))
        self._gate = Gate(self.rows, scopes, self._sources, self._projects)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the files of an index version; CORRUPT when they are none."""
        return cls(directory)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return self.words.count

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that occur, sorted."""
        return tuple(sorted(self._sources))

    @property
    def source_names(self) -> list[str]:
        """Name of each source number in `rows`."""
        return sorted(self._sources, key=lambda name: self._sources[name])

    def access(self, principal: Principal, filters: Filters = NO_LIMITS) -> Access:
        """Rows this principal may read, within the filters; INPUT_INVALID for a wrong date."""
        return self._gate.access(principal, filters)

    def hide(self, document_ids: Collection[str]) -> None:
        """Let no search find these documents from now on, and those hidden before again."""
        ranges = [self.rows_of(document_id) for document_id in document_ids]
        hidden = [np.arange(r.start, r.stop) for r in ranges]
        self._gate.hide(np.concatenate([np.zeros(0, dtype=np.int64), *hidden]))

    def spans(self, terms: Sequence[str]) -> list[Span]:
        """Where the postings of these terms lie, for those that occur."""
        found = self._all(
            "SELECT term, start, count FROM terms WHERE term IN (SELECT value FROM json_each(?))",
            (json.dumps(terms, ensure_ascii=False),),
        )
        return [Span(*record) for record in found]

    def spans_containing(self, part: str) -> list[Span]:
        """Where the postings of all terms lie that contain this part."""
        found = self._all("SELECT term, start, count FROM terms WHERE instr(term, ?) > 0", (part,))
        return [Span(*record) for record in found]

    def texts(self, rows: Sequence[int]) -> list[tuple[str, str, str]]:
        """Document id, title and text of the chunks at these rows, in order."""
        return self._all(
            """SELECT document_id, title, text FROM chunks
               WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row""",
            (json.dumps(rows),),
        )

    def documents(self, access: Access) -> list[str]:
        """Ids of the documents of which this access covers any chunk."""
        ids = [
            document_id for (document_id,) in self._all("SELECT id FROM documents ORDER BY first")
        ]
        return [ids[number] for number in np.unique(self.rows.document[access.mask])]

    def all_spans(self) -> list[Span]:
        """Where the postings of all terms lie, in order."""
        return [Span(*r) for r in self._all("SELECT term, start, count FROM terms ORDER BY start")]

    def row_of_content(self) -> dict[tuple[str, str], int]:
        """(Chunk id, content hash) → row, of every chunk."""
        found = self._all("SELECT id, content_hash, row FROM chunks")
        return {(chunk_id, content_hash): row for chunk_id, content_hash, row in found}

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
            f"SELECT row, {COLUMNS} FROM chunks WHERE row IN (SELECT value FROM json_each(?))",
            (json.dumps([int(row) for row in rows]),),
        )
        return {record[0]: _chunk(record[1:]) for record in found}

    @cached_property
    def quant(self) -> np.ndarray:
        """The quant signal of each row's document: its mean percentile - 0.5, or 0 without insight.

        float32[count]
        """
        found = self._all(
            """SELECT first, chunks, rank_signal FROM insights
               JOIN documents ON id = document_id WHERE rank_signal IS NOT NULL"""
        )
        signal = np.zeros(self.count, dtype=np.float32)
        for first, chunks, value in found:
            signal[first : first + chunks] = value - 0.5
        return signal

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
    names = [name.strip().strip('"') for name in COLUMNS.split(",")]
    values = dict(zip(names, record, strict=True))
    for name in ("acl", "heading_path"):
        values[name] = tuple(json.loads(values[name]))
    return Chunk(**values)
