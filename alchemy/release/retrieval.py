"""The retrieval adapter of a release: whether it is better than the base, and how queries use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alchemy.config import ModelSettings, RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Embedder, Lake
from alchemy.release.metrics import estimate
from alchemy.training.adapters import fetch_adapter
from alchemy.types import PUBLIC_GROUP, Filters, Principal, Release

if TYPE_CHECKING:
    from alchemy.release.suites import Case
    from alchemy.training.retrieval_pairs import RetrievalPair

EncodeQueries: TypeAlias = Callable[[Sequence[str]], np.ndarray]
"""Questions → float32[n, dim], L2-normalised."""

_DEPTH = 10


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


@dataclass(frozen=True)
class _Probe:
    """A query with its right documents, by a principal who may read them."""

    text: str
    relevant: frozenset[str]
    principal: Principal
    sources: tuple[str, ...] = ()


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
        "pairs": [_of_pair(pair) for pair in adapter.held_out],
        "questions": [_of_case(case) for case in cases if case.answerable],
    }
    measured: dict[str, dict[str, Any]] = {}
    for name, probes in suites.items():
        texts = [probe.text for probe in probes]
        if not texts:
            continue
        without = _ndcgs(snapshot, probes, embedder.encode(texts), settings)
        using = _ndcgs(snapshot, probes, adapter.encode(texts), settings)
        gains = [mine - theirs for mine, theirs in zip(using, without, strict=True)]
        measured[name] = {
            "without": estimate(without, seed),
            "with": estimate(using, seed),
            "difference": estimate(gains, seed),
        }
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


def ndcg(ranked: Sequence[str], relevant: Collection[str]) -> float:
    """nDCG@10 of distinct document ids, best first."""
    hits = [place for place, name in enumerate(ranked[:_DEPTH], 1) if name in relevant]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(relevant), _DEPTH) + 1))
    return sum(1 / math.log2(place + 1) for place in hits) / ideal


def _ndcgs(
    snapshot: Snapshot, probes: Sequence[_Probe], vectors: np.ndarray, settings: RetrievalSettings
) -> list[float]:
    queries = [
        # a document's own chunks could fill the first places
        Query(probe.text, vector, probe.principal, settings.candidates, Filters(probe.sources))
        for probe, vector in zip(probes, vectors, strict=True)
    ]
    found = search(snapshot, queries, settings)
    return [
        ndcg(list(dict.fromkeys(p.chunk.document_id for p in passages)), probe.relevant)
        for passages, probe in zip(found, probes, strict=True)
    ]


def _of_pair(pair: RetrievalPair) -> _Probe:
    """Searched among the sources of its documents: the record it comes from is indexed as well."""
    sources = tuple(sorted({document.partition(":")[0] for document in pair.documents}))
    groups = tuple(dict.fromkeys((*pair.acl, PUBLIC_GROUP)))
    principal = Principal("evaluator", pair.tenant, groups)
    return _Probe(pair.query, frozenset(pair.documents), principal, sources)


def _of_case(case: Case) -> _Probe:
    assert case.gold is not None
    return _Probe(case.question, frozenset(case.gold.document_ids), case.principal)
