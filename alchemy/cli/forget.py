"""`alchemy forget`: documents that must not be found, quoted or learned from any more."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import Settings, load_settings
from alchemy.errors import AlchemyError, ErrorCode

if TYPE_CHECKING:
    from alchemy.release.forgetting import Erasure, Order

_NAMED = 5
"""Ids of a list that are shown to people; `--json` has all."""


def register(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "forget",
        forget,
        "hide documents from every answer at once and leave them out of the next index for good",
        'alchemy forget jira:XD-123 --reason "asked by the customer"',
    )
    parser.add_argument("documents", nargs="*", metavar="DOCUMENT", help="document id")
    parser.add_argument("--tenant", metavar="T", help="whose documents (default: cleaning.tenant)")
    parser.add_argument("--reason", default="", help="kept with the tombstone")
    parser.add_argument("--undo", action="store_true", help="bring them back with the next wash")
    parser.add_argument(
        "--unknown", action="store_true", help="also what no index knows yet, before it arrives"
    )
    parser.add_argument("--list", action="store_true", help="show what is forgotten")
    parser.add_argument(
        "--url", help="service of another machine (default: this machine's lake and Redis)"
    )
    parser.add_argument(
        "--token",
        default=os.environ.get("ALCHEMY_TOKEN"),
        help="an admin's bearer token for --url (or ALCHEMY_TOKEN)",
    )


def forget(arguments: argparse.Namespace, out: Output) -> None:
    """Through the service that `--url` names, else on lake and Redis themselves."""
    if arguments.list == bool(arguments.documents):
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            "name documents, or give --list",
            "Example: alchemy forget jira:XD-123",
        )
    if arguments.list:
        list_forgotten(load_settings(arguments.config), out)
        return
    documents = tuple(dict.fromkeys(arguments.documents))
    if arguments.url:
        show(_over_http(arguments, documents), out)
        return
    from alchemy.release.forgetting import Order

    settings = load_settings(arguments.config)
    order = Order(
        documents,
        arguments.tenant or settings.cleaning.tenant,
        getpass.getuser(),
        arguments.reason,
        arguments.undo,
        arguments.unknown,
    )
    show(asyncio.run(forget_here(settings, order)).to_dict(), out)


def _over_http(arguments: argparse.Namespace, documents: Sequence[str]) -> Mapping[str, Any]:
    from alchemy.client import connect

    if arguments.token is None:
        raise AlchemyError(
            ErrorCode.AUTH_FAILED,
            f"no token for {arguments.url}",
            "Give an admin's --token or set ALCHEMY_TOKEN.",
        )
    with connect(arguments.url, token=arguments.token) as client:
        if arguments.tenant not in (None, client.me().tenant):
            raise AlchemyError(
                ErrorCode.FORBIDDEN,
                f"{client.me().user} is an admin of tenant {client.me().tenant!r} only",
                f"Use the token of an admin of {arguments.tenant!r}.",
            )
        return client.forget(
            *documents,
            reason=arguments.reason,
            undo=arguments.undo,
            unknown=arguments.unknown,
        ).model_dump(mode="json")


async def forget_here(settings: Settings, order: Order) -> Erasure:
    """Act on the configured lake and Redis; running services notice within two seconds."""
    from alchemy.cli.cluster import complete
    from alchemy.cli.processes import State
    from alchemy.release.forgetting import forget as everywhere
    from alchemy.serving.feedback import FeedbackDesk
    from alchemy.serving.sessions import Sessions
    from alchemy.stores import open_lake
    from alchemy.stores.redis import RedisStore

    lake = open_lake(settings.lake)
    completed = complete(settings, State(settings))
    store = RedisStore(completed.redis.url, completed.redis.timeout_s)
    try:
        serving = settings.serving
        sessions = Sessions(store, serving.session_ttl_s, serving.history_turns)
        desk = FeedbackDesk(lake, store, sessions)
        return await everywhere(lake, sessions, desk, partial(_owners, settings), order)
    finally:
        await store.close()


async def _owners(settings: Settings, document_ids: Sequence[str]) -> dict[str, str]:
    return await asyncio.to_thread(_owners_here, settings, document_ids)


def _owners_here(settings: Settings, document_ids: Sequence[str]) -> dict[str, str]:
    """From this machine's copy of the live index, which is fetched when it is not there."""
    from alchemy.knowledge.erasure import tenants
    from alchemy.knowledge.snapshot import Snapshot
    from alchemy.release.model import live_release
    from alchemy.stores import open_lake

    lake = open_lake(settings.lake)
    live = live_release(lake)
    if live is None:
        return {}
    cache = settings.state_dir / "cache" / "index"
    snapshot = Snapshot.fetch(lake, live.index, live.index_sha256, cache)
    try:
        return tenants(snapshot, document_ids)
    finally:
        snapshot.close()


def list_forgotten(settings: Settings, out: Output) -> None:
    """One line per document, by the time of its tombstone."""
    from alchemy.stores import open_lake
    from alchemy.stores.tombstones import FORGET, all_tombstones

    last = {stone.key: stone for stone in all_tombstones(open_lake(settings.lake))}
    for stone in last.values():
        if stone.action == FORGET:
            text = f"{stone.at}  {stone.tenant:<12} {stone.document_id}  by {stone.by}"
            out.line(f"{text}  {stone.reason}".rstrip(), **stone.to_dict())


def show(done: Mapping[str, Any], out: Output) -> None:
    """The erasure for people, or all of it as JSON."""
    lineage = done["lineage"]
    state = "forgotten" if done["forgotten"] else "taken up again by the next wash"
    lines = [f"{document}: {state}" for document in done["documents"]]
    if done["forgotten"]:
        lines.append(
            f"  removed   {done['turns']} turns, {done['answers']} answers; "
            f"{done['ratings']} ratings blanked"
        )
    if done["unknown"]:
        lines.append(f"  unknown   {_some(done['unknown'])}: left out when it arrives")
    if lineage["copies"]:
        lines.append(
            f"  copies    {_some(lineage['copies'])} say the same and come back with the next "
            "wash: forget them too"
        )
    if lineage["originals"]:
        lines.append(f"  the text  stands in {_some(lineage['originals'])} as well: forget it too")
    for run_id, pairs in lineage["pairs"].items():
        lines.append(f"  pairs     {run_id}: {len(pairs)} ({_some(pairs)})")
    for adapter in lineage["adapters"]:
        lines.append(f"  adapter   {adapter} was trained on it")
    for release in lineage["releases"]:
        live = " (live)" if release == lineage["live"] else ""
        lines.append(f"  release   {release}{live} drafts with such an adapter")
    out.result(done, "\n".join([*lines, f"  {done['remedy']}"]))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
