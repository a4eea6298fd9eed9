"""Quotes that can be found again, and markers that point at them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from alchemy.finalist.sentences import Kind
from alchemy.types import Chunk, Citation

MARKER = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")
_IMAGE = re.compile(r"!\[([^\]\n]*)\]\([^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]+)\]\([^)\s]*\)")
_EMPHASIS = re.compile(r"(?<!\w)(\*\*|__)(?=\S)(.+?)(?<=\S)\1(?!\w)")
_FENCE = re.compile(r"^\s*(?:```|~~~)[^\n]*$", re.MULTILINE)
_LIST_MARK = re.compile(r"^\s*(?:[-*+•]|#{1,6})\s+", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+")
_CELLS = re.compile(r"\s*(?<!\\)\|\s*")


def cite(chunk: Chunk, quote: str) -> Citation:
    """The citation of a quote of this chunk."""
    section = " > ".join(h for h in chunk.heading_path if h != chunk.title)
    return Citation(
        document_id=chunk.document_id,
        chunk_id=chunk.id,
        title=chunk.title,
        uri=chunk.uri,
        quote=quote,
        section=section,
        page=chunk.page,
    )


def named(chunk: Chunk) -> str:
    """How people refer to the chunk's document: `XD-123: Title`, `Title (commit 0a1b…)`, `Title`."""
    key = chunk.document_id.partition(":")[2]
    title = MARKER.sub(r"(\1)", " ".join(chunk.title.split()))
    if chunk.source == "jira":
        return f"{key}: {title}"
    if chunk.source == "git_pr":
        return f"{title} ({'pull request' if '#' in key else 'commit'} {key})"
    return title


def verify(quote: str, chunk: Chunk) -> bool:
    """Whether the quote stands in the chunk, to the character."""
    return bool(quote.strip()) and quote in chunk.text


def shown(quote: str, kind: Kind) -> str:
    """A quote as a sentence of the answer: one line, without Markdown's marks, no new words.

    A bracketed number of the source becomes `(1)`: `[1]` in an answer is always our citation.
    """
    plain = " ".join(quote.split())
    if kind == "code":
        text = plain if "`" in plain else f"`{plain}`"
    else:
        text = _unmarked(quote, kind)
        if not set(_WORD.findall(text)) <= set(_WORD.findall(quote)):
            text = plain  # markup inside a word: taking it out would make another word
    return MARKER.sub(r"(\1)", text)


def _unmarked(text: str, kind: Kind) -> str:
    text = _FENCE.sub(" ", text)
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\2", text)
    if kind == "row":
        text = " | ".join(cell for cell in _CELLS.split(text.strip().strip("|")) if cell)
    return " ".join(_LIST_MARK.sub("", text).split())


def markers(text: str) -> list[int]:
    """Every number cited in the text, in order."""
    return [int(n) for match in MARKER.finditer(text) for n in match[1].split(",")]


def consistent(text: str, citations: Sequence[Citation]) -> bool:
    """Whether each marker has its citation and each citation its marker."""
    return set(markers(text)) == set(range(1, len(citations) + 1))
