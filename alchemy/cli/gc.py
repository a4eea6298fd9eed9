"""`alchemy gc`: remove what no kept release needs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from alchemy.cli import add_command
from alchemy.cli.output import Output, size_text
from alchemy.config import Settings, load_settings
from alchemy.errors import AlchemyError, ErrorCode

if TYPE_CHECKING:
    from alchemy.protocols import Lake
    from alchemy.types import Release

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ROWS = 4096


def register(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "gc",
        gc,
        "remove index versions, adapters, runs and copies that no kept release needs",
        "alchemy gc --dry-run",
    )
    parser.add_argument(
        "--keep", type=int, default=3, metavar="N", help="newest releases to keep (default: 3)"
    )
    parser.add_argument(
        "--min-age",
        default="1h",
        metavar="TIME",
        help="younger things stay, they may be of a run in progress (default: 1h; 90m, 2d, …)",
    )
    parser.add_argument(
        "--embeddings",
        action="store_true",
        help="also remove vectors of texts that no kept index holds (they cost time to make again)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would go")


def gc(arguments: argparse.Namespace, out: Output) -> None:
    """One line per thing, and the sum."""
    from alchemy.release.garbage import Policy, find_garbage, remove_garbage
    from alchemy.stores import open_lake

    if arguments.keep < 1:
        raise AlchemyError(ErrorCode.INPUT_INVALID, "--keep must be at least 1")
    settings = load_settings(arguments.config)
    lake = open_lake(settings.lake)
    policy = Policy(arguments.keep, seconds_of(arguments.min_age), arguments.embeddings)

    def hashes_of(release: Release) -> Iterator[str]:
        return content_hashes(lake, settings, release)

    garbage = find_garbage(lake, settings.state_dir / "cache", policy, hashes_of)
    going = garbage if arguments.dry_run else remove_garbage(lake, garbage, policy)
    verb = "would remove" if arguments.dry_run else "removed"
    pieces = objects = size = 0
    for item in going:
        pieces, objects, size = pieces + 1, objects + item.objects, size + item.bytes
        out.line(
            f"  {verb} {item.kind:<10} {item.name:<40} {size_text(item.bytes):>9}",
            kind=item.kind,
            name=item.name,
            bytes=item.bytes,
            objects=item.objects,
        )
    out.result(
        {"removed": not arguments.dry_run, "things": pieces, "objects": objects, "bytes": size},
        f"{verb} {pieces} things, {objects} files, {size_text(size)}",
    )


def content_hashes(lake: Lake, settings: Settings, release: Release) -> Iterator[str]:
    """Hashes of what a release's index has embedded, from this machine's copy of it."""
    from alchemy.knowledge.snapshot import Snapshot

    cache = settings.state_dir / "cache" / "index"
    snapshot = Snapshot.fetch(lake, release.index, release.index_sha256, cache)
    try:
        for start in range(0, snapshot.catalog.count, _ROWS):
            rows = range(start, min(start + _ROWS, snapshot.catalog.count))
            yield from (chunk.content_hash for chunk in snapshot.catalog.chunks(rows).values())
    finally:
        snapshot.close()


def seconds_of(text: str) -> float:
    """`90m` → 5400; a bare number is seconds.

    Raises:
        AlchemyError: INPUT_INVALID.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID, f"{text!r} is no time", "Give a number and s, m, h or d: 90m."
        )
    return float(found.group(1)) * _UNITS[found.group(2) or "s"]
