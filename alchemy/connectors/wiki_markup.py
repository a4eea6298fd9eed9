"""Jira wiki markup → blocks.

Markup characters go, words stay. Colours and anchors are dropped; what is not markup is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from alchemy.connectors.blocks import (
    Block,
    Callout,
    Code,
    Entry,
    Heading,
    Inline,
    Items,
    Paragraph,
    Span,
    Table,
)

_VERBATIM = re.compile(r"(?<!\{)\{(?P<tag>code|noformat)(?::(?P<options>[^}\n]{0,300}))?\}(?!\})")
_ENCLOSED = re.compile(r"\{(?P<tag>quote|panel)(?::(?P<options>[^}\n]{0,300}))?\}")
_DROPPED = re.compile(r"\{(?:color|anchor|quote|panel)(?::[^}\n]{0,300})?\}")
_HEADING = re.compile(r"^[ \t]*h([1-6])\.[ \t]+(\S.*)$")
_QUOTED = re.compile(r"^[ \t]*bq\.[ \t]+(\S.*)$")
_ITEM = re.compile(r"^[ \t]*([*#]+|-)[ \t]+(\S.*)$")
_ROW = re.compile(r"^[ \t]*\|.*$")
_RULE = re.compile(r"^[ \t]*-{4,}[ \t]*$")
_INLINE = re.compile(
    r"\{\{(?P<code>.{1,1000}?)\}\}"
    r"|\[(?P<label>[^\[\]|\n]+)\|(?P<target>[^\[\]|\s]+)(?:\|smart-[a-z]+)?\]"
    r"|\[(?P<bare>(?:https?|ftp)://[^\[\]|\s]+|mailto:[^\[\]|\s]+)\]"
    r"|\[~(?P<user>[^\[\]\s]+)\]"
    r"|(?<![\w!])!(?P<image>[^!\s|<>]+\.\w{2,5})(?:\|[^!\n]*)?!(?!\w)"
    r"|(?P<url>(?:https?|ftp)://[^\s\[\]|<>{}]*[^\s\[\]|<>{}.,;:!?'\")*])"
    r"|(?<![\w*\\])\*(?P<strong>(?=[^\s*])[^*\n]*?(?<=\S))\*(?![\w*])"
    r"|(?<![\w\\])_(?P<em>(?=[^\s_])[^_\n]*?(?<=\S))_(?!\w)"
    r"|\?\?(?P<cite>(?=\S)[^?\n]+?)\?\?"
    r"|(?P<line_break>\\\\(?=\s|$))"
    r"|\\(?P<escaped>[{}\[\]*_+!|~^?-])",
)


def parse_wiki(text: str) -> tuple[Block, ...]:
    """Blocks of a Jira description or comment."""
    blocks: list[Block] = []
    for part, opening in _enclosed(text, _VERBATIM):
        if opening is None:
            blocks += _prose(part)
        else:
            code = Code(part.strip("\r\n"), _language(opening))
            blocks += _titled(opening["options"], code)
    return tuple(blocks)


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


def parse_inline(text: str) -> Inline:
    """Spans of one line of wiki markup."""
    spans: list[Span] = []
    end = 0
    text = _DROPPED.sub("", text)
    for match in _INLINE.finditer(text):
        spans.append(Span(text[end : match.start()]))
        spans += _spans(match)
        end = match.end()
    spans.append(Span(text[end:]))
    return tuple(span for span in spans if span.text or span.target)


def _spans(match: re.Match[str]) -> Inline:
    group = match.groupdict()
    if code := group["code"]:
        return (Span(code, "code"),)
    if target := group["target"]:
        kind = "reference" if target.startswith("#") else "link"
        return (Span(group["label"].strip(), kind, target),)
    if address := group["bare"] or group["url"]:
        return (Span(address.removeprefix("mailto:"), "link", address.removeprefix("mailto:")),)
    if group["user"]:
        return (Span(f"@{group['user']}"),)
    if group["image"]:
        return (Span("", "image", group["image"]),)
    for name in ("strong", "em", "cite"):
        if inner := group[name]:
            kind = "strong" if name == "strong" else "emphasis"
            inside = parse_inline(inner)
            return tuple(Span(s.text, kind) if s.kind == "text" else s for s in inside)
    return (Span("\n" if group["line_break"] else group["escaped"]),)


def _options(raw: str | None) -> dict[str, str]:
    pairs = (part.partition("=") for part in (raw or "").split("|"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _language(match: re.Match[str]) -> str:
    options = _options(match["options"])
    bare = next((name for name, value in options.items() if not value), "")
    name = options.get("language") or bare
    return name if re.fullmatch(r"[\w+#-]+", name) and match["tag"] == "code" else ""


def _titled(options: str | None, block: Block) -> list[Block]:
    title = _options(options).get("title", "")
    return [Paragraph(parse_inline(title)), block] if title else [block]


def _prose(text: str) -> list[Block]:
    """Everything but code: quotes and panels, then line by line."""
    blocks: list[Block] = []
    for part, opening in _enclosed(text, _ENCLOSED):
        inside = tuple(_lines(part))
        if opening is None:
            blocks += inside
        elif opening["tag"] == "quote":
            blocks.append(Callout("", inside))
        else:
            title = _options(opening["options"]).get("title", "")
            blocks += [Paragraph(parse_inline(title)), *inside] if title else inside
    return blocks


def _lines(text: str) -> list[Block]:
    lines = text.split("\n")
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip() or _RULE.match(line):
            at += 1
        elif match := _HEADING.match(line):
            blocks.append(Heading(int(match[1]), parse_inline(match[2])))
            at += 1
        elif match := _QUOTED.match(line):
            blocks.append(Callout("", (Paragraph(parse_inline(match[1])),)))
            at += 1
        elif _ITEM.match(line):
            at, items = _list(lines, at)
            blocks += items
        elif _ROW.match(line):
            at, table = _table(lines, at)
            blocks.append(table)
        else:
            start = at
            while at < len(lines) and lines[at].strip() and not (at > start and _starts(lines[at])):
                at += 1
            # Jira keeps the line ends of a paragraph
            blocks.append(Paragraph(parse_inline("\n".join(x.strip() for x in lines[start:at]))))
    return blocks


def _starts(line: str) -> bool:
    return any(p.match(line) for p in (_HEADING, _QUOTED, _ITEM, _ROW, _RULE))


def _list(lines: list[str], at: int) -> tuple[int, list[Items]]:
    """Items from `at` on, as lists nested by the length of their markers."""
    found: list[tuple[str, str]] = []
    while at < len(lines) and lines[at].strip():
        if match := _ITEM.match(lines[at]):
            found.append((match[1], match[2]))
        elif _starts(lines[at]):
            break
        else:
            marker, text = found[-1]
            found[-1] = (marker, f"{text}\n{lines[at].strip()}")
        at += 1
    return at, _nested(found, 0)


def _nested(found: list[tuple[str, str]], depth: int) -> list[Items]:
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
        entry: list[Block] = [Paragraph(parse_inline(text))]
        entry += _nested(found[inside:at], len(own))
        entries.append(Entry(tuple(entry)))
    close()
    return lists


def _table(lines: list[str], at: int) -> tuple[int, Table]:
    rows: list[tuple[Inline, ...]] = []
    header = False
    while at < len(lines) and _ROW.match(lines[at]):
        line = lines[at].strip()
        header = header or (not rows and line.startswith("||"))
        rows.append(tuple(parse_inline(cell) for cell in _cells(line)))
        at += 1
    return at, Table(tuple(rows), header)


def _cells(line: str) -> list[str]:
    """Cells of a row; a bar inside a link or code does not end one."""
    cells = re.findall(r"((?:\{\{.*?\}\}|\[[^\[\]]*\]|\\.|[^|])+)\|*", line.lstrip("|"))
    return [cell.strip() for cell in cells]
