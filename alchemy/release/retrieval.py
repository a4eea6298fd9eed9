"""The retrieval adapter of a release: whether it is better than the base, and how queries use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alchemy.config import ModelSettings, RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Embedder, Lake
from alchemy.release.ranking import compared, ndcgs, of_case, of_pair
from alchemy.training.adapters import fetch_adapter
from alchemy.types import Release

if TYPE_CHECKING:
    from alchemy.release.suites import Case
    from alchemy.training.retrieval_pairs import RetrievalPair

EncodeQueries: TypeAlias = Callable[[Sequence[str]], np.ndarray]
"""Questions → float32[n, dim], L2-normalised."""


@dataclass(frozen=True)
class RetrievalAdapter:
    """A trained adapter of queries that is to be judged.

    Attributes:
        held_out: pairs that neither trained it nor chose its best epoch.
    """

    version: str
    digest: str
    encode: EncodeQueries
    held_out: Sequence[RetrievalPair]


def compare(
    snapshot: Snapshot,
    embedder: Embedder,
    adapter: RetrievalAdapter,
    cases: Sequence[Case],
    settings: RetrievalSettings,
    seed: int,
) -> dict[str, Any]:
    """nDCG@10 of the whole search with and without the adapter, on the same index.

    The adapter is used when it is better by more than noise on the held-out pairs or on the
    held-out questions (the 95 % interval of the paired difference lies above zero), and on neither
    worse by more than noise.

    Returns:
        `{version, digest, used, suites: {pairs|questions: {without, with, difference}}}`.
    """
    suites = {
        "pairs": [of_pair(pair) for pair in adapter.held_out],
        "questions": [of_case(case) for case in cases if case.answerable],
    }
    measured: dict[str, dict[str, Any]] = {}
    for name, probes in suites.items():
        texts = [probe.text for probe in probes]
        if not texts:
            continue
        without = ndcgs(snapshot, probes, embedder.encode(texts), settings)
        using = ndcgs(snapshot, probes, adapter.encode(texts), settings)
        measured[name] = compared(without, using, seed)
    gains = [suite["difference"] for suite in measured.values()]
    better = any(gain["low"] > 0 for gain in gains)
    return {
        "version": adapter.version,
        "digest": adapter.digest,
        "used": better and not any(gain["high"] < 0 for gain in gains),
        "suites": measured,
    }


def query_encoder(
    lake: Lake, release: Release, settings: ModelSettings, embedder: Embedder, cache: Path
) -> EncodeQueries:
    """What encodes questions under this release: its retrieval adapter, else the embedder.

    Args:
        cache: where verified copies of adapters are kept.

    Raises:
        AlchemyError: NOT_FOUND, CORRUPT when the lake holds other weights than were released,
            CONFLICT for an adapter of another base.
    """
    if not release.retrieval:
        return embedder.encode
    from alchemy.models.query_adapter import AdaptedQueries

    directory, manifest = fetch_adapter(lake, release.retrieval, cache)
    if manifest.meta["weights"] != release.retrieval_digest:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"retrieval adapter {release.retrieval} in {lake.uri} is not the one of {release.id}",
            "Roll back to an earlier release, or run the pipeline again.",
        )
    return AdaptedQueries(settings, directory).encode_queries
