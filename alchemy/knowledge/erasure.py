"""Forgotten documents in an index version that still holds them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from alchemy.knowledge.snapshot import Snapshot
from alchemy.stores.tombstones import Forgotten


class Hider:
    """Keeps forgotten documents out of the searches of any number of snapshots.

    A document of another tenant than its tombstone's stays: nobody forgets for others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._applied: WeakKeyDictionary[Snapshot, int] = WeakKeyDictionary()

    def applied(self, snapshot: Snapshot, forgotten: Forgotten) -> bool:
        """Whether `apply` has nothing to do."""
        return self._applied.get(snapshot, 0) >= forgotten.number

    def apply(self, snapshot: Snapshot, forgotten: Forgotten) -> None:
        """Hide what is forgotten, unless this is done; blocks for a moment when it is not."""
        with self._lock:
            if self.applied(snapshot, forgotten):
                return
            owners = tenants(snapshot, {document_id for _, document_id in forgotten.documents})
            snapshot.hide([i for i, owner in owners.items() if (owner, i) in forgotten.documents])
            self._applied[snapshot] = forgotten.number


def tenants(snapshot: Snapshot, document_ids: Iterable[str]) -> dict[str, str]:
    """Document id → tenant, of those that the index holds, hidden or not."""
    catalog = snapshot.catalog
    spans = {i: rows for i in document_ids if (rows := catalog.rows_of(i))}
    first = catalog.chunks(rows[0] for rows in spans.values())
    return {i: first[rows[0]].tenant for i, rows in spans.items()}
