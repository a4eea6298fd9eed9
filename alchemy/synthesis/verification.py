"""A pair is kept only when its answer is found again in what it was written from."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from alchemy.synthesis.structure import sentences
from alchemy.types import text_digest

MIN_SUPPORT = 0.8
"""Share of an answer sentence's meaningful words that the evidence must hold."""
_MOST_WORDS_BY_SUPPORT = 0.9
"""Score of a sentence whose words are all there, but not as one passage."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W_]+")
_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*_\d+\]")
_STOPWORDS = frozenset(
    """a about an and are as at be by can does do for from has have how i in is it its not of on or
    say says tell that the their there these this to was what when where which who why will with
    you your explain describe summarize""".split()
)


@dataclass(frozen=True)
class Verdict:
    """Whether a pair may train, how well it is supported in [0, 1], and why not."""

    kept: bool
    score: float
    reason: str = ""


def verify(question: str, answer: str, evidence: str) -> Verdict:
    """Judge one pair.

    Reasons: `empty` (no word in the answer), `placeholder` (nothing but redaction marks is left), `trivial` (the question
    asks nothing, or contains its answer), `unsupported`.
    """
    asked, told = _content(question), _content(answer)
    if not told:
        return Verdict(False, 0.0, "empty")
    if _PLACEHOLDER.search(question) or not _content(_PLACEHOLDER.sub(" ", answer)):
        return Verdict(False, 0.0, "placeholder")
    if not asked or not told - asked:
        return Verdict(False, 0.0, "trivial")
    passage = words(evidence)
    known, flat = set(passage), f" {' '.join(passage)} "
    score = 0.0
    parts = list(sentences(answer))
    for sentence in parts:
        support = _support(sentence, known, flat)
        if support < MIN_SUPPORT * _MOST_WORDS_BY_SUPPORT:
            return Verdict(False, round(support, 4), "unsupported")
        score += support / len(parts)
    return Verdict(True, round(score, 4))


def question_key(tenant: str, question: str) -> str:
    """Equal for questions that differ in case, marks or spacing only."""
    return text_digest(tenant, " ".join(words(question)))[:32]


def words(text: str) -> list[str]:
    """Lower-case words; Chinese, Japanese and Korean by character."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _content(text: str) -> set[str]:
    return {word for word in words(text) if word not in _STOPWORDS}


def _support(sentence: str, known: set[str], flat: str) -> float:
    if f" {' '.join(words(sentence))} " in flat:
        return 1.0
    content = _content(sentence)
    if not content:
        return _MOST_WORDS_BY_SUPPORT
    if any(word not in known for word in content if any(c.isdigit() for c in word)):
        return 0.0  # a number or a key that the evidence does not hold is made up
    return _MOST_WORDS_BY_SUPPORT * sum(word in known for word in content) / len(content)
