"""Rated answers that a reviewer approved → pairs with the same lineage and access as any other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from alchemy.protocols import Redact
from alchemy.synthesis.refining import pair_id
from alchemy.synthesis.verification import question_key
from alchemy.types import SftPair

_MARKER = re.compile(r"\s*\[\d+\]")


class Rated(Protocol):
    """The fields of a stored rating that matter here."""

    @property
    def question(self) -> str:
        """What was asked."""
        ...

    @property
    def answer_text(self) -> str:
        """What was answered, with `[n]` markers."""
        ...

    @property
    def rating(self) -> str:
        """`up` or `down`."""
        ...

    @property
    def correction(self) -> str | None:
        """A better answer."""
        ...

    @property
    def tenant(self) -> str:
        """Tenant of the user."""
        ...

    @property
    def acl(self) -> tuple[str, ...]:
        """Groups that could read all sources of the answer."""
        ...

    @property
    def citations(self) -> tuple[dict[str, Any], ...]:
        """As in `Answer`."""
        ...

    @property
    def status(self) -> str:
        """`pending`, `approved` or `rejected`."""
        ...

    @property
    def created_at(self) -> str:
        """ISO time."""
        ...


@dataclass(frozen=True)
class DocumentAccess:
    """Who may read a document of this run."""

    tenant: str
    acl: tuple[str, ...]


def approved_pairs(
    ratings: Iterable[Rated], documents: Mapping[str, DocumentAccess], redact: Redact
) -> tuple[list[SftPair], Counter[str]]:
    """Pairs of approved ratings, by id, and why others gave none.

    An answer is learned when it was rated up or corrected, a reviewer approved it, and every
    document it cites is still there. Of several on one question the newest counts.

    Args:
        documents: document id → access, of the documents in this run.
        redact: people type e-mail addresses and passwords into corrections.
    """
    rejected: Counter[str] = Counter()
    by_question: dict[str, SftPair] = {}
    for rated in sorted(ratings, key=lambda r: r.created_at):
        pair, reason = _pair(rated, documents, redact)
        if pair is None:
            rejected[reason] += 1
            continue
        key = question_key(pair.tenant, pair.instruction)
        if by_question.pop(key, None) is not None:
            rejected["feedback_superseded"] += 1
        by_question[key] = pair
    return sorted(by_question.values(), key=lambda pair: pair.id), rejected


def _pair(
    rated: Rated, documents: Mapping[str, DocumentAccess], redact: Redact
) -> tuple[SftPair | None, str]:
    answer = rated.correction or (rated.answer_text if rated.rating == "up" else "")
    cited = list(dict.fromkeys(str(c["document_id"]) for c in rated.citations))
    if rated.status != "approved":
        return None, "feedback_not_approved"
    if not _MARKER.sub("", answer).strip() or not rated.question.strip():
        return None, "feedback_without_answer"
    if not cited:
        return None, "feedback_without_source"
    if any(d not in documents or documents[d].tenant != rated.tenant for d in cited):
        return None, "feedback_source_gone"
    # readable by who may read every source, by today's rights as well as by those of the answer
    groups = set(rated.acl).intersection(*(documents[d].acl for d in cited))
    if not groups:
        return None, "feedback_without_readers"
    question, response = redact([rated.question, _MARKER.sub("", answer)])
    chunks = tuple(dict.fromkeys(str(c["chunk_id"]) for c in rated.citations))
    return (
        SftPair(
            id=pair_id(question, response, *chunks),
            instruction=question.strip(),
            response=response.strip(),
            chunk_ids=chunks,
            document_ids=tuple(cited),
            tenant=rated.tenant,
            acl=tuple(sorted(groups)),
            kind="feedback",
            origin="feedback",
            verified=True,
            score=1.0,
        ),
        "",
    )
