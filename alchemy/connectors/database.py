"""Database tables, one document per row, read from SQLite files through SQLAlchemy.

There is one reading path: snapshots of other databases (`database_url`) and SQL dumps (`sql_dump`)
become SQLite files first. The primary key is the record's id; a foreign key is written with the
label of the row it names. Views are skipped: their rows are other tables' rows.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from alchemy.config import Settings
from alchemy.connectors import database_tables
from alchemy.connectors.database_tables import (
    ACCESS_TABLE,
    Column,
    ForeignKey,
    Table,
    iso_time,
    reflect,
    words,
)
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
from alchemy.connectors.sql_dump import Loaded, load_dump
from alchemy.protocols import Lake
from alchemy.types import Document, Quarantined, text_digest

PREFIX = "raw/database/"
SUFFIXES = (".sqlite", ".sqlite3", ".db")
DUMP_SUFFIXES = (".sql", ".sql.gz")
_CREATED = ("created_at", "created", "created_on", "creation_date", "date_created")
_UPDATED = ("updated_at", "updated", "updated_on", "modified_at", "last_modified", "modified")
_ROWS_AT_ONCE = 500


def table_names(lake: Lake, key: str) -> list[str]:
    """Tables of a database object; empty when it cannot be opened (reading it says why)."""
    try:
        with _downloaded(lake, key) as connection:
            return database_tables.table_names(connection)
    except BadRecord:
        return []


def read_sqlite(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """The rows of one table in the order of its key, of all tables without `unit.part`."""
    position = f"table {unit.part}" if unit.part else "file"
    try:
        with _downloaded(lake, unit.key) as connection:
            names = database_tables.table_names(connection)
            if not names:
                raise BadRecord("the database has no tables")
            if unit.part and unit.part not in names:
                raise BadRecord("no such table")
            access = _access(connection)
            for name in [unit.part] if unit.part else names:
                position = f"table {name}"
                table = reflect(connection, name)
                others = {r.table: reflect(connection, r.table) for r in table.references}
                yield from _table_outcomes(connection, unit, settings, table, others, access)
    except BadRecord as error:
        yield Quarantined(unit.source, unit.key, position, str(error))


def read_dump(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """The rows of all tables of a SQL dump, and the statements that could not be used.

    One unit per dump: its tables are spread over the file, which can only be read from the start.
    """
    position = "file"
    with tempfile.TemporaryDirectory(prefix="alchemy-dump-") as scratch:
        path = Path(scratch, "dump.sqlite")
        loaded = Loaded()
        for line, reason in load_dump(lake, unit.key, path, settings, loaded):
            yield Quarantined(unit.source, unit.key, f"line {line}", reason)
        try:
            with _opened(path) as connection:
                if not loaded.tables:
                    raise BadRecord("the dump defines no tables")
                for name in sorted(loaded.tables):
                    position = f"table {name}"
                    yield from _table_outcomes(
                        connection, unit, settings, loaded.tables[name], loaded.tables, {}
                    )
        except BadRecord as error:
            yield Quarantined(unit.source, unit.key, position, str(error))


READERS: dict[str, Reader] = {
    **dict.fromkeys(SUFFIXES, read_sqlite),
    **dict.fromkeys(DUMP_SUFFIXES, read_dump),
}


@contextmanager
def _downloaded(lake: Lake, key: str) -> Iterator[Connection]:
    with tempfile.TemporaryDirectory(prefix="alchemy-database-") as scratch:
        path = Path(scratch, "database.sqlite")
        lake.download(key, path)
        with _opened(path) as connection:
            yield connection


@contextmanager
def _opened(path: Path) -> Iterator[Connection]:
    """Read-only; `BadRecord` for what SQLite refuses."""
    engine: Engine = sa.create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true")
    event.listen(engine, "connect", _keep_undecodable)
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        kind = type(getattr(error, "orig", None) or error).__name__
        raise BadRecord(f"not readable as a SQLite database ({kind})") from error
    finally:
        engine.dispose()


def _keep_undecodable(connection: Any, _: Any) -> None:
    # one badly encoded value must quarantine its row, not stop the table
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")


def _access(connection: Connection) -> dict[str, Any]:
    """Tenant and groups that the file gives to rows without their own."""
    if ACCESS_TABLE not in sa.inspect(connection).get_table_names():
        return {}
    row = connection.execute(sa.text(f'SELECT tenant, acl FROM "{ACCESS_TABLE}"')).first()
    try:
        tenant, acl = (row[0], json.loads(row[1] or "null")) if row else (None, None)
    except (ValueError, TypeError) as error:
        raise BadRecord(f"{ACCESS_TABLE}.acl is not a JSON list") from error
    return {name: value for name, value in (("tenant", tenant), ("acl", acl)) if value is not None}


def _table_outcomes(
    connection: Connection,
    unit: RawUnit,
    settings: Settings,
    table: Table,
    tables: Mapping[str, Table],
    access: Mapping[str, Any],
) -> Iterator[Outcome]:
    """The rows of one table; `tables` holds those its foreign keys name."""
    items = _rows(connection, table, tables, settings.cleaning.max_record_bytes)
    alike: Counter[str] = Counter()
    return build_documents(
        unit, items, lambda row: _document(unit, settings, table, row, access, alike)
    )


def _rows(
    connection: Connection, table: Table, tables: Mapping[str, Table], max_bytes: int
) -> Iterator[Item]:
    """Each row as {columns, labels}; one over the limit is measured in the database, not loaded.

    Columns are selected without their declared types: SQLite stores any value in any column, and a
    type's own conversion would fail on the first value that does not fit.
    """
    source = sa.table(table.name, *(sa.column(name) for name in table.names))
    size = sum(
        (
            sa.func.coalesce(sa.func.length(sa.cast(column, sa.LargeBinary)), 0)
            for column in source.c
        ),
        sa.literal(0),
    )
    keys = [source.c[name] for name in table.key]
    labels = [_label_query(source, reference, tables) for reference in table.references]
    fits = size <= max_bytes
    columns = [sa.case((fits, column)) for column in source.c]
    query = sa.select(fits, *keys, *columns, *labels).order_by(*keys)
    names = [*table.names, *range(len(labels))]
    result = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    for number, row in enumerate(result, 1):
        fitting, rest = row[0], row[1:]
        shown = ",".join(_key_text(part) for part in rest[: len(keys)])
        nameless = f"table {table.name}, row {number}"
        position = f"table {table.name}, primary key {shown}" if keys else nameless
        if any(part is None for part in rest[: len(keys)]):
            yield Item(nameless, problem="primary key is NULL")
        elif not fitting:
            yield Item(position, problem=too_large(max_bytes))
        else:
            yield Item(position, dict(zip(names, rest[len(keys) :], strict=True)))


def _label_query(source: Any, reference: ForeignKey, tables: Mapping[str, Table]) -> Any:
    """The label of the referenced row; NULL when there is no such row or no label column."""
    other = tables.get(reference.table)
    referred = reference.referred or (other.key if other else ())
    if other is None or not other.label or len(referred) != len(reference.columns):
        return sa.null()
    parent = sa.table(
        other.name, *(sa.column(name) for name in dict.fromkeys((*referred, *other.label)))
    ).alias("parent")
    if not set(referred).issubset(other.names):
        return sa.null()
    same = [
        parent.c[theirs] == source.c[ours]
        for ours, theirs in zip(reference.columns, referred, strict=True)
    ]
    first, *more = (parent.c[name] for name in other.label)
    label = first
    for part in more:
        label = sa.func.coalesce(label, "").op("||")(" ").op("||")(sa.func.coalesce(part, ""))
    # LIMIT 1: the referenced columns need not be unique, and a join would double the row
    return sa.select(label).where(*same).limit(1).scalar_subquery()


def _document(
    unit: RawUnit,
    settings: Settings,
    table: Table,
    row: Mapping[Any, Any],
    access: Mapping[str, Any],
    alike: Counter[str],
) -> Document:
    values = {name: row[name] for name in table.names if row[name] is not None}
    for name, value in values.items():
        if isinstance(value, str) and SURROGATES.search(value):
            raise BadRecord(f"{name} is not valid UTF-8")
    shown = {c.name: _shown(values[c.name], c) for c in table.columns if c.name in values}
    for number, reference in enumerate(table.references):
        label = row[number]
        anchor = _anchor(table, reference)
        if isinstance(label, str | int) and anchor in shown and clean_line(str(label)):
            shown[anchor] = f"{clean_line(str(label))} ({clean_line(_shown(values[anchor]))})"
    key = ",".join(_key_text(values[name]) for name in table.key) or _content_key(values, alike)
    database = _database(unit.key)
    return make_document(
        unit,
        settings,
        {**access, **{name.lower(): value for name, value in values.items()}},
        key=f"{database}/{_escaped(table.name)}/{key}",
        title=_title(table, shown, key),
        text="\n".join(_line(table, name, text) for name, text in shown.items()),
        uri=f"{unit.key}#{_escaped(table.name)}/{key}",
        created_at=_time(values, _CREATED),
        updated_at=_time(values, _UPDATED),
        metrics={f"{table.name}.{c.name}": _number(row[c.name], c) for c in table.measures},
        extra={"table": table.name, "columns": list(values)},
    )


def _database(key: str) -> str:
    """The database's name in ids: the object's path without its suffix."""
    path = key.removeprefix(PREFIX)
    suffix = next((s for s in (*DUMP_SUFFIXES, *SUFFIXES) if path.lower().endswith(s)), "")
    return path[: len(path) - len(suffix)]


def _content_key(values: Mapping[str, Any], alike: Counter[str]) -> str:
    """The id of a row without a key: a hash of what it says, and a number from the second on."""
    content = {name: v.hex() if isinstance(v, bytes) else v for name, v in values.items()}
    digest = f"row-{text_digest(json.dumps(content, sort_keys=True))[:16]}"
    alike[digest] += 1
    return digest if alike[digest] == 1 else f"{digest}.{alike[digest]}"


def _anchor(table: Table, reference: ForeignKey) -> str:
    """The column that carries a reference's label: of several, the last that is only its own."""
    others = [set(r.columns) for r in table.references if r.columns != reference.columns]
    own = [name for name in reference.columns if not any(name in other for other in others)]
    return (own or list(reference.columns))[-1]


def _title(table: Table, shown: Mapping[str, str], key: str) -> str:
    """`module options: port, HTTP (source.http)`: the table, the row's label, what it belongs to."""
    own = " ".join(clean_line(shown[name]) for name in table.label if name in shown)
    parts = [] if table.is_link else [own or key]
    anchors = {_anchor(table, reference) for reference in table.references}
    parts += [clean_line(text) for name, text in shown.items() if name in anchors]
    return f"{words(table.name)}: {', '.join(parts) or key}"


def _line(table: Table, name: str, shown: str) -> str:
    label = words(name)
    if name in table.linked and label.lower().endswith(" id"):
        label = label[:-3]
    glue = "\n" if "\n" in shown.strip() else " "
    return f"{label}:{glue}{shown}"


def _shown(value: Any, column: Column | None = None) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"  # binary content has no text
    if column and column.boolean and value in (0, 1):
        return "true" if value else "false"
    if isinstance(value, str):
        return normalise(iso_time(value) if column and column.temporal else value)
    return str(value)


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


def _number(value: Any, column: Column) -> float | None:
    if isinstance(value, str) and column.type == database_tables.EXACT_DECIMAL:
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


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
