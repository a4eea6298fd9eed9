"""How well a search ranks: what adapters and rerankers are judged by."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Reranker
from alchemy.release.metrics import estimate
from alchemy.types import PUBLIC_GROUP, Filters, Principal

if TYPE_CHECKING:
    from alchemy.release.suites import Case
    from alchemy.training.retrieval_pairs import RetrievalPair

_DEPTH = 10


@dataclass(frozen=True)
class Probe:
    """A query with its right documents, by a principal who may read them."""

    text: str
    relevant: frozenset[str]
    principal: Principal
    sources: tuple[str, ...] = ()


def compared(without: Sequence[float], using: Sequence[float], seed: int) -> dict[str, Any]:
    """`{without, with, difference}` of the same probes, each with its 95 % interval."""
    gains = [mine - theirs for mine, theirs in zip(using, without, strict=True)]
    return {
        "without": estimate(without, seed),
        "with": estimate(using, seed),
        "difference": estimate(gains, seed),
    }


def ndcg(ranked: Sequence[str], relevant: Collection[str]) -> float:
    """nDCG@10 of distinct document ids, best first."""
    hits = [place for place, name in enumerate(ranked[:_DEPTH], 1) if name in relevant]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(relevant), _DEPTH) + 1))
    return sum(1 / math.log2(place + 1) for place in hits) / ideal


def ndcgs(
    snapshot: Snapshot,
    probes: Sequence[Probe],
    vectors: np.ndarray,
    settings: RetrievalSettings,
    reranker: Reranker | None = None,
) -> list[float]:
    """nDCG@10 of the whole search for each probe.

    Args:
        vectors: float32[n, dim], row i for probe i.
    """
    queries = [
        # a document's own chunks could fill the first places
        Query(probe.text, vector, probe.principal, settings.candidates, Filters(probe.sources))
        for probe, vector in zip(probes, vectors, strict=True)
    ]
    found = search(snapshot, queries, settings, reranker)
    return [
        ndcg(list(dict.fromkeys(p.chunk.document_id for p in passages)), probe.relevant)
        for passages, probe in zip(found, probes, strict=True)
    ]


def of_pair(pair: RetrievalPair) -> Probe:
    """Searched among the sources of its documents: the record it comes from is indexed as well."""
    sources = tuple(sorted({document.partition(":")[0] for document in pair.documents}))
    groups = tuple(dict.fromkeys((*pair.acl, PUBLIC_GROUP)))
    principal = Principal("evaluator", pair.tenant, groups)
    return Probe(pair.query, frozenset(pair.documents), principal, sources)


def of_case(case: Case) -> Probe:
    """An answerable question."""
    assert case.gold is not None
    return Probe(case.question, frozenset(case.gold.document_ids), case.principal)
