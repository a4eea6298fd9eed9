"""Database tables, one document per row: SQLite files in the lake, read through SQLAlchemy.

The primary key is the record's id; a foreign key is written with the label of the row it names.
Views are skipped: their rows are other tables' rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import SQLAlchemyError

from alchemy.config import Settings
from alchemy.connectors.fields import SURROGATES, BadRecord, clean_line, get_time, normalise
from alchemy.connectors.records import (
    Item,
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    make_document,
    too_large,
)
from alchemy.protocols import Lake
from alchemy.types import Document, Quarantined

PREFIX = "raw/database/"
SUFFIXES = (".sqlite", ".sqlite3", ".db")
_LABELS = ("title", "label", "name", "display_name", "full_name", "subject", "summary", "code")
_CREATED = ("created_at", "created", "created_on", "creation_date", "date_created")
_UPDATED = ("updated_at", "updated", "updated_on", "modified_at", "last_modified", "modified")
_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class _Reference:
    """A foreign key: its columns here, the table and columns it names, that table's label."""

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    numeric: tuple[str, ...]
    key: tuple[str, ...]
    references: tuple[_Reference, ...]

    @property
    def label(self) -> str:
        """The column that names a row for a person, or ''."""
        lowered = {column.lower(): column for column in self.columns}
        return next((lowered[name] for name in _LABELS if name in lowered), "")


def table_names(lake: Lake, key: str) -> list[str]:
    """Tables of a database object; empty when it cannot be opened (reading it says why)."""
    try:
        with _opened(lake, key) as engine:
            return sorted(sa.inspect(engine).get_table_names())
    except BadRecord:
        return []


def read_sqlite(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """The rows of one table, in the order of the primary key."""
    position = f"table {unit.part}" if unit.part else "file"
    try:
        with _opened(lake, unit.key) as engine:
            inspector = sa.inspect(engine)
            if unit.part not in inspector.get_table_names():
                raise BadRecord("no such table" if unit.part else "the database has no tables")
            table = _reflect(inspector, unit.part)
            items = _rows(engine, table, settings.cleaning.max_record_bytes)
            yield from build_documents(
                unit, items, lambda row: _document(unit, settings, table, row)
            )
    except BadRecord as error:
        yield Quarantined(unit.source, unit.key, position, str(error))


READERS: dict[str, Reader] = dict.fromkeys(SUFFIXES, read_sqlite)


@contextmanager
def _opened(lake: Lake, key: str) -> Iterator[Engine]:
    """A read-only engine on a local copy; `BadRecord` for what SQLite refuses."""
    with tempfile.TemporaryDirectory(prefix="alchemy-database-") as scratch:
        path = Path(scratch, "database.sqlite")
        lake.download(key, path)
        engine = sa.create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true")
        event.listen(engine, "connect", _keep_undecodable)
        try:
            yield engine
        except SQLAlchemyError as error:
            kind = type(getattr(error, "orig", None) or error).__name__
            raise BadRecord(f"not readable as a SQLite database ({kind})") from error
        finally:
            engine.dispose()


def _keep_undecodable(connection: Any, _: Any) -> None:
    # one badly encoded value must quarantine its row, not stop the table
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")


def _reflect(inspector: Inspector, name: str) -> _Table:
    columns = inspector.get_columns(name)
    key = inspector.get_pk_constraint(name)["constrained_columns"]
    if not key:
        raise BadRecord("the table has no primary key, so its rows have no stable id")
    tables = set(inspector.get_table_names())
    references = [
        _Reference(
            tuple(found["constrained_columns"]),
            found["referred_table"],
            tuple(found["referred_columns"]),
            _label_of(inspector, found["referred_table"]),
        )
        for found in inspector.get_foreign_keys(name)
        if found["referred_table"] in tables
    ]
    linked = {column for reference in references for column in reference.columns}
    numeric = [
        column["name"]
        for column in columns
        if isinstance(column["type"], sa.Numeric | sa.Float | sa.Integer)
        and column["name"] not in key
        and column["name"] not in linked
    ]
    return _Table(
        name,
        tuple(column["name"] for column in columns),
        tuple(numeric),
        tuple(key),
        tuple(sorted(references, key=lambda reference: reference.columns)),
    )


def _label_of(inspector: Inspector, table: str) -> str:
    columns = tuple(column["name"] for column in inspector.get_columns(table))
    return _Table(table, columns, (), (), ()).label


def _rows(engine: Engine, table: _Table, max_bytes: int) -> Iterator[Item]:
    """Each row as {columns, labels}; one over the limit is measured in the database, not loaded.

    Columns are selected without their declared types: SQLite stores any value in any column, and a
    type's own conversion would fail on the first value that does not fit.
    """
    source = sa.table(table.name, *(sa.column(name) for name in table.columns))
    size = sum(
        (
            sa.func.coalesce(sa.func.length(sa.cast(column, sa.LargeBinary)), 0)
            for column in source.c
        ),
        sa.literal(0),
    )
    keys = [source.c[name] for name in table.key]
    labels = [_label_query(source, reference) for reference in table.references]
    fits = size <= max_bytes
    columns = [sa.case((fits, column)) for column in source.c]
    query = sa.select(fits, *keys, *columns, *labels).order_by(*keys)
    names = [*table.columns, *range(len(labels))]
    with engine.connect() as connection:
        result = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
        for number, row in enumerate(result, 1):
            fitting, rest = row[0], row[1:]
            shown = ",".join(_key_text(part) for part in rest[: len(keys)])
            position = f"table {table.name}, primary key {shown}"
            if any(part is None for part in rest[: len(keys)]):
                yield Item(f"table {table.name}, row {number}", problem="primary key is NULL")
            elif not fitting:
                yield Item(position, problem=too_large(max_bytes))
            else:
                yield Item(position, dict(zip(names, rest[len(keys) :], strict=True)))


def _label_query(source: Any, reference: _Reference) -> Any:
    """The label of the referenced row; NULL when there is no such row or no label column."""
    if not reference.label:
        return sa.null()
    parent = sa.table(
        reference.table,
        *(sa.column(name) for name in dict.fromkeys((*reference.referred, reference.label))),
    ).alias("parent")
    same = [
        parent.c[theirs] == source.c[ours]
        for ours, theirs in zip(reference.columns, reference.referred, strict=True)
    ]
    # LIMIT 1: the referenced columns need not be unique, and a join would double the row
    return sa.select(parent.c[reference.label]).where(*same).limit(1).scalar_subquery()


def _document(unit: RawUnit, settings: Settings, table: _Table, row: Mapping[Any, Any]) -> Document:
    values = {name: row[name] for name in table.columns if row[name] is not None}
    for name, value in values.items():
        if isinstance(value, str) and SURROGATES.search(value):
            raise BadRecord(f"{name} is not valid UTF-8")
    labels = {
        reference.columns[0]: clean_line(str(row[number]))
        for number, reference in enumerate(table.references)
        if isinstance(row[number], str | int) and row[reference.columns[0]] is not None
    }
    key = ",".join(_key_text(values[name]) for name in table.key)
    database = str(PurePosixPath(unit.key.removeprefix(PREFIX)).with_suffix(""))
    return make_document(
        unit,
        settings,
        {name.lower(): value for name, value in values.items()},
        key=f"{database}/{_escaped(table.name)}/{key}",
        title=_title(table, values, labels, key),
        text="\n".join(_line(table, name, value, labels) for name, value in values.items()),
        uri=f"{unit.key}#{_escaped(table.name)}/{key}",
        created_at=_time(values, _CREATED),
        updated_at=_time(values, _UPDATED),
        metrics={f"{table.name}.{name}": _number(row[name]) for name in table.numeric},
        extra={"table": table.name, "columns": list(values)},
    )


def _title(table: _Table, values: Mapping[str, Any], labels: Mapping[str, str], key: str) -> str:
    """`module options: port, HTTP (source.http)`: the table, the row's label, what it belongs to."""
    own = values.get(table.label)
    parts = [clean_line(_shown(own)) if own is not None else key]
    for reference in table.references:
        first = reference.columns[0]
        if first in values:
            named = clean_line(_shown(values[first]))
            parts.append(f"{labels[first]} ({named})" if first in labels else named)
    return f"{_words(table.name)}: {', '.join(parts)}"


def _line(table: _Table, name: str, value: Any, labels: Mapping[str, str]) -> str:
    linked = any(name in reference.columns for reference in table.references)
    shown = _shown(value)
    label = _words(name)
    if linked:
        label = label.removesuffix(" id") or label
        shown = f"{labels[name]} ({shown})" if name in labels else shown
    glue = "\n" if "\n" in shown.strip() else " "
    return f"{label}:{glue}{shown}"


def _words(name: str) -> str:
    return clean_line(name.replace("_", " "))


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"  # binary content has no text
    return normalise(str(value)) if isinstance(value, str) else str(value)


def _key_text(value: Any) -> str:
    """A key part as in an id: what separates parts, and control characters, are escaped."""
    return _escaped(value.hex() if isinstance(value, bytes) else str(value))


def _escaped(text: str) -> str:
    return "".join(
        "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
        if char in "%,/#" or not char.isprintable()
        else char
        for char in text
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _time(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these columns that holds a time; a column of that name may hold anything."""
    lowered = {name.lower(): value for name, value in values.items()}
    for name in names:
        try:
            if (found := get_time(lowered, name)) is not None:
                return found
        except BadRecord:
            continue
    return None
