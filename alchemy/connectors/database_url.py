"""A snapshot of any database SQLAlchemy reaches → one SQLite file in the lake.

The file keeps tables, keys, foreign keys and exact values; the SQLite reader does the rest. Equal
content gives an equal file, so an unchanged database starts no new run.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from pydantic import SecretStr, ValidationError
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from alchemy.config import DatabaseSource, Settings
from alchemy.connectors.database_copy import chosen, copy, index_references, write_access
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake

_TAKES_CONNECT_TIMEOUT = {"psycopg", "psycopg2", "pymysql", "mysqldb"}
_SECRET_OPTION = re.compile("pass|pwd|secret|token|key", re.I)


def pull(
    lake: Lake, source: DatabaseSource, settings: Settings, prefix: str = "raw/database"
) -> bool:
    """Snapshot one database into `<prefix>/<name>.sqlite`; whether that changed the lake.

    Raises:
        AlchemyError: INPUT_INVALID for the URL or an unknown table, DEPENDENCY_MISSING without
            the driver, INPUT_UNREADABLE when the database refuses. No text holds the password.
    """
    key = f"{prefix}/{source.name}.sqlite"
    with tempfile.TemporaryDirectory(prefix="alchemy-snapshot-") as scratch:
        path = Path(scratch, "snapshot.sqlite")
        snapshot(source, path, settings.sources.connect_timeout_s)
        if lake.exists(key) and _digest(lake.stream(key)) == _digest(_file(path)):
            return False
        lake.upload(key, path)
        return True


def pull_configured(lake: Lake, settings: Settings) -> dict[str, bool]:
    """Snapshot every database of `sources.databases`; name → whether it changed."""
    return {one.name: pull(lake, one, settings) for one in settings.sources.databases}


def named_source(url: str, tables: Iterable[str] = ()) -> DatabaseSource:
    """A database by its URL alone; its name is the database's, of SQLite the file's."""
    parsed = _parsed(url)
    name = parsed.database or ""
    if parsed.get_backend_name() == "sqlite":
        name = Path(name).stem
    try:
        return DatabaseSource(name=name, url=SecretStr(url), tables=tuple(tables))
    except ValidationError:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            "the database URL names no database",
            "Write it like postgresql+psycopg://user:password@host/database.",
        ) from None


def snapshot(source: DatabaseSource, path: Path, connect_timeout_s: int) -> None:
    """Copy the tables to a new SQLite file at `path`, as of one moment. Errors as of `pull`."""
    with _connected(source.url.get_secret_value(), connect_timeout_s) as connection:
        found = chosen(connection, source)
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            target.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;")
            for one in found:
                copy(connection, one, target)
            index_references(target, found)
            write_access(target, source)
            target.execute("COMMIT")
            target.execute("VACUUM")  # pages in one order, whatever order the rows came in


# --- connecting -----------------------------------------------------------------------------------


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect()
        return parsed
    except NoSuchModuleError:
        what = "names a database that SQLAlchemy does not know"
    except (ArgumentError, ValueError):
        what = "cannot be parsed"
    # without the cause: it may quote the URL with its password
    raise AlchemyError(
        ErrorCode.INPUT_INVALID,
        f"the database URL {what}",
        "Write it like postgresql+psycopg://user:password@host/database.",
    )


@contextmanager
def _connected(url: str, connect_timeout_s: int) -> Iterator[Connection]:
    """One read-only transaction that sees the database as of its beginning."""
    parsed = _parsed(url)
    backend, driver = parsed.get_backend_name(), parsed.get_driver_name()
    arguments: dict[str, Any] = {}
    if driver in _TAKES_CONNECT_TIMEOUT and "connect_timeout" not in parsed.query:
        arguments["connect_timeout"] = connect_timeout_s
    options: dict[str, Any] = {}
    if backend == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    elif backend in ("mysql", "mariadb"):
        options = {"isolation_level": "REPEATABLE READ"}
    try:
        if backend == "sqlite":
            parsed = _read_only(parsed)
        engine = sa.create_engine(parsed, connect_args=arguments, poolclass=sa.NullPool)
        with engine.connect().execution_options(**options) as connection:
            if backend == "sqlite":
                connection.exec_driver_sql("BEGIN")
            elif backend == "postgresql":
                connection.exec_driver_sql(
                    "SET LOCAL datestyle = 'ISO'; SET LOCAL timezone = 'UTC';"
                    "SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'"
                )
            yield connection
    except ImportError as error:
        raise AlchemyError(
            ErrorCode.DEPENDENCY_MISSING,
            f"reading a {backend} database needs the Python module {error.name!r}",
            "Install it in the environment that runs this command.",
        ) from None
    except (SQLAlchemyError, sqlite3.Error) as error:
        # without the cause: a traceback of the driver's error could show the connection string
        raise AlchemyError(
            ErrorCode.INPUT_UNREADABLE,
            f"cannot read the database {_shown(parsed)}: {_reason(error, parsed)}",
            "Check address, user, password and the right to SELECT.",
        ) from None


def _read_only(parsed: URL) -> URL:
    """SQLite would make a new, empty database of a misspelt path, and a lock file beside it."""
    path = parsed.database or ""
    if path.startswith("file:"):
        return parsed
    if not Path(path).is_file():
        raise AlchemyError(ErrorCode.INPUT_UNREADABLE, f"there is no database file {path!r}")
    return parsed.set(
        database=f"file:{quote(str(Path(path).absolute()))}", query={"mode": "ro", "uri": "true"}
    )


def _shown(parsed: URL) -> str:
    """The URL without user, password and options, which may hold secrets too."""
    return str(
        URL.create(parsed.drivername, host=parsed.host, port=parsed.port, database=parsed.database)
    )


def _reason(error: Exception, parsed: URL) -> str:
    """The driver's first line; the password is not in it, however it was written."""
    original = getattr(error, "orig", None) or error
    text = str(original).strip().splitlines()
    reason = text[0] if text else type(original).__name__
    options = (str(v) for name, v in parsed.query.items() if _SECRET_OPTION.search(name))
    for secret in filter(None, (str(parsed.password or ""), *options)):
        for form in (secret, quote(secret), quote_plus(secret)):
            reason = reason.replace(form, "***")
    return f"{type(original).__name__}: {reason}"


def _digest(pieces: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
