"""Bounded work: so many at once, so many waiting, everyone else is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alchemy.errors import AlchemyError, ErrorCode


class Busy(AlchemyError):
    """OVERLOADED (HTTP 429) with the wait a client should keep.

    Attributes:
        retry_after_s: whole seconds for the `Retry-After` header.
    """

    def __init__(self, message: str, remedy: str = "", retry_after_s: int = 1) -> None:
        super().__init__(ErrorCode.OVERLOADED, message, remedy)
        self.args = (message, remedy, retry_after_s)  # what pickling rebuilds the error from
        self.retry_after_s = retry_after_s


class Admission:
    """Admits `ongoing` holders at once and lets `queued` more wait.

    Belongs to one event loop. A refused caller gets `Busy` at once instead of a long wait.
    """

    def __init__(self, ongoing: int, queued: int) -> None:
        self._slots = asyncio.Semaphore(ongoing)
        self._limit = ongoing + queued
        self._present = 0

    @property
    def present(self) -> int:
        """How many hold a slot or wait for one."""
        return self._present

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot.

        Raises:
            Busy: as many as may wait are waiting already.
        """
        if self._present >= self._limit:
            raise Busy("too many requests are waiting", "Try again in a moment.")
        self._present += 1
        try:
            async with self._slots:
                yield
        finally:
            self._present -= 1
