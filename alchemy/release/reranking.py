"""The reranker of a release: whether it makes the search better, and that it is the released one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Reader, Reranker
from alchemy.release.metrics import estimate
from alchemy.release.retrieval import ndcg
from alchemy.types import Release

if TYPE_CHECKING:
    from alchemy.release.suites import Case

Scorer = TypeVar("Scorer", Reranker, Reader)
ROLE = "reranker"
"""Key of its digest in `Release.models`; absent where none is used."""


def compare(
    snapshot: Snapshot,
    encode: Callable[[Sequence[str]], np.ndarray],
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
    asked = [case for case in cases if case.gold is not None and case.answerable]
    report: dict[str, Any] = {"digest": reranker.digest, "used": False, "questions": len(asked)}
    if not asked:
        return report
    vectors = encode([case.question for case in asked])
    without = _ndcgs(snapshot, asked, vectors, settings, None)
    started = time.perf_counter()
    using = _ndcgs(snapshot, asked, vectors, settings, reranker)
    seconds = (time.perf_counter() - started) / len(asked)
    gain = estimate([mine - theirs for mine, theirs in zip(using, without, strict=True)], seed)
    return {
        **report,
        "used": gain["low"] > 0,
        "without": estimate(without, seed),
        "with": estimate(using, seed),
        "difference": gain,
        "seconds": round(seconds, 3),
    }


def of_release(
    release: Release, load: Callable[[], Scorer | None], role: str = ROLE
) -> Scorer | None:
    """The reranker, or the model of another role, that a release was made with; None for none.

    Args:
        load: gives the configured one; called only where the release uses one.
        role: key of `Release.models` and section of `models.yaml`.

    Raises:
        AlchemyError: CONFLICT where another one is configured: scores of two models do not compare.
    """
    wanted = release.models.get(role)
    if wanted is None:
        return None
    model = load()
    if model is None or model.digest != wanted:
        mine = model.digest[:12] if model else "not configured"
        raise AlchemyError(
            ErrorCode.CONFLICT,
            f"release {release.id} uses the {role} {wanted[:12]}, here it is {mine}",
            f"Set the section {role} back (its dtype counts: auto differs between machines), or run "
            "`data-alchemy full-cycle` for a new release.",
        )
    return model


def _ndcgs(
    snapshot: Snapshot,
    cases: Sequence[Case],
    vectors: np.ndarray,
    settings: RetrievalSettings,
    reranker: Reranker | None,
) -> list[float]:
    queries = [
        Query(case.question, vector, case.principal, settings.candidates)
        for case, vector in zip(cases, vectors, strict=True)
    ]
    found = search(snapshot, queries, settings, reranker)
    return [
        ndcg(
            list(dict.fromkeys(passage.chunk.document_id for passage in passages)),
            frozenset(case.gold.document_ids if case.gold else ()),
        )
        for passages, case in zip(found, cases, strict=True)
    ]
