"""The first search of an index version, before anyone waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Reranker
from alchemy.types import Principal

_CHARS = 400


def warm_up(
    snapshot: Snapshot,
    encode: Callable[[Sequence[str]], np.ndarray],
    settings: RetrievalSettings,
    reranker: Reranker | None = None,
) -> None:
    """Search for the index's own first chunk with both halves: pages are read, caches are filled.

    Args:
        encode: what will encode its questions, texts → float32[n, dim].

    Raises:
        AlchemyError: CORRUPT when an index does not find what it holds.
    """
    first = snapshot.catalog.chunks([0]).get(0)
    if first is None:
        return
    text = first.text[:_CHARS] or first.title
    principal = Principal("warm-up", first.tenant, first.acl)
    [vector] = encode([text])
    [found] = search(snapshot, [Query(text, vector, principal, 1)], settings, reranker)
    if not found:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"index {snapshot.version} finds nothing, not even its own first chunk",
            "Build the index again: data-alchemy ingest.",
        )
