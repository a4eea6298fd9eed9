"""`alchemy releases list | show | pin | unpin`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import load_settings


def register(commands: Any) -> None:
    """Add the commands of this group."""
    group = commands.add_parser("releases", help="joint releases of index, adapter and thresholds")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(
        actions,
        "list",
        list_releases,
        "list releases, the live one marked",
        "alchemy releases list",
    )
    parser = add_command(
        actions, "show", show, "show one release", "alchemy releases show rl-0123456789ab"
    )
    parser.add_argument("release")
    parser = add_command(
        actions,
        "pin",
        pin,
        "keep a release and all it needs, whatever `alchemy gc` removes",
        'alchemy releases pin rl-0123456789ab --reason "the audit of May"',
    )
    parser.add_argument("release")
    parser.add_argument("--reason", default="")
    parser = add_command(
        actions, "unpin", unpin, "no longer keep it", "alchemy releases unpin rl-0123456789ab"
    )
    parser.add_argument("release")


def list_releases(arguments: argparse.Namespace, out: Output) -> None:
    """All releases by creation time."""
    from alchemy.release.model import all_releases, live_release, pinned_releases
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    live, pinned = live_release(lake), pinned_releases(lake)
    for release in all_releases(lake):
        is_live, is_pinned = bool(live and release.id == live.id), release.id in pinned
        mark = " ".join(["live"] * is_live + ["pinned"] * is_pinned)
        out.line(
            f"{release.id}  {release.created_at}  {release.index}  {release.adapter}  {mark}",
            id=release.id,
            created_at=release.created_at,
            index=release.index,
            adapter=release.adapter,
            live=is_live,
            pinned=is_pinned,
        )


def show(arguments: argparse.Namespace, out: Output) -> None:
    """The whole record."""
    from alchemy.release.model import load_release
    from alchemy.stores import open_lake

    release = load_release(open_lake(load_settings(arguments.config).lake), arguments.release)
    out.result(release.to_dict(), json.dumps(release.to_dict(), indent=2, ensure_ascii=False))


def pin(arguments: argparse.Namespace, out: Output) -> None:
    """Protect a release from `gc`."""
    from alchemy.release.model import pin_release
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    pin_release(lake, arguments.release, arguments.reason)
    out.result({"release": arguments.release, "pinned": True}, f"{arguments.release} is pinned")


def unpin(arguments: argparse.Namespace, out: Output) -> None:
    """End the protection."""
    from alchemy.release.model import unpin_release
    from alchemy.stores import open_lake

    unpin_release(open_lake(load_settings(arguments.config).lake), arguments.release)
    out.result(
        {"release": arguments.release, "pinned": False}, f"{arguments.release} is not pinned"
    )
