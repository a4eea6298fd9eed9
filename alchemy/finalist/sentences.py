"""Text → the units that can be quoted: sentences, list items, fields, table rows, code lines.

Every unit is an exact substring, so that a quote can be found again in its chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prose", "item", "field", "row", "code", "heading"]

MAX_UNIT_CHARS = 480
"""A longer run without a sentence end (a log, a stack trace) is cut between words."""

_FENCE = re.compile(r"\s*(?:```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?")
_ROW = re.compile(r"\s*\|.*\|\s*$")
_RULE = re.compile(r"[\s|:=*_~-]+$")
_FIELD = re.compile(r"[^\W\d_][\w /()-]{0,40}:\s+\S")
_QUOTED = re.compile(r"\s*>\s?")
_END = re.compile(
    r"[.!?]+[\"'”’)\]*_`]*(?=\s+[\"'“‘(\[*_`]*[A-Z0-9\u3040-\uffef])|[。！？]+[”’」』）]*"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|mr|mrs|ms|dr|no|fig|approx|inc|ver|resp|incl|al|st)|\b[A-Za-z])\.$",
    re.IGNORECASE,
)
_WRAPPED_LINE_CHARS = 60
_LEAD_IN_LINES = 4


@dataclass(frozen=True)
class Unit:
    """`text[start:end]` of the chunk, stripped; `kind` says how to show it."""

    text: str
    start: int
    end: int
    kind: Kind


@dataclass(frozen=True)
class _Block:
    start: int
    end: int
    kind: Kind


def units(text: str) -> list[Unit]:
    """All quotable units of a text, in order, not overlapping; headings are marked as such."""
    found: list[Unit] = []
    for block in _blocks(text):
        for start, end in _cuts(text, block):
            raw = text[start:end]
            start += len(raw) - len(raw.lstrip())
            end = start + len(raw.strip())
            if end > start and any(c.isalnum() for c in text[start:end]):
                found.append(Unit(text[start:end], start, end, block.kind))
    return found


def with_lead_ins(text: str, plain: list[Unit]) -> list[Unit]:
    """The same units, where one that ends in a colon is extended by the lines it announces."""
    extended: list[Unit] = []
    for i, unit in enumerate(plain):
        end = unit.end
        if unit.text.endswith(":") and unit.kind in ("prose", "item"):
            for following in plain[i + 1 : i + 1 + _LEAD_IN_LINES]:
                too_long = following.end - unit.start > MAX_UNIT_CHARS
                if following.kind not in ("code", "item", "row") or too_long:
                    break
                end = following.end
        extended.append(Unit(text[unit.start : end], unit.start, end, unit.kind))
    return extended


def _blocks(text: str) -> Iterator[_Block]:
    """Paragraphs, items, rows, code lines and headings by their offsets."""
    fenced = False
    open_block: _Block | None = None
    for start, end in _lines(text):
        line = text[start:end]
        if _FENCE.match(line):
            if open_block:
                yield open_block
            open_block, fenced = None, not fenced
            continue
        if fenced:
            yield _Block(start, end, "code")
            continue
        begins = _begins(line)
        if begins is None and open_block and _continues(text, open_block, start, end):
            open_block = _Block(open_block.start, end, open_block.kind)
            continue
        if open_block:
            yield open_block
        open_block = None
        if not line.strip() or _RULE.fullmatch(line):
            continue
        kind, skip = begins or ("prose", 0)
        block = _Block(start + skip, end, kind)
        if kind in ("heading", "row"):
            yield block
        else:
            open_block = block
    if open_block:
        yield open_block


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for piece in text.split("\n"):
        yield start, start + len(piece)
        start += len(piece) + 1


def _begins(line: str) -> tuple[Kind, int] | None:
    """What kind of block this line opens, and how many characters of markup it starts with."""
    if match := _HEADING.match(line):
        return "heading", match.end()
    if _ROW.match(line):
        return "row", 0
    if match := _ITEM.match(line):
        return "item", match.end()
    if match := _QUOTED.match(line):
        return "prose", match.end()
    if _FIELD.match(line):
        return "field", 0
    return None


def _continues(text: str, block: _Block, start: int, end: int) -> bool:
    """Whether a line goes on with the open block: an indented or a wrapped line."""
    line = text[start:end]
    if not line.strip() or text[block.end : start].count("\n") > 1:
        return False
    if block.kind == "item" and line[:1].isspace():
        return True
    first = line.strip()[0]
    last_line = text[block.start : block.end].rpartition("\n")[2]
    return first.islower() or len(last_line) >= _WRAPPED_LINE_CHARS


def _cuts(text: str, block: _Block) -> Iterator[tuple[int, int]]:
    if block.kind in ("prose", "item", "field"):
        start = block.start
        for match in _END.finditer(text, block.start, block.end):
            if match[0].startswith(".") and _ABBREVIATION.search(text[start : match.start() + 1]):
                continue
            yield from _pieces(text, start, match.end())
            start = match.end()
        yield from _pieces(text, start, block.end)
    else:
        yield from _pieces(text, block.start, block.end)


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > MAX_UNIT_CHARS:
        cut = max(text.rfind(" ", start + 1, start + MAX_UNIT_CHARS), start)
        cut = cut if cut > start + MAX_UNIT_CHARS // 2 else start + MAX_UNIT_CHARS
        yield start, cut
        start = cut
    if end > start:
        yield start, end
