"""Words for the full-text index: identifiers that stay findable, Chinese that can be split.

A text becomes lower-case words, stemmed as English (Snowball), without accents. Beside each compound
its joined form is indexed (`XD-123` → `xd123`, `--refreshDelay` → `refreshdelay`), with the words
inside camel case; a run of Chinese, Japanese or Korean becomes its characters and character pairs.
A query goes through the same functions.
"""

from __future__ import annotations

import itertools
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import Stemmer

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_WORD = re.compile(r"[^\W_]+")
_COMPOUND = re.compile(r"[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]")
_COMMIT = re.compile(r"(?=.*\d)[0-9a-f]{7,40}")

_LONGEST_TERM = 80
"""Longer ones are encoded data, not names."""
_MOST_QUERY_TERMS = 64
_MOST_KEYS = 16

STOPWORDS = frozenset(
    """a about an and any are as at be been but by can could did do does for from had has have how
    i if in into is it its me my no not of on or our should so some than that the their them then
    there these they this those to us was we were what when where which who whom why will with
    would you your""".split()
)
"""Asked for only where a question has no other word: they are in most texts."""
STOP = "="
"""Before a stop word in the index, so that no stem is taken for one (`beings` → `be`)."""


class _Stemmers(threading.local):
    """One per thread: a stemmer keeps a cache of its own that no lock guards."""

    def __init__(self) -> None:
        self.english: Any = Stemmer.Stemmer("english")


_stemmers = _Stemmers()


def cleaned(text: str) -> str:
    """Compatibility forms folded (full-width letters); lone surrogates and NUL removed."""
    if text.isascii():
        return text.replace("\0", " ")
    folded = unicodedata.normalize("NFKC", text).replace("\0", " ")
    return folded.encode("utf-8", "ignore").decode("utf-8")


def index_terms(text: str) -> tuple[list[str], list[str]]:
    """Terms under which a text is found.

    Returns:
        Its words as often as they occur, stop words marked; and the further forms of its compounds,
        each once.
    """
    words, stops, rest = _words(text, single=True)
    forms: dict[str, None] = {}
    for compound in _COMPOUND.findall(rest):
        if not (compound.islower() and compound.isalpha()):
            forms.update(dict.fromkeys(_forms(compound)))
    return _stemmed(words) + stops, _stemmed(list(forms))


def query_terms(text: str) -> list[str]:
    """The distinct terms of a question, in order: its stop words only if it has no other word."""
    words, stops, rest = _words(text, single=False)
    for compound in _COMPOUND.findall(rest):
        words += _forms(compound)
    return list(dict.fromkeys(_stemmed(words) or stops))[:_MOST_QUERY_TERMS]


def document_keys(document_id: str) -> list[str]:
    """Names under which people know a document: `jira:XD-123` → `xd-123`; a path and its base."""
    key = document_id.partition(":")[2].lower()
    base = key.rpartition("/")[2]
    return sorted({k for k in (key, base) if k})


def mentioned_keys(text: str) -> list[str]:
    """What in a question could be a document key: compounds, paths, commit hashes; in order."""
    found: dict[str, None] = {}
    for match in _PATH.finditer(cleaned(text)):
        word = match[0].lower()
        if re.search(r"[-_./]", word) or is_commit(word):
            found[word] = None
    return list(found)[:_MOST_KEYS]


def is_commit(word: str) -> bool:
    """Whether the word looks like an abbreviated or full commit hash."""
    return _COMMIT.fullmatch(word) is not None


def _words(text: str, *, single: bool) -> tuple[list[str], list[str], str]:
    """Words and character grams, lower case; marked stop words; the text without its CJK runs."""
    text = cleaned(text)
    words: list[str] = []
    if not text.isascii():
        for run in _CJK.findall(text):
            words += _grams(run, single=single or len(run) == 1)
        text = _CJK.sub(" ", text)
    stops: list[str] = []
    for found in _WORD.findall(text.lower()):
        word = _unaccented(found)
        if word in STOPWORDS:
            stops.append(STOP + word)
        elif len(word) <= _LONGEST_TERM:
            words.append(word)
    return words, stops, text


def _unaccented(word: str) -> str:
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFKD", word)
    return "".join(c for c in parts if not unicodedata.combining(c)) or word


def _stemmed(words: Sequence[str]) -> list[str]:
    return _stemmers.english.stemWords(words)


def _forms(compound: str) -> Iterator[str]:
    if len(compound) > _LONGEST_TERM:
        return
    pieces = re.split(r"[-_.]", compound)
    if len(pieces) > 1:
        yield "".join(pieces).lower()
    for piece in pieces:
        inner = _CAMEL.findall(piece)
        if len(inner) > 1:
            yield from (word for part in inner if (word := part.lower()) not in STOPWORDS)


def _grams(run: str, *, single: bool) -> Iterator[str]:
    if single:
        yield from run
    for first, second in itertools.pairwise(run):
        yield first + second
