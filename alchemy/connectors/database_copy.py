"""Tables of another database → the same tables in a SQLite file, value for value."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector

from alchemy.config import DatabaseSource
from alchemy.connectors.database_tables import (
    ACCESS_TABLE,
    EXACT_DECIMAL,
    Column,
    ForeignKey,
    Table,
    best_key,
    declared_types,
    iso_time,
    unique_keys,
)
from alchemy.connectors.database_tables import table_names as sqlite_table_names
from alchemy.errors import AlchemyError, ErrorCode

_ROWS_AT_ONCE = 1000
_SCHEMAS_INSIDE = {"postgresql", "mssql"}
"""Databases whose schemas are parts of one database; elsewhere a schema is another database."""
_SYSTEM_SCHEMAS = ("pg_", "information_schema", "INFORMATION_SCHEMA", "sys", "db_", "guest")
_EXACT_DIGITS = 15  # decimal digits that survive SQLite's floating point


@dataclass(frozen=True)
class Source:
    """A table of the other database, and what it becomes here."""

    schema: str | None
    name: str
    table: Table
    expressions: tuple[Any, ...]
    required: frozenset[str]


def chosen(connection: Connection, source: DatabaseSource) -> list[Source]:
    """The tables to copy, by name."""
    inspector = sa.inspect(connection)
    places = _places(connection, inspector)
    unknown = sorted({*source.tables, *source.exclude} - places.keys())
    if unknown:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"the database {source.name!r} has no table {unknown[0]!r}",
            f"Its tables: {', '.join(sorted(places)[:20])}." if places else "It has no tables.",
        )
    names = [
        n for n in sorted(places) if n in (source.tables or places) and n not in source.exclude
    ]
    if not names:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID, f"the database {source.name!r} has no tables to read"
        )
    return [_reflect(connection, inspector, name, *places[name]) for name in names]


def _places(connection: Connection, inspector: Inspector) -> dict[str, tuple[str | None, str]]:
    """Name here → schema (None is the default one) and name there."""
    backend = connection.dialect.name
    if backend == "sqlite":
        return {name: (None, name) for name in sqlite_table_names(connection)}
    default = inspector.default_schema_name
    schemas: list[str | None] = [None]
    if backend in _SCHEMAS_INSIDE:
        schemas += [
            schema
            for schema in inspector.get_schema_names()
            if schema != default and not schema.startswith(_SYSTEM_SCHEMAS)
        ]
    hidden = set[tuple[str, str]]()
    if backend == "postgresql":  # a partition's rows are its table's rows
        query = sa.text(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = c.relnamespace WHERE c.relispartition"
        )
        hidden = {(schema, name) for schema, name in connection.execute(query)}
    return {
        _here(schema, name): (schema, name)
        for schema in schemas
        for name in inspector.get_table_names(schema)
        if (schema or default, name) not in hidden
    }


def _here(schema: str | None, name: str) -> str:
    return f"{schema}.{name}" if schema else name


def _reflect(
    connection: Connection, inspector: Inspector, here: str, schema: str | None, name: str
) -> Source:
    columns = inspector.get_columns(name, schema)
    declared = dict[str, str]()
    if connection.dialect.name == "sqlite":
        declared = declared_types(connection, name)
    key = tuple(inspector.get_pk_constraint(name, schema)["constrained_columns"] or ())
    required = {*key, *(column["name"] for column in columns if not column["nullable"])}
    default = inspector.default_schema_name
    references = [
        ForeignKey(
            tuple(found["constrained_columns"]),
            _here(
                None if found["referred_schema"] == default else found["referred_schema"],
                found["referred_table"],
            ),
            tuple(found["referred_columns"]),
        )
        for found in inspector.get_foreign_keys(name, schema)
    ]
    return Source(
        schema,
        name,
        Table(
            here,
            tuple(
                Column(c["name"], declared.get(c["name"]) or _declared(c["type"])) for c in columns
            ),
            key or best_key(unique_keys(inspector, name, schema), required),
            tuple(sorted(references, key=lambda one: (one.columns, one.table, one.referred))),
        ),
        tuple(_expression(connection.dialect.name, c["name"], c["type"]) for c in columns),
        frozenset(required),
    )


def _plain(kind: Any) -> Any:
    """The type under a PostgreSQL domain."""
    while (inner := getattr(kind, "data_type", None)) is not None:
        kind = inner
    return kind


def _declared(kind: Any) -> str:
    """The SQLite type that holds the column's values without changing them."""
    kind = _plain(kind)
    match kind:
        case types.Boolean():
            return "BOOLEAN"
        case types.Integer():
            wide = getattr(kind, "unsigned", False) and isinstance(kind, types.BigInteger)
            return EXACT_DECIMAL if wide else "INTEGER"
        case types.Float():
            return "REAL"
        case types.Numeric():
            digits, scale = kind.precision, kind.scale
            if digits is None or digits > _EXACT_DIGITS:
                return EXACT_DECIMAL
            return f"NUMERIC({digits}, {scale or 0})"
        case types.DateTime():
            return "TIMESTAMP"
        case types.Date():
            return "DATE"
        case types.Time():
            return "TIME"
        case types.LargeBinary() | types.BINARY() | types.VARBINARY():
            return "BLOB"
        case _:
            return "TEXT"


def _expression(backend: str, name: str, kind: Any) -> Any:
    """What to select for a column.

    Without its type, since a type's own conversion fails on values that the database allows. What
    Python has no value for (`infinity`, years before 1, ranges) PostgreSQL writes as text itself.
    """
    column = sa.column(name)
    kind = _plain(kind)
    if backend != "postgresql":
        return column
    if isinstance(kind, types.ARRAY):
        return sa.cast(sa.func.to_jsonb(column), sa.Text).label(name)
    kept = types.Boolean | types.Integer | types.Numeric | types.LargeBinary | types.String
    if isinstance(kind, kept) and not isinstance(kind, types.Enum):
        return column
    return sa.cast(column, sa.Text).label(name)


# --- copying --------------------------------------------------------------------------------------


def copy(connection: Connection, source: Source, target: sqlite3.Connection) -> None:
    """Create the table and stream its rows, in the order of its key or else of their content."""
    table = source.table
    name = _quoted(table.name)
    where = name if table.key else "unordered"
    target.execute(
        _definition(source) if table.key else f"CREATE TEMP TABLE unordered ({_columns(table)})"
    )
    rows = sa.select(*source.expressions).select_from(sa.table(source.name, schema=source.schema))
    rows = rows.order_by(*(sa.column(column) for column in table.key))
    options = {"yield_per": _ROWS_AT_ONCE, "stream_results": True}
    result = connection.execute(rows, execution_options=options)
    insert = f"INSERT INTO {where} VALUES ({', '.join('?' * len(table.columns))})"
    temporal = [column.temporal for column in table.columns]
    for batch in result.partitions():
        target.executemany(
            insert,
            ([_value(v, t) for v, t in zip(row, temporal, strict=True)] for row in batch),
        )
    if not table.key:  # no order of the source's holds: by all columns
        order = ", ".join(str(place) for place in range(1, len(table.columns) + 1))
        target.execute(_definition(source))
        target.execute(f"INSERT INTO {name} SELECT * FROM unordered ORDER BY {order}")
        target.execute("DROP TABLE unordered")


def _definition(source: Source) -> str:
    table = source.table
    parts = [_columns(table, source.required)]
    if table.key:
        parts.append(f"PRIMARY KEY ({_listed(table.key)})")
    for reference in table.references:
        parts.append(
            f"FOREIGN KEY ({_listed(reference.columns)}) "
            f"REFERENCES {_quoted(reference.table)}"
            + (f" ({_listed(reference.referred)})" if reference.referred else "")
        )
    return f"CREATE TABLE {_quoted(table.name)} ({', '.join(parts)})"


def _columns(table: Table, required: Iterable[str] = ()) -> str:
    needed = set(required)
    return ", ".join(
        f"{_quoted(c.name)} {c.type}{' NOT NULL' if c.name in needed else ''}"
        for c in table.columns
    )


def index_references(target: sqlite3.Connection, sources: Sequence[Source]) -> None:
    """What foreign keys name is looked up row by row; a key has its index already."""
    tables = {source.table.name: source.table for source in sources}
    wanted = {
        (reference.table, reference.referred)
        for source in sources
        for reference in source.table.references
        if (other := tables.get(reference.table)) and reference.referred not in ((), other.key)
    }
    for number, (name, columns) in enumerate(sorted(wanted)):
        index = _quoted(f"_reference{number}")
        target.execute(f"CREATE INDEX {index} ON {_quoted(name)} ({_listed(columns)})")


def write_access(target: sqlite3.Connection, source: DatabaseSource) -> None:
    """Who may read the rows, in the file itself: it then cannot be separated from them."""
    if source.acl or source.tenant:
        target.execute(f"CREATE TABLE {ACCESS_TABLE} (tenant TEXT, acl TEXT)")
        acl = json.dumps(sorted(source.acl), ensure_ascii=False) if source.acl else None
        target.execute(f"INSERT INTO {ACCESS_TABLE} VALUES (?, ?)", (source.tenant or None, acl))


def _value(value: Any, temporal: bool) -> Any:
    """A value as SQLite keeps it, exactly."""
    match value:
        case None | bytes():
            return value
        case bool():
            return int(value)
        case str():
            return iso_time(value) if temporal else value
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case float():
            if math.isfinite(value):
                return value
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case Decimal():
            return format(value, "f") if value.is_finite() else str(value)
        case datetime() | date() | time():
            return iso_time(value.isoformat())
        case timedelta():
            return _duration(value)
        case bytearray() | memoryview():
            return bytes(value)
        case Mapping() | Sequence() | set() | frozenset():
            plain = sorted(map(str, value)) if isinstance(value, set | frozenset) else value
            return json.dumps(plain, ensure_ascii=False, default=str)
        case _:
            return str(value)


def _duration(value: timedelta) -> str:
    """ISO 8601: `P1DT2H3M4.5S`."""
    sign = "-" if value < timedelta(0) else ""
    value = abs(value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    parts = (("D", value.days),), (("H", hours), ("M", minutes))
    days, clock = ("".join(f"{n}{unit}" for unit, n in part if n) for part in parts)
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    return f"{sign}P{days}{'T' if clock else ''}{clock}" if days or clock else "PT0S"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
