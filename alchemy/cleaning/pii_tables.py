"""Secrets named from above: table columns, SQL inserts, what stands in the brackets of a key."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alchemy.cleaning.pii_looks import HARMLESS_KEYS, is_stand_in, looks_secret
from alchemy.cleaning.pii_numbers import Span
from alchemy.cleaning.pii_patterns import KEYWORD, STRONG_KEYWORD

_NAME = re.compile(rf"[\s*`\"']*[\w .-]{{0,24}}?(?:{KEYWORD})[\s*`\"']*", re.VERBOSE | re.ASCII)
_KEYWORD = re.compile(KEYWORD, re.VERBOSE | re.ASCII)
_RULE = re.compile(r"[\s|:+-]+")
_CELL = re.compile(r"[^|]*")
_FIELD = re.compile(r"[^,;\t]*")
_ALIGNED = re.compile(r"\S+(?:[ ]\S+)*")
"""Cells that stand apart by two blanks or more, as in the output of commands."""
_HTML_ROW = re.compile(r"<tr\b[^<>]{0,200}>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<t[hd]\b[^<>]{0,200}>([^<>]{0,400})</t[hd]>", re.IGNORECASE)
_LONGEST_HEADER = 2000
_INSERT = re.compile(r"\(([^()\n]{1,400})\)\s*VALUES\s*\(([^()\n]{1,1000})\)", re.IGNORECASE)
_ITEM = re.compile(r"\s*(?:N?'((?:[^'\\]|\\.|'')*)'|\"([^\"]*)\"|([^,]*))\s*(?:,|\Z)")
_MANIFEST = re.compile(r"^kind:[ ]*[\"']?Secret\b", re.MULTILINE)
_DATA = re.compile(r"^(?:data|stringData):[ ]*\n((?:[ ]+[^\n]*(?:\n|\Z))+)", re.MULTILINE)
_ENTRY = re.compile(r"^[ ]+[\w.-]+:[ ]*[\"']?([^\s\"'|>][^\s\"']*)", re.MULTILINE)

_GROUP = re.compile(
    rf"(?:{KEYWORD})[\w.-]{{0,24}}[\"']?\s{{0,4}}[:=]\s{{0,4}}(?=[\[{{])", re.VERBOSE | re.ASCII
)
_LONGEST_GROUP = 2000
_VALUE_KEYS = frozenset(("value", "val", "data", "text"))
_NAMES_OR_PROSE = re.compile(rf"\s|{KEYWORD}", re.VERBOSE | re.ASCII)
_BRACKET = re.compile(r"[\[\]{}]")
_MEMBER = re.compile(
    r"(?:[\"']?([A-Za-z][\w.-]{0,40})[\"']?\s{0,4}[:=]\s{0,4})?([\"'])((?:(?!\2)[^\\\n]|\\.){3,512})\2(?!\s{0,4}:)",
    re.ASCII,
)


def named_secrets(text: str) -> Iterator[Span]:
    """What a heading, a list of columns, a key or the kind of a manifest says is secret."""
    yield from column_secrets(text)
    yield from _members(text)
    for match in _INSERT.finditer(text):
        names = match.group(1).split(",")
        for name, item in zip(names, _ITEM.finditer(text, *match.span(2)), strict=False):
            value = item.group(1) or item.group(2)
            if value and STRONG_KEYWORD.search(name) and not is_stand_in(value):
                start = item.start(1 if item.group(1) else 2)
                yield "SECRET", start, start + len(value)
    if _MANIFEST.search(text):
        for data in _DATA.finditer(text):
            for entry in _ENTRY.finditer(text, *data.span(1)):
                if not is_stand_in(entry.group(1)):
                    yield "SECRET", *entry.span(1)


def _members(text: str) -> Iterator[Span]:
    """Strings in the brackets of a key such as `"credentials": {"user": …, "value": …}`."""
    for group in _GROUP.finditer(text):
        depth, end = 0, group.end()
        strong = STRONG_KEYWORD.search(group.group()) is not None
        for bracket in _BRACKET.finditer(text, group.end(), group.end() + _LONGEST_GROUP):
            depth += 1 if bracket.group() in "[{" else -1
            end = bracket.end()
            if depth == 0:
                break
        for member in _MEMBER.finditer(text, group.end(), end):
            key, value = (member.group(1) or "").casefold(), member.group(3)
            if key in HARMLESS_KEYS or key.endswith("name") or is_stand_in(value):
                continue
            said = key in _VALUE_KEYS or (key and strong and not _NAMES_OR_PROSE.search(value))
            if said or looks_secret(value):
                yield "SECRET", *member.span(3)


def column_secrets(text: str) -> Iterator[Span]:
    """Cells under a heading such as `Password`, as long as the rows keep their shape."""
    at = 0
    columns: dict[int, bool] = {}  # column → whether its heading leaves no doubt
    cells, width = _CELL, 0
    for line in text.split("\n"):
        parts = list(_cells(line, cells)) if columns else []
        if columns and len(parts) == width:
            if not _RULE.fullmatch(line):
                yield from _judged(parts, columns, at)
        elif not (columns and line and _RULE.fullmatch(line)):
            columns = {}
            if len(line) <= _LONGEST_HEADER and _KEYWORD.search(line):
                cells = _separation(line)
                columns, width = _header(list(_cells(line, cells)), cells)
        at += len(line) + 1
    if _HTML_ROW.search(text):
        yield from _html_secrets(text)


def _separation(line: str) -> re.Pattern[str]:
    if "|" in line:
        return _CELL
    return _FIELD if re.search(r"[,;\t]", line) or "  " not in line.strip() else _ALIGNED


def _html_secrets(text: str) -> Iterator[Span]:
    """The same of `<td>` cells; every row of a table may be its heading."""
    columns: dict[int, bool] = {}
    starts = [row.end() for row in _HTML_ROW.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        parts = [(cell.group(1), cell.start(1)) for cell in _HTML_CELL.finditer(text, start, end)]
        found, _ = _header(parts, _CELL)
        if found:
            columns = found
        else:
            yield from _judged(parts, {n: s for n, s in columns.items() if n < len(parts)}, 0)


def _header(parts: list[tuple[str, int]], cells: re.Pattern[str]) -> tuple[dict[int, bool], int]:
    names = [part.strip(" *`\"'|") for part, _ in parts]
    filled = [name for name in names if name]
    if len(filled) < 2 or any(len(name) > 32 for name in filled):
        return {}, 0
    if cells is not _CELL and any(
        " " in name or not re.match(r"[A-Za-z\u4e00-\u9fff]", name) for name in filled
    ):
        return {}, 0
    found = {
        number: STRONG_KEYWORD.search(part) is not None
        for number, (part, _) in enumerate(parts)
        if _NAME.fullmatch(part)
    }
    return found, len(parts)


def _cells(line: str, cells: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    if cells is _ALIGNED:
        yield from ((match.group(), match.start()) for match in cells.finditer(line))
        return
    line = line.replace("||", " |") if cells is _CELL else line
    at = 0
    while at <= len(line):
        match = cells.match(line, at)
        assert match is not None
        yield match.group(), at
        at = match.end() + 1


def _judged(parts: list[tuple[str, int]], columns: dict[int, bool], at: int) -> Iterator[Span]:
    for number, strong in columns.items():
        cell, offset = parts[number]
        value = cell.strip().strip("`\"'*")
        if not value or " " in value or is_stand_in(value):
            continue
        if looks_secret(value) or (strong and len(value) >= 4):
            start = at + offset + cell.index(value)
            yield "SECRET", start, start + len(value)
