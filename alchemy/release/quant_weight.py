"""How much the quant signal of a document counts in the ranking of a release: fitted, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.knowledge.snapshot import Snapshot
from alchemy.release.metrics import estimate
from alchemy.release.ranking import Probe, ndcgs, of_case, of_pair
from alchemy.release.retrieval import EncodeQueries

if TYPE_CHECKING:
    from alchemy.release.suites import Case
    from alchemy.training.retrieval_pairs import RetrievalPair

WEIGHT = "quant_weight"
"""Key of `Release.thresholds`."""
GRID = (-0.2, -0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2)
"""Weights tried. A cosine and BM25 over its bound add up to 2 at most, the signal is half of 1: a
larger weight would rank by numbers, not by what was asked."""
_LEAST = 20
"""Probes without which nothing is fitted."""
_MOST = 200


def fit(
    snapshot: Snapshot,
    encode: EncodeQueries,
    cases: Sequence[Case],
    pairs: Sequence[RetrievalPair],
    settings: RetrievalSettings,
    seed: int,
) -> dict[str, Any]:
    """The weight with the best nDCG@10, if it is better than none by more than noise.

    Every other probe chooses the weight, the rest judges it: the 95 % interval of the paired
    difference to no weight has to lie above zero.

    Args:
        cases: of the calibration half.
        pairs: links and rated answers that trained nothing.

    Returns:
        `{weight, probes}` and, where anything was fitted, `{best, difference}`; `weight` is 0 where
        there is nothing to fit on or `best` is not used.
    """
    probes = _probes(cases, pairs, seed)
    report: dict[str, Any] = {"weight": 0.0, "probes": len(probes)}
    if len(probes) < _LEAST or not snapshot.catalog.quant.any():
        return report
    vectors = encode([probe.text for probe in probes])
    none = np.array(ndcgs(snapshot, probes, vectors, weighed(settings, 0.0)))
    choosing = np.arange(len(probes)) % 2 == 0
    mine = [probe for probe, own in zip(probes, choosing, strict=True) if own]
    gains = {
        weight: float(np.mean(ndcgs(snapshot, mine, vectors[choosing], weighed(settings, weight))))
        for weight in GRID
    }
    # of equal ones the smallest
    best = max(GRID, key=lambda weight: (round(gains[weight], 6), -abs(weight)))
    others = [probe for probe, own in zip(probes, choosing, strict=True) if not own]
    using = np.array(ndcgs(snapshot, others, vectors[~choosing], weighed(settings, best)))
    difference = estimate((using - none[~choosing]).tolist(), seed)
    used = gains[best] > float(none[choosing].mean()) and difference["low"] > 0
    return {**report, "weight": best if used else 0.0, "best": best, "difference": difference}


def weighed(settings: RetrievalSettings, weight: float) -> RetrievalSettings:
    """The settings with this weight of the signal."""
    weights = settings.weights.model_copy(update={"quant": weight})
    return settings.model_copy(update={"weights": weights})


def released(settings: RetrievalSettings, thresholds: Mapping[str, float]) -> RetrievalSettings:
    """The settings with a release's weight; unchanged for one that fitted none."""
    weight = thresholds.get(WEIGHT)
    return settings if weight is None else weighed(settings, weight)


def _probes(cases: Sequence[Case], pairs: Sequence[RetrievalPair], seed: int) -> list[Probe]:
    found = [of_case(case) for case in cases if case.answerable]
    asked = [of_pair(pair) for pair in pairs if pair.kind in ("link", "feedback")]
    every = [*asked, *found]
    order = np.random.default_rng(seed).permutation(len(every))[:_MOST]
    return [every[place] for place in order]
