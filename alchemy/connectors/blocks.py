"""The structure every markup is read into, and its one rendering as light Markdown text.

Parsers (AsciiDoc, Jira wiki markup, ADF, storage XHTML) produce blocks; `to_markdown` writes them.
Chunking relies on the output: `#` headings, fenced code, list markers, pipe tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Span:
    """A piece of running text.

    Attributes:
        kind: `reference` is a link inside the same body of documents, `link` has a URL, `deleted`
            is struck through: what it says no longer holds.
        target: URL, document or file name of a link, reference or image.
    """

    text: str
    kind: Literal["text", "code", "strong", "emphasis", "deleted", "link", "reference", "image"] = (
        "text"
    )
    target: str = ""


Inline: TypeAlias = tuple[Span, ...]


@dataclass(frozen=True)
class Heading:
    """Section title; level 1 is the outermost."""

    level: int
    inline: Inline


@dataclass(frozen=True)
class Paragraph:
    """Running text; a newline in it is a wanted line break."""

    inline: Inline


@dataclass(frozen=True)
class Code:
    """Preformatted text, kept to the character."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Entry:
    """One list item; `term` only in a description list."""

    blocks: tuple[Block, ...]
    term: Inline = ()


@dataclass(frozen=True)
class Items:
    """A list; `start` numbers the first item of a `number` list."""

    kind: Literal["bullet", "number", "term"]
    entries: tuple[Entry, ...]
    start: int = 1


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first row is the header when `header`."""

    rows: tuple[tuple[Inline, ...], ...]
    header: bool = False


@dataclass(frozen=True)
class Callout:
    """A set-off note (`NOTE`, `TIP`, `WARNING`, …) or, with an empty label, a quotation."""

    label: str
    blocks: tuple[Block, ...]


_MOST_MERGED = 100_000
"""Cells that merging may add to a table: a page cannot claim more than memory holds."""

Block: TypeAlias = Heading | Paragraph | Code | Items | Table | Callout


def words(text: str) -> Inline:
    """Plain text as inline content."""
    return (Span(text),) if text else ()


def plain(inline: Iterable[Span]) -> str:
    """The visible text alone."""
    return "".join(span.text for span in inline)


def inline_markdown(inline: Iterable[Span]) -> str:
    """Inline content as text: code in backticks, links with their URL, emphasis dropped."""
    return "".join(_span(span) for span in inline)


def _span(span: Span) -> str:
    text = span.text
    if span.kind == "code" and text.strip():
        fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
        pad = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{fence}{pad}{text}{pad}{fence}"
    if span.kind == "link" and span.target:
        return f"[{text}]({span.target})" if text and text != span.target else span.target
    if span.kind == "image":
        return f"![{text}]({span.target})"
    if span.kind == "deleted" and text.strip():
        start, end = len(text) - len(text.lstrip()), len(text.rstrip())
        return f"{text[:start]}~~{text[start:end]}~~{text[end:]}"
    return text or span.target


def references(blocks: Sequence[Block]) -> list[str]:
    """What the blocks refer to inside their own body of documents: titles, file names; each once.

    Places in the same document (`#install`) and people (`@ana`) are not among them.
    """
    targets = (s.target.strip() for s in flatten(blocks) if s.kind in ("reference", "link"))
    inside = (t for t in targets if t and t[0] not in "#@" and "://" not in t)
    return list(dict.fromkeys(inside))


def to_markdown(blocks: Sequence[Block]) -> str:
    """Blocks as text, separated by blank lines; no blank line at the ends."""
    return "\n\n".join(part for part in map(_block, blocks) if part.strip())


def fenced(text: str, language: str = "") -> str:
    """A code fence longer than any run of backticks inside."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _block(block: Block) -> str:
    match block:
        case Heading(level, inline):
            title = " ".join(inline_markdown(inline).split())
            return f"{'#' * min(max(level, 1), 6)} {title}" if title else ""
        case Paragraph(inline):
            return inline_markdown(inline).strip()
        case Code(text, language):
            return fenced(text, language) if text.strip() else ""
        case Items():
            return _items(block)
        case Table(rows, header):
            return _table(rows, header)
        case Callout(label, inner):
            text = to_markdown(inner)
            if label:
                return f"{label}: {text}"
            return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _items(items: Items) -> str:
    parts: list[str] = []
    loose = False
    for number, entry in enumerate(items.entries, items.start):
        marker = f"{number}. " if items.kind == "number" else "- "
        body = to_markdown(entry.blocks)
        term = " ".join(inline_markdown(entry.term).split())
        if term:
            first = entry.blocks[0] if entry.blocks else None
            glue = " " if isinstance(first, Paragraph) else "\n"
            body = f"{term}:{glue}{body}" if body else term
        nested = [block for block in entry.blocks[1:] if not isinstance(block, Items)]
        loose = loose or bool(nested)
        if not nested:  # a list directly under its item stays tight
            body = re.sub(r"\n\n(?=(?:- |\d+\. ))", "\n", body)
        indent = " " * len(marker)
        lines = body.split("\n")
        parts.append(
            marker + "\n".join([lines[0], *(f"{indent}{x}" if x else x for x in lines[1:])])
        )
    return ("\n\n" if loose else "\n").join(parts)


def _table(rows: Sequence[tuple[Inline, ...]], header: bool) -> str:
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    lines = [_row([_cell(cell) for cell in row], width) for row in rows]
    rule = "|" + " --- |" * width
    # a pipe table needs a header row: an empty one stands in for a missing one
    return "\n".join([lines[0], rule, *lines[1:]] if header else [_row([], width), rule, *lines])


def _cell(inline: Inline) -> str:
    return " ".join(inline_markdown(inline).split()).replace("|", "\\|")


def _row(cells: list[str], width: int) -> str:
    return "| " + " | ".join(cells + [""] * (width - len(cells))) + " |"


def raised(text: str) -> str:
    """Superscript as running text: 10⁶ must not become 106."""
    return f"^{text}" if re.fullmatch(r"[-+]?\w{1,4}", text) else text


def grid(rows: Iterable[Iterable[tuple[Inline, int, int]]]) -> tuple[tuple[Inline, ...], ...]:
    """Rows of (content, columns, rows) cells laid out as a table without merged cells.

    A cell over several rows is repeated, so that each row can be read alone; over several columns
    it fills the first and leaves the others empty.
    """
    laid: list[tuple[Inline, ...]] = []
    reaching: dict[int, tuple[Inline, int]] = {}  # column → content and how many rows it still has
    budget = _MOST_MERGED
    for row in rows:
        line = _reached(reaching, 0)
        for content, columns, height in row:
            merged = max(columns, 1) * max(height, 1) - 1
            if merged > budget:
                columns = height = 1
            elif merged:
                budget -= merged
            for column in range(max(columns, 1)):
                if height > 1:
                    reaching[len(line)] = (() if column else content, height - 1)
                line.append(() if column else content)
            line += _reached(reaching, len(line))
        laid.append(tuple(line))
    return tuple(laid)


def _reached(reaching: dict[int, tuple[Inline, int]], column: int) -> list[Inline]:
    """Cells that rows above put from this column on."""
    cells: list[Inline] = []
    while column + len(cells) in reaching:
        at = column + len(cells)
        content, left = reaching.pop(at)
        if left > 1:
            reaching[at] = (content, left - 1)
        cells.append(content)
    return cells


def flatten(blocks: Sequence[Block]) -> Inline:
    """Block content as running text, for a place that holds none (a table cell)."""
    spans: list[Span] = []
    for block in blocks:
        match block:
            case Heading(_, inline) | Paragraph(inline):
                inside = inline
            case Code(text):
                inside = (Span(text, "code"),)
            case Items(_, entries):
                parts = [(*e.term, Span(" "), *flatten(e.blocks)) for e in entries]
                inside = tuple(span for part in parts for span in (*part, Span("; ")))[:-1]
            case Table(rows):
                inside = tuple(s for row in rows for cell in row for s in (*cell, Span(" ")))
            case Callout(label, inner):
                inside = (*words(f"{label}: " if label else ""), *flatten(inner))
        spans += [Span(" "), *inside] if spans else inside
    return tuple(spans)
