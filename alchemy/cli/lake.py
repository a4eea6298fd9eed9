"""`alchemy lake upload | list | check`."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import Settings, load_settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake

_CHANGES = "raw/git_pr"


def register(commands: Any) -> None:
    """Add the commands of this group."""
    group = commands.add_parser("lake", help="put raw data into the lake, list it, check it")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    parser = add_command(
        actions,
        "upload",
        upload,
        "copy a file, a directory or a database into the lake's raw area",
        "alchemy lake upload exports/jira --to raw/jira",
    )
    parser.add_argument(
        "path",
        help="file, directory (its raw/ layout is kept), git repository (with --to raw/git_pr: a "
        "bundle of all its branches and tags) or SQLAlchemy URL of a database "
        "(postgresql+psycopg://user:password@host/db)",
    )
    parser.add_argument(
        "--to", metavar="KEY", help="lake prefix (default: raw; of a database raw/database)"
    )
    parser.add_argument(
        "--tables", metavar="A,B", help="of a database: only these (schema.table elsewhere)"
    )
    parser = add_command(
        actions, "list", list_keys, "list lake objects", "alchemy lake list raw/jira"
    )
    parser.add_argument("prefix", nargs="?", default="", help="key prefix")
    add_command(
        actions, "check", check, "check that the lake can be read and written", "alchemy lake check"
    )


def upload(arguments: argparse.Namespace, out: Output) -> None:
    """Copy local files, or the tables of a database, into the lake."""
    from alchemy.stores import open_lake

    settings = load_settings(arguments.config)
    lake = open_lake(settings.lake)
    if "://" in arguments.path:
        sent = upload_database(lake, settings, arguments.path, arguments.tables, arguments.to)
    elif arguments.tables:
        raise AlchemyError(ErrorCode.INPUT_INVALID, "--tables needs the URL of a database")
    else:
        sent = upload_tree(lake, Path(arguments.path), (arguments.to or "raw").strip("/"))
    out.result({"uploaded": sent, "lake": lake.uri}, f"{sent} new or changed files in {lake.uri}")


def upload_database(
    lake: Lake, settings: Settings, url: str, tables: str | None, prefix: str | None
) -> int:
    """Snapshot a database into `<prefix>/<its name>.sqlite`; 1 when that is new or different."""
    from alchemy.connectors.database_url import named_source, pull

    chosen = [name.strip() for name in (tables or "").split(",") if name.strip()]
    source = named_source(url, chosen)
    return int(pull(lake, source, settings, (prefix or "raw/database").strip("/")))


def pull_databases(settings: Settings, out: Output) -> None:
    """Snapshot every database of `sources.databases`, before the run is named by its input."""
    if not settings.sources.databases:
        return
    from alchemy.connectors.database_url import pull_configured
    from alchemy.stores import open_lake

    for name, changed in pull_configured(open_lake(settings.lake), settings).items():
        state = "changed" if changed else "unchanged"
        out.line(f"database {name}: {state}", database=name, changed=changed)


def upload_tree(lake: Lake, path: Path, prefix: str) -> int:
    """Upload a file or every file below a directory; how many were new or different.

    A git repository that goes to the changes' folder is sent as one bundle of its history.
    """
    if prefix == _CHANGES or prefix.startswith(f"{_CHANGES}/"):
        from alchemy.connectors.git_repository import is_repository, upload_repository

        if is_repository(path):
            return int(upload_repository(lake, path, prefix))
    if path.is_file():
        files = [(f"{prefix}/{path.name}", path)]
    elif path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file())
        files = [(f"{prefix}/{p.relative_to(path).as_posix()}", p) for p in found]
    else:
        raise AlchemyError(ErrorCode.INPUT_UNREADABLE, f"{path} does not exist")
    sent = 0
    for key, file in files:
        try:
            if lake.exists(key) and _same(lake, key, file):
                continue
            with file.open("rb"):
                lake.upload(key, file)
        except OSError as error:
            raise AlchemyError(
                ErrorCode.INPUT_UNREADABLE,
                f"cannot read {file}: {error.strerror or error}",
                "Mend its permissions, or leave it out.",
            ) from error
        sent += 1
    return sent


def _same(lake: Lake, key: str, file: Path) -> bool:
    stored = hashlib.sha256()
    for piece in lake.stream(key):
        stored.update(piece)
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest() == stored.digest()


def list_keys(arguments: argparse.Namespace, out: Output) -> None:
    """List keys with sizes."""
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    for item in lake.list(arguments.prefix):
        out.line(f"{item.size:>12}  {item.key}", key=item.key, size=item.size)


def check(arguments: argparse.Namespace, out: Output) -> None:
    """Write and remove a marker."""
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    lake.check_writable()
    out.result({"lake": lake.uri, "writable": True}, f"{lake.uri} can be read and written")
