"""Tables, keys and foreign keys that a SQL dump defines, parsed by sqlglot."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from alchemy.connectors.database_tables import EXACT_DECIMAL, Column, ForeignKey, Table, best_key
from alchemy.connectors.fields import BadRecord
from alchemy.connectors.sql_values import bytea, json_array

_SEARCH_PATH = re.compile(r"\s*SET\s+search_path\s*(?:=|TO)\s*(\"[^\"]+\"|\w+)", re.I)
_USE = re.compile(r"\s*USE\s+(\"[^\"]+\"|`[^`]+`|\[[^\]]+\]|[\w$]+)", re.I)
_LOOSE_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[ T]+(\d\d:\d\d.*))?")
_INTEGERS = {
    *("INT", "BIGINT", "SMALLINT", "TINYINT", "MEDIUMINT", "UINT", "USMALLINT", "UTINYINT"),
    *("UMEDIUMINT", "SERIAL", "BIGSERIAL", "SMALLSERIAL", "YEAR"),
}
_BINARY = {"BINARY", "VARBINARY", "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB"}


@dataclass
class Building:
    """A table while its dump is read: constraints may come after the rows."""

    name: str
    columns: list[Column]
    convert: dict[int, Callable[[Any], Any]] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    required: set[str] = field(default_factory=set)
    references: list[ForeignKey] = field(default_factory=list)
    pending: list[list[Any]] = field(default_factory=list)

    def column(self, name: str) -> str:
        """The column's name as defined; unquoted names may be written in any case."""
        folded = {column.name.lower(): column.name for column in self.columns}
        return folded.get(name.lower(), name)

    def table(self) -> Table:
        """What the reader needs to know, once everything is defined."""
        key = self.key or best_key(self.unique, self.required)
        own = {column.name for column in self.columns}
        references = {
            (r.columns, r.table, r.referred): r
            for r in self.references
            if own.issuperset(r.columns)
        }
        return Table(
            self.name,
            tuple(self.columns),
            key if own.issuperset(key) else (),
            tuple(references[name] for name in sorted(references)),
        )


class Definitions:
    """The tables defined so far; names are found in any case, as unquoted SQL writes them."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._tables: dict[str, Building] = {}
        self._default = {"postgres": "public", "sqlite": "main", "mysql": ""}[dialect]
        self._current = self._default
        logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # its warnings quote the statement

    def all(self) -> list[Building]:
        """In the order of their definition."""
        return list(self._tables.values())

    def find(self, name: str) -> Building | None:
        """The table of a name as `qualified` gives it."""
        return self._tables.get(name.lower())

    def add(self, table: Building) -> None:
        """Make it known."""
        self._tables[table.name.lower()] = table

    def qualified(self, schema: str, name: str) -> str:
        """`table`, or `schema.table` outside the dump's default schema."""
        schema = schema or self._current
        return name if schema in ("", self._default) else f"{schema}.{name}"

    def enter(self, text: str) -> None:
        """Follow `USE` and `SET search_path`."""
        if use := _USE.match(text):
            self._current = unquoted(use[1])
            self._default = self._default or self._current
        elif path := _SEARCH_PATH.match(text):
            self._current = unquoted(path[1]) or self._default

    def drop(self, text: str) -> Building | None:
        """The table a `DROP TABLE` removes."""
        parsed = self._parse(text)
        if isinstance(parsed, exp.Drop) and isinstance(parsed.this, exp.Table):
            return self._tables.pop(self._name_of(parsed.this).lower(), None)
        return None

    def create(self, text: str) -> Building | None:
        """The table of a `CREATE TABLE`; None for one that is there already and may be.

        Raises:
            BadRecord: it cannot be used.
        """
        parsed = self._parse(text)
        query = isinstance(parsed, exp.Create) and isinstance(parsed.expression, exp.Query)
        if query or re.search(r"\bPARTITION\s+OF\b", text, re.I):
            raise BadRecord("CREATE TABLE without its columns")
        schema = parsed.this if isinstance(parsed, exp.Create) else None
        if not isinstance(schema, exp.Schema):
            raise BadRecord("CREATE TABLE could not be parsed")
        name = self._name_of(schema.this)
        if self.find(name):
            if parsed is not None and parsed.args.get("exists"):
                return None
            raise BadRecord("a table of this name is already defined")
        table = Building(name, [])
        for part in schema.expressions:
            if isinstance(part, exp.ColumnDef):
                self._column(table, part)
            elif isinstance(part, exp.Identifier | exp.Column):  # SQLite needs no type
                table.columns.append(Column(part.name))
            else:
                self._constraint(table, part)
        return table

    def alter(self, text: str) -> None:
        """Keys and foreign keys that an `ALTER TABLE` adds.

        Raises:
            BadRecord: it may add some and cannot be used.
        """
        parsed = self._parse(text)
        if not isinstance(parsed, exp.Alter):
            # other clauses (owner, partitions, sequences) say nothing about rows and keys
            if re.search(r"\b(?:PRIMARY|FOREIGN)\s+KEY\b|\bADD\s+COLUMN\b", text, re.I):
                raise BadRecord("ALTER TABLE could not be parsed")
            return
        table = self.find(self._name_of(parsed.this))
        for action in parsed.args.get("actions") or ():
            if isinstance(action, exp.ColumnDef):
                raise BadRecord("ALTER TABLE ADD COLUMN is not applied")
            if table is not None and isinstance(action, exp.AddConstraint):
                for part in action.expressions:
                    self._constraint(table, part)

    def unique_index(self, text: str) -> None:
        """A key that a `CREATE UNIQUE INDEX` declares."""
        parsed = self._parse(text)
        index = parsed.this if isinstance(parsed, exp.Create) else None
        if not isinstance(index, exp.Index) or not isinstance(index.args.get("table"), exp.Table):
            return
        table = self.find(self._name_of(index.args["table"]))
        parameters = index.args.get("params")
        if table is None or parameters is None or parameters.args.get("where"):
            return
        parts = [getattr(part, "this", part) for part in parameters.args.get("columns") or ()]
        if parts and all(isinstance(part, exp.Column | exp.Identifier) for part in parts):
            table.unique.append(_columns(table, parts))

    def _parse(self, text: str) -> exp.Expr | None:
        if self._dialect == "sqlite":  # brackets are another way to quote a name there
            text = re.sub(r"\[([^\[\]\"]*)\]", r'"\1"', text)
        try:
            return sqlglot.parse_one(text, dialect=self._dialect)
        except (SqlglotError, RecursionError, ValueError):
            return None  # the parser's message would quote the statement

    def _column(self, table: Building, part: exp.ColumnDef) -> None:
        declared, convert = _declared(part.args.get("kind"), self._dialect)
        name = part.this.name
        if convert:
            table.convert[len(table.columns)] = convert
        table.columns.append(Column(name, declared))
        for constraint in part.args.get("constraints") or ():
            kind = constraint.args.get("kind")
            if isinstance(kind, exp.PrimaryKeyColumnConstraint):
                table.key = (name,)
            elif isinstance(kind, exp.UniqueColumnConstraint):
                table.unique.append((name,))
            elif isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"):
                table.required.add(name)
            elif isinstance(kind, exp.Reference):
                self._reference(table, (name,), kind)

    def _constraint(self, table: Building, part: exp.Expr) -> None:
        if isinstance(part, exp.Constraint):
            for inner in part.expressions:
                self._constraint(table, inner)
        elif isinstance(part, exp.PrimaryKey):
            table.key = _columns(table, part.expressions)
        elif isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
            table.unique.append(_columns(table, part.this.expressions))
        elif isinstance(part, exp.ForeignKey) and isinstance(
            part.args.get("reference"), exp.Reference
        ):
            self._reference(table, _columns(table, part.expressions), part.args["reference"])

    def _reference(self, table: Building, columns: tuple[str, ...], part: exp.Reference) -> None:
        target = part.this
        referred: tuple[str, ...] = ()
        if isinstance(target, exp.Schema):
            referred = tuple(identifier.name for identifier in target.expressions)
            target = target.this
        if isinstance(target, exp.Table):
            table.references.append(ForeignKey(columns, self._name_of(target), referred))

    def _name_of(self, table: exp.Expr) -> str:
        return self.qualified(getattr(table, "db", ""), table.name)


def _columns(table: Building, parts: Iterable[Any]) -> tuple[str, ...]:
    return tuple(table.column(part.name) for part in parts)


def _declared(kind: Any, dialect: str) -> tuple[str, Callable[[Any], Any] | None]:
    """SQLite type of a column, and what turns a dump's value into what that type holds."""
    if not isinstance(kind, exp.DataType):
        return "", None
    name = kind.this.name if isinstance(kind.this, exp.DType) else str(kind.this)
    if name in _INTEGERS or (name == "BIT" and dialect == "mysql"):
        return "INTEGER", _bits if name == "BIT" else None
    if name in ("UBIGINT", "INT128", "INT256"):  # may exceed SQLite's integers
        return EXACT_DECIMAL, None
    if name.startswith(("DECIMAL", "BIGDECIMAL", "UDECIMAL")):
        parameters = [str(part.this) for part in kind.expressions]
        if parameters and parameters[0].isdecimal() and int(parameters[0]) <= 15:
            return f"NUMERIC({', '.join(parameters)})", None
        return EXACT_DECIMAL, None
    if name in ("FLOAT", "DOUBLE", "UDOUBLE"):
        return "REAL", None
    if name == "BOOLEAN":
        return "BOOLEAN", _flag
    if name.startswith(("DATETIME", "TIMESTAMP", "SMALLDATETIME")):
        return "TIMESTAMP", None if dialect == "sqlite" else _timestamp
    if name in ("DATE", "DATE32"):
        return "DATE", None
    if name in ("TIME", "TIMETZ"):
        return "TIME", None
    if name in _BINARY:
        # SQLite keeps text in such a column as text
        return "BLOB", {"postgres": bytea, "mysql": _encoded}.get(dialect)
    if name == "ARRAY":
        element = _declared(kind.expressions[0], dialect)[0] if kind.expressions else "TEXT"
        numeric, boolean = Column("", element).numeric, Column("", element).boolean
        return "TEXT", lambda value: json_array(value, numeric, boolean)
    return "TEXT", None


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        return {"t": 1, "true": 1, "f": 0, "false": 0}.get(value.lower(), value)
    return value


def _timestamp(value: Any) -> Any:
    """As the database would give it back: hand-written dumps say `1962/2/18`."""
    match = _LOOSE_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    year, month, day = (int(part) for part in match.groups()[:3])
    return f"{year:04}-{month:02}-{day:02} {match[4] or '00:00:00'}"


def _bits(value: Any) -> Any:
    if isinstance(value, str) and not value.isdecimal():
        value = value.encode("utf-8", "surrogateescape")
    return int.from_bytes(value, "big") if isinstance(value, bytes) and len(value) < 8 else value


def _encoded(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def quoted(name: str) -> str:
    """A name as SQLite takes it."""
    return '"' + name.replace('"', '""') + '"'


def unquoted(name: str) -> str:
    """A name without its quotes, of any dialect."""
    name = name.strip()
    if name[:1] in '"`[':
        inside = name[1:-1]
        return inside.replace('""', '"') if name[0] == '"' else inside
    return name
