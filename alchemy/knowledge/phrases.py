"""Documents that have a phrase in their words: exact where a search is only likely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alchemy.knowledge.catalog import Catalog
from alchemy.knowledge.terms import STOP, index_terms

_ROWS = 2_000
"""Texts looked at together."""


@dataclass(frozen=True)
class Found:
    """Ids of the documents that have a phrase.

    Attributes:
        alone: as words of their own.
        words: so, in compounds (`Kafka` in `KafkaSource`), or in the plural.
        begun: only at the beginning of a longer word (`twitter` in `twittersearch`).
        inside: only inside a longer word (`hdfs` in `webhdfs`).
    """

    alone: frozenset[str]
    words: frozenset[str]
    begun: frozenset[str]
    inside: frozenset[str]


def documents_with(catalog: Catalog, phrase: str, where: str = "text") -> Found:
    """The documents in whose title or text a phrase occurs, whatever its case.

    The inverted index gives the candidates, their texts decide. Access is the caller's concern.

    Args:
        where: `title` or `description` look at one of them alone; a record that has only a title has
            no description.
    """
    wanted = re.compile(r"\s+".join(map(re.escape, phrase.split())), re.IGNORECASE)
    found: dict[str, int] = {}
    alone: set[str] = set()
    for document, title, text in _texts(catalog, _candidates(catalog, phrase)):
        own = {"title": (title,), "description": (text,) if text != title else ()}
        for looked_at in own.get(where, (title, text)):
            for match in wanted.finditer(looked_at):
                place = _place(looked_at, *match.span())
                found[document] = min(place, found.get(document, place))
                if not place and _alone(looked_at, *match.span()):
                    alone.add(document)
    sets = [frozenset(d for d, place in found.items() if place == n) for n in range(3)]
    return Found(frozenset(alone), *sets)


def _candidates(catalog: Catalog, phrase: str) -> np.ndarray:
    """Rows whose terms contain every term of the phrase: int64[n], ascending."""
    rows: np.ndarray | None = None
    # its words, not the parts of its compounds: GemFire is also written gemfire
    for term in index_terms(phrase)[0]:
        spans = catalog.spans_containing(term.removeprefix(STOP))
        parts = [catalog.words.rows[s.start : s.start + s.count] for s in spans]
        mine = np.unique(np.concatenate([np.zeros(0, dtype=np.int32), *parts]))
        rows = mine if rows is None else np.intersect1d(rows, mine, assume_unique=True)
    return np.arange(catalog.count) if rows is None else rows


def _texts(catalog: Catalog, rows: np.ndarray) -> Iterator[tuple[str, str, str]]:
    for start in range(0, len(rows), _ROWS):
        yield from catalog.texts(rows[start : start + _ROWS].tolist())


def _place(text: str, start: int, end: int) -> int:
    """0 where a span is a word or a part of a compound, 1 where it begins one, else 2."""
    if not _begins(text, start):
        return 2
    plural = (
        text[end : end + 1] in ("s", "S") and text[end - 1] not in "sS" and _ends(text, end + 1)
    )
    return 0 if _ends(text, end) or plural else 1


def _alone(text: str, start: int, end: int) -> bool:
    around = text[start - 1 : start] + text[end : end + 1]
    return not any(c.isalnum() or c == "_" for c in around)


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
