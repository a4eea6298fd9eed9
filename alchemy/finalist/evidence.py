"""Which sentences of the passages answer the question: candidates, their scores, the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alchemy.finalist.abstention import Features, threshold
from alchemy.finalist.sentences import Unit, units, with_lead_ins
from alchemy.finalist.shape import asks_for_document, fit_of, focus_of
from alchemy.finalist.terms import Question, term_set
from alchemy.types import Passage

MAX_CANDIDATES = 36
"""Sentences embedded per question: bounds the work whatever the passages hold."""
MAX_SENTENCES = 4
MAX_ANSWER_CHARS = 1200
_SAME_MEANING = 0.88
_SAME_WORDS = 0.7
_NEARLY_BEST = 0.85
_RANK_DECAY = 0.25
_SHARE_OF_BEST = 0.6
_CONTEXT_SHARE = 0.5
_PER_PASSAGE = 2
"""Each passage keeps at least this many candidates: word overlap alone must not silence one."""
_SOURCE_WORDS = {
    "jira": "issue ticket",
    "git_pr": "commit change pull request",
    "confluence": "page",
}
"""What people call a record of a source: "which commit …" is then about a commit."""


@dataclass(frozen=True)
class Candidate:
    """A quotable unit of one passage.

    Attributes:
        place: index of its passage.
        lexical: weighted share of the question's words it holds, its headings counted half.
        shape: whether it is a definition, a value, an instruction where the question asks for one.
        rank: 1 for the first passage, falling with the passage's place in the search result; a
            passage of a document or section that the question names counts as a first one, and
            the others then half.
    """

    place: int
    unit: Unit
    terms: frozenset[str]
    lexical: float
    rank: float
    shape: float


@dataclass(frozen=True)
class Evidence:
    """The candidates of one question with what the embedding says about them.

    Attributes:
        vectors: float32[n, d], row i for candidate i.
        semantic: float32[n], cosine with the question.
        agreement: float32[n], cosine with the draft; zeros without one.
        reading: float32[n] in [-1, 1], the reader's scores; None without a reader.
    """

    question: Question
    passages: Sequence[Passage]
    candidates: list[Candidate]
    vectors: np.ndarray
    semantic: np.ndarray
    agreement: np.ndarray
    reading: np.ndarray | None = None

    def facts(self, thresholds: Mapping[str, float], release: str) -> np.ndarray:
        """float32[n]: how well each candidate answers, by the evidence alone."""
        parts = {
            "semantic": np.clip(self.semantic, 0, 1),
            "lexical": self._column("lexical"),
            "rank": self._column("rank"),
            "shape": self._column("shape"),
        }
        if self.reading is not None:
            slope, shift = (
                np.float32(threshold(thresholds, f"reader.{name}", release))
                for name in ("slope", "bias")
            )
            parts["reader"] = 1 / (1 + np.exp(-(slope * self.reading + shift)))
        weights = {n: threshold(thresholds, f"sentence.{n}", release) for n in parts}
        total = sum(weights.values()) or 1.0
        scores = np.zeros(len(self.candidates), dtype=np.float32)
        for name, part in parts.items():
            scores += np.float32(weights[name] / total) * part
        return scores

    def _column(self, name: str) -> np.ndarray:
        return np.array([getattr(c, name) for c in self.candidates], dtype=np.float32)


@dataclass(frozen=True)
class Choice:
    """The chosen candidates in the order they are shown (the best first of its document)."""

    picked: list[Candidate]
    best: Candidate
    features: Features


def candidates(text: str, passages: Sequence[Passage]) -> tuple[Question, list[Candidate]]:
    """The question weighed over the passages' sentences, and the sentences worth embedding."""
    found: list[tuple[int, Unit, frozenset[str], bool]] = []
    contexts: list[frozenset[str]] = []
    for place, passage in enumerate(passages):
        chunk = passage.chunk
        contexts.append(term_set(_place(passage)))
        plain = units(chunk.text)
        body = [unit for unit in plain if unit.kind != "heading"]
        # a chunk that is only a heading (an issue without a description) is still a fact
        for unit in with_lead_ins(chunk.text, body or plain):
            opens = chunk.ordinal == 0 and unit.start == (body or plain)[0].start
            found.append((place, unit, term_set(unit.text), opens))
    question = Question.of(text, [terms for _, _, terms, _ in found])
    fit = fit_of(text)
    by_name = asks_for_document(text)
    focused = _focused(text, passages)
    every = [
        Candidate(
            place=place,
            unit=unit,
            terms=terms,
            lexical=question.coverage(terms, contexts[place], _share(unit, by_name)),
            rank=_rank(place, focused),
            shape=fit(unit, passages[place].chunk, opens),
        )
        for place, unit, terms, opens in found
        if terms
    ]
    return question, _prefilter(every)


def _share(unit: Unit, by_name: bool) -> float:
    """What a question's word is worth in a unit's context instead of the unit itself."""
    # who asks for a record asks for its title, and a field is about its record
    return 1.0 if by_name or unit.kind == "field" else _CONTEXT_SHARE


def _focused(text: str, passages: Sequence[Passage]) -> frozenset[int]:
    """Places of the passages whose document or section the question names."""
    focus = focus_of(text)
    return frozenset(n for n, passage in enumerate(passages) if focus(passage.chunk))


def _rank(place: int, focused: frozenset[int]) -> float:
    if place in focused:
        return 1.0
    return (0.5 if focused else 1.0) / (1.0 + _RANK_DECAY * place)


def _prefilter(every: list[Candidate]) -> list[Candidate]:
    if len(every) <= MAX_CANDIDATES:
        return every
    order = sorted(
        range(len(every)),
        key=lambda i: (-every[i].lexical - 0.5 * every[i].rank - 0.3 * every[i].shape, i),
    )
    per_passage: dict[int, int] = {}
    chosen: set[int] = set()
    for i in order:
        count = per_passage.get(every[i].place, 0)
        if count < _PER_PASSAGE and len(chosen) < MAX_CANDIDATES:
            per_passage[every[i].place] = count + 1
            chosen.add(i)
    for i in order:
        if len(chosen) == MAX_CANDIDATES:
            break
        chosen.add(i)
    return [every[i] for i in sorted(chosen)]


def choose(evidence: Evidence, thresholds: Mapping[str, float], release: str) -> Choice:
    """One to four sentences that answer best and do not repeat each other.

    Facts outrank intuition: only sentences whose evidence is nearly as good as the best (`keep`)
    are eligible; among them the draft moves the order by `draft_weight`.
    """
    facts = evidence.facts(thresholds, release)
    weight = np.float32(threshold(thresholds, "draft_weight", release))
    scores = facts + weight * np.clip(evidence.agreement, 0, 1)
    floor = np.float32(threshold(thresholds, "keep", release)) * facts.max()
    picked: list[int] = []
    size = 0
    for i in np.argsort(-scores, kind="stable").tolist():
        if len(picked) == MAX_SENTENCES:
            break
        if facts[i] < floor or (picked and not _adds(evidence, i, picked[0])):
            continue
        length = len(evidence.candidates[i].unit.text)
        if picked and (size + length > MAX_ANSWER_CHARS or _repeats(evidence, i, picked)):
            continue
        picked.append(i)
        size += length
    best = picked[0]
    documents = [evidence.passages[c.place].chunk.document_id for c in evidence.candidates]
    first_seen = {documents[i]: n for n, i in reversed(list(enumerate(picked)))}

    def source_order(i: int) -> tuple[int, int, int]:
        candidate = evidence.candidates[i]
        chunk = evidence.passages[candidate.place].chunk
        return first_seen[documents[i]], chunk.ordinal, candidate.unit.start

    picked.sort(key=source_order)
    return Choice(
        picked=[evidence.candidates[i] for i in picked],
        best=evidence.candidates[best],
        features=_features(evidence, facts, picked, best, documents),
    )


def _adds(evidence: Evidence, i: int, best: int) -> bool:
    """Whether a further sentence is about the question itself, not only from a good place."""
    mine, top = evidence.candidates[i], evidence.candidates[best]
    return (
        mine.lexical >= _SHARE_OF_BEST * top.lexical
        or evidence.semantic[i] >= evidence.semantic[best]
    )


def _repeats(evidence: Evidence, i: int, picked: list[int]) -> bool:
    mine = evidence.candidates[i]
    for j in picked:
        other = evidence.candidates[j]
        if mine.place == other.place and (
            mine.unit.start < other.unit.end and other.unit.start < mine.unit.end
        ):
            return True
        if float(evidence.vectors[i] @ evidence.vectors[j]) >= _SAME_MEANING:
            return True
        shared = len(mine.terms & other.terms)
        if shared >= _SAME_WORDS * min(len(mine.terms), len(other.terms)):
            return True
    return False


def _features(
    evidence: Evidence, facts: np.ndarray, picked: list[int], best: int, documents: list[str]
) -> Features:
    top = float(facts[best])
    share = _share(evidence.candidates[best].unit, asks_for_document(evidence.question.text))
    best_passage = evidence.passages[evidence.candidates[best].place]
    chunks = {evidence.candidates[i].place for i in picked}
    cited = frozenset[str]().union(*(passage_terms(evidence.passages[place]) for place in chunks))
    every = frozenset[str]().union(*(passage_terms(passage) for passage in evidence.passages))
    said = frozenset[str]().union(*(evidence.candidates[i].terms for i in picked))
    others = [float(facts[i]) for i, name in enumerate(documents) if name != documents[best]]
    by_passage: dict[int, float] = {}
    for i, candidate in enumerate(evidence.candidates):
        by_passage[candidate.place] = max(by_passage.get(candidate.place, 0.0), float(facts[i]))
    near = sum(score >= _NEARLY_BEST * top for score in by_passage.values())
    return Features(
        sentence=top,
        semantic=max(float(evidence.semantic[best]), 0.0),
        passage=max(best_passage.similarity, 0.0),
        coverage=evidence.question.coverage(said, cited, share),
        margin=max(top - max(others, default=0.0), 0.0),
        agreement=near / max(len(by_passage), 1),
        known=evidence.question.known(every),
        named=evidence.question.named(cited),
        exact=float(focus_of(evidence.question.text)(best_passage.chunk)),
    )


def passage_terms(passage: Passage) -> frozenset[str]:
    """Every word of a passage with its headings and its document's key."""
    return term_set(f"{_place(passage)} \n {passage.chunk.text}")


def _place(passage: Passage) -> str:
    """Key of the document, title and headings: what its sentences are about without saying so."""
    chunk = passage.chunk
    key = chunk.document_id.partition(":")[2]
    kind = _SOURCE_WORDS.get(chunk.source, "")
    return " \n ".join((key, kind, chunk.title, *chunk.heading_path))
