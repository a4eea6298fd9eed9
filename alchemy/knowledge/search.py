"""Hybrid search: dense and lexical candidates the principal may read, fused and reranked.

Access is part of finding candidates, so a principal with few rights still gets `top_k` passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.access import NO_DATE, Access
from alchemy.knowledge.catalog import Catalog
from alchemy.knowledge.snapshot import Snapshot
from alchemy.knowledge.terms import mentioned_keys, query_terms
from alchemy.knowledge.words import Span
from alchemy.protocols import Reranker
from alchemy.types import NO_LIMITS, Chunk, Filters, Mode, Passage, Principal

_EXACT_DOCUMENTS = 4
"""Documents that one question may name by their key."""
_EXACT_CHUNKS = 3
"""Chunks of a named document that go first; the rest ranks as found."""
_EXACT_BOOST = 10.0
"""Above any sum of the weighted signals."""
_NEIGHBOURED = 8
"""Best chunks whose neighbours in the document become candidates."""
_DAY_S = 86_400


@dataclass(frozen=True)
class Query:
    """One question.

    Attributes:
        vector: float32[d], L2-normalised, from the embedder that built the index.
        top_k: passages wanted.
        mode: `hybrid`, or one signal alone.
    """

    text: str
    vector: np.ndarray
    principal: Principal
    top_k: int
    filters: Filters = NO_LIMITS
    mode: Mode = "hybrid"


@dataclass
class _Found:
    """The candidates of one query: arrays of the same length, rows ascending.

    Attributes:
        rows: int64[n].
        signals: name → float32[n], nan where a candidate has none.
        scores: float32[n].
    """

    rows: np.ndarray
    signals: dict[str, np.ndarray]
    scores: np.ndarray
    chunks: dict[int, Chunk] = field(default_factory=dict[int, Chunk])
    order: list[int] = field(default_factory=list[int])
    """Places in `rows`, best first."""


def search(
    snapshot: Snapshot,
    queries: Sequence[Query],
    settings: RetrievalSettings,
    reranker: Reranker | None = None,
) -> list[list[Passage]]:
    """The best passages of each query, best first.

    `Passage.signals` explains the order: the 1-based `dense_rank` and `lexical_rank` where the
    signal found the chunk; `lexical`, its share of the best possible BM25; `parent`, the best score
    of another chunk of its document; `recency` in [0, 1]; `fused`, what these add up to; `rerank`,
    the reranker's probability; `exact` (1.0) for a chunk of a document that the question names;
    `quant`, the rank signal of its document, and `quant_share`, what it adds to `fused` where the
    release weighs it. `Passage.similarity` is the cosine.

    Args:
        reranker: scores the best again, those of all queries together.

    Raises:
        AlchemyError: INPUT_INVALID for a vector of another length than the index has, or a date
            that is none.
    """
    for query in queries:
        if query.vector.shape != (snapshot.vectors.dim,):
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"query vector has shape {query.vector.shape}, "
                f"index {snapshot.version} needs ({snapshot.vectors.dim},)",
            )
    accesses = [snapshot.catalog.access(q.principal, q.filters) for q in queries]
    dense = _dense(snapshot, queries, accesses, settings.candidates)
    found = [
        _fuse(snapshot, query, access, rows, settings)
        for query, access, rows in zip(queries, accesses, dense, strict=True)
    ]
    for query, one in zip(queries, found, strict=True):
        depth = max(query.top_k, settings.rerank_candidates if reranker else 0)
        one.order = np.lexsort((one.rows, -one.scores))[:depth].tolist()
        one.chunks = snapshot.catalog.chunks(one.rows[one.order].tolist())
    if reranker is not None:
        _rerank(queries, found, settings, reranker)
    return [_passages(snapshot, query, one) for query, one in zip(queries, found, strict=True)]


def _dense(
    snapshot: Snapshot, queries: Sequence[Query], accesses: Sequence[Access], limit: int
) -> list[np.ndarray]:
    """Rows by cosine for each query; queries with the same rights share one pass."""
    found = [np.zeros(0, dtype=np.int64) for _ in queries]
    groups: dict[int, list[int]] = {}
    for position, access in enumerate(accesses):
        if queries[position].mode != "lexical":
            groups.setdefault(id(access), []).append(position)
    for positions in groups.values():
        access = accesses[positions[0]]
        mask = None if access.count == snapshot.vectors.count else access.mask
        vectors = np.stack([queries[position].vector for position in positions])
        ids, _ = snapshot.vectors.search(vectors, limit, mask)
        for position, rows in zip(positions, ids, strict=True):
            found[position] = rows[rows >= 0]
    return found


def _fuse(
    snapshot: Snapshot,
    query: Query,
    access: Access,
    dense: np.ndarray,
    settings: RetrievalSettings,
) -> _Found:
    """Candidates of all signals with their scores.

    A convex combination of cosine and BM25 over its bound (Bruch, Gai and Ingber 2023: better and
    less sensitive than reciprocal ranks), to which the lesser signals add.
    """
    catalog = snapshot.catalog
    spans = catalog.spans(query_terms(query.text)) if query.mode != "dense" else []
    mask = None if access.count == catalog.count else access.mask
    lexical, _ = catalog.words.best(spans, settings.candidates, mask)
    named = _named_rows(snapshot, query, access)
    rows = np.unique(np.concatenate([dense, lexical, *named])).astype(np.int64)
    fused, parts = _scored(snapshot, query, spans, rows, settings)
    near = _neighbours(snapshot, rows[np.argsort(-fused, kind="stable")[:_NEIGHBOURED]], access)
    more = np.setdiff1d(near, rows)
    if len(more):
        rows = np.union1d(rows, more)
        fused, parts = _scored(snapshot, query, spans, rows, settings)
    parent = _parents(catalog.rows.document[rows], fused)
    recency = _recency(catalog, rows, settings.recency_half_life_days)
    weights = settings.weights
    scores = fused + weights.parent * parent + weights.recency * recency
    if weights.quant:
        scores = scores + weights.quant * catalog.quant[rows]
    if weights.sources:
        by_number = np.array([weights.sources.get(n, 0.0) for n in catalog.source_names])
        scores = scores + by_number[catalog.rows.source[rows]]
    scores = scores.astype(np.float32)
    signals = {
        **parts,
        "dense_rank": _ranks(rows, dense),
        "lexical_rank": _ranks(rows, lexical),
        "parent": parent,
        "recency": recency,
        "fused": scores.copy(),
        "exact": np.full(len(rows), np.nan, dtype=np.float32),
    }
    if weights.quant:
        signals["quant_share"] = weights.quant * catalog.quant[rows]
    for own in named:
        places = np.searchsorted(rows, own)
        best = places[np.argsort(-parts["similarity"][places], kind="stable")[:_EXACT_CHUNKS]]
        signals["exact"][best] = 1.0
        scores[best] += _EXACT_BOOST
    return _Found(rows, signals, scores)


def _scored(
    snapshot: Snapshot,
    query: Query,
    spans: Sequence[Span],
    rows: np.ndarray,
    settings: RetrievalSettings,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Weighted sum of both signals for each row, and the signals."""
    words = snapshot.catalog.words
    similarity = snapshot.vectors.cosines(query.vector, rows)
    lexical = words.scores(spans, rows) / np.float32(words.bound(spans) or 1.0)
    dense_weight = 0.0 if query.mode == "lexical" else settings.weights.dense
    fused = dense_weight * similarity + settings.weights.lexical * lexical
    return fused.astype(np.float32), {"similarity": similarity, "lexical": lexical}


def _neighbours(snapshot: Snapshot, rows: np.ndarray, access: Access) -> np.ndarray:
    """Allowed rows before and after the given ones in the same document."""
    document = snapshot.catalog.rows.document
    around = np.concatenate([rows - 1, rows + 1])
    own = np.concatenate([rows, rows])
    inside = (around >= 0) & (around < len(document))
    around, own = around[inside], own[inside]
    return np.unique(around[(document[around] == document[own]) & access.mask[around]])


def _parents(documents: np.ndarray, fused: np.ndarray) -> np.ndarray:
    """For each candidate the best score of another candidate of its document; 0 without one."""
    best = np.zeros(len(fused), dtype=np.float32)
    for document in np.unique(documents):
        places = np.flatnonzero(documents == document)
        if len(places) > 1:
            order = places[np.argsort(-fused[places], kind="stable")]
            best[order] = fused[order[0]]
            best[order[0]] = fused[order[1]]
    return best


def _recency(catalog: Catalog, rows: np.ndarray, half_life_days: float) -> np.ndarray:
    """1 for the newest chunk of the index, half at each half-life; 0 without a date.

    Measured from the newest chunk and not from now, so that the same index answers the same.
    """
    mine = catalog.rows.updated[rows]
    known = mine != NO_DATE
    found = np.zeros(len(rows), dtype=np.float32)
    if known.any():
        age_days = (catalog.newest - mine[known]) / _DAY_S
        found[known] = np.exp2(-age_days / half_life_days)
    return found


def _ranks(rows: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """1-based rank of each row in a ranking; nan where it is not in it."""
    ranks = np.full(len(rows), np.nan, dtype=np.float32)
    ranks[np.searchsorted(rows, ranked)] = np.arange(1, len(ranked) + 1)
    return ranks


def _rerank(
    queries: Sequence[Query],
    found: Sequence[_Found],
    settings: RetrievalSettings,
    reranker: Reranker,
) -> None:
    """Score the best of each query again, and order them anew."""
    pairs = [
        (query.text, one.chunks[int(one.rows[place])].embedding_text())
        for query, one in zip(queries, found, strict=True)
        for place in one.order[: settings.rerank_candidates]
    ]
    if not pairs:
        return
    chances = 1.0 / (1.0 + np.exp(-reranker.score(pairs).astype(np.float64)))
    start = 0
    for one in found:
        places = one.order[: settings.rerank_candidates]
        mine = chances[start : start + len(places)]
        start += len(places)
        one.signals["rerank"] = np.full(len(one.rows), np.nan, dtype=np.float32)
        one.signals["rerank"][places] = mine
        one.scores[places] += np.float32(settings.weights.rerank) * mine.astype(np.float32)
        again = sorted(places, key=lambda p: (-one.scores[p], one.rows[p]))
        one.order[: len(places)] = again


def _passages(snapshot: Snapshot, query: Query, found: _Found) -> list[Passage]:
    places = found.order[: query.top_k]
    chunks = [found.chunks[int(found.rows[place])] for place in places]
    insights = snapshot.catalog.insights(chunk.document_id for chunk in chunks)
    return [
        _passage(chunk, found, place, insights) for chunk, place in zip(chunks, places, strict=True)
    ]


def _passage(
    chunk: Chunk, found: _Found, place: int, insights: Mapping[str, tuple[str, float | None]]
) -> Passage:
    signals = {
        name: float(values[place])
        for name, values in found.signals.items()
        if name != "similarity" and not np.isnan(values[place])
    }
    insight, rank_signal = insights.get(chunk.document_id, (None, None))
    if rank_signal is not None:
        signals["quant"] = rank_signal
    return Passage(
        chunk=chunk,
        score=float(found.scores[place]),
        similarity=float(found.signals["similarity"][place]),
        signals=signals,
        insight=insight,
    )


def _named_rows(snapshot: Snapshot, query: Query, access: Access) -> list[np.ndarray]:
    """Allowed rows of each document whose key the question mentions (`XD-123`, a path, a hash)."""
    keys = mentioned_keys(query.text)
    if not keys:
        return []
    documents = snapshot.catalog.documents_named(keys, _EXACT_DOCUMENTS)
    every = (np.array(snapshot.catalog.rows_of(d), dtype=np.int64) for d in documents)
    return [mine for rows in every if len(mine := rows[access.mask[rows]])]
