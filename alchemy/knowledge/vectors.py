"""Vectors in FAISS, chosen by size; filtered inside the search.

Exact up to 50 k vectors. Above, inverted lists (IVF) with one byte per dimension, whose best are
scored again with the vectors themselves; or, where configured, a graph (HNSW), which answers faster
but takes many times as long to build and cannot grow. A vector's id is its position, which is the
chunk's row in the catalog.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import faiss
import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.tensors import map_tensors, write_tensors

VECTORS_FILE = "vectors.faiss"
EXACT_FILE = "vectors.safetensors"
FLAT_LIMIT = 50_000

Kind = Literal["auto", "flat", "ivf", "hnsw"]
_swig: Any = faiss
"""The same module, untyped: its stubs miss the constructors that Python adds."""
_LINKS = 32
_BUILD_BREADTH = 200
_SEARCH_BREADTH = 128
_EXACT_SCAN = 20_000
"""Up to this many allowed vectors are compared one by one: a filtered graph would lose them."""
_BLOCK = 8192
_TRAINING_PER_LIST = 40
_ROUNDS = 8
_TARGET_RECALL = 0.99
_PROBE_QUERIES = 200
_PROBE_COSINE = 0.4
"""Of a trial query and a vector. A question's nearest passages stand at 0.4 to 0.7, and the farther
away a query is, the more lists hold its neighbours."""
_AGAIN = 4
"""Candidates scored again for each one wanted."""


class Vectors:
    """L2-normalised vectors; inner product is cosine. Safe to search from several threads.

    Args:
        exact: float16[n, d], the vectors themselves where the index holds only codes of them.
    """

    def __init__(self, index: Any, exact: np.ndarray | None = None) -> None:
        self._index = index
        self._exact = exact

    @classmethod
    def build(
        cls, vectors: np.ndarray, kind: Kind = "auto", previous: Vectors | None = None
    ) -> Self:
        """Index float32[n, d] rows.

        Args:
            kind: `auto` is `flat` up to `FLAT_LIMIT` vectors, `ivf` above.
            previous: an index whose lists are used again when they still fit, instead of learned.
        """
        count, dim = vectors.shape
        if kind == "auto":
            kind = "flat" if count <= FLAT_LIMIT else "ivf"
        if kind == "flat" or not count:
            return cls(_filled(faiss.IndexFlatIP(dim), vectors))
        exact = np.empty((count, dim), dtype=np.float16)
        for start in range(0, count, _BLOCK):
            exact[start : start + _BLOCK] = vectors[start : start + _BLOCK]
        if kind == "hnsw":
            graph = faiss.IndexHNSWSQ(
                dim, _swig.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT
            )
            graph.hnsw.efConstruction = _BUILD_BREADTH
            graph.train(_sample(vectors, _TRAINING_PER_LIST * 256))
            return cls(_filled(graph, vectors), exact)
        lists = _usable_lists(previous, count, dim)
        known_probes = 0
        if lists is not None:
            known_probes = int(lists.nprobe)
        index = lists or _new_lists(vectors)
        built = cls(_filled(index, vectors), exact)
        index.nprobe = known_probes or built._enough_probes()
        return built

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read written files, memory-mapped: replicas on one machine share their pages."""
        path = directory / VECTORS_FILE
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise AlchemyError(
                ErrorCode.CORRUPT, f"{path} is not a FAISS index", "Build the index again."
            ) from error
        if isinstance(index, faiss.IndexFlat):
            return cls(index)
        return cls(index, map_tensors(directory / EXACT_FILE)["vectors"])

    def write(self, directory: Path) -> None:
        """Store in one or two files."""
        faiss.write_index(self._index, str(directory / VECTORS_FILE))
        if self._exact is not None:
            write_tensors(directory / EXACT_FILE, {"vectors": self._exact})

    @property
    def count(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    @property
    def kind(self) -> str:
        """`flat`, `ivf` or `hnsw`."""
        if isinstance(self._index, faiss.IndexIVF):
            return "ivf"
        return "hnsw" if isinstance(self._index, faiss.IndexHNSW) else "flat"

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
        wanted = min(k, possible)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        cosines = np.full((len(queries), k), -1.0, dtype=np.float32)
        if not wanted or not len(queries):
            return ids, cosines
        if self.kind == "hnsw" and allowed is not None and possible <= _EXACT_SCAN:
            rows = np.broadcast_to(np.flatnonzero(allowed), (len(queries), possible))
        else:
            fetched = wanted if self._exact is None else min(possible, _AGAIN * wanted)
            parameters = self._parameters(fetched, possible, allowed)
            scores, rows = self._index.search(queries, fetched, params=parameters)
            if self._exact is None:
                ids[:, :wanted], cosines[:, :wanted] = rows, scores
                return ids, cosines
        for position, (query, candidates) in enumerate(zip(queries, rows, strict=True)):
            found = np.sort(candidates[candidates >= 0])
            exact = self.cosines(query, found)
            order = np.lexsort((found, -exact))[:wanted]
            ids[position, : len(order)] = found[order]
            cosines[position, : len(order)] = exact[order]
        return ids, cosines

    def cosines(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Cosine of one query float32[d] with the vectors at `ids`: float32[len(ids)]."""
        if not len(ids):
            return np.zeros(0, dtype=np.float32)
        if self._exact is None:
            rows = self._index.reconstruct_batch(np.asarray(ids, dtype=np.int64))
        else:
            rows = self._exact[ids].astype(np.float32)
        return np.clip(rows @ np.asarray(query, dtype=np.float32), -1.0, 1.0)

    def _parameters(self, k: int, possible: int, allowed: np.ndarray | None) -> Any:
        selector = None
        if allowed is not None:
            selector = _swig.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.kind == "hnsw":
            return _swig.SearchParametersHNSW(sel=selector, efSearch=max(_SEARCH_BREADTH, 2 * k))
        if self.kind == "ivf":
            # of fewer allowed vectors the nearest lie in more lists
            probes = -(-self._index.nprobe * self.count // possible)
            return _swig.SearchParametersIVF(sel=selector, nprobe=min(probes, self._index.nlist))
        return _swig.SearchParameters(sel=selector) if selector is not None else None

    def _enough_probes(self) -> int:
        """Lists to look into so that trial queries find what an exact search finds.

        A trial query is a vector of the index with noise added up to a cosine of `_PROBE_COSINE`.
        """
        assert self._exact is not None
        chance = np.random.default_rng(0)
        picked = self._exact[chance.choice(self.count, min(_PROBE_QUERIES, self.count), False)]
        noise = chance.normal(size=picked.shape).astype(np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        queries = _PROBE_COSINE * picked.astype(np.float32)
        queries += np.float32(np.sqrt(1 - _PROBE_COSINE**2)) * noise
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        depth = min(10, self.count)
        truth = self._nearest(queries, depth)
        probes = 4
        while probes < self._index.nlist:
            self._index.nprobe = probes
            found, _ = self.search(queries, depth)
            hits = sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))
            if hits >= _TARGET_RECALL * truth.size:
                return probes
            probes = probes * 3 // 2
        return int(self._index.nlist)

    def _nearest(self, queries: np.ndarray, depth: int) -> np.ndarray:
        """int64[q, depth]: ids of the nearest vectors, by comparing all."""
        assert self._exact is not None
        best = np.full((len(queries), depth), -2.0, dtype=np.float32)
        ids = np.zeros((len(queries), depth), dtype=np.int64)
        for start in range(0, self.count, _BLOCK):
            block = self._exact[start : start + _BLOCK].astype(np.float32)
            scores = np.concatenate([best, queries @ block.T], axis=1)
            places = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            positions = np.arange(start, start + len(block))
            every = np.concatenate([ids, np.broadcast_to(positions, (len(ids), len(block)))], 1)
            best = np.take_along_axis(scores, places, axis=1)
            ids = np.take_along_axis(every, places, axis=1)
        return ids


def _new_lists(vectors: np.ndarray) -> Any:
    """An empty IVF index whose lists are learned from a sample of the vectors."""
    count, dim = vectors.shape
    lists = 1 << max(4, round(float(np.log2(4 * np.sqrt(count)))))
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, lists, _swig.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = _ROUNDS
    index.cp.spherical = True
    index.cp.min_points_per_centroid = 1  # silences a warning about few vectors
    index.train(_sample(vectors, _TRAINING_PER_LIST * lists))
    return index


def _usable_lists(previous: Vectors | None, count: int, dim: int) -> Any:
    """The lists of an earlier index, emptied; None when the size changed too much for them."""
    if previous is None or previous.kind != "ivf" or previous.dim != dim:
        return None
    if not previous.count / 2 <= count <= 2 * previous.count:
        return None
    # a copy: the earlier index goes on serving
    index = faiss.deserialize_index(faiss.serialize_index(previous._index))
    index.reset()
    return index


def _sample(vectors: np.ndarray, size: int) -> np.ndarray:
    if len(vectors) <= size:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))
    return np.ascontiguousarray(vectors[rows], dtype=np.float32)


def _filled(index: Any, vectors: np.ndarray) -> Any:
    for start in range(0, len(vectors), _BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK], dtype=np.float32))
    return index
