"""The sentence-level check of a language model's reply: what the evidence does not carry is dropped.

A sentence is held back until it is whole and verified; only then it goes to the person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alchemy.finalist.citations import MARKER, markers
from alchemy.finalist.evidence import Candidate, passage_terms
from alchemy.finalist.terms import STOPWORDS, identifiers, negated, stem, term_set
from alchemy.types import Passage

WORD_SUPPORT = 0.7
"""Share of a sentence's content words its passage must hold."""
MEANING_SUPPORT = 0.72
"""Or the cosine with one of the passage's sentences, when at least some words agree."""
_SOME_WORDS = 0.35
_SAME_CLAUSE = 0.5

_SENTENCE_END = re.compile(
    r"(?:[.!?]+[\"'”’)*_`]*|[。！？]+[”’」』）]*|\n)(?:[ \t]*\[\d+(?:\s*,\s*\d+)*\])*[.]?(?=\s+[^\s\[]|\n|$)"
    r"|(?<=[。！？])(?=[^\s\[])"
)
_NOT_AN_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|no|fig|approx|ver)|\b[A-Za-z]|^\s*\d{1,2})\.$", re.IGNORECASE
)
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_CLAUSE = re.compile(
    r"[,;:()，；：（）]|\b(?:and|but|or|while|because|although|whereas|without|which|that|if|when)\b",
    re.IGNORECASE,
)
_GAP = re.compile(r"\s+([.!?,。！？，])")
_STOP_STEMS = frozenset(stem(word) for word in STOPWORDS)


class SentenceStream:
    """Pieces of text in, whole sentences with their trailing markers out."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> Iterator[str]:
        """Sentences that are complete now: what follows shows that they ended."""
        self._rest += piece
        start = 0
        for match in _SENTENCE_END.finditer(self._rest):
            # at the very end more markers, or the rest of a number, may still come
            if match.end() >= len(self._rest.rstrip()):
                break
            if _NOT_AN_END.search(self._rest[start : match.end()]):
                continue
            if self._rest[start : match.end()].strip():
                yield self._rest[start : match.end()]
            start = match.end()
        self._rest = self._rest[start:]

    def end(self) -> Iterator[str]:
        """What is left when the model has finished."""
        if self._rest.strip():
            yield self._rest
        self._rest = ""


def bare(sentence: str) -> str:
    """A sentence of the model without its list mark and its markers, on one line."""
    plain = " ".join(_LIST_MARK.sub("", MARKER.sub("", sentence)).split())
    return _GAP.sub(r"\1", plain)


@dataclass(frozen=True)
class Support:
    """The passage (its index) and the candidate whose words carry a sentence."""

    place: int
    candidate: Candidate


class Grounding:
    """Which passage carries a sentence, by words and by meaning.

    Args:
        vectors: float32[n, d] of the candidates, L2-normalised.
    """

    def __init__(
        self, passages: list[Passage], candidates: list[Candidate], vectors: np.ndarray
    ) -> None:
        self._candidates = candidates
        self._vectors = vectors
        self._terms = [passage_terms(passage) for passage in passages]
        self._rows = [
            [i for i, c in enumerate(candidates) if c.place == place]
            for place in range(len(passages))
        ]

    def supports(self, sentence: str, vector: np.ndarray) -> list[Support]:
        """The passages that carry this sentence, of those it cites; of all, when it cites none.

        Args:
            sentence: with its markers (1-based passage numbers).
            vector: float32[d] of `bare(sentence)`.
        """
        cited = [n - 1 for n in markers(sentence)]
        plain = bare(sentence)
        places = list(dict.fromkeys(cited)) or range(len(self._rows))
        found = [
            support
            for place in places
            if 0 <= place < len(self._rows) and (support := self._support(plain, vector, place))
        ]
        if cited or not found:
            return found
        # the model named no source: the passage that agrees most is the one cited
        return [max(found, key=lambda s: self._overlap(plain, s.candidate.terms))]

    def _support(self, plain: str, vector: np.ndarray, place: int) -> Support | None:
        rows = self._rows[place]
        if not rows or not identifiers(plain) <= self._terms[place]:
            return None  # a number or name the passage does not hold is never carried by it
        words = self._overlap(plain, self._terms[place])
        meaning = self._vectors[rows] @ vector
        if words < WORD_SUPPORT and not (
            float(meaning.max()) >= MEANING_SUPPORT and words >= _SOME_WORDS
        ):
            return None
        closeness = [
            self._overlap(plain, self._candidates[row].terms) + float(meaning[n])
            for n, row in enumerate(rows)
        ]
        candidate = self._candidates[rows[int(np.argmax(closeness))]]
        if self._contradicted(plain, rows):
            return None  # same words, opposite statement
        return Support(place, candidate)

    def _contradicted(self, sentence: str, rows: list[int]) -> bool:
        """Whether a clause says with a negation what the passage says without, or the reverse.

        Each clause is held against the passage's clause that shares most words with it.
        """
        clauses = [
            (term_set(clause), negated(clause))
            for row in rows
            for clause in _CLAUSE.split(self._candidates[row].unit.text)
        ]
        for clause in _CLAUSE.split(sentence):
            says = negated(clause)
            scored = [(self._overlap(clause, terms), not_ == says) for terms, not_ in clauses]
            closeness, agrees = max(scored)
            if closeness >= _SAME_CLAUSE and not agrees:
                return True
        return False

    @staticmethod
    def _overlap(text: str, terms: frozenset[str]) -> float:
        own = {t for t in term_set(text) if t not in _STOP_STEMS and t not in STOPWORDS}
        return len(own & terms) / len(own) if own else 0.0
