"""Chunk text → what a question can be asked about: prose, definitions, fields, table rows.

Works on the light Markdown of cleaned documents. Code is left out: a question about it cannot be
written from structure alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FENCE = re.compile(r"\s*(```+|~~~+)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(\S.*?)\s*#*\s*$")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+(\S.*)$")
_ROW = re.compile(r"\s*\|(.*)\|\s*$")
_RULE = re.compile(r"[\s|:-]+$")
_FIELD = re.compile(r"([^\W\d_][\w /-]{0,40}):[ \t]+(\S.*)$")
_TERM = re.compile(r"(`[^`]{1,60}`|[^\s:`][^:`\n]{0,60}?):\s+(\S.*)$", re.S)
_CELL = re.compile(r"(?<!\\)\|")

_SENTENCE_END = re.compile(
    r"[.!?]+[\"'”’)\]*_`]*(?=\s+[\"'“‘(\[*_`]*[A-Z0-9\u3040-\uffef])|[。！？]+[”’」』）]*"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|mr|mrs|ms|dr|no|fig|approx|inc|ver|resp|incl|al|st)|\b[A-Za-z])\.$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """A pipe table with a header; cells are plain text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Structure:
    """The parts of a chunk, each in order of appearance.

    Attributes:
        headings: titles of the headings inside the chunk.
        paragraphs: running text, one line each.
        definitions: (term, text) of list items of the form `- term: text`.
        fields: (name, value) of lines of the form `name: value`.
    """

    headings: list[str] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    definitions: list[tuple[str, str]] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def parse(text: str) -> Structure:
    """The structure of a chunk's text."""
    found = Structure()
    paragraph: list[str] = []
    item: list[str] = []
    rows: list[str] = []
    fence = ""

    def close() -> None:
        if paragraph:
            found.paragraphs.append(one_line(" ".join(paragraph)))
        if item and (term := _TERM.match(" ".join(item))):
            found.definitions.append((plain(term[1]), one_line(term[2])))
        if rows and (table := _table(rows)):
            found.tables.append(table)
        for held in (paragraph, item, rows):
            held.clear()

    for line in text.split("\n"):
        marker = _FENCE.match(line)
        if fence:
            if marker and line.strip().startswith(fence):
                fence = ""
        elif marker:
            close()
            fence = marker[1]
        elif not line.strip():
            close()
        elif heading := _HEADING.match(line):
            close()
            found.headings.append(plain(heading[1]))
        elif row := _ROW.match(line):
            if not rows:
                close()
            rows.append(row[1])
        elif entry := _ITEM.match(line):
            close()
            item.append(entry[1])
        elif item:
            item.append(line.strip())
        elif (named := _FIELD.match(line)) and not paragraph:
            found.fields.append((one_line(named[1]), one_line(named[2])))
        else:
            if rows:
                close()
            paragraph.append(line.strip())
    close()
    return found


def sentences(text: str) -> Iterator[str]:
    """Sentences of one paragraph."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if match[0].startswith(".") and _ABBREVIATION.search(text[start : match.start() + 1]):
            continue
        yield text[start : match.end()].strip()
        start = match.end()
    if rest := text[start:].strip():
        yield rest


def lead(paragraphs: list[str], enough: int = 140, most: int = 360) -> str:
    """The first sentences that read as prose: about `enough` characters, never over `most`.

    Empty when the text does not begin with prose (a stack trace, a list of files). A sentence that
    announces what follows ("The error is:") ends it: what follows is not taken.
    """
    taken = ""
    for paragraph in paragraphs:
        for sentence in sentences(paragraph):
            longer = f"{taken} {sentence}".strip()
            if sentence.endswith((":", "：")) or not is_prose(sentence) or len(longer) > most:
                return taken
            taken = longer
            if len(taken) >= enough:
                return taken
    return taken


def is_prose(sentence: str) -> bool:
    """Whether a person wrote this to be read: words, not paths, traces or data."""
    letters = sum(character.isalpha() or character == " " for character in sentence)
    words = sentence.split()
    longest = max(map(len, words), default=0)
    cjk = any("\u3040" <= character <= "\uffef" for character in sentence)
    return letters >= 0.7 * len(sentence) and (cjk or (len(words) >= 3 and longest <= 60))


def plain(text: str) -> str:
    """One line without emphasis, code and link marks around the visible text."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return one_line(re.sub(r"[`*]+", "", text)).replace("\\|", "|")


def one_line(text: str) -> str:
    """White space runs become single spaces."""
    return " ".join(text.split())


def _table(lines: list[str]) -> Table | None:
    rows = [tuple(plain(cell) for cell in _CELL.split(line)) for line in lines]
    if len(rows) < 3 or not _RULE.fullmatch(lines[1]) or not all(rows[0]):
        return None
    width = len(rows[0])
    return Table(rows[0], tuple(row for row in rows[2:] if len(row) == width))
