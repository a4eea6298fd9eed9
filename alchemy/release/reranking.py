"""Whether a reranker makes the search of a release better."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alchemy.config import RetrievalSettings
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Reranker
from alchemy.release.ranking import compared, ndcgs, of_case
from alchemy.release.retrieval import EncodeQueries

if TYPE_CHECKING:
    from alchemy.release.suites import Case

ROLE = "reranker"
"""Key of its digest in `Release.models`; absent where none is used."""


def compare(
    snapshot: Snapshot,
    encode: EncodeQueries,
    reranker: Reranker,
    cases: Sequence[Case],
    settings: RetrievalSettings,
    seed: int,
) -> dict[str, Any]:
    """nDCG@10 of the search with and without the reranker, on questions that have an answer.

    It is used when it is better by more than noise (the 95 % interval of the paired difference lies
    above zero): it costs every question its time.

    Args:
        cases: of the calibration half, so that the other half stays unseen.

    Returns:
        `{digest, used, without, with, difference, seconds}`, the last by question.
    """
    probes = [of_case(case) for case in cases if case.answerable]
    report: dict[str, Any] = {"digest": reranker.digest, "used": False, "questions": len(probes)}
    if not probes:
        return report
    vectors = encode([probe.text for probe in probes])
    without = ndcgs(snapshot, probes, vectors, settings)
    started = time.perf_counter()
    using = ndcgs(snapshot, probes, vectors, settings, reranker)
    seconds = (time.perf_counter() - started) / len(probes)
    found = compared(without, using, seed)
    used = found["difference"]["low"] > 0
    return {**report, "used": used, **found, "seconds": round(seconds, 3)}
