"""The automatic suites: held-out questions with their gold, and questions nothing here answers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import PUBLIC_GROUP, Principal, SftPair, text_digest

Kind = Literal["answerable", "excluded", "foreign"]
Half = Literal["calibration", "test"]

EXCLUDED_SHARE = 0.5
"""Answerable questions asked a second time with their gold documents taken out of the search."""
FOREIGN_SHARE = 0.25
"""Generic questions about other things, as a share of the answerable ones."""
NOT_ASKED = frozenset({"insight"})
"""Kinds of pairs whose answer stands in no document (Quant computed it), so nothing can cite it."""
_FOREIGN_FILE = Path(__file__).with_name("unanswerable.txt")


@dataclass(frozen=True)
class Case:
    """One question of a suite.

    Attributes:
        gold: the held-out pair; None for a foreign question.
        principal: someone who may read the gold.
        half: thresholds are fitted on `calibration`, everything is reported on `test`. All cases
            of one document are in the same half.
    """

    id: str
    kind: Kind
    half: Half
    question: str
    principal: Principal
    gold: SftPair | None = None

    @property
    def answerable(self) -> bool:
        """Whether the searched documents hold the answer."""
        return self.kind == "answerable"

    @property
    def source(self) -> str:
        """Source of the gold document; `foreign` without one."""
        return self.gold.document_ids[0].partition(":")[0] if self.gold else "foreign"

    def excludes(self, document_id: str) -> bool:
        """Whether this document is taken out of the case's search."""
        return (
            self.kind == "excluded"
            and self.gold is not None
            and (document_id in self.gold.document_ids)
        )


def build_cases(pairs: Iterable[SftPair], questions: int, seed: int) -> list[Case]:
    """The suites from held-out pairs; the same pairs and seed give the same cases.

    Up to `questions` answerable ones, taken in turn from each (source, kind of pair), so that a
    large source does not silence a small one.

    Raises:
        AlchemyError: STAGE_FAILED when there are no held-out pairs.
    """
    chosen = _sample(pairs, questions, seed)
    if not chosen:
        raise AlchemyError(
            ErrorCode.STAGE_FAILED,
            "sft_eval.jsonl holds no pairs, so there is nothing to evaluate with",
            "Ingest more documents, or raise synthesis.eval_share.",
        )
    cases = [_case(pair, "answerable", seed) for pair in chosen]
    excluded = [_case(pair, "excluded", seed) for pair in chosen[1::2]]
    foreign = foreign_questions()
    random.Random(seed).shuffle(foreign)
    anyone = cases[0].principal
    for number, question in enumerate(foreign[: max(2, round(FOREIGN_SHARE * len(chosen)))]):
        half: Half = "calibration" if number % 2 == 0 else "test"
        cases.append(Case(f"foreign:{number}", "foreign", half, question, anyone))
    return cases + excluded


def foreign_questions() -> list[str]:
    """The questions of `unanswerable.txt`."""
    lines = _FOREIGN_FILE.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _sample(pairs: Iterable[SftPair], questions: int, seed: int) -> list[SftPair]:
    strata: dict[tuple[str, str], list[SftPair]] = defaultdict(list)
    asked: set[str] = set()
    for pair in sorted(pairs, key=lambda p: text_digest(str(seed), p.id)):
        # two documents with the same question have no single gold
        askable = pair.document_ids and pair.kind not in NOT_ASKED
        if askable and pair.instruction not in asked:
            asked.add(pair.instruction)
            strata[(pair.document_ids[0].partition(":")[0], pair.kind)].append(pair)
    chosen: list[SftPair] = []
    queues = [strata[key] for key in sorted(strata)]
    while len(chosen) < questions and any(queues):
        for queue in queues:
            if queue and len(chosen) < questions:
                chosen.append(queue.pop(0))
    return chosen


def _case(pair: SftPair, kind: Kind, seed: int) -> Case:
    groups = tuple(dict.fromkeys((*pair.acl, PUBLIC_GROUP)))
    return Case(
        id=f"{kind}:{pair.id}",
        kind=kind,
        half=_half(pair.document_ids[0], seed),
        question=pair.instruction,
        principal=Principal("evaluator", pair.tenant, groups),
        gold=pair,
    )


def _half(document_id: str, seed: int) -> Half:
    """By document, so that nothing learned from a document is tested on it."""
    even = int(text_digest(str(seed), document_id)[:8], 16) % 2 == 0
    return "calibration" if even else "test"
