"""A follow-up question made to stand alone, from the questions before it.

A question leans on the conversation when a word points back (it, those, the same), when it opens as
a continuation (and, what about), or when it hardly has a word of its own. Such a question carries
the content words of the question it follows; any other stays as it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from alchemy.knowledge.terms import STOPWORDS, query_terms

_POINTING = re.compile(
    r"""\b(?:it|its|itself|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those
        |there|one|ones|same|former|latter|above|previous|else|instead|too|also|either|neither
        |both|other|others|another|more)\b|[它他她其这那该此]|上述|前者|后者""",
    re.IGNORECASE | re.VERBOSE,
)
_OPENING = re.compile(
    r"""^\W*(?:and|but|so|or|then|also|ok(?:ay)?|what\s+about|how\s+about|why(?:\s+not)?\W*$
        |how\s+so|such\s+as|for\s+example|in\s+which\s+case|那么|那|还有|为什么\W*$)""",
    re.IGNORECASE | re.VERBOSE,
)
_EMPTY = STOPWORDS | frozenset(
    """about again also answer another anything describe detail details does else example examples
    explain give happen happened happens help instead know like list many mean means more much need
    one ones other others please question same say show something sure tell thank thanks thing
    things think too use used want work works yes""".split()
)
"""Words that carry nothing into the next question."""
_WORD = re.compile(r"[\w.-]*\w")
_MOST_CARRIED = 10
_FEW_WORDS = 2
_TURNS = 3


def standalone(question: str, before: Sequence[str]) -> str:
    """The question with what it needs of the questions before it.

    Args:
        before: earlier questions of the conversation, oldest first.
    """
    context = ""
    for earlier in before[-_TURNS:]:
        context = _carried(earlier, context)
    return _carried(question, context)


def _carried(question: str, context: str) -> str:
    if not context or not _leans(question):
        return question
    own = set(query_terms(question))
    carried: dict[str, None] = {}
    for word in _WORD.findall(context):
        if word.lower() not in _EMPTY and own.isdisjoint(query_terms(word)):
            carried[word] = None
    if not carried:
        return question
    return f"{question.rstrip()} ({' '.join(list(carried)[-_MOST_CARRIED:])})"


def _leans(question: str) -> bool:
    if _POINTING.search(question) or _OPENING.search(question):
        return True
    content = [word for word in _WORD.findall(question) if word.lower() not in _EMPTY]
    return len(content) <= _FEW_WORDS and sum(map(len, content)) < 40
