"""`alchemy users add | list | passwd | disable`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import Settings, load_settings

if TYPE_CHECKING:
    from alchemy.serving.auth import Accounts


def register(commands: Any) -> None:
    """Add the commands of this group."""
    group = commands.add_parser("users", help="people who may sign in")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    parser = add_command(
        actions, "add", add, "create a user", "alchemy users add mei --groups core"
    )
    parser.add_argument("user")
    parser.add_argument(
        "--roles", default="user", help="comma-separated: user,reviewer,admin,service"
    )
    parser.add_argument("--groups", default="", help="comma-separated groups")
    parser.add_argument("--tenant", default="default")
    parser = add_command(actions, "passwd", passwd, "set a password", "alchemy users passwd admin")
    parser.add_argument("user")
    parser = add_command(
        actions, "disable", disable, "lock a user out at once", "alchemy users disable mei"
    )
    parser.add_argument("user")
    add_command(actions, "list", list_users, "list users", "alchemy users list")


@asynccontextmanager
async def accounts_of(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts in the configured or private Redis (started if need be)."""
    from alchemy.cli.cluster import complete
    from alchemy.cli.processes import State
    from alchemy.serving.auth import Accounts
    from alchemy.stores.redis import RedisStore

    completed = complete(settings, State(settings))
    store = RedisStore(completed.redis.url, completed.redis.timeout_s)
    try:
        serving = completed.serving
        yield Accounts(store, serving.jwt_secret.get_secret_value(), serving.token_ttl_s)
    finally:
        await store.close()


async def local_token(settings: Settings) -> str:
    """A token for a person who may read this machine's secrets anyway: acts as `local`."""
    async with accounts_of(settings) as accounts:
        if "local" not in {user["user"] for user in await accounts.list_users()}:
            password = secrets.token_urlsafe(24)  # nobody signs in with it
            await accounts.create_user("local", password, roles=("user", "service"))
        return await accounts.issue("local")


def _new_password(user: str) -> tuple[str, bool]:
    """Typed twice on a terminal, the first line of standard input otherwise; generated if empty."""
    typed = (
        getpass.getpass(f"password for {user} (empty: make one): ")
        if sys.stdin.isatty()
        else sys.stdin.readline().rstrip("\n")
    )
    return (typed, False) if typed else (secrets.token_urlsafe(12), True)


def add(arguments: argparse.Namespace, out: Output) -> None:
    """Create a user."""
    password, made = _new_password(arguments.user)

    async def work() -> None:
        async with accounts_of(load_settings(arguments.config)) as accounts:
            await accounts.create_user(
                arguments.user,
                password,
                roles=tuple(filter(None, arguments.roles.split(","))),
                groups=tuple(filter(None, arguments.groups.split(","))),
                tenant=arguments.tenant,
            )

    asyncio.run(work())
    _tell(out, arguments.user, password if made else None, "created")


def passwd(arguments: argparse.Namespace, out: Output) -> None:
    """Set a password."""
    password, made = _new_password(arguments.user)

    async def work() -> None:
        async with accounts_of(load_settings(arguments.config)) as accounts:
            await accounts.set_password(arguments.user, password)

    asyncio.run(work())
    _tell(out, arguments.user, password if made else None, "has a new password")


def _tell(out: Output, user: str, password: str | None, what: str) -> None:
    shown = f": {password}" if password else ""
    out.result({"user": user, "password": password}, f"{user} {what}{shown}")


def disable(arguments: argparse.Namespace, out: Output) -> None:
    """Lock a user out."""

    async def work() -> None:
        async with accounts_of(load_settings(arguments.config)) as accounts:
            await accounts.disable(arguments.user)

    asyncio.run(work())
    out.result({"user": arguments.user, "disabled": True}, f"{arguments.user} is disabled")


def list_users(arguments: argparse.Namespace, out: Output) -> None:
    """List users."""

    async def work() -> list[dict[str, Any]]:
        async with accounts_of(load_settings(arguments.config)) as accounts:
            return await accounts.list_users()

    for user in asyncio.run(work()):
        state = "disabled" if user["disabled"] else "active"
        roles, groups = ",".join(user["roles"]), ",".join(user["groups"])
        out.line(f"{user['user']:<20} {state:<9} {user['tenant']:<12} {roles:<20} {groups}", **user)
