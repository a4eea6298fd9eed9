"""The inverted index: which chunks hold a term, how prominently, and BM25 over it.

One safetensors file with the postings of all terms behind each other (rows ascending within a term);
where a term's postings lie is in the catalog. A chunk's fields count with their weight (BM25F,
Robertson and Zaragoza 2009, with one length for all fields, which stop words do not add to).

SQLite's FTS5 scores every matching row, about a microsecond each: at a million chunks a question of
ten words takes half a second. Here scoring is a few array operations per term, the rows a person may
not read are left out of them, and common terms are looked at only for chunks that they can still
bring to the top (MaxScore, Turtle and Flood 1995).
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from alchemy.knowledge.tensors import map_tensors, write_tensors
from alchemy.knowledge.terms import STOP

K1 = 1.2
B = 0.75
"""Robertson's usual values; also those of FTS5 and Lucene."""
_MOST = 255
"""Weights are bytes; BM25 is flat long before."""
_BLOCK = 256
_LONG = 4096
"""Postings from which on it pays to find out whether a term can still matter."""
_LOOKUP_COST = 8
"""Postings that are added in the time in which one chunk is looked up in all lists left."""


@dataclass(frozen=True)
class Span:
    """Where a term's postings lie."""

    term: str
    start: int
    count: int


class WordsBuilder:
    """Collects postings row by row and writes them sorted by term.

    Args:
        before: an earlier index and its terms in order, whose rows can be taken over.
    """

    def __init__(self, before: tuple[Words, Sequence[Span]] | None = None) -> None:
        self._before = before
        self._ids: dict[str, int] = {}
        if before is not None:
            self._ids = {span.term: number for number, span in enumerate(before[1])}
        self._terms = array("i")
        self._weights = bytearray()
        self._sizes = array("i")
        self._taken = array("i")
        """For each row of this index its row in the earlier one, or -1."""

    def add(self, weights: Mapping[str, int]) -> None:
        """The next row, from its terms and their summed field weights."""
        ids = self._ids
        self._terms.extend([ids.setdefault(term, len(ids)) for term in weights])
        self._weights += bytes(min(weight, _MOST) for weight in weights.values())
        self._sizes.append(len(weights))
        self._taken.append(-1)

    def take(self, row: int) -> None:
        """The next row, as the earlier index has it at `row`."""
        self._sizes.append(0)
        self._taken.append(row)

    def write(self, path: Path) -> Iterator[Span]:
        """Write the file; then the spans of all terms, in order of the terms."""
        count = len(self._sizes)
        rows = np.repeat(np.arange(count, dtype=np.int32), np.frombuffer(self._sizes, np.int32))
        terms = np.frombuffer(self._terms, np.int32)
        weights = np.frombuffer(bytes(self._weights), np.uint8)
        if self._before is not None:
            old_terms, old_rows, old_weights = self._taken_over(*self._before)
            terms = np.concatenate([old_terms, terms])
            rows = np.concatenate([old_rows, rows])
            weights = np.concatenate([old_weights, weights])
        present = np.bincount(terms, minlength=len(self._ids))
        names = sorted((name for name, number in self._ids.items() if present[number]))
        places = np.zeros(len(self._ids), dtype=np.int64)
        places[[self._ids[name] for name in names]] = np.arange(len(names))
        order = np.argsort(places[terms] * count + rows, kind="stable")
        counted = np.ones(len(self._ids), dtype=bool)
        counted[[number for name, number in self._ids.items() if name.startswith(STOP)]] = False
        lengths = np.bincount(rows, weights=weights * counted[terms], minlength=count)
        write_tensors(
            path,
            {
                "rows": rows[order],
                "weights": weights[order],
                "lengths": lengths.astype(np.float32),
            },
        )
        counts = present[[self._ids[name] for name in names]]
        starts = np.cumsum(counts) - counts
        for name, start, size in zip(names, starts.tolist(), counts.tolist(), strict=True):
            yield Span(name, start, size)

    def _taken_over(
        self, words: Words, spans: Sequence[Span]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        now = np.full(words.count, -1, dtype=np.int32)
        taken = np.frombuffer(self._taken, np.int32)
        kept = np.flatnonzero(taken >= 0)
        now[taken[kept]] = kept
        sizes = np.array([span.count for span in spans], dtype=np.int64)
        rows = now[words.rows]
        mine = rows >= 0
        terms = np.repeat(np.arange(len(spans), dtype=np.int32), sizes)
        return terms[mine], rows[mine], words.weights[mine]


class Words:
    """Reads a written file; safe to use from several threads.

    Attributes:
        rows, weights: int32[p] and uint8[p], the postings of all terms.
        count: number of chunks.
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray, lengths: np.ndarray) -> None:
        self.rows, self.weights = rows, weights
        self.count = len(lengths)
        average = float(lengths.mean()) if self.count else 1.0
        relative = lengths / np.float32(average or 1.0)
        self._norms = (K1 * (1 - B + B * relative)).astype(np.float32)
        blocks = -(-self.count // _BLOCK)
        self._padded = blocks * _BLOCK
        self._local = threading.local()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the file; CORRUPT when it is damaged."""
        tensors = map_tensors(path)
        return cls(tensors["rows"], tensors["weights"], tensors["lengths"])

    def idf(self, count: int) -> float:
        """Inverse document frequency of a term in `count` chunks (always above 0)."""
        return float(np.log1p((self.count - count + 0.5) / (count + 0.5)))

    def bound(self, spans: Iterable[Span]) -> float:
        """What no chunk's score for these terms reaches."""
        return sum(self.idf(span.count) for span in spans)

    def best(
        self, spans: Sequence[Span], limit: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The chunks that match best.

        Args:
            allowed: bool[count]; None allows all.

        Returns:
            rows int64[k] and scores float32[k], best first, k ≤ `limit`; equal scores by row.
        """
        lists = sorted(spans, key=lambda span: (span.count, span.term))
        scores = self._buffer()
        left = self.bound(lists)
        floor = 0.0
        for place, span in enumerate(lists):
            if span.count >= _LONG:
                floor = self._floor(scores, limit)
                if floor > left:  # a chunk with none of the rarer terms cannot reach the top
                    found = np.flatnonzero(scores[: self.count] >= floor - left)
                    if len(found) * _LOOKUP_COST < sum(one.count for one in lists[place:]):
                        return _top(found, scores[found] + self._sum(lists[place:], found), limit)
            rows, share = self._postings(span, allowed)
            share += scores.take(rows)
            scores[rows] = share
            left -= self.idf(span.count)
        floor = self._floor(scores, limit)
        found = np.flatnonzero(scores[: self.count] >= max(floor, 1e-9))
        return _top(found, scores[found], limit)

    def scores(self, spans: Sequence[Span], rows: np.ndarray) -> np.ndarray:
        """BM25 of given rows: float32[len(rows)]."""
        order = np.argsort(rows, kind="stable")
        found = np.zeros(len(rows), dtype=np.float32)
        found[order] = self._sum(spans, np.asarray(rows)[order])
        return found

    def _sum(self, spans: Sequence[Span], rows: np.ndarray) -> np.ndarray:
        """Scores of ascending rows for these terms alone."""
        total = np.zeros(len(rows), dtype=np.float32)
        rows = rows.astype(np.int32)  # as the postings are: else each search would copy them
        for span in spans:
            mine = self.rows[span.start : span.start + span.count]
            places = np.searchsorted(mine, rows)
            places[places == span.count] = 0
            hit = mine[places] == rows
            weights = self.weights[span.start + places[hit]].astype(np.float32)
            total[hit] += self._share(span, weights, rows[hit])
        return total

    def _postings(self, span: Span, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        part = slice(span.start, span.start + span.count)
        rows, weights = self.rows[part], self.weights[part]
        if allowed is not None:
            mine = np.flatnonzero(allowed.take(rows))
            rows, weights = rows.take(mine), weights.take(mine)
        rows = rows.astype(np.intp)  # once: each use as an index would convert it again
        return rows, self._share(span, weights.astype(np.float32), rows)

    def _share(self, span: Span, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What a term adds to the rows' scores, worked out in the array of its weights."""
        norms = self._norms.take(rows)
        norms += weights
        weights /= norms
        weights *= np.float32(self.idf(span.count))
        return weights

    def _buffer(self) -> np.ndarray:
        scores = getattr(self._local, "scores", None)
        if scores is None:
            scores = self._local.scores = np.zeros(self._padded, dtype=np.float32)
        else:
            scores.fill(0.0)
        return scores

    @staticmethod
    def _floor(scores: np.ndarray, limit: int) -> float:
        """At most the `limit`-th best score: that many blocks have a chunk as good."""
        peaks = scores.reshape(-1, _BLOCK).max(axis=1)
        if len(peaks) <= limit:
            return 0.0
        return float(np.partition(peaks, len(peaks) - limit)[len(peaks) - limit])


def _top(rows: np.ndarray, scores: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((rows, -scores))[:limit]
    return rows[order], scores[order]
