"""Hybrid search: dense and full-text candidates the principal may read, fused by rank.

Access is part of finding candidates, so a principal with few rights still gets `top_k` passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.catalog import Access
from alchemy.knowledge.snapshot import Snapshot
from alchemy.knowledge.terms import mentioned_keys
from alchemy.types import Chunk, Passage, Principal

_EXACT_DOCUMENTS = 4
"""Documents that one question may name by their key."""
_EXACT_CHUNKS = 3
"""Chunks of a named document that go first; the rest ranks as found."""
_EXACT_BOOST = 1.0
"""Above any sum of reciprocal ranks, which stays below 2 / (rrf_k + 1)."""


@dataclass(frozen=True)
class Query:
    """One question.

    Attributes:
        vector: float32[d], L2-normalised, from the embedder that built the index.
        top_k: passages wanted.
        sources: only these sources; empty for all.
    """

    text: str
    vector: np.ndarray
    principal: Principal
    top_k: int
    sources: tuple[str, ...] = ()


@dataclass
class _Candidate:
    score: float = 0.0
    similarity: float = 0.0
    signals: dict[str, float] = field(default_factory=dict)


def search(
    snapshot: Snapshot, queries: Sequence[Query], settings: RetrievalSettings
) -> list[list[Passage]]:
    """The best passages of each query, best first.

    `Passage.signals` holds the 1-based `dense_rank` and `lexical_rank` where the signal found the
    chunk, the fused `rrf`, `exact` (1.0) for a chunk of a document that the question names, and
    `quant`, the rank signal of its document (shown, not scored).

    Raises:
        AlchemyError: INPUT_INVALID for a vector of another length than the index has.
    """
    for query in queries:
        if query.vector.shape != (snapshot.vectors.dim,):
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"query vector has shape {query.vector.shape}, "
                f"index {snapshot.version} needs ({snapshot.vectors.dim},)",
            )
    accesses = [snapshot.catalog.access(q.principal, q.sources) for q in queries]
    dense = _dense(snapshot, queries, accesses, settings.candidates)
    return [
        _fuse(snapshot, query, access, rows, settings)
        for query, access, rows in zip(queries, accesses, dense, strict=True)
    ]


def _dense(
    snapshot: Snapshot, queries: Sequence[Query], accesses: Sequence[Access], limit: int
) -> list[list[int]]:
    """Rows by cosine for each query; queries with the same rights share one pass."""
    found: list[list[int]] = [[] for _ in queries]
    groups: dict[int, list[int]] = {}
    for position, access in enumerate(accesses):
        groups.setdefault(id(access), []).append(position)
    for positions in groups.values():
        access = accesses[positions[0]]
        mask = None if access.rows == snapshot.vectors.count else access.mask
        vectors = np.stack([queries[position].vector for position in positions])
        ids, _ = snapshot.vectors.search(vectors, limit, mask)
        for position, row_ids in zip(positions, ids, strict=True):
            found[position] = [int(row) for row in row_ids if row >= 0]
    return found


def _fuse(
    snapshot: Snapshot,
    query: Query,
    access: Access,
    dense: list[int],
    settings: RetrievalSettings,
) -> list[Passage]:
    catalog = snapshot.catalog
    candidates: dict[int, _Candidate] = {}
    rankings = {
        "dense_rank": dense,
        "lexical_rank": catalog.lexical(query.text, access, settings.candidates),
    }
    for signal, rows in rankings.items():
        for rank, row in enumerate(rows, 1):
            candidate = candidates.setdefault(row, _Candidate())
            candidate.signals[signal] = float(rank)
            candidate.score += 1.0 / (settings.rrf_k + rank)
    named = _named_rows(snapshot, query, access)
    for row in (row for rows in named for row in rows):
        candidates.setdefault(row, _Candidate())
    rows = np.array(sorted(candidates), dtype=np.int64)
    for row, cosine in zip(rows, snapshot.vectors.cosines(query.vector, rows), strict=True):
        candidate = candidates[int(row)]
        candidate.similarity = float(cosine)
        candidate.signals["rrf"] = candidate.score
    for rows_of_document in named:
        ordered = sorted(rows_of_document, key=lambda row: -candidates[row].similarity)
        for row in ordered[:_EXACT_CHUNKS]:
            candidates[row].signals["exact"] = 1.0
            candidates[row].score += _EXACT_BOOST

    def order(row: int) -> tuple[float, float, int]:
        return (-candidates[row].score, -candidates[row].similarity, row)

    best = sorted(candidates, key=order)[: query.top_k]
    chunks = catalog.chunks(best)
    insights = catalog.insights(chunk.document_id for chunk in chunks.values())
    return [_passage(chunks[row], candidates[row], insights) for row in best]


def _passage(
    chunk: Chunk, candidate: _Candidate, insights: Mapping[str, tuple[str, float | None]]
) -> Passage:
    insight, rank_signal = insights.get(chunk.document_id, (None, None))
    if rank_signal is not None:
        candidate.signals["quant"] = rank_signal
    return Passage(
        chunk=chunk,
        score=candidate.score,
        similarity=candidate.similarity,
        signals=candidate.signals,
        insight=insight,
    )


def _named_rows(snapshot: Snapshot, query: Query, access: Access) -> list[list[int]]:
    """Allowed rows of each document whose key the question mentions (`XD-123`, a path, a hash)."""
    keys = mentioned_keys(query.text)
    if not keys:
        return []
    documents = snapshot.catalog.documents_named(keys, _EXACT_DOCUMENTS)
    rows = ([r for r in snapshot.catalog.rows_of(d) if access.mask[r]] for d in documents)
    return [found for found in rows if found]
