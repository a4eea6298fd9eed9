"""Rank metrics of document lists, their bootstrap intervals, and a plain BM25 to compare with."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100")
_WORD = re.compile(r"\w+")


def measure(ranked: Sequence[str], relevant: frozenset[str]) -> dict[str, float]:
    """The metrics of one question; every relevant document is worth the same.

    Args:
        ranked: distinct document ids, best first.
    """
    hits = [place for place, document in enumerate(ranked[:100], 1) if document in relevant]
    top = [place for place in hits if place <= 10]
    ideal = sum(1 / math.log2(n + 1) for n in range(1, min(len(relevant), 10) + 1))
    return {
        "ndcg@10": sum(1 / math.log2(place + 1) for place in top) / ideal,
        "mrr@10": 1 / top[0] if top else 0.0,
        "recall@10": len(top) / len(relevant),
        "recall@100": len(hits) / len(relevant),
    }


def interval(values: np.ndarray, seed: int) -> dict[str, float]:
    """Mean and 95 % bootstrap interval of float64[n]; of differences, when `values` are such.

    The draws are a function of n and the seed, so that all intervals of one set are paired.
    """
    chance = np.random.default_rng(seed)
    means = [values[chance.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "value": round(float(values.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


class Bm25:
    """Okapi BM25 with Lucene's defaults, on lower-case words of whole documents; nothing tuned.

    Shares no code with the product, so that a mistake there cannot hide in the comparison.
    """

    def __init__(self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        from scipy.sparse import csc_matrix

        counts = [Counter(_WORD.findall(text.lower())) for text in texts]
        words = sorted({word for count in counts for word in count})
        self._words = {word: column for column, word in enumerate(words)}
        rows = np.repeat(np.arange(len(texts)), [len(count) for count in counts])
        columns = np.array([self._words[word] for count in counts for word in count])
        times = np.array([n for count in counts for n in count.values()], dtype=np.float64)
        lengths = np.array([count.total() for count in counts], dtype=np.float64)
        holding = np.bincount(columns, minlength=len(words))
        idf = np.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        norm = k1 * (1 - b + b * lengths[rows] / lengths.mean())
        weights = idf[columns] * times * (k1 + 1) / (times + norm)
        self._weights = csc_matrix((weights, (rows, columns)), shape=(len(texts), len(words)))

    def rank(self, query: str, depth: int) -> list[int]:
        """Positions of the best documents, best first; those without a common word are left out."""
        columns = [self._words[w] for w in _WORD.findall(query.lower()) if w in self._words]
        if not columns:
            return []
        scores = np.asarray(self._weights[:, columns].sum(axis=1)).ravel()
        best = np.argsort(-scores, kind="stable")[:depth]
        return [int(place) for place in best if scores[place] > 0]
