"""Documents that have a phrase in their words: exact where a search is only likely."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alchemy.knowledge.catalog import Catalog
from alchemy.knowledge.terms import STOP, query_terms

_ROWS = 2_000
"""Texts looked at together."""


@dataclass(frozen=True)
class Found:
    """Ids of the documents that have a phrase.

    Attributes:
        words: as words of their own, in compounds (`Kafka` in `KafkaSource`), or in the plural.
        inside: only inside a longer word (`hdfs` in `webhdfs`).
    """

    words: frozenset[str]
    inside: frozenset[str]


def documents_with(catalog: Catalog, phrase: str, where: str = "text") -> Found:
    """The documents in whose title or text a phrase occurs, whatever its case.

    The inverted index gives the candidates, their texts decide. Access is the caller's concern.

    Args:
        where: `title` or `description` look at one of them alone; a record that has only a title has
            no description.
    """
    wanted = re.compile(r"\s+".join(map(re.escape, phrase.split())), re.IGNORECASE)
    words: set[str] = set()
    inside: set[str] = set()
    for document, title, text in _texts(catalog, _candidates(catalog, phrase)):
        if document in words:
            continue
        own = {"title": (title,), "description": (text,) if text != title else ()}
        spans = [(t, m) for t in own.get(where, (title, text)) for m in wanted.finditer(t)]
        if any(_is_word(t, *m.span()) for t, m in spans):
            words.add(document)
        elif spans:
            inside.add(document)
    return Found(frozenset(words), frozenset(inside - words))


def _candidates(catalog: Catalog, phrase: str) -> np.ndarray:
    """Rows whose terms contain every term of the phrase: int64[n], ascending."""
    rows: np.ndarray | None = None
    for term in query_terms(phrase):
        spans = catalog.spans_containing(term.removeprefix(STOP))
        parts = [catalog.words.rows[s.start : s.start + s.count] for s in spans]
        mine = np.unique(np.concatenate([np.zeros(0, dtype=np.int32), *parts]))
        rows = mine if rows is None else np.intersect1d(rows, mine, assume_unique=True)
    return np.arange(catalog.count) if rows is None else rows


def _texts(catalog: Catalog, rows: np.ndarray) -> Iterator[tuple[str, str, str]]:
    for start in range(0, len(rows), _ROWS):
        yield from catalog.texts(json.dumps(rows[start : start + _ROWS].tolist()))


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether a span begins and ends where words or the parts of a compound do."""
    return _begins(text, start) and (
        _ends(text, end)
        or (text[end] in "sS" and text[end - 1] not in "sS" and _ends(text, end + 1))
    )


def _begins(text: str, start: int) -> bool:
    before, first = text[start - 1 : start], text[start]
    if not before.isalnum() or not first.isascii():
        return True
    return first.isupper() and (before.islower() or before.isdigit())


def _ends(text: str, end: int) -> bool:
    last, after = text[end - 1], text[end : end + 1]
    if not after.isalnum() or not last.isascii() or not after.isascii():
        return True
    if after.isupper() and not last.isupper():
        return True
    return after.isupper() and text[end + 1 : end + 2].islower()
