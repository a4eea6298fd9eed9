"""Every replica that could show a forgotten document follows the tombstones beside the pointer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake
from alchemy.stores.tombstones import Forgotten, Key, TombstoneLog

POLL_S = 1.0
"""What is forgotten is hidden within two seconds."""


class TombstoneFollower:
    """What is forgotten, as new as the last look at the lake. Use from one event loop.

    Args:
        noticed: awaited with what newly became forgotten, after `now` has it. Not for what was
            forgotten before the start.
    """

    def __init__(
        self,
        lake: Lake,
        noticed: Callable[[frozenset[Key]], Awaitable[None]] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self.log = TombstoneLog(lake)
        self._noticed = noticed
        self._poll_s = poll_s
        self._poller: asyncio.Task[None] | None = None

    def now(self) -> Forgotten:
        """What is forgotten.

        Raises:
            AlchemyError: NOT_READY until it could be read once: who does not know what is forgotten
                must not show anything.
        """
        if not self.log.known:
            raise AlchemyError(
                ErrorCode.NOT_READY,
                "the lake does not say yet which documents are forgotten",
                "Try again; the service's log says why it cannot be read.",
            )
        return self.log.now

    async def start(self) -> None:
        """Read the log and begin to follow it; a lake that is down is tried again. Call once."""
        await self._follow()
        self._poller = asyncio.create_task(self._poll(), name="tombstone-poll")

    async def stop(self) -> None:
        """Stop following."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None

    async def look(self) -> Forgotten:
        """Look at the lake now.

        Raises:
            AlchemyError: as `TombstoneLog.refresh`.
        """
        known, before = self.log.known, self.log.now
        now = await asyncio.to_thread(self.log.refresh)
        new = now.documents - before.documents
        if new and known:
            get_logger().info("tombstones.noticed", number=now.number, documents=len(new))
            if self._noticed is not None:
                await self._noticed(new)
        return now

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._follow()

    async def _follow(self) -> None:
        try:
            await self.look()
        except Exception:  # noqa: BLE001 - logged; a lake that is down must not end the poll
            get_logger().exception("tombstones.poll_failed")
