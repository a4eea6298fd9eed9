"""Questions about many records, answered from a release's records instead of its texts.

The answer says what was counted and cites the query plan, so that a person can check both. It counts
only what the asking person may read, and is for this person alone.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Collection
from datetime import date
from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import polars as pl

from alchemy.knowledge.access import Access
from alchemy.knowledge.phrases import documents_with
from alchemy.knowledge.snapshot import Snapshot
from alchemy.quant.execution import Result, execute
from alchemy.quant.plan import Plan
from alchemy.quant.questions import Reading, read_question
from alchemy.quant.records import Records
from alchemy.quant.vocabulary import Vocabulary
from alchemy.quant.wording import (
    answer_text,
    column_text,
    computable,
    figures,
    number_text,
    rows_text,
)
from alchemy.serving.ask import NO_ADAPTER
from alchemy.types import Answer, Chunk, Citation, Filters, Passage, Principal, text_digest

_QUOTE_CHARS = 200
_PHRASES_KEPT = 16
_SHORT = 3
Computed: TypeAlias = tuple[Answer, list[Passage]]


_UNHEARD = (
    "I cannot compute this with certainty: no record has the words “{}” together. Put a phrase in"
    " quotation marks to have it counted as it is."
)


class _Told(NamedTuple):
    plan: Plan
    result: Result
    notes: list[str]


class Computer:
    """Answers questions from the records of one index version; safe to use from several threads."""

    def __init__(self, release: str, snapshot: Snapshot) -> None:
        self._release = release
        self._snapshot = snapshot
        self._lock = threading.Lock()
        # an index never changes, and a plan may be run twice
        self._found = lru_cache(_PHRASES_KEPT)(partial(documents_with, snapshot.catalog))
        self._vocabularies: WeakKeyDictionary[Access, Vocabulary] = WeakKeyDictionary()

    def answer(
        self,
        question: str,
        principal: Principal,
        filters: Filters,
        today: date,
        hidden: frozenset[str] = frozenset(),
    ) -> Computed | None:
        """The computed answer, or an account of why it cannot be computed, and what it was made from.

        None for a question that texts should answer.

        Args:
            hidden: forgotten documents of the principal's tenant: those that search never had, being
                another document's copies, do not count either.
        """
        if self._snapshot.records is None:
            return None
        access = self._snapshot.catalog.access(principal, filters)
        vocabulary = self._vocabulary_of(access, hidden)
        reading = read_question(question, vocabulary, today)
        if reading is None or (reading.plan is None and not reading.strong):
            return None
        if reading.plan is None:
            return self._refused(question, _not_understood(reading, vocabulary))
        if unheard := self._unheard(reading.plan, question):
            return self._refused(question, _UNHEARD.format(unheard))
        told: list[_Told] = []
        for plan in (reading.plan, *reading.also):
            result = execute(plan, vocabulary.records, self._find)
            if not computable(result):
                return self._refused(question, answer_text(plan, result))
            notes = () if told else reading.notes
            told.append(
                _Told(plan, result, [*notes, *self._other_readings(plan, result, vocabulary)])
            )
        return self._told(question, told)

    def _unheard(self, plan: Plan, question: str) -> str | None:
        """Words taken for one phrase, not quoted as one, that stand together nowhere."""
        for condition in (*plan.where, *plan.part, *plan.alternatives):
            for value in condition.values if condition.op == "mentions" else ():
                phrase = str(value)
                quoted = re.search(rf"[\"'“‘`]{re.escape(phrase)}[\"'”’`]", question, re.IGNORECASE)
                if " " in phrase.strip() and not quoted and not self._find_all(phrase, "text"):
                    return phrase
        return None

    def _vocabulary_of(self, access: Access, hidden: frozenset[str]) -> Vocabulary:
        """The records of those rights; worked out once for as long as the rights stay the same."""
        with self._lock:
            known = self._vocabularies.get(access)
            if known is None or known.records.hidden != hidden:
                path, catalog = self._snapshot.records, self._snapshot.catalog
                assert path is not None
                ids = None if access.count == catalog.count else catalog.documents(access)
                allowed = None if ids is None else pl.Series(ids, dtype=pl.String)
                known = self._vocabularies[access] = Vocabulary(Records(path, allowed, hidden))
            return known

    def _find(self, phrase: str, where: str) -> Collection[str]:
        found = self._found(phrase, where)
        # what begins with a short word is mostly another one: tap, tape
        return found.words if len(phrase) <= _SHORT else found.words | found.begun

    def _find_alone(self, phrase: str, where: str) -> Collection[str]:
        return self._found(phrase, where).alone

    def _find_all(self, phrase: str, where: str) -> Collection[str]:
        found = self._found(phrase, where)
        return found.words | found.begun | found.inside

    def _other_readings(self, plan: Plan, result: Result, vocabulary: Vocabulary) -> list[str]:
        """The figures where a phrase counts as a whole word only, or inside words, too."""
        conditions = (*plan.where, *plan.part, *plan.alternatives)
        values = [f"“{v}”" for c in conditions if c.op == "mentions" for v in c.values]
        if not values:
            return []
        notes: list[str] = []
        named = " and ".join(dict.fromkeys(values))
        for find, how in (
            (self._find_alone, "as whole words only"),
            (self._find_all, "inside longer words, too"),
        ):
            other = execute(plan, vocabulary.records, find)
            if _figures(plan, other) != _figures(plan, result):
                notes.append(f"with {named} {how}: {_figures(plan, other)}")
        return notes

    def _told(self, question: str, told: list[_Told]) -> Computed:
        chunks = [self._plan_chunk(one.plan) for one in told]
        chunks += self._first_chunks(told[0].plan, told[0].result)
        numbers = {c.document_id: n for n, c in enumerate(chunks, 1) if n > len(told)}
        texts: list[str] = []
        for marker, one in enumerate(told, 1):
            text = answer_text(one.plan, one.result, numbers)
            said = "".join(f" ({note})" for note in one.notes)
            # the plan's marker stands at the end of the first paragraph
            first, gap, rest = text.partition("\n\n")
            texts.append(f"{first}{said} [{marker}]{gap}{rest}")
        return self._made(question, "\n\n".join(texts), chunks, abstained=False)

    def _first_chunks(self, plan: Plan, result: Result) -> list[Chunk]:
        """The first chunk of each listed record."""
        if plan.group != "document_id":
            return []
        catalog = self._snapshot.catalog
        rows = [span[0] for row in result.groups if (span := catalog.rows_of(row.name))]
        found = catalog.chunks(rows)
        return [found[row] for row in rows]

    def _plan_chunk(self, plan: Plan) -> Chunk:
        """The plan as a source of the asking person alone: what it counts differs with the rights."""
        sql = plan.sql()
        return Chunk(
            id=f"records:{self._snapshot.version}#{text_digest(sql)[:12]}",
            document_id=f"records:{self._snapshot.version}",
            source="records",
            title=f"Query over the {rows_text(Plan(where=tuple(c for c in plan.where if c.says_kind)))}",
            uri=f"index/{self._snapshot.version}/facts.parquet",
            tenant="",
            acl=(),
            text=sql,
            ordinal=0,
            start=0,
            end=len(sql),
        )

    def _refused(self, question: str, text: str) -> Computed:
        return self._made(question, text, [], abstained=True)

    def _made(self, question: str, text: str, chunks: list[Chunk], *, abstained: bool) -> Computed:
        answer = Answer(
            id=uuid.uuid4().hex,
            question=question,
            text=text,
            citations=tuple(_cited(chunk) for chunk in chunks),
            confidence=0.0 if abstained else 1.0,
            abstained=abstained,
            release=self._release,
            adapter=NO_ADAPTER,
            adapter_digest="",
        )
        return answer, [Passage(chunk, 1.0, 0.0, {"computed": 1.0}) for chunk in chunks]


def _figures(plan: Plan, result: Result) -> str:
    if not plan.group:
        return figures(plan, result)
    if plan.group == "document_id" or not plan.limit:
        return f"{result.matched:,}"
    return ", ".join(f"{row.name} {number_text(row.value)}" for row in result.groups)


def _cited(chunk: Chunk) -> Citation:
    quote = chunk.text if chunk.source == "records" else chunk.text.split("\n", 1)[0][:_QUOTE_CHARS]
    return Citation(chunk.document_id, chunk.id, chunk.title, chunk.uri, quote, page=chunk.page)


def _not_understood(reading: Reading, vocabulary: Vocabulary) -> str:
    """What stands in the way of computing, and what could be asked."""
    if reading.missing:
        columns = " and ".join(dict.fromkeys(column_text(name) for name in reading.missing))
        lead = f"I cannot compute this: no record here has {columns}."
    else:
        words = ", ".join(f"“{w}”" for w in dict.fromkeys(reading.unknown))
        lead = f"I cannot compute this with certainty: I do not know how to count {words}."
    kinds = ", ".join(vocabulary.kinds)
    named = (*vocabulary.records.dated, *vocabulary.labels, *vocabulary.numbers)
    known = ", ".join(dict.fromkeys(column_text(name) for name in named))
    return f"{lead} I can count records by kind ({kinds}), by words they mention, and by {known}."
