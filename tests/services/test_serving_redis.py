"""Serving's state on a Redis that dies, comes back, and is slow."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from servers import redis_process

from alchemy.cli.processes import free_port
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.auth import Accounts
from alchemy.serving.feedback import FeedbackDesk
from alchemy.serving.sessions import Sessions
from alchemy.stores import open_lake
from alchemy.stores.redis import RedisStore
from alchemy.types import Answer, Principal

SECRET = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse battery"
ANN = Principal("ann", "default", ("everyone",))


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    kv = RedisStore(redis_url)
    yield kv
    await kv.close()


def answer(number: int) -> Answer:
    return Answer(
        id=f"an-{number}",
        question=f"Question {number}?",
        text="An answer.",
        citations=(),
        confidence=0.5,
        abstained=False,
        release="rl-1",
        adapter="ad-1",
        adapter_digest="d" * 64,
    )


async def test_accounts_and_conversations_survive_the_death_of_redis(tmp_path: Path) -> None:
    port = free_port()
    kv = RedisStore(f"redis://127.0.0.1:{port}/0", timeout_s=1.0)
    accounts = Accounts(kv, SECRET, 3600, hash_rounds=1000)
    sessions = Sessions(kv, 3600, 20)
    with redis_process(tmp_path, port) as pid:
        await accounts.create_user("ann", PASSWORD)
        token, _ = await accounts.login("ann", PASSWORD)
        await sessions.remember(ANN, "s1", answer(1), [])
        await asyncio.sleep(1.2)  # the append-only file reaches the disk every second
        os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(AlchemyError) as caught:
            await accounts.resolve(token)
        assert caught.value.code is ErrorCode.REDIS_UNAVAILABLE
        assert time.monotonic() - started < 3
    with redis_process(tmp_path, port):
        assert (await accounts.resolve(token)).user == "ann"
        assert [t.answer for t in await sessions.turns("ann", "s1")] == [answer(1)]
    await kv.close()


async def test_a_redis_that_hangs_is_a_typed_error_in_time(tmp_path: Path) -> None:
    port = free_port()
    kv = RedisStore(f"redis://127.0.0.1:{port}/0", timeout_s=0.5)
    with redis_process(tmp_path, port) as pid:
        await kv.ping()
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(AlchemyError) as caught:
                await Accounts(kv, SECRET, 60, hash_rounds=1000).login("ann", PASSWORD)
            assert caught.value.code is ErrorCode.REDIS_UNAVAILABLE
            assert time.monotonic() - started < 10
        finally:
            os.kill(pid, signal.SIGCONT)
        await kv.ping()
    await kv.close()


async def test_a_burst_waits_for_a_connection(store: RedisStore) -> None:
    await store.set("burst", 1)
    assert await asyncio.gather(*(store.get("burst") for _ in range(500))) == [1] * 500


async def test_a_cancelled_caller_stops_wherever_its_command_is(store: RedisStore) -> None:
    """On Python 3.11 redis-py alone swallows some of these cancellations."""
    await store.ping()
    for yields in range(25):

        async def work() -> None:
            await store.get("x")
            await store.items("y")
            await asyncio.sleep(60)

        task = asyncio.create_task(work())
        for _ in range(yields):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=2)
        assert done and task.cancelled(), f"cancelled after {yields} steps, it went on"


async def test_a_timeout_around_a_command_is_kept(store: RedisStore) -> None:
    await store.ping()
    for yields in range(1, 15):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(yields * 5e-5):
                while True:
                    await store.get("x")


async def test_two_first_messages_at_once_make_one_conversation(store: RedisStore) -> None:
    sessions = Sessions(store, 60, 20)
    both = (sessions.remember(ANN, "race", answer(n), []) for n in (1, 2))
    await asyncio.gather(*both)
    assert len([s for s in await sessions.list("ann") if s.id == "race"]) == 1
    assert len(await sessions.turns("ann", "race")) == 2


async def test_feedback_on_an_s3_lake_is_decided_there(store: RedisStore, s3_settings) -> None:
    lake = open_lake(s3_settings.model_copy(update={"s3_prefix": "serving-feedback"}))
    sessions = Sessions(store, 60, 20)
    desk = FeedbackDesk(lake, store, sessions)
    await sessions.remember(ANN, "s2", answer(7), [])
    given = await desk.submit(ANN, "an-7", "down", "Better.")
    reviewer = Principal("rev", "default", ("everyone",), ("reviewer",))
    assert [r.id for r in await desk.all(reviewer, "pending")] == [given.id]
    decided = await desk.decide(reviewer, given.id, "approved")
    assert (decided.status, decided.reviewed_by) == ("approved", "rev")
    assert await desk.all(reviewer, "pending") == []
    assert [(r.id, r.status) for r in await desk.own(ANN)] == [(given.id, "approved")]
    stranger = Principal("rev", "elsewhere", ("everyone",), ("admin",))
    assert await desk.all(stranger) == []
