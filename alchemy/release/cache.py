"""What each deployment keeps loaded: its part of the live release and of the one before.

The gateway names the release of every request, so a replica must be able to answer for a release
that it has not polled yet, and go on answering for one that is no longer live.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake
from alchemy.release.model import live_release, load_release, released
from alchemy.types import Release

T = TypeVar("T")
BROKEN = (ErrorCode.CORRUPT, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT)
"""What is wrong with a release itself; anything else passes with time."""
_LOOKED_BACK = 5
"""Pointers that are tried while the newest release is broken."""


class ReleaseCache(Generic[T]):
    """A part `T` (index snapshot, adapter, settings, …) for each of the last few releases.

    Use from one event loop. `load` and the lake are called in threads; one load at a time, so that
    memory holds at most `capacity + 1` parts. Requests for the same release share one load.

    An evicted part is dropped, not closed: a request that still uses it finishes, and the last
    reference frees it. A part whose freeing needs a call gets it through `evicted`.

    Args:
        lake: where releases are read.
        load: makes the part of one release; blocking; any exception counts as "cannot load".
        part: name for the logs (`knowledge`, `generator`, …).
        capacity: releases kept; the live one is never evicted.
        poll_s: time between looks at the live pointer.
        retry_s: how long a failed load is answered with its error before it is tried again.
        evicted: called on the event loop with release id and part after an eviction.
        refused: called on the event loop each time a published release cannot be loaded.
    """

    def __init__(
        self,
        lake: Lake,
        load: Callable[[Release], T],
        *,
        part: str,
        capacity: int = 2,
        poll_s: float = 2.0,
        retry_s: float = 5.0,
        evicted: Callable[[str, T], None] | None = None,
        refused: Callable[[str, AlchemyError], None] | None = None,
    ) -> None:
        self._lake = lake
        self._load = load
        self._capacity = capacity
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._evicted = evicted
        self._on_refused = refused
        self._refused: tuple[str, AlchemyError] | None = None
        self._parts: OrderedDict[str, T] = OrderedDict()  # least recently used first
        self._loading: dict[str, asyncio.Task[T]] = {}
        self._failed: dict[str, tuple[float, AlchemyError]] = {}
        self._one_load = asyncio.Lock()
        self._live: Release | None = None
        self._poller: asyncio.Task[None] | None = None
        self._log = get_logger().bind(part=part)

    @property
    def live(self) -> Release | None:
        """The newest live release whose part is loaded here; None before the first."""
        return self._live

    @property
    def refused(self) -> tuple[str, AlchemyError] | None:
        """The published release that cannot be loaded, and why; None when the live one is it."""
        return self._refused

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids of the releases whose part is in memory, least recently used first."""
        return tuple(self._parts)

    async def start(self) -> None:
        """Load the live release's part and begin to follow the pointer. Call once.

        A release that cannot be loaded, or a lake that cannot be read, is logged and tried again:
        a replica that starts during an outage serves as soon as it ends.
        """
        if self._poller is None:
            await self._follow()
            self._poller = asyncio.create_task(self._poll(), name="release-poll")

    async def stop(self) -> None:
        """Stop following; parts stay usable by who holds them."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None

    async def get(self, release_id: str) -> T:
        """The part of a release; loads it when it is not in memory.

        Raises:
            AlchemyError: NOT_FOUND for an unknown release, else what `load` raised.
        """
        if release_id in self._parts:
            self._parts.move_to_end(release_id)
            return self._parts[release_id]
        self._raise_recent_failure(release_id)
        task = self._loading.get(release_id)
        if task is None:
            task = asyncio.create_task(self._bring(release_id), name=f"load-{release_id}")
            self._loading[release_id] = task
            task.add_done_callback(lambda done: self._settled(release_id, done))
        # shielded: a caller that gives up must not stop the load others wait for
        return await asyncio.shield(task)

    async def _bring(self, release_id: str) -> T:
        async with self._one_load:
            started = time.monotonic()
            try:
                release = await asyncio.to_thread(load_release, self._lake, release_id)
                part = await asyncio.to_thread(self._load, release)
            except AlchemyError as error:
                raise self._remember(release_id, error) from error
            except Exception as error:
                fault = AlchemyError(
                    ErrorCode.INTERNAL, f"release {release_id!r} cannot be loaded: {error!r}"
                )
                raise self._remember(release_id, fault) from error
            self._parts[release_id] = part
            seconds = round(time.monotonic() - started, 3)
            self._log.info("release.loaded", release=release_id, seconds=seconds)
            self._evict(keep=release_id)
            return part

    def _settled(self, release_id: str, task: asyncio.Task[T]) -> None:
        del self._loading[release_id]
        if not task.cancelled():
            task.exception()  # retrieved here: every waiter may have gone away

    def _evict(self, keep: str) -> None:
        protected = {keep, self._live.id if self._live else keep}
        for old in [i for i in self._parts if i not in protected]:
            if len(self._parts) <= self._capacity:
                return
            part = self._parts.pop(old)
            self._log.info("release.evicted", release=old)
            if self._evicted is not None:
                self._evicted(old, part)

    def _remember(self, release_id: str, error: AlchemyError) -> AlchemyError:
        now = time.monotonic()
        self._failed = {i: f for i, f in self._failed.items() if now - f[0] < self._retry_s}
        self._failed[release_id] = (now, error)
        self._log.error(
            "release.load_failed",
            release=release_id,
            code=error.code.code,
            error=str(error),
            serving=self._live.id if self._live else None,
        )
        return error

    def _raise_recent_failure(self, release_id: str) -> None:
        failure = self._failed.get(release_id)
        if failure is not None and time.monotonic() - failure[0] < self._retry_s:
            error = failure[1]
            raise AlchemyError(error.code, error.message, error.remedy)

    async def _follow(self) -> None:
        """One look at the pointer; makes its release the live one when its part loads."""
        try:
            release = await asyncio.to_thread(live_release, self._lake)
        except Exception:  # noqa: BLE001 - logged; a damaged pointer must not end the poll
            self._log.exception("release.poll_failed")
            await self._fall_back()
            return
        if release is None:
            return
        if self._live is not None and release.id == self._live.id:
            self._refused = None
            return
        try:
            await self.get(release.id)
        except AlchemyError as error:  # logged where it happened; tried again after `retry_s`
            self._refused = (release.id, error)
            if self._on_refused is not None:
                self._on_refused(release.id, error)
            if error.code in BROKEN:
                await self._fall_back()
            return
        self._refused = None
        self._go_live(release)

    async def _fall_back(self) -> None:
        """The newest release is broken: go to the newest that is not, if that is not live here.

        A good one and a broken one may have been published between two looks.
        """
        try:
            candidates = await asyncio.to_thread(lambda: list(released(self._lake, _LOOKED_BACK)))
        except Exception:  # noqa: BLE001 - logged; the poll goes on
            self._log.exception("release.poll_failed")
            return
        for release in candidates:
            if self._live is not None and release.id == self._live.id:
                return
            try:
                await self.get(release.id)
            except AlchemyError:
                continue  # logged where it happened
            self._go_live(release)
            return

    def _go_live(self, release: Release) -> None:
        previous, self._live = self._live, release
        self._log.info(
            "release.live", release=release.id, previous=previous.id if previous else None
        )

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._follow()
