"""Cutting a document into chunks along its structure, within a token budget.

A chunk is a span of the document's text, so nothing is lost or doubled: between two chunks there is
white space only. Chunks end where sections end. Inside a section whole blocks (paragraphs, list
items, tables, fenced code) are put together up to the budget. A block that is over budget alone is
cut at its own seams: code and tables between lines, prose between sentences, then between words. A
word is never cut, and so neither is a version, an address or a URL; one that is over budget alone
is cut only after commas, colons and the like, a URL not at all (but see `MAX_WORD_CHARS`).

A form feed divides pages. No chunk holds text of two pages, except that a heading at the end of a
page stays with the text that follows it; the chunk's page is the page of its text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from alchemy.cleaning.text import PAGE_BREAK
from alchemy.cleaning.tokens import TokenStarts
from alchemy.markdown import fenced_spans
from alchemy.types import Chunk, Document, text_digest

MAX_WORD_CHARS = 4096
"""A longer run without white space is encoded data, not a word, and is cut."""

MAX_HEADING_CHARS = 200

Kind = Literal["heading", "code", "table", "item", "paragraph"]

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]|\Z)")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)、])\s+\S")
_TABLE_ROW = re.compile(r"\s*\|")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_FIRST_WORD = re.compile(r"\s*\S+")
_FIRST_WORD_GAIN = 16
"""More tokens than a word gains alone: only how its beginning is cut depends on the space."""
_WORD = re.compile(rf"[{_HAN}][、，。！？；：”’」』）】》…]*|[^\s{_HAN}]+")
_URL = re.compile(r"[\"'(<\[]*[A-Za-z][A-Za-z0-9+.-]*://")
_JOINED = re.compile(r"(?:[^,;:|]|:(?=//|\d))*[,;:|]*")
_CLOSING = "\"'”’」』）】)\\]`*_"
_SENTENCE_END = re.compile(
    rf"[。！？；…]+[{_CLOSING}]*|(?<![.!?])[.!?]++[{_CLOSING}]*+(?=\s+[\"'“‘「（(\[`*_]*[^\Wa-z_])|\n(?=\s*\S)"
)
_ABBREVIATIONS = frozenset(
    "e.g i.e mr mrs ms dr prof vs fig no cf al st inc ltd co approx dept vol pp p sec ch eq resp jr sr".split()
)


@dataclass(frozen=True)
class _Block:
    kind: Kind
    start: int
    end: int
    level: int = 0
    title: str = ""


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    heading_path: tuple[str, ...]


def chunk_document(document: Document, token_starts: TokenStarts, budget: int) -> list[Chunk]:
    """The chunks of a document, in order; none for a document without text.

    Args:
        token_starts: the ruler, see `tokens`.
        budget: tokens of a chunk's text; its title and section path come on top.
    """
    chunks: list[Chunk] = []
    breaks = _page_breaks(document.text)
    paged = bool(breaks or document.extra.get("pages"))
    for span in _spans(document.text, token_starts, budget):
        ordinal = len(chunks)
        chunk = Chunk(
            id=f"{document.id}#{ordinal}",
            document_id=document.id,
            source=document.source,
            title=document.title,
            uri=document.uri,
            tenant=document.tenant,
            acl=document.acl,
            text=document.text[span.start : span.end],
            ordinal=ordinal,
            start=span.start,
            end=span.end,
            heading_path=span.heading_path,
            page=1 + bisect_right(breaks, span.end - 1) if paged else None,
            updated_at=document.updated_at,
        )
        chunks.append(replace(chunk, content_hash=text_digest(chunk.embedding_text())))
    return chunks


def _spans(text: str, token_starts: TokenStarts, budget: int) -> Iterator[_Span]:
    packer = _Packer(text, token_starts, budget)
    path: list[tuple[int, str]] = []
    for block in _blocks(text):
        yield from packer.turn_page(block)
        if block.kind == "heading" and packer.is_heading(block):
            yield from packer.end_section()
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, block.title))
            yield from packer.heading(block, tuple(title for _, title in path if title))
        else:
            yield from packer.add(block)
    yield from packer.end_section(last=True)


def _page_breaks(text: str) -> list[int]:
    return [match.start() for match in re.finditer(PAGE_BREAK, text)]


class _Packer:
    """Collects blocks of one section until the budget is reached."""

    def __init__(self, text: str, token_starts: TokenStarts, budget: int) -> None:
        self._text = text
        self._token_starts = token_starts
        self._starts = token_starts(text)
        self._budget = budget
        self._path: tuple[str, ...] = ()
        self._open: tuple[int, int] | None = None
        self._only_headings = False

    def _fits(self, start: int, end: int) -> bool:
        room = self._budget - self._tokens(start, end)
        if room < 0 or room >= _FIRST_WORD_GAIN:
            return room >= 0
        # a chunk begins without the space before it, and a byte-level tokenizer may make more
        # tokens of its first word then
        word = _FIRST_WORD.match(self._text, start, end)
        if word is None:
            return True
        alone = len(self._token_starts(word.group()))
        return room >= alone - self._tokens(word.start(), word.end())

    def _tokens(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def is_heading(self, block: _Block) -> bool:
        """Whether a heading line is a title; a longer one is prose that lost its line breaks."""
        return len(block.title) <= MAX_HEADING_CHARS and self._fits(block.start, block.end)

    def heading(self, block: _Block, path: tuple[str, ...]) -> Iterator[_Span]:
        """Begin a section; headings without text between them stay with what follows."""
        if self._open and not self._fits(self._open[0], block.end):
            yield self._close()
        self._open = (self._open[0] if self._open else block.start, block.end)
        self._only_headings = True
        self._path = path

    def end_section(self, last: bool = False) -> Iterator[_Span]:
        """Close the open chunk, unless it is a heading that waits for its text."""
        if self._open and (last or not self._only_headings):
            yield self._close()

    def turn_page(self, block: _Block) -> Iterator[_Span]:
        """Close the open chunk when the block is on a later page."""
        if (
            self._open
            and not self._only_headings
            and (self._text.find(PAGE_BREAK, self._open[1], block.start) >= 0)
        ):
            yield self._close()

    def add(self, block: _Block) -> Iterator[_Span]:
        """Put a block to the open chunk, or close that and begin another."""
        whole = self._fits(block.start, block.end)
        if self._open and self._only_headings and block.kind != "code":
            # rather a cut between sentences than a heading alone
            whole = whole and self._fits(self._open[0], block.end)
        for start, end in [(block.start, block.end)] if whole else self._pieces(block):
            if self._open and self._fits(self._open[0], end):
                self._open = (self._open[0], end)
            else:
                if self._open:
                    yield self._close()
                self._open = (start, end)
            self._only_headings = False

    def _close(self) -> _Span:
        assert self._open is not None
        start, end = self._open
        self._open = None
        return _Span(start, end, self._path)

    def _pieces(self, block: _Block) -> Iterator[tuple[int, int]]:
        """Parts of a block between its seams, each within budget wherever that is possible."""
        seams = _lines if block.kind in ("code", "table") else _sentences
        for start, end in seams(self._text, block.start, block.end):
            if not self._text[start:end].strip():
                continue
            if self._fits(start, end):
                yield start, end
            else:
                yield from self._words(start, end)

    def _words(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for word in _WORD.finditer(self._text, start, end):
            if self._fits(word.start(), word.end()) or _URL.match(word.group()):
                yield from _cut(word.start(), word.end())
            else:  # joined by punctuation: a class path, JSON without blanks
                for part in _JOINED.finditer(self._text, word.start(), word.end()):
                    yield from _cut(part.start(), part.end())


def _blocks(text: str) -> Iterator[_Block]:
    """Headings, fenced code, tables, list items and paragraphs, in order."""
    at = 0
    for start, end in fenced_spans(text):
        for begin, stop in _pages(text, at, start):
            yield from _plain_blocks(text, begin, stop)
        for begin, stop in _pages(text, start, end):
            code = text[begin:stop].strip("\n")
            if code.strip():
                begin = text.index(code, begin)
                yield _Block("code", begin, begin + len(code))
        at = end
    for begin, stop in _pages(text, at, len(text)):
        yield from _plain_blocks(text, begin, stop)


def _pages(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts between form feeds."""
    while (cut := text.find(PAGE_BREAK, start, end)) >= 0:
        yield start, cut
        start = cut + 1
    yield start, end


def _plain_blocks(text: str, at: int, until: int) -> Iterator[_Block]:
    kind: Kind | None = None
    begin = end = at
    for start, stop in _lines(text, at, until):
        line = text[start:stop]
        heading = _HEADING.match(line)
        if heading or not line.strip():
            here: Kind | None = None
        elif _TABLE_ROW.match(line):
            here = "table"
        elif _ITEM.match(line):
            here = "item"
        else:  # a line that starts nothing continues what is open
            here = kind if kind in ("item", "paragraph") else "paragraph"
        if kind is not None and (here != kind or (here == "item" and _ITEM.match(line))):
            yield _Block(kind, begin, end)
            kind = None
        if heading:
            title = _without_closing_marks(line[heading.end() :].strip())
            yield _Block("heading", start, stop, len(heading.group(1)), title)
        elif here is not None:
            begin, kind = (start if kind is None else begin), here
            end = stop
    if kind is not None:
        yield _Block(kind, begin, end)


def _without_closing_marks(title: str) -> str:
    """`Title ##` is `Title`, and `C#` stays."""
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1].isspace() else title


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of lines without their ends."""
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield start, stop
        start = stop + 1


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Sentences, Chinese and English; a line break inside prose also ends one."""
    yield from _trimmed(text, start, end, _sentence_ends(text, start, end))


def _sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    for match in _SENTENCE_END.finditer(text, start, end):
        if match.group()[0] == ".":
            before = text[max(start, match.start() - 12) : match.start()]
            word = re.split(r"[\s(\[\"'“‘]", before)[-1].lower()
            if word in _ABBREVIATIONS or len(word) <= 1 or (word.isdigit() and len(word) <= 3):
                continue  # an abbreviation, an initial or the number of a list item
        yield match.end()


def _cut(start: int, end: int) -> Iterator[tuple[int, int]]:
    for cut in range(start, end, MAX_WORD_CHARS):
        yield cut, min(cut + MAX_WORD_CHARS, end)


def _trimmed(text: str, start: int, end: int, cuts: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The parts between the cuts, without white space at their ends; blank parts are left out."""
    for cut in (*cuts, end):
        part = text[start:cut]
        begin = start + len(part) - len(part.lstrip())
        if begin < start + len(part.rstrip()):
            yield begin, start + len(part.rstrip())
        start = cut
