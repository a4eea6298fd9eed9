"""Words that can be compared: light stems, whole identifiers and their parts, Chinese pairs.

The question's terms carry their weight (inverse document frequency over the candidate sentences),
so that a rare name decides more than a common verb.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
_COMPOUND = re.compile(r"[^\W_]+(?:[-_.:/@][^\W_]+)*")
_PART = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_NUMBER = re.compile(r"\d")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|cannot|neither|nor|unable|fails? to)\b|n['’]t\b|[不没無无未非]"
)

STOPWORDS = frozenset(
    """a about also an and any are as at be been but by can could did do does explain for from had
    has have how i if in into is it its may me my no not of on or our please shall should so some
    such tell than that the their them then there these they this those to us was we were what when
    where which who whom whose why will with would you your say said describe mean does""".split()
)
_IDENTIFIER_WEIGHT = 2.0
"""A name with digits (`XD-123`, `1.0.2`) is what a question is about; other words surround it."""


def fold(text: str) -> str:
    """Compatibility forms and case folded."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The word without English plural and tense endings; identifiers are left alone."""
    if len(word) < 4 or not word.isalpha():
        return word
    for ending, replacement in (
        ("ies", "y"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""), ("es", ""), ("s", ""),
    ):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: len(word) - len(ending)] + replacement
            break
    # stored → stor, store → stor; running → runn → run
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


@lru_cache(maxsize=16384)
def term_set(text: str) -> frozenset[str]:
    """Every form under which a word of the text may be looked for, stop words included."""
    found: set[str] = set()
    plain = unicodedata.normalize("NFKC", text)
    for run in _CJK.findall(plain):
        found.update(run[i : i + 2] for i in range(max(len(run) - 1, 1)))
    for match in _COMPOUND.finditer(_CJK.sub(" ", plain)):
        compound = match[0]
        found.add(compound.casefold())
        for part in _PART.findall(compound):
            found.add(stem(part.casefold()))
            found.update(stem(piece.casefold()) for piece in _CAMEL.findall(part))
    return frozenset(found)


def content_words(text: str) -> list[str]:
    """Words in reading order, lower case, without stop words: what token F1 compares."""
    plain = unicodedata.normalize("NFKC", text)
    words = [c for run in _CJK.findall(plain) for c in run]
    for match in _PART.finditer(_CJK.sub(" ", plain)):
        word = match[0].casefold()
        if word not in STOPWORDS:
            words.append(stem(word))
    return words


def identifiers(text: str) -> frozenset[str]:
    """Numbers and names with digits, in lower case: `xd-123`, `9393`, `1.0.2`."""
    plain = _CJK.sub(" ", unicodedata.normalize("NFKC", text))
    return frozenset(m[0].casefold() for m in _COMPOUND.finditer(plain) if _NUMBER.search(m[0]))


def negated(text: str) -> bool:
    """Whether the text states an odd number of negations."""
    return len(_NEGATION.findall(fold(text))) % 2 == 1


@dataclass(frozen=True)
class Term:
    """One thing the question asks with: its whole form, and parts that together replace it."""

    whole: str
    parts: frozenset[str]
    identifier: bool

    def found_in(self, terms: frozenset[str]) -> bool:
        """Whether these terms of a text cover it; an identifier only as a whole."""
        if self.whole in terms:
            return True
        return bool(self.parts) and not self.identifier and self.parts <= terms


@dataclass(frozen=True)
class Question:
    """The question's terms and their weights."""

    text: str
    terms: tuple[Term, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, text: str, sentences: Sequence[frozenset[str]]) -> Question:
        """Weigh the terms of a question by how few of the candidate sentences hold them."""
        terms = tuple(_question_terms(text))
        counts = Counter(i for held in sentences for i, t in enumerate(terms) if t.found_in(held))
        total = len(sentences)
        weights = tuple(
            math.log1p((total - counts[i] + 0.5) / (counts[i] + 0.5))
            * (_IDENTIFIER_WEIGHT if term.identifier else 1.0)
            for i, term in enumerate(terms)
        )
        return cls(text, terms, weights)

    def coverage(
        self,
        terms: frozenset[str],
        context: frozenset[str] = frozenset(),
        context_share: float = 0.5,
    ) -> float:
        """Weighted share of the question found in a text, or by `context_share` in its context.

        An identifier counts in full there: every sentence of `XD-123` is about `XD-123`.
        """
        total = sum(self.weights)
        if not total:
            return 0.0
        found = 0.0
        for term, weight in zip(self.terms, self.weights, strict=True):
            if term.found_in(terms):
                found += weight
            elif context and term.found_in(context):
                found += weight if term.identifier else weight * context_share
        return found / total

    def known(self, terms: frozenset[str]) -> float:
        """Plain share of the question's terms found."""
        found = sum(term.found_in(terms) for term in self.terms)
        return found / len(self.terms) if self.terms else 0.0

    def named(self, terms: frozenset[str]) -> float:
        """Share of the question's identifiers found; 1 when it has none."""
        wanted = [term for term in self.terms if term.identifier]
        if not wanted:
            return 1.0
        return sum(term.found_in(terms) for term in wanted) / len(wanted)


def _question_terms(text: str) -> Iterable[Term]:
    plain = unicodedata.normalize("NFKC", text)
    seen: dict[str, Term] = {}
    for run in _CJK.findall(plain):
        for i in range(max(len(run) - 1, 1)):
            seen.setdefault(run[i : i + 2], Term(run[i : i + 2], frozenset(), False))
    fallback: list[Term] = []
    for match in _COMPOUND.finditer(_CJK.sub(" ", plain)):
        compound = match[0].casefold()
        pieces = _PART.findall(match[0])
        if len(pieces) == 1 and not _NUMBER.search(compound):
            inner = _CAMEL.findall(match[0])
            parts = frozenset(stem(p.casefold()) for p in inner) if len(inner) > 1 else frozenset()
            term = Term(stem(compound), frozenset(parts), False)
        else:
            parts = frozenset(stem(piece.casefold()) for piece in pieces)
            term = Term(compound, parts, bool(_NUMBER.search(compound)))
        (fallback.append(term) if compound in STOPWORDS else seen.setdefault(term.whole, term))
    return seen.values() or fallback
