"""Whether a sentence has the shape the question asks for: a definition, a value, an instruction.

A small, language-bound hint beside meaning and words: an issue titled "Rename the tap class" is near
to "What is a tap?" in both, and still no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from alchemy.finalist.sentences import Unit
from alchemy.finalist.terms import STOPWORDS, content_words, fold, identifiers, stem, term_set
from alchemy.types import Chunk

_DEFINE = re.compile(
    r"^(?:what|who)(?:\s+(?:is|are|was|were|does|do)|['’]s)\s+(?:an?\s+|the\s+)?"
    r"(?P<subject>[^?]{2,60}?)(?:\s+(?:do|mean|used for))?\??$"
)
_DEFINE_CJK = re.compile(
    r"^(?:什么是|何谓)(?P<after>[^?？]{1,30})|^(?P<before>[^?？]{1,30}?)是什么"
)
_STATES = re.compile(
    r"\b(?:is|are|means|refers? to|stands for|lets|allows?|enables?|provides?|represents?|consists? of"
    r"|contains?|describes?|serves?|manages?|does|has|can|uses?|used|takes?|will)\b|是|指|表示"
)
_VALUE = re.compile(
    r"\b(?:port|default|how (?:many|much|long|often)|number of|version|value|limit|size|timeout"
    r"|interval|when|date|year)\b|多少|几个|默认|端口|版本"
)
_HOLDS_VALUE = re.compile(r"\d|`[^`]+`|\btrue\b|\bfalse\b")
_HOW = re.compile(r"^how (?:do|can|to|should|would)\b|^(?:如何|怎么|怎样)")
_INSTRUCTS = re.compile(
    r"`[^`]+`|\b(?:you|use|using|run|add|set|create|execute|call|type|start|specify|configure|enable|select"
    r"|click|install|download|by \w+ing)\b|使用|运行|执行|设置|添加"
)

_OVERVIEW = re.compile(r"\babout\W*$|^(?:describe|summari[sz]e|tell me about)\b|讲了什么|介绍")
_WISH = re.compile(
    r"^(?:(?:also|and|please|we (?:need|should|want|have) to|need to|todo:?)[, ]+)*"
    r"(?:as an? [^,]{2,60},|i want|i['’]d like|it would be|there should be"
    r"|(?:add|allow|change|clean ?up|consolidate|create|document|enable|ensure|expose|fix|implement"
    r"|improve|include|introduce|investigate|make|migrate|move|polish|port|provide|refactor|remove"
    r"|rename|replace|research|rework|support|update|upgrade|use|write)(?:e?[sd]|ing)?\b)"
)
_ABOUT_WORK = re.compile(
    r"\b(?:issue|ticket|story|bug|commit|change|pull request|pr|task|plan)s?\b"
)
_WORK_SOURCES = ("jira", "git_pr")
_WHICH_DOCUMENT = re.compile(
    r"^(?:which|what|in which)\s+(?:\w+\s+)?(?P<noun>issue|ticket|story|bug|commit|change|pull request|pr"
    r"|page|document|record)s?\b"
)
_SOURCES_CALLED = {
    **dict.fromkeys(("issue", "ticket", "story", "bug"), ("jira",)),
    **dict.fromkeys(("commit", "change", "pull request", "pr"), ("git_pr",)),
    **dict.fromkeys(("page", "document"), ("confluence", "documents")),
}
_NAME_WORD = re.compile(r"[^\W_]+")
_NAME_WORDS = 2
"""A name of one plain word ("Streams") is a topic: mentioning it names no document."""
_QUESTION_MARK = re.compile(r"[?？]\W*$")


def asks_for_document(question: str) -> bool:
    """Whether the answer is a record itself: "which commit …", "what is XD-123 about?"."""
    asked = fold(question).strip()
    return bool(_WHICH_DOCUMENT.search(asked)) or _wants_overview(asked, question)


def focus_of(question: str) -> Callable[[Chunk], bool]:
    """Whether the question names a chunk's document or section: by key, by title, by heading.

    A document of another kind than the one asked for is not named by its key: in "which commit
    mentions XD-123?" the issue is what the commit is found by.
    """
    asked = f" {' '.join(_NAME_WORD.findall(fold(question)))} "
    which = _WHICH_DOCUMENT.search(fold(question).strip())
    sources = _SOURCES_CALLED.get(which["noun"]) if which else None

    def focus(chunk: Chunk) -> bool:
        if sources and chunk.source not in sources:
            return False
        key = chunk.document_id.partition(":")[2]
        names = [key, key.rpartition("/")[2], chunk.title, chunk.title.partition(": ")[2]]
        if chunk.heading_path:
            names.append(chunk.heading_path[-1])
        for name in names:
            words = _NAME_WORD.findall(fold(name))
            distinct = len(words) >= _NAME_WORDS or (words and any(c.isdigit() for c in name))
            if distinct and f" {' '.join(words)} " in asked:
                return True
        return False

    return focus


def _wants_overview(asked: str, question: str) -> bool:
    named = bool(identifiers(question))
    return bool(_OVERVIEW.search(asked)) or (named and bool(_DEFINE.match(asked)))


Fit = Callable[[Unit, Chunk, bool], float]


def fit_of(question: str) -> Fit:
    """How well a unit of a chunk has the shape this question asks for, in [0, 1].

    The third argument says whether the unit opens its document. A unit that only repeats its
    document's title names a subject and says nothing about it. What an issue or a commit wishes or
    does ("Rename …", "As a user, I want …") is no fact about the product, unless the question is
    about the work itself. A unit that only repeats the question answers nothing.
    """
    asked = fold(question).strip()
    named = bool(identifiers(question))
    overview = _wants_overview(asked, question)
    subject = frozenset() if overview else _subject(asked)
    wants_value = bool(_VALUE.search(asked))
    wants_way = bool(_HOW.search(asked))
    which = _WHICH_DOCUMENT.search(asked)
    sources = _SOURCES_CALLED.get(which["noun"]) if which else None
    known = term_set(question)
    about_work = named or overview or bool(_ABOUT_WORK.search(asked))

    def fit(unit: Unit, chunk: Chunk, opens: bool) -> float:
        text = fold(unit.text)
        if sources and chunk.source not in sources:
            return 0.0
        if unit.kind == "field":
            label, _, value = unit.text.partition(":")
            told = term_set(value)
            asks_it = frozenset(content_words(label)) <= frozenset(content_words(question))
            return 0.0 if told <= known else 1.0 if asks_it else 0.4
        if _QUESTION_MARK.search(text) or term_set(unit.text) - STOPWORDS <= known:
            return 0.1
        if text.strip(" .#*") == fold(chunk.title).strip(" .#*"):
            return 0.8 if about_work else 0.0
        if not about_work and chunk.source in _WORK_SOURCES and _WISH.match(text):
            return 0.1
        if overview:
            return 1.0 if opens else 0.4
        if subject:
            return 1.0 if _defines(text, subject) else 0.4
        if wants_way:
            return 1.0 if unit.kind == "code" or _INSTRUCTS.search(text) else 0.4
        if wants_value:
            return 1.0 if _HOLDS_VALUE.search(unit.text) else 0.4
        return 0.7

    return fit


def _subject(asked: str) -> frozenset[str]:
    """Content words of X in "what is X"; empty for another question."""
    match = _DEFINE.match(asked)
    if match:
        words = content_words(match["subject"])
        return frozenset(words) if 0 < len(words) <= 3 and not _VALUE.search(asked) else frozenset()
    match = _DEFINE_CJK.match(asked)
    return term_set(match["after"] or match["before"]) if match else frozenset()


def _defines(text: str, subject: frozenset[str]) -> bool:
    """Whether the subject stands before the first verb that states something about it."""
    verb = _STATES.search(text)
    if verb is None:
        return False
    before = text[: verb.start()]
    words = [w for w in content_words(before) if w not in STOPWORDS]
    known = {stem(word) for word in words} | set(words) | term_set(before)
    return subject <= known and len(words) <= len(subject) + 4
