"""Vectors in FAISS: exact up to 50 k, a graph (HNSW) above; filtered inside the search.

A vector's id is its position, which is the chunk's row in the catalog.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from alchemy.errors import AlchemyError, ErrorCode

FLAT_LIMIT = 50_000
_swig: Any = faiss
"""The same module, untyped: its stubs miss the constructors that Python adds."""
_LINKS = 32
_BUILD_BREADTH = 200
_SEARCH_BREADTH = 128
_EXACT_SCAN = 20_000
"""Up to this many allowed vectors are compared one by one: a filtered graph would lose them."""
_ADD_BLOCK = 8192


class Vectors:
    """L2-normalised vectors; inner product is cosine. Safe to search from several threads."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: np.ndarray, flat_limit: int = FLAT_LIMIT) -> Self:
        """Index float32[n, d] rows, exact for n ≤ `flat_limit`."""
        count, dim = vectors.shape
        if count <= flat_limit:
            index = faiss.IndexFlatIP(dim)
        else:
            index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = _BUILD_BREADTH
        for start in range(0, count, _ADD_BLOCK):
            index.add(np.ascontiguousarray(vectors[start : start + _ADD_BLOCK], dtype=np.float32))
        return cls(index)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a written index, memory-mapped: replicas on one machine share its pages."""
        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise AlchemyError(
                ErrorCode.CORRUPT, f"{path} is not a FAISS index", "Build the index again."
            ) from error

    def write(self, path: Path) -> None:
        """Store as one file."""
        faiss.write_index(self._index, str(path))

    @property
    def count(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest allowed vectors of each query.

        Args:
            queries: float32[q, d], L2-normalised.
            allowed: bool[n]; None allows all.

        Returns:
            ids int64[q, k] and cosines float32[q, k], best first; id -1 where there are fewer.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        possible = self.count if allowed is None else int(np.count_nonzero(allowed))
        k_found = min(k, possible)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        cosines = np.full((len(queries), k), -1.0, dtype=np.float32)
        if not k_found or not len(queries):
            return ids, cosines
        graph = isinstance(self._index, faiss.IndexHNSW)
        if graph and allowed is not None and possible <= _EXACT_SCAN:
            found = self._scan(queries, k_found, np.flatnonzero(allowed))
        else:
            parameters = self._parameters(graph, k_found, allowed)
            scores, positions = self._index.search(queries, k_found, params=parameters)
            found = positions, scores
        ids[:, :k_found], cosines[:, :k_found] = found
        return ids, cosines

    def cosines(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Cosine of one query float32[d] with the vectors at `ids`: float32[len(ids)]."""
        if not len(ids):
            return np.zeros(0, dtype=np.float32)
        rows = self._index.reconstruct_batch(np.asarray(ids, dtype=np.int64))
        return np.clip(rows @ np.asarray(query, dtype=np.float32), -1.0, 1.0)

    def _scan(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self._index.reconstruct_batch(rows).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return rows[order], np.take_along_axis(scores, order, axis=1)

    @staticmethod
    def _parameters(graph: bool, k: int, allowed: np.ndarray | None) -> Any:
        selector = None
        if allowed is not None:
            selector = _swig.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if graph:
            return _swig.SearchParametersHNSW(sel=selector, efSearch=max(_SEARCH_BREADTH, 2 * k))
        return _swig.SearchParameters(sel=selector) if selector is not None else None
