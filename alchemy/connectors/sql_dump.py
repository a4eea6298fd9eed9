"""SQL dumps (pg_dump, mysqldump, `sqlite3 .dump` and their like) → a scratch SQLite file.

Nothing of a dump is executed. Definitions are parsed by sqlglot, rows by `sql_values`; what defines
neither a table nor a row is skipped, and data that cannot be read is reported with its line.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.compressed import unpack
from alchemy.connectors.database_tables import Column, Table
from alchemy.connectors.fields import SURROGATES, BadRecord
from alchemy.connectors.records import too_large
from alchemy.connectors.sql_definitions import Building, Definitions, quoted, unquoted
from alchemy.connectors.sql_text import Piece, Splitter, decode
from alchemy.connectors.sql_values import TupleReader, copy_row
from alchemy.protocols import Lake

Problem = tuple[int, str]
"""Line and reason."""

_ROWS_AT_ONCE = 1000
_NAME = r"(?:\"(?:[^\"]|\"\")+\"|`[^`]+`|\[[^\]]+\]|[\w$]+)"
_QUALIFIED = rf"(?:{_NAME}\s*\.\s*)*{_NAME}"
_INSERT = re.compile(
    rf"\s*(?:INSERT|REPLACE)\b(?:\s+(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE|OR\s+\w+))*"
    rf"(?:\s+INTO)?\s+(?P<table>{_QUALIFIED})\s*(?:\((?P<columns>[^()]*)\))?\s*"
    r"(?:OVERRIDING\s+(?:SYSTEM|USER)\s+VALUE\s*)?(?P<values>VALUES?\b)?",
    re.I,
)
_COPY = re.compile(
    rf"\s*COPY\s+(?P<table>{_QUALIFIED})\s*(?:\((?P<columns>[^()]*)\))?\s*FROM\s+STDIN\s*(?P<options>.*)",
    re.I | re.S,
)
_CHANGES = {"UPDATE", "DELETE", "MERGE", "TRUNCATE", "LOAD"}


@dataclass
class Loaded:
    """The tables a dump defined, filled while it is read."""

    tables: dict[str, Table] = field(default_factory=dict)


def load_dump(
    lake: Lake, key: str, path: Path, settings: Settings, loaded: Loaded
) -> Iterator[Problem]:
    """Write the dump's rows to a new SQLite file at `path`; what could not be used, in order.

    `loaded` is complete once the iterator is exhausted.
    """
    max_record_bytes = settings.cleaning.max_record_bytes
    pieces = lake.stream(key)
    if key.lower().endswith(".gz"):
        pieces = unpack(pieces, "gz", settings.archives.max_ratio)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;")
        broken: list[str] = []
        splitter = Splitter(decode(_whole(pieces, broken)), max_record_bytes)
        loader = _Loader(connection, splitter.dialect, max_record_bytes)
        line = 1
        for piece in splitter.pieces():
            line = piece.line
            yield from loader.read(piece)
        for reason in broken:
            yield line, f"{reason}; the rest was not read"
        loader.finish(loaded)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _whole(pieces: Iterator[bytes], broken: list[str]) -> Iterator[bytes]:
    """The pieces up to where a compressed stream breaks; why goes to `broken`."""
    try:
        yield from pieces
    except BadRecord as error:
        broken.append(str(error))


class _Loader:
    def __init__(self, connection: sqlite3.Connection, dialect: str, max_bytes: int) -> None:
        self._connection = connection
        self._dialect = dialect
        self._max = max_bytes
        self._tuples = TupleReader(dialect)
        self._definitions = Definitions(dialect)
        self._copying: tuple[Building, list[int]] | str = ""

    def read(self, piece: Piece) -> Iterator[Problem]:
        """One statement or one `COPY` row."""
        if piece.row:
            yield from self._copy_row(piece)
            return
        if piece.text is None:
            yield piece.line, too_large(self._max).replace("record", "statement", 1)
            return
        verb, object_, third = [*piece.text[:200].upper().split()[:3], "", "", ""][:3]
        if not piece.complete:
            yield piece.line, "the dump ends inside this statement"
        elif verb in ("INSERT", "REPLACE"):
            yield from self._insert(piece)
        elif verb == "COPY":
            yield from self._copy(piece)
        elif verb == "CREATE" and "TABLE" in (object_, third):
            yield from self._create(piece.text, piece.line)
        elif (verb, object_) == ("ALTER", "TABLE"):
            try:
                self._definitions.alter(piece.text)
            except BadRecord as error:
                yield piece.line, str(error)
        elif (verb, object_, third) == ("CREATE", "UNIQUE", "INDEX"):
            self._definitions.unique_index(piece.text)
        elif (verb, object_) == ("DROP", "TABLE"):
            # what follows defines it anew
            if dropped := self._definitions.drop(piece.text):
                self._connection.execute(f"DROP TABLE {quoted(dropped.name)}")
        elif verb in _CHANGES and not re.match(r"\s*DELETE\s+FROM\s+\"?sqlite_", piece.text, re.I):
            yield piece.line, f"{verb} is not applied: only CREATE TABLE, INSERT and COPY are read"
        else:
            self._definitions.enter(piece.text)

    def _create(self, text: str, line: int) -> Iterator[Problem]:
        try:
            table = self._definitions.create(text)
        except BadRecord as error:
            yield line, str(error)
        else:
            if table is not None:
                yield from self._start(table, line)

    def _start(self, table: Building, line: int) -> Iterator[Problem]:
        columns = ", ".join(f"{quoted(c.name)} {c.type}".rstrip() for c in table.columns)
        try:
            self._connection.execute(f"CREATE TABLE {quoted(table.name)} ({columns})")
        except sqlite3.Error:
            yield line, "the table has no usable columns"
        else:
            self._definitions.add(table)

    def _insert(self, piece: Piece) -> Iterator[Problem]:
        text = piece.text or ""
        match = _INSERT.match(text)
        if match and unquoted(match["table"]).lower().startswith("sqlite_"):
            return  # SQLite's own bookkeeping
        if match is None or not match["values"]:
            yield piece.line, "INSERT without a list of values"
            return
        target = yield from self._target(piece.line, match["table"], match["columns"])
        if target is None:
            return
        table, places = target
        at, line, count = match.end(), piece.line, 0
        for start, values in self._tuples.tuples(text, match.end()):
            line += text.count("\n", at if count else 0, start)
            at, count = start, count + 1
            if values is None:
                yield line, "a value is an expression that is not known here"
            else:
                yield from self._add(table, places, values, line)
        if not count:
            yield piece.line, "INSERT could not be parsed"

    def _copy(self, piece: Piece) -> Iterator[Problem]:
        match = _COPY.match(piece.text or "")
        self._copying = "a row of a COPY that could not be read"
        if match is None:
            if re.search(r"\bFROM\b", piece.text or "", re.I):
                yield piece.line, "COPY from a file, not from the dump"
            return
        if match["options"].strip():
            self._copying = "COPY with options is not read"
            yield piece.line, self._copying
            return
        target = yield from self._target(piece.line, match["table"], match["columns"])
        if target is not None:
            self._copying = target

    def _copy_row(self, piece: Piece) -> Iterator[Problem]:
        if not piece.complete:
            yield piece.line, "COPY ends without its end marker: the dump is cut off"
        elif isinstance(self._copying, str):
            yield piece.line, self._copying
        elif piece.text is None:
            yield piece.line, too_large(self._max)
        else:
            yield from self._add(*self._copying, copy_row(piece.text), piece.line)

    def _target(
        self, line: int, name: str, columns: str | None
    ) -> Iterator[Problem] | Any:  # a generator whose result is (table, places) or None
        """The table that rows go to, and the place of each value in it."""
        parts = [unquoted(part) for part in re.findall(_NAME, name)]
        qualified = self._definitions.qualified(parts[-2] if len(parts) > 1 else "", parts[-1])
        names = [unquoted(part) for part in re.findall(_NAME, columns or "")]
        table = self._definitions.find(qualified)
        if table is None and names:
            # its definition could not be read (and was reported): the rows still can
            table = Building(qualified, [Column(part) for part in names])
            yield from self._start(table, line)
            table = self._definitions.find(qualified)
        if table is None:
            yield line, "rows of a table that is not defined"
            return None
        places = {column.name.lower(): place for place, column in enumerate(table.columns)}
        if any(part.lower() not in places for part in names):
            yield line, "rows with a column that the table does not have"
            return None
        return table, [places[part.lower()] for part in names] or list(range(len(table.columns)))

    def _add(
        self, table: Building, places: list[int], values: list[Any], line: int
    ) -> Iterator[Problem]:
        if len(values) != len(places):
            yield line, f"row has {len(values)} values for {len(places)} columns"
            return
        row: list[Any] = [None] * len(table.columns)
        for place, value in zip(places, values, strict=True):
            convert = table.convert.get(place)
            row[place] = convert(value) if convert and value is not None else value
        table.pending.append(row)
        if len(table.pending) >= _ROWS_AT_ONCE:
            self._flush(table)

    def _flush(self, table: Building) -> None:
        rows, table.pending = table.pending, []
        insert = f"INSERT INTO {quoted(table.name)} VALUES"
        self._connection.execute("SAVEPOINT rows")
        try:
            self._connection.executemany(f"{insert} ({', '.join('?' * len(table.columns))})", rows)
        except UnicodeEncodeError:
            # text that is not UTF-8 is stored as it is, for its row alone to be quarantined
            self._connection.execute("ROLLBACK TO rows")
            for row in rows:
                raw = [isinstance(v, str) and bool(SURROGATES.search(v)) for v in row]
                marks = ", ".join("CAST(? AS TEXT)" if one else "?" for one in raw)
                stored = [
                    value.encode("utf-8", "surrogateescape") if one else value
                    for value, one in zip(row, raw, strict=True)
                ]
                self._connection.execute(f"{insert} ({marks})", stored)
        self._connection.execute("RELEASE rows")

    def finish(self, loaded: Loaded) -> None:
        """Write what is pending, and the indexes that reading by key and label needs."""
        for table in self._definitions.all():
            self._flush(table)
            loaded.tables[table.name] = table.table()
        wanted = {(table.name, table.key) for table in loaded.tables.values() if table.key}
        for table in loaded.tables.values():
            for reference in table.references:
                other = loaded.tables.get(reference.table)
                if other and set(reference.referred).issubset(other.names) and reference.referred:
                    wanted.add((other.name, reference.referred))
        for number, (name, columns) in enumerate(sorted(wanted)):
            listed = ", ".join(quoted(column) for column in columns)
            self._connection.execute(f'CREATE INDEX "_key{number}" ON {quoted(name)} ({listed})')
