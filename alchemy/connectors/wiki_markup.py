"""Jira wiki markup → blocks.

Markup characters go, words stay. Colours and anchors are dropped; what is not markup is text.
Code, preformatted text and embedded HTML are taken out first and leave a mark in their place, so
that a block inside a list item stays with its item. `wiki_inline` reads running text. Text whose line
ends an export turned into spaces gets back those that markup proves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from alchemy.connectors.adf import parse_adf
from alchemy.connectors.blocks import (
    Block,
    Callout,
    Code,
    Entry,
    Heading,
    Inline,
    Items,
    Paragraph,
    Table,
    flatten,
)
from alchemy.connectors.fields import BadRecord
from alchemy.connectors.records import parsed
from alchemy.connectors.wiki_inline import parse_inline
from alchemy.connectors.xhtml import parse_html

_OPTIONS = r"(?::(?P<options>[^}\n]{0,300}))?"
_VERBATIM = re.compile(rf"(?<!\{{)\{{(?P<tag>code|noformat|html|adf){_OPTIONS}\}}(?!\}})")
_ENCLOSED = re.compile(rf"\{{(?P<tag>quote|panel|info|note|tip|warning|expand){_OPTIONS}\}}")
_CALLOUTS = {"info": "INFO", "note": "NOTE", "tip": "TIP", "warning": "WARNING"}
_HELD = re.compile(r"\0(\d+)\0")  # what was taken out; the input's own NUL characters are dropped
_HEADING = re.compile(r"^[ \t]*h([1-6])\.(?:[ \t]+(?=\S)|(?=[A-Z*_{\[]))(.+)$")
_QUOTED = re.compile(r"^[ \t]*bq\.[ \t]+(\S.*)$")
_ITEM = re.compile(r"^[ \t]*([*#]+[*#-]*|-)[ \t]+(\S.*)$")
_INNER_ITEM = re.compile(r"^[ \t]*([*#-]+)[ \t]+(\S.*)$")
_ROW = re.compile(r"^[ \t]*\|.*$")
_RULE = re.compile(r"^[ \t]*-{4,}[ \t]*$")
_ROW_LINES = 50
_FOLDED_BLANK = re.compile(r" {4,}")
_FOLDED_LINE = re.compile(
    r" {2,3}(?=h[1-6]\.[ \w]|[*#]{1,6} \S|- \S|\d{1,2}[.)] \S|bq\. |\|\||-{4,}(?: |$)|\{(?:quote|panel))"
)
_FOLDED_HEADING = re.compile(r"^([ \t]*h[1-6]\.[ \t]*\S.*?) {2,3}(?=\S)", re.M)
_FOLDED_ROW = re.compile(r"(?<=\|) {2,3}(?=\|)")
_CELL = re.compile(
    r"((?:\{\{.{0,500}?\}\}|\[[^\[\]]{0,2000}\]|![^!\s|]{1,200}\.\w{2,5}\|[^!|]{0,200}!|\\.|[^|])+)\|*",
    re.S,
)

_Held = Sequence[tuple[Block, ...]]


def parse_wiki(text: str) -> tuple[Block, ...]:
    """Blocks of a Jira description or comment."""
    folded = "\n" not in text
    held: list[tuple[Block, ...]] = []
    parts: list[str] = []
    line = ""  # what stands on the current line before the next part
    for part, opening in _enclosed(text.replace("\0", ""), _VERBATIM):
        if opening is None:
            part = _unfolded(part) if folded else part
            # what follows a closing tag on its line may begin a block of its own
            if line and not _ROW.match(line) and _starts(part.split("\n", 1)[0]):
                part = f"\n{part}"
        else:
            held.append(_taken_out(opening, part))
            part = f"\0{len(held) - 1}\0"
        parts.append(part)
        line = part[part.rfind("\n") + 1 :] if "\n" in part else line[:200] + part
    return tuple(_prose("".join(parts), held))


def _unfolded(text: str) -> str:
    """Text on one line whose line ends an export made into two spaces each, in lines again.

    Only where markup shows that a line began there: sentences may stand two spaces apart.
    """
    text = _FOLDED_BLANK.sub("\n\n", text)
    text = _FOLDED_HEADING.sub(r"\1\n", _FOLDED_LINE.sub("\n", text))
    return _FOLDED_ROW.sub("\n", text) if "||" in text else text


def _enclosed(text: str, opening: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str] | None]]:
    """The text in order: what stands between an opening and its closing tag, and the rest (None).

    An opening without a closing tag is text. Each closing tag is looked for once, so a text full
    of openings costs no more than its length.
    """
    done = at = 0
    unclosed: set[str] = set()
    while match := opening.search(text, at):
        tag = match["tag"]
        close = -1 if tag in unclosed else text.find(f"{{{tag}}}", match.end())
        if close < 0:
            unclosed.add(tag)
            at = match.end()
            continue
        yield text[done : match.start()], None
        yield text[match.end() : close], match
        done = at = close + len(tag) + 2
    yield text[done:], None


def _taken_out(opening: re.Match[str], inside: str) -> tuple[Block, ...]:
    """Blocks of what one of the verbatim macros encloses."""
    if opening["tag"] == "html":
        return parse_html(f"<div>{inside}</div>")
    if opening["tag"] == "adf":  # what has no wiki markup comes as ADF in JSON
        try:
            return parse_adf(parsed(inside))
        except BadRecord:
            return (Code(inside, "json"),)
    code = Code(inside.strip("\r\n"), _language(opening))
    return tuple(_titled(opening["options"], [code]))


def _options(raw: str | None) -> dict[str, str]:
    pairs = (part.partition("=") for part in (raw or "").split("|"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _language(match: re.Match[str]) -> str:
    options = _options(match["options"])
    bare = next((name for name, value in options.items() if not value), "")
    name = options.get("language") or bare
    return name if re.fullmatch(r"[\w+#-]+", name) and match["tag"] == "code" else ""


def _titled(options: str | None, blocks: Sequence[Block]) -> list[Block]:
    title = _options(options).get("title", "")
    return [Paragraph(parse_inline(title)), *blocks] if title else list(blocks)


def _prose(text: str, held: _Held) -> list[Block]:
    """Everything but code: quotes and panels, then line by line."""
    blocks: list[Block] = []
    for part, opening in _enclosed(text, _ENCLOSED):
        if opening is None:
            blocks += _lines(part, held)
            continue
        tag, inside = opening["tag"], _prose(part, held)
        if tag == "quote":
            blocks.append(Callout("", tuple(inside)))
        elif tag in _CALLOUTS:
            blocks.append(Callout(_CALLOUTS[tag], tuple(_titled(opening["options"], inside))))
        elif tag == "expand" and opening["options"] and "=" not in opening["options"]:
            blocks += [Paragraph(parse_inline(opening["options"])), *inside]
        else:
            blocks += _titled(opening["options"], inside)
    return blocks


def _lines(text: str, held: _Held) -> list[Block]:
    lines = text.split("\n")
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip() or _RULE.match(line):
            at += 1
        elif match := _HEADING.match(line):
            title, *rest = _HELD.split(match[2], maxsplit=1)
            blocks.append(Heading(int(match[1]), parse_inline(title)))
            blocks += _paragraph(f"\0{rest[0]}\0{rest[1]}" if rest else "", held)
            at += 1
        elif match := _QUOTED.match(line):
            blocks.append(Callout("", tuple(_paragraph(match[1], held))))
            at += 1
        elif _ITEM.match(line):
            at, items = _list(lines, at, held)
            blocks += items
        elif _ROW.match(line):
            at, table = _table(lines, at, held)
            blocks.append(table)
        else:
            start = at
            while at < len(lines) and lines[at].strip() and not (at > start and _starts(lines[at])):
                at += 1
            # Jira keeps the line ends of a paragraph
            blocks += _paragraph("\n".join(x.strip() for x in lines[start:at]), held)
    return blocks


def _paragraph(text: str, held: _Held) -> list[Block]:
    """Running text, and in their places the blocks that were taken out of it."""
    blocks: list[Block] = []
    for number, part in enumerate(_HELD.split(text)):
        if number % 2:
            blocks += held[int(part)]
        elif part.strip():
            blocks.append(Paragraph(parse_inline(part.strip())))
    return blocks


def _starts(line: str) -> bool:
    return any(p.match(line) for p in (_HEADING, _QUOTED, _ITEM, _ROW, _RULE))


def _list(lines: list[str], at: int, held: _Held) -> tuple[int, list[Items]]:
    """Items from `at` on, as lists nested by the length of their markers."""
    found: list[tuple[str, str]] = []
    while at < len(lines) and lines[at].strip():
        match = _INNER_ITEM.match(lines[at])
        if match and not _RULE.match(lines[at]):
            found.append((match[1], match[2]))
        elif _starts(lines[at]):
            break
        else:
            marker, text = found[-1]
            found[-1] = (marker, f"{text}\n{lines[at].strip()}")
        at += 1
    return at, _nested(found, 0, held)


def _nested(found: list[tuple[str, str]], depth: int, held: _Held) -> list[Items]:
    lists: list[Items] = []
    entries: list[Entry] = []
    marker = ""
    at = 0

    def close() -> None:
        if entries:
            kind = "number" if marker.endswith("#") else "bullet"
            lists.append(Items(kind, tuple(entries)))
            entries.clear()

    while at < len(found):
        own, text = found[at]
        if marker and own[depth : depth + 1] != marker[depth : depth + 1]:
            close()
        marker = own[: depth + 1]
        at += 1
        inside = at
        while at < len(found) and len(found[at][0]) > max(len(own), depth + 1):
            at += 1
        entry = [*_paragraph(text, held), *_nested(found[inside:at], len(own), held)]
        entries.append(Entry(tuple(entry)))
    close()
    return lists


def _table(lines: list[str], at: int, held: _Held) -> tuple[int, Table]:
    rows: list[tuple[Inline, ...]] = []
    header = False
    while at < len(lines) and _ROW.match(lines[at]):
        at, line = _row(lines, at)
        header = header or (not rows and line.startswith("||"))
        rows.append(tuple(_cell(cell, held) for cell in _cells(line)))
    return at, Table(tuple(rows), header)


def _row(lines: list[str], at: int) -> tuple[int, str]:
    """A row and the line after it: a cell may hold line ends, its row goes on to the next bar."""
    line = lines[at].strip()
    end = at + 1
    while not line.endswith("|") and end < min(len(lines), at + _ROW_LINES):
        if not lines[end].strip() or _starts(lines[end]):
            break
        line = f"{line}\n{lines[end].strip()}"
        end += 1
    # without a closing bar the row was its first line only, and text follows the table
    return (end, line) if line.endswith("|") else (at + 1, lines[at].strip())


def _cells(line: str) -> list[str]:
    """Cells of a row; a bar inside a link, an image or code does not end one."""
    return [cell.strip() for cell in _CELL.findall(line.lstrip("|"))]


def _cell(text: str, held: _Held) -> Inline:
    blocks = _lines(text, held) if "\n" in text else _paragraph(text, held)
    return tuple(span for span in flatten(blocks) if span.text or span.target)
