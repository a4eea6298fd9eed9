"""Numbers with their uncertainty: token F1, means and their bootstrap intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from alchemy.finalist.citations import MARKER
from alchemy.finalist.terms import content_words

_RESAMPLES = 1000


def overlap(text: str, gold: str) -> tuple[float, float]:
    """Precision and recall of the text's content words against the gold's; markers do not count."""
    said = Counter(content_words(MARKER.sub(" ", text)))
    wanted = Counter(content_words(gold))
    if not said or not wanted:
        return (1.0, 1.0) if said == wanted else (0.0, 0.0)
    shared = sum((said & wanted).values())
    return shared / sum(said.values()), shared / sum(wanted.values())


def token_f1(text: str, gold: str) -> float:
    """Harmonic mean of precision and recall over content words, in [0, 1]."""
    precision, recall = overlap(text, gold)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def estimate(values: Sequence[float], seed: int) -> dict[str, Any]:
    """Mean with its 95 % bootstrap interval: `{value, low, high, n}`; nulls for no values."""
    if not values:
        return {"value": None, "low": None, "high": None, "n": 0}
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(data), (_RESAMPLES, len(data)))
    low, high = np.percentile(data[draws].mean(axis=1), [2.5, 97.5])
    return {
        "value": round(float(data.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "n": len(data),
    }


def share(part: int, whole: int) -> float | None:
    """`part / whole`, None when there is no whole."""
    return round(part / whole, 4) if whole else None
