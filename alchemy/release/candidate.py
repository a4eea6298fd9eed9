"""The parts of a release that does not exist yet, and which of them make it better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alchemy.config import Settings
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import ChatModel, Embedder, Generator, Reader, Reranker
from alchemy.release import quant_weight, reranking
from alchemy.release.retrieval import EncodeQueries, RetrievalAdapter, compare
from alchemy.release.suites import Case


@dataclass(frozen=True)
class Candidate:
    """What is evaluated: loaded parts of a release that does not exist yet.

    Attributes:
        generator: base model with the adapter loaded under the version `adapter`.
        chat_model: model_d; None for the extractive finalist.
        retrieval: adapter of queries; None when the run trained none.
        reranker, reader: used where they measure better.
    """

    snapshot: Snapshot
    embedder: Embedder
    generator: Generator
    adapter: str
    adapter_digest: str
    chat_model: ChatModel | None = None
    retrieval: RetrievalAdapter | None = None
    reranker: Reranker | None = None
    reader: Reader | None = None


class KnownVectors:
    """An embedder for `Fusion` that answers from one big batch made before."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, np.ndarray] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Embed the texts that are new, in one call."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.encode(new), strict=True))

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, d] of the texts, embedding what is still unknown."""
        self.learn(texts)
        return np.stack([self._known[text] for text in texts])

    async def __call__(self, texts: list[str]) -> np.ndarray:
        """See `Fusion`."""
        return self.of(texts)


def query_encoder_of(
    cases: Sequence[Case], candidate: Candidate, vectors: KnownVectors, settings: Settings
) -> tuple[dict[str, Any] | None, EncodeQueries]:
    """What was found out about the retrieval adapter, and what encodes questions from here on."""
    adapter = candidate.retrieval
    if adapter is None:
        return None, vectors.of
    judged = compare(
        candidate.snapshot,
        candidate.embedder,
        adapter,
        cases,
        settings.retrieval,
        settings.evaluation.seed,
    )
    return judged, adapter.encode if judged["used"] else vectors.of


def reranked(
    cases: Sequence[Case], candidate: Candidate, encode: EncodeQueries, settings: Settings
) -> tuple[dict[str, Any] | None, Candidate]:
    """What was found out about the reranker, and the candidate with it only if it helps."""
    if candidate.reranker is None:
        return None, candidate
    judged = reranking.compare(
        candidate.snapshot,
        encode,
        candidate.reranker,
        [case for case in cases if case.half == "calibration"],
        settings.retrieval,
        settings.evaluation.seed,
    )
    return judged, candidate if judged["used"] else replace(candidate, reranker=None)


def quant_weighed(
    cases: Sequence[Case], candidate: Candidate, encode: EncodeQueries, settings: Settings
) -> tuple[dict[str, Any], Settings]:
    """What was found out about the quant signal, and the settings with the weight it earned."""
    pairs = candidate.retrieval.held_out if candidate.retrieval else ()
    judged = quant_weight.fit(
        candidate.snapshot,
        encode,
        [case for case in cases if case.half == "calibration"],
        pairs,
        settings.retrieval,
        settings.evaluation.seed,
    )
    retrieval = quant_weight.weighed(settings.retrieval, judged["weight"])
    return judged, settings.model_copy(update={"retrieval": retrieval})
