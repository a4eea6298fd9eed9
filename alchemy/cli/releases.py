"""`alchemy releases list | show | diff | promote | rollback | pin | unpin`."""

from __future__ import annotations

import argparse
import getpass
import json
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import load_settings
from alchemy.errors import AlchemyError, ErrorCode


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
        "diff",
        diff,
        "what distinguishes two releases; the second defaults to the live one",
        "alchemy releases diff rl-0123456789ab",
    )
    parser.add_argument("first")
    parser.add_argument("second", nargs="?")
    parser = add_command(
        actions,
        "promote",
        promote,
        "make a stored release live; replicas follow within seconds",
        "alchemy releases promote rl-0123456789ab",
    )
    parser.add_argument("release")
    parser.add_argument("--reason", default="")
    parser = add_command(
        actions,
        "rollback",
        rollback,
        "make the release before the live one live, and keep the live one from coming back",
        'alchemy releases rollback --reason "wrong answers about ports"',
    )
    parser.add_argument("--reason", required=True)
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


def diff(arguments: argparse.Namespace, out: Output) -> None:
    """Changed fields, one a line."""
    from alchemy.release.model import live_release, load_release
    from alchemy.release.moving import differences
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    first = load_release(lake, arguments.first)
    second = load_release(lake, arguments.second) if arguments.second else live_release(lake)
    if second is None:
        raise AlchemyError(
            ErrorCode.NOT_FOUND, "there is no live release", "Name both releases to compare."
        )
    found = differences(first, second)
    lines = [f"{first.id} → {second.id}: {len(found)} differences"]
    lines += [f"{name}: {before} → {after}" for name, (before, after) in found.items()]
    out.result({"first": first.id, "second": second.id, "differences": found}, "\n".join(lines))


def promote(arguments: argparse.Namespace, out: Output) -> None:
    """Move the pointer to a stored release."""
    from alchemy.release.moving import promote_release
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    number = promote_release(lake, arguments.release, getpass.getuser(), arguments.reason)
    out.result(
        {"release": arguments.release, "pointer": number},
        f"{arguments.release} is live (pointer {number})",
    )


def rollback(arguments: argparse.Namespace, out: Output) -> None:
    """Move the pointer back."""
    from alchemy.release.model import live_release
    from alchemy.release.moving import roll_back
    from alchemy.stores import open_lake

    lake = open_lake(load_settings(arguments.config).lake)
    before = live_release(lake)
    release = roll_back(lake, getpass.getuser(), arguments.reason)
    withdrawn = before.id if before else None
    out.result(
        {"release": release.id, "withdrawn": withdrawn},
        f"{release.id} is live again; {withdrawn} is withdrawn until someone promotes it",
    )


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
