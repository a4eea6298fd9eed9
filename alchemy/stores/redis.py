"""`KeyValue` on a real Redis, JSON values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Collection, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from alchemy.errors import AlchemyError, ErrorCode

T = TypeVar("T")
_CONNECTIONS = 32
_FETCHED_AT_ONCE = 100


class RedisStore:
    """See `protocols.KeyValue`.

    Args:
        url: `redis://[:password@]host:port/db` (or `rediss://`).
        timeout_s: bound on connecting and on each command.
    """

    def __init__(self, url: str, timeout_s: float = 2.0) -> None:
        self._place = urlsplit(url).hostname or url  # never the password
        try:
            # a burst waits for a connection; the default pool would refuse it
            pool = aioredis.BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                decode_responses=True,
            )
            self._redis = aioredis.Redis.from_pool(pool)
        except ValueError as error:
            raise AlchemyError(
                ErrorCode.CONFIG_INVALID, f"redis.url is not a Redis URL: {error}"
            ) from error

    async def _ask(self, call: Awaitable[T]) -> T:
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0
        try:
            result = await call
        except (RedisError, OSError) as error:
            raise AlchemyError(
                ErrorCode.REDIS_UNAVAILABLE,
                f"Redis at {self._place} does not answer: {error}",
                "Check REDIS_URL, or run `alchemy up`.",
            ) from error
        # redis-py sends inside asyncio.wait_for, which on Python 3.11 may swallow a cancellation
        if task and task.cancelling() > cancels:
            raise asyncio.CancelledError
        return result

    async def get(self, key: str) -> Any | None:
        """See `protocols.KeyValue`."""
        raw = await self._ask(self._redis.get(key))
        return None if raw is None else json.loads(raw)

    async def set(self, key: str, value: Any, ttl_s: float | None = None) -> None:
        """See `protocols.KeyValue`."""
        await self._ask(self._redis.set(key, json.dumps(value), px=_milliseconds(ttl_s)))

    async def create(self, key: str, value: Any, ttl_s: float | None = None) -> bool:
        """See `protocols.KeyValue`."""
        made = self._redis.set(key, json.dumps(value), px=_milliseconds(ttl_s), nx=True)
        return bool(await self._ask(made))

    async def delete(self, *keys: str) -> int:
        """See `protocols.KeyValue`."""
        return int(await self._ask(self._redis.delete(*keys))) if keys else 0

    async def append(self, key: str, value: Any, keep: int, ttl_s: float | None = None) -> None:
        """See `protocols.KeyValue`."""
        async with self._redis.pipeline(transaction=True) as batch:
            batch.rpush(key, json.dumps(value))
            batch.ltrim(key, -keep, -1)
            if ttl_s is not None:
                batch.pexpire(key, cast(int, _milliseconds(ttl_s)))
            await self._ask(batch.execute())

    async def items(self, key: str) -> list[Any]:
        """See `protocols.KeyValue`."""
        rows = await self._ask(cast(Awaitable[list[str]], self._redis.lrange(key, 0, -1)))
        return [json.loads(row) for row in rows]

    async def discard(self, key: str, value: Any) -> int:
        """See `protocols.KeyValue`."""
        # an item is found by its text, which is always what `json.dumps` makes of it
        removed = self._redis.lrem(key, 0, json.dumps(value))
        return await self._ask(cast(Awaitable[int], removed))

    async def holding(self, prefix: str, texts: Collection[str]) -> list[str]:
        """See `protocols.KeyValue`."""
        needles = [json.dumps(text) for text in texts]
        found: list[str] = []
        for kind in ("string", "list"):
            keys = await self._ask(self._keys(prefix, kind))
            for start in range(0, len(keys), _FETCHED_AT_ONCE):
                batch = keys[start : start + _FETCHED_AT_ONCE]
                for key, raw in zip(batch, await self._raw(batch, kind), strict=True):
                    if any(needle in raw for needle in needles):
                        found.append(key)
        return sorted(found)

    async def scan(self, prefix: str) -> list[str]:
        """See `protocols.KeyValue`."""
        return sorted(await self._ask(self._keys(prefix)))

    async def _keys(self, prefix: str, kind: str | None = None) -> list[str]:
        escaped = "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix)
        found = self._redis.scan_iter(match=f"{escaped}*", count=500, _type=kind)
        return list({key: None async for key in found})  # a scan may name a key twice

    async def _raw(self, keys: Sequence[str], kind: str) -> list[str]:
        """The stored text of each key; empty for one that is gone."""
        async with self._redis.pipeline(transaction=False) as batch:
            for key in keys:
                if kind == "string":
                    batch.get(key)
                else:
                    batch.lrange(key, 0, -1)
            values = await self._ask(batch.execute())
        return ["\n".join(value) if isinstance(value, list) else value or "" for value in values]

    async def ping(self) -> None:
        """See `protocols.KeyValue`."""
        await self._ask(cast(Awaitable[bool], self._redis.ping()))

    async def close(self) -> None:
        """See `protocols.KeyValue`."""
        await self._redis.aclose()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, int(seconds * 1000))
