"""Words for the full-text index: identifiers that stay findable, Chinese that can be split.

SQLite's `unicode61` splits `XD-123` into two common words, keeps `refreshDelay` as one, and takes
a run of Chinese as a single word. So the catalog indexes, beside the text, the joined form of each
compound (`xd123`, `refreshdelay`), the words inside camel case, and characters and character pairs
of Chinese, Japanese and Korean. A query goes through the same functions.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_WORD = re.compile(r"[^\W_]+")
_COMPOUND = re.compile(r"[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]")
_COMMIT = re.compile(r"(?=.*\d)[0-9a-f]{7,40}")

_LONGEST_COMPOUND = 80
"""Longer ones are encoded data, not names."""
_MOST_QUERY_WORDS = 64
_MOST_KEYS = 16

STOPWORDS = frozenset(
    """a about an and any are as at be been but by can could did do does for from had has have how
    i if in into is it its me my no not of on or our should so some than that the their them then
    there these they this those to us was we were what when where which who whom why will with
    would you your""".split()
)


def cleaned(text: str) -> str:
    """Compatibility forms folded (full-width letters); nothing SQLite cannot store is left."""
    folded = unicodedata.normalize("NFKC", text).replace("\0", " ")
    return folded.encode("utf-8", "ignore").decode("utf-8")


def searchable(text: str) -> str:
    """The text with each Chinese/Japanese/Korean run replaced by its characters and pairs."""
    return _CJK.sub(lambda run: f" {' '.join(_grams(run[0], single=True))} ", cleaned(text))


def compounds(text: str) -> str:
    """Joined forms of compound words and the words inside camel case, each once, in order."""
    found: dict[str, None] = {}
    for match in _COMPOUND.finditer(cleaned(text)):
        found.update(dict.fromkeys(_forms(match[0])))
    return " ".join(found)


def full_text_query(text: str) -> str | None:
    """An FTS5 expression that matches any meaningful word of `text`; None when it has none.

    Every word is quoted and holds only letters and digits, so no input can be read as syntax.
    """
    text = cleaned(text)
    words: dict[str, None] = {}
    for run in _CJK.findall(text):
        words.update(dict.fromkeys(_grams(run, single=len(run) == 1)))
    rest = _CJK.sub(" ", text)
    for match in _COMPOUND.finditer(rest):
        words.update(dict.fromkeys(_forms(match[0])))
    plain = [word.lower() for word in _WORD.findall(rest)]
    meaningful = (word for word in plain if len(word) > 1 and word not in STOPWORDS)
    words.update(dict.fromkeys(meaningful))
    if not words:
        words.update(dict.fromkeys(plain))
    chosen = list(words)[:_MOST_QUERY_WORDS]
    return " OR ".join(f'"{word}"' for word in chosen) or None


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


def _forms(word: str) -> Iterator[str]:
    if len(word) > _LONGEST_COMPOUND:
        return
    pieces = re.split(r"[-_.]", word)
    if len(pieces) > 1:
        yield "".join(pieces).lower()
    for piece in pieces:
        inner = _CAMEL.findall(piece)
        if len(inner) > 1:
            yield from (part.lower() for part in inner)


def _grams(run: str, *, single: bool) -> Iterator[str]:
    if single:
        yield from run
    for first, second in itertools.pairwise(run):
        yield first + second
