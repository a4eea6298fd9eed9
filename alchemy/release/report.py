"""What an evaluation says: the numbers of `evaluation.json`, from questions and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alchemy.finalist.terms import identifiers, term_set
from alchemy.release.calibration import Example, Threshold
from alchemy.release.metrics import estimate, overlap, share, token_f1
from alchemy.release.suites import Case
from alchemy.types import Answer, Chunk, Draft, Passage, SftPair

SAME_FACT_RECALL = 0.7
"""A text that holds this share of the gold answer's words states the same fact: another document
may answer as well as the gold one (an issue and the commit that closed it)."""
RECALL_DEPTH = 10


@dataclass(frozen=True)
class Asked:
    """A case with what the engines found for it.

    Attributes:
        ranked: passages down to the depth recall is measured at.
        passages: those an answer is made from.
        draft: of the adapter.
    """

    case: Case
    ranked: list[Passage]
    passages: list[Passage]
    draft: Draft

    @property
    def gold(self) -> SftPair:
        """The held-out pair of an answerable or excluded case."""
        assert self.case.gold is not None
        return self.case.gold


def is_correct(case: Case, text: str, cited: Sequence[Chunk]) -> bool:
    """Whether an answer is right: most of it cites the gold document, or it states the gold's fact.

    "Which commit mentions XD-123?" is rightly answered by any record of the gold's source that
    does. Never right is an answer to a question that nothing searched answers.
    """
    gold = case.gold
    if not case.answerable or gold is None:
        return False
    right = sum(chunk.document_id in gold.document_ids for chunk in cited)
    if gold.kind == "link":
        wanted = identifiers(case.question)
        right = sum(
            chunk.source == case.source and wanted <= term_set(f"{chunk.title} \n {chunk.text}")
            for chunk in cited
        )
    return 2 * right > len(cited) or overlap(text, gold.response)[1] >= SAME_FACT_RECALL


def questions(asked: Sequence[Asked]) -> dict[str, int]:
    """How many of each kind, and in each half."""
    kinds = [a.case.kind for a in asked]
    return {
        "total": len(asked),
        **{kind: kinds.count(kind) for kind in ("answerable", "excluded", "foreign")},
        "calibration": sum(a.case.half == "calibration" for a in asked),
        "test": sum(a.case.half == "test" for a in asked),
    }


def _first_gold(item: Asked) -> int | None:
    """1-based place of the first passage of a gold document, within the recall depth."""
    gold = item.gold.document_ids
    for place, passage in enumerate(item.ranked[:RECALL_DEPTH], 1):
        if passage.chunk.document_id in gold:
            return place
    return None


def retrieval(answerable: Sequence[Asked], seed: int) -> dict[str, Any]:
    """Where the first passage of a gold document stands; over both halves, nothing was fitted."""
    places = [_first_gold(item) for item in answerable]
    return {
        "recall@1": estimate([float(place == 1) for place in places], seed),
        "recall@10": estimate([float(place is not None) for place in places], seed),
        "mrr@10": estimate([1.0 / place if place else 0.0 for place in places], seed),
    }


def answers(test: Sequence[Asked], given: Sequence[Answer], seed: int) -> dict[str, Any]:
    """Of the test questions that were answered: is it right, is the gold cited, is it exact."""
    said = [(item, a) for item, a in zip(test, given, strict=True) if not a.abstained]
    chunks = {p.chunk.id: p.chunk for item, _ in said for p in item.passages}
    quotes = [c for _, answer in said for c in answer.citations]
    exact = sum(c.chunk_id in chunks and c.quote in chunks[c.chunk_id].text for c in quotes)
    known = [(item, answer) for item, answer in said if item.case.answerable]
    return {
        "answered": len(said),
        "of": len(given),
        "precision": estimate(
            [
                float(is_correct(item.case, a.text, [chunks[c.chunk_id] for c in a.citations]))
                for item, a in said
            ],
            seed,
        ),
        "citation_precision": estimate(
            [
                float(c.document_id in item.gold.document_ids)
                for item, answer in known
                for c in answer.citations
            ],
            seed,
        ),
        "quotes": len(quotes),
        "quotes_exact": share(exact, len(quotes)),
        "f1": estimate([token_f1(a.text, item.gold.response) for item, a in known], seed),
    }


def abstention(test: Sequence[Asked], given: Sequence[Answer]) -> dict[str, Any]:
    """Refusals against the questions that should be refused, and those refused in error."""
    refused = [item.case for item, a in zip(test, given, strict=True) if a.abstained]
    right = sum(not case.answerable for case in refused)
    unanswerable = [item.case for item in test if not item.case.answerable]
    by_kind = {
        kind: share(
            sum(case.kind == kind for case in refused),
            sum(item.case.kind == kind for item in test),
        )
        for kind in ("answerable", "excluded", "foreign")
    }
    return {
        "refused": len(refused),
        "precision": share(right, len(refused)),
        "recall": share(right, len(unanswerable)),
        "refused_share": by_kind,
    }


def by_source(
    asked: Sequence[Asked],
    answerable: Sequence[Asked],
    given: Sequence[Answer],
    f1: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """The same per source; F1 and citations of answers given without abstaining (`given`)."""
    sources = sorted({a.case.source for a in asked if a.case.answerable})
    by_name: dict[str, Any] = {}
    for source in sources:
        rows = [i for i, item in enumerate(answerable) if item.case.source == source]
        cited = [
            float(c.document_id in answerable[i].gold.document_ids)
            for i in rows
            for c in given[i].citations
        ]
        every = [a for a in asked if a.case.answerable and a.case.source == source]
        by_name[source] = {
            **retrieval(every, seed),
            "f1": estimate([f1[i] for i in rows], seed),
            "citation_precision": estimate(cited, seed),
        }
    return by_name


def calibration(
    limit: Threshold,
    weights: list[dict[str, Any]],
    examples: Sequence[Example],
    target: float,
) -> dict[str, Any]:
    """How the threshold was found, and whether it reaches its target."""
    missed = (
        f"no threshold reaches the precision {target:g} on the calibration questions; "
        "the most precise one is used"
    )
    return {
        "examples": len(examples),
        "correct": sum(example.correct for example in examples),
        "target_precision": target,
        "reached": limit.reached,
        "precision": None if limit.precision is None else round(limit.precision, 4),
        "answered": limit.answered,
        "draft_weights": weights,
        "note": "" if limit.reached else missed,
    }
