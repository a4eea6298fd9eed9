"""What a table looks like, whichever way its rows came: SQLite file, other database, SQL dump.

Rows always lie in a SQLite file. Its declared types say how a value is shown: `BOOLEAN` holds 0
and 1, `DATE`, `TIME`, `DATETIME` and `TIMESTAMP` hold ISO 8601 text, `DECIMAL_TEXT` holds exact
decimals as text (SQLite's own numeric types keep only 15 digits).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector

from alchemy.connectors.fields import clean_line

EXACT_DECIMAL = "DECIMAL_TEXT"
ACCESS_TABLE = "_alchemy_access"
"""Table of one row, `tenant` and `acl` (a JSON list): who may read the rows of this file."""

_PERSON = (("first_name", "last_name"), ("given_name", "family_name"), ("forename", "surname"))
_LABELS = ("title", "label", "name", "display_name", "full_name", "subject", "summary", "code")
_WEAK_LABELS = ("username", "user_name", "login", "email")
_NUMERIC = re.compile(r"INT|NUMERIC|DECIMAL|NUMBER|REAL|FLOA|DOUB", re.I)
_WORD_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TIME = re.compile(
    r"(\d{4,}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(Z|[+-]\d\d(?::?\d\d)?)?"
)


@dataclass(frozen=True)
class Column:
    """A column and its declared SQLite type, in capitals."""

    name: str
    type: str = ""

    @property
    def numeric(self) -> bool:
        """Whether its values are measures when they are numbers."""
        return bool(_NUMERIC.search(self.type))

    @property
    def boolean(self) -> bool:
        """Whether 0 and 1 mean false and true."""
        return self.type.startswith("BOOL")

    @property
    def temporal(self) -> bool:
        """Whether text in it is a date or a time."""
        return self.type.startswith(("DATE", "TIME"))


@dataclass(frozen=True)
class ForeignKey:
    """Columns here, and the table and columns they name."""

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; `key` is its primary key, else a unique key without nulls, else empty."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    references: tuple[ForeignKey, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def linked(self) -> frozenset[str]:
        """Columns that are part of a foreign key."""
        return frozenset(name for reference in self.references for name in reference.columns)

    @property
    def is_link(self) -> bool:
        """Whether a row only says that two or more other rows belong together."""
        return len(self.references) > 1 and self.linked.issuperset(self.names)

    @property
    def measures(self) -> tuple[Column, ...]:
        """Numeric columns that are neither key nor foreign key."""
        apart = {*self.key, *self.linked}
        return tuple(c for c in self.columns if c.numeric and c.name not in apart)

    @property
    def label(self) -> tuple[str, ...]:
        """The columns that name a row for a person, best first: both names, a title, a name."""
        found = {"_".join(words(name).lower().split()): name for name in reversed(self.names)}
        for first, last in _PERSON:  # before `title`, which is a person's position
            if first in found and last in found:
                return found[first], found[last]
        ends = [name for name in found if name.endswith(("_name", "_title"))]
        names = (*_LABELS, *reversed(ends), *_WEAK_LABELS)
        return next(((found[name],) for name in names if name in found), ())


def words(name: str) -> str:
    """`invoice line` of `invoice_line` and of `InvoiceLine`; capitals like `URL` stay."""
    parts = clean_line(_WORD_BORDER.sub(" ", name.replace("_", " "))).split()
    return " ".join(part.lower() if part[1:].islower() else part for part in parts)


def iso_time(text: str) -> str:
    """`2009-01-02T03:04:05Z` of a database's `2009-01-02 04:04:05+01`; other text as it is."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return text
    plain = f"{match[1]}T{match[2]}"
    if not match[3]:
        return plain
    try:
        moment = datetime.fromisoformat(f"{plain}{match[3]}").astimezone(UTC)
    except (ValueError, OverflowError):  # beyond year 9999
        return f"{plain}{match[3]}"
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def best_key(keys: Iterable[Iterable[str]], required: Iterable[str]) -> tuple[str, ...]:
    """The shortest of the unique keys whose columns are all `required` (never null)."""
    never_null = set(required)
    usable = [key for key in map(tuple, keys) if key and never_null.issuperset(key)]
    return min(usable, key=lambda key: (len(key), key), default=())


def declared_types(connection: Connection, name: str) -> dict[str, str]:
    """Column → declared type in capitals, of a table of an open SQLite database."""
    query = sa.text("SELECT name, type FROM pragma_table_xinfo(:name)")
    rows = connection.execute(query, {"name": name})
    types = (
        (column, str(kind or "").upper().removesuffix(" GENERATED ALWAYS")) for column, kind in rows
    )
    return {column: kind if re.fullmatch(r"[\w (),]*", kind) else "" for column, kind in types}


def reflect(connection: Connection, name: str) -> Table:
    """A table of an open SQLite database."""
    inspector = sa.inspect(connection)
    types = declared_types(connection, name)
    columns = inspector.get_columns(name)
    key = tuple(inspector.get_pk_constraint(name)["constrained_columns"] or ())
    tables = set(inspector.get_table_names())
    return Table(
        name,
        tuple(Column(column["name"], types.get(column["name"], "")) for column in columns),
        key
        or best_key(
            unique_keys(inspector, name), (c["name"] for c in columns if not c["nullable"])
        ),
        tuple(
            sorted(
                (
                    ForeignKey(
                        tuple(found["constrained_columns"]),
                        found["referred_table"],
                        tuple(found["referred_columns"]),
                    )
                    for found in inspector.get_foreign_keys(name)
                    if found["referred_table"] in tables
                ),
                key=lambda reference: (reference.columns, reference.table),
            )
        ),
    )


def unique_keys(inspector: Inspector, name: str, schema: str | None = None) -> list[list[str]]:
    """Columns of each unique constraint or index that covers all rows."""
    found: list[Mapping[str, Any]] = [*inspector.get_unique_constraints(name, schema)]
    found += [
        index
        for index in inspector.get_indexes(name, schema)
        # a partial index says nothing about the other rows
        if index["unique"]
        and not any(o.endswith("_where") for o in index.get("dialect_options", {}))
    ]
    keys = [[column for column in one["column_names"]] for one in found]
    return [key for key in keys if key and all(key)]  # None stands for an expression


def table_names(connection: Connection) -> list[str]:
    """Tables that hold data of their own: no views, none of SQLite's or of a full-text index."""
    shadows = connection.execute(
        sa.text("SELECT name FROM pragma_table_list WHERE type = 'shadow'")
    )
    hidden = {ACCESS_TABLE, *(name for (name,) in shadows)}
    return sorted(name for name in sa.inspect(connection).get_table_names() if name not in hidden)
