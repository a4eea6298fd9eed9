from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis
from serving_world import SECRET, World, make_services, running

from alchemy import logs
from alchemy.serving.auth import Accounts
from alchemy.stores.redis import RedisStore

PASSWORD = "correct horse battery"


@pytest.fixture
async def kv(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty key-value store on the session's real Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    store = RedisStore(redis_url)
    yield store
    await store.close()


@dataclass(frozen=True)
class Site:
    """The running application and accounts to use it with."""

    url: str
    world: World
    root: Path
    accounts: Accounts

    async def token(self, user: str) -> str:
        return await self.accounts.issue(user)

    async def as_user(self, user: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {await self.token(user)}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10)


@pytest.fixture
async def accounts(kv: RedisStore) -> Accounts:
    """ann reads core documents, bob only public ones, rev reviews, root administrates."""
    made = Accounts(kv, SECRET, 3600, hash_rounds=1000)
    people = {
        "ann": (("user",), ("core",)),
        "bob": (("user",), ()),
        "rev": (("reviewer",), ("core",)),
        "bot": (("service",), ()),
        "root": (("admin",), ()),
    }
    for name, (roles, groups) in people.items():
        await made.create_user(name, PASSWORD, roles=roles, groups=groups)
    return made


@pytest.fixture
def world() -> World:
    """Engines of a test's own."""
    return World()


@pytest.fixture(scope="session")
def served(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, World, Path]]:
    logs.configure()
    world, root = World(), tmp_path_factory.mktemp("lake")
    with running(make_services(world, redis_url, root)) as url:
        yield url, world, root


@pytest.fixture
def site(served: tuple[str, World, Path], accounts: Accounts) -> Site:
    """The running application, with an empty lake and engines as new."""
    url, world, root = served
    world.reset()
    shutil.rmtree(root)
    root.mkdir()
    return Site(url, world, root, accounts)
