"""Documents that must be forgotten: a log of create-only objects that every reader follows.

`tombstones/<n>.json` says, in the order of n, that a document of a tenant is forgotten or that this
is lifted again; the last word about a document counts. Numbers have no gaps, so that a reader finds
what is new by asking for one key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import JsonRecord, text_digest

PREFIX = "tombstones"
FORGOTTEN_INPUT = "forgotten"
"""Input of a wash's receipt: digest of what it left out."""
FORGET, LIFT = "forget", "lift"
Key = tuple[str, str]
"""(tenant, document id)."""


@dataclass(frozen=True)
class Tombstone(JsonRecord):
    """One word about one document.

    Attributes:
        action: `forget`, or `lift` for a tombstone that no longer counts.
        at: ISO 8601, UTC.
        by: who asked for it.
    """

    document_id: str
    tenant: str
    action: Literal["forget", "lift"]
    at: str
    by: str
    reason: str = ""

    @property
    def key(self) -> Key:
        """Tenant and document."""
        return self.tenant, self.document_id


@dataclass(frozen=True)
class Forgotten:
    """What is forgotten after the first `number` tombstones."""

    number: int = 0
    documents: frozenset[Key] = frozenset()

    def any(self, tenant: str, document_ids: Iterable[str]) -> bool:
        """Whether one of these documents of a tenant is forgotten."""
        return bool(self.documents) and any((tenant, i) in self.documents for i in document_ids)

    @property
    def digest(self) -> str:
        """Names the set of forgotten documents; empty when there is none.

        A tombstone that was lifted leaves no trace: a run without it is the run before it.
        """
        if not self.documents:
            return ""
        return text_digest(*(part for key in sorted(self.documents) for part in key))[:16]


class TombstoneLog:
    """Follows the log; safe to use from several threads. `now` is replaced whole, never changed."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lock = threading.Lock()
        self._now = Forgotten()
        self._read = False

    @property
    def known(self) -> bool:
        """Whether the log was read at least once."""
        return self._read

    @property
    def now(self) -> Forgotten:
        """What was forgotten at the last refresh."""
        return self._now

    def refresh(self) -> Forgotten:
        """Read what is new; one look at the lake when nothing is.

        Raises:
            AlchemyError: CORRUPT for a damaged tombstone, LAKE_UNAVAILABLE. What was known stays.
        """
        with self._lock:
            number, documents = self._now.number, set(self._now.documents)
            known = number if self._read else _newest(self._lake)
            while number < known or self._lake.exists(_key(number + 1)):
                number += 1
                stone = _read(self._lake, number)
                if stone.action == FORGET:
                    documents.add(stone.key)
                else:
                    documents.discard(stone.key)
            self._read = True
            if number != self._now.number:
                self._now = Forgotten(number, frozenset(documents))
            return self._now


def read_forgotten(lake: Lake) -> Forgotten:
    """What is forgotten now; raises as `TombstoneLog.refresh`."""
    return TombstoneLog(lake).refresh()


def all_tombstones(lake: Lake) -> list[Tombstone]:
    """The whole log, oldest first."""
    return [_read(lake, number) for number in range(1, _newest(lake) + 1)]


def write_tombstones(
    lake: Lake,
    documents: Sequence[Key],
    action: Literal["forget", "lift"],
    by: str,
    reason: str = "",
) -> Forgotten:
    """Add a word about each document that changes something; what is forgotten then.

    Several writers may write at once: each waits for the number after the other's.
    """
    log = TombstoneLog(lake)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for tenant, document_id in documents:
        while ((tenant, document_id) in log.refresh().documents) != (action == FORGET):
            stone = Tombstone(document_id, tenant, action, at, by, reason)
            try:
                lake.create(_key(log.now.number + 1), stone.to_json().encode() + b"\n")
            except AlchemyError as error:
                if error.code is not ErrorCode.CONFLICT:
                    raise
    return log.now


def _key(number: int) -> str:
    return f"{PREFIX}/{number}.json"


def _newest(lake: Lake) -> int:
    stems = (i.key.rpartition("/")[2].removesuffix(".json") for i in lake.list(f"{PREFIX}/"))
    return max((int(stem) for stem in stems if stem.isdigit()), default=0)


def _read(lake: Lake, number: int) -> Tombstone:
    try:
        return Tombstone.from_dict(json.loads(lake.read(_key(number))))
    except (ValueError, TypeError) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{_key(number)} in {lake.uri} is not a tombstone",
            "Mend it: until then nothing new is served, so that nothing forgotten is.",
        ) from error
