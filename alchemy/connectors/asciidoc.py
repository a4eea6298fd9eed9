"""AsciiDoc → blocks: the constructs real documentation uses, with Markdown's own as AsciiDoc allows.

Comments, preprocessor conditions and block anchors are not content and are dropped; an `include`
becomes a reference to the file. Everything else that is text stays text.
"""

from __future__ import annotations

import re

from alchemy.connectors.asciidoc_inline import first_positional, parse_inline
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
    words,
)

_HEADING = re.compile(r"^(={1,6}|#{1,6})[ \t]+(\S.*?)(?:[ \t]+\1)?[ \t]*$")
_DELIMITER = re.compile(r"^(-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|\|={3,})[ \t]*$")
_FENCE = re.compile(r"^(`{3,})[ \t]*([\w+-]*)[ \t]*$")
_ANCHOR = re.compile(r"^\[\[[^\]]+\]\][ \t]*$")
_ATTRIBUTES = re.compile(r"^\[([^\[\]]*)\][ \t]*$")
_ATTRIBUTE_ENTRY = re.compile(r"^:(!?[\w-]+!?):(?:[ \t]+(.*))?$")
_DIRECTIVE = re.compile(r"^(?:ifdef|ifndef|ifeval|endif|toc)::\S*\[.*\][ \t]*$|^toc::")
_INCLUDE = re.compile(r"^include::([^\[\s]+)\[.*$")
_BLOCK_IMAGE = re.compile(r"^image::([^\[\s]+)\[([^\]]*)\][ \t]*$")
_TITLE = re.compile(r"^\.(?![\s.])(.+)$")
_ADMONITION = re.compile(r"^(NOTE|TIP|IMPORTANT|WARNING|CAUTION):[ \t]+(.*)$")
_BULLET = re.compile(r"^[ \t]*(\*{1,5}|-)[ \t]+(\S.*)$")
_NUMBER = re.compile(r"^[ \t]*(\.{1,5}|(\d{1,4})\.)[ \t]+(\S.*)$")
_CALLOUT = re.compile(r"^<(\d+|\.)>[ \t]+(\S.*)$")
_TERM = re.compile(r"^[ \t]*(?!//)(\S.*?)(:{2,4}|;;)(?:[ \t]+(.*))?$")
_RULE = re.compile(r"^(?:'{3,}|<<<+|-{3}|\*{3})[ \t]*$")
_STYLES = {
    *("source", "listing", "literal", "quote", "verse", "appendix", "abstract", "example"),
    *("sidebar", "horizontal", "qanda", "discrete", "float", "glossary", "partintro", "preface"),
    *("square", "circle", "disc", "arabic", "loweralpha", "lowerroman", "normal", "colophon"),
    *("NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION", "pass", "stem", "open", "bibliography"),
}
_LABELS = {"NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION"}
_CELL = re.compile(
    r"(?:(?:(?<=\s)|^)(?:\d*(?:\.\d+)?[+*])?[<^>]?(?:\.[<^>])?[aehlmdsv]?)?(?<!\\)\|", re.M
)


def parse_asciidoc(text: str) -> tuple[Block, ...]:
    """Blocks of an AsciiDoc document."""
    return tuple(_Parser(_ordered(text.split("\n")), {}).blocks())


def _ordered(lines: list[str]) -> list[str]:
    """The document's header with its attributes first, and its author and revision as a paragraph."""
    title = next((at for at, line in enumerate(lines) if line.startswith("= ")), len(lines))
    if any(line.strip() and not line.startswith((":", "//")) for line in lines[:title]):
        return lines  # the first title is not the document's
    end = next((at for at in range(title, len(lines)) if not lines[at].strip()), len(lines))
    header = lines[title + 1 : end]
    if any(line.startswith("////") for line in header):
        return lines  # a comment of several lines, which could hold anything
    entries = [line for line in header if line.startswith((":", "//"))]
    people = [line for line in header if not line.startswith((":", "//"))]
    return [*lines[:title], *entries, *lines[title : title + 1], "", *people, *lines[end:]]


class _Parser:
    """A cursor over lines. `attributes` is shared with the parsers of nested blocks."""

    def __init__(self, lines: list[str], attributes: dict[str, str]) -> None:
        self._lines = [line.rstrip() for line in lines]
        self._at = 0
        self._attributes = attributes

    def _line(self, ahead: int = 0) -> str | None:
        place = self._at + ahead
        return self._lines[place] if place < len(self._lines) else None

    def _inline(self, text: str) -> Inline:
        return parse_inline(text, self._attributes)

    def blocks(self) -> list[Block]:
        """Everything up to the last line."""
        found: list[Block] = []
        while self._line() is not None:
            found += self._next()
        return found

    def _next(self) -> list[Block]:
        """The block at the cursor, with its title; empty for what is not content."""
        title, style, language, named = "", "", "", ""
        while (line := self._line()) is not None:
            if self._skip(line):
                continue
            if (attributes := self._attribute_list(line)) is not None:
                parts = [part.strip().strip('"') for part in attributes.split(",")]
                style = re.split(r"[.#%]", parts[0])[0] or style
                language = parts[1] if len(parts) > 1 and "=" not in parts[1] else language
                named += "," + attributes
                self._at += 1
            elif (match := _TITLE.match(line)) and not _NUMBER.match(line):
                title = match[1]
                self._at += 1
            else:
                break
        if self._line() is None:
            return [Paragraph(self._inline(title))] if title else []
        body = self._body(style, language, named)
        return [Paragraph(self._inline(title)), *body] if title else body

    def _skip(self, line: str) -> bool:
        """Step over blank lines, comments, anchors, attribute entries and directives."""
        if re.match(r"^/{4,}$", line):
            self._delimited(line)
            return True
        entry = _ATTRIBUTE_ENTRY.match(line)
        if entry:
            self._attributes[entry[1].strip("!")] = entry[2] or ""
        comment = line.startswith("//") and not line.startswith("///")
        if (
            not line.strip()
            or entry
            or comment
            or _ANCHOR.match(line)
            or _DIRECTIVE.match(line)
            or _RULE.match(line)
            or line == "+"
        ):
            self._at += 1
            return True
        return False

    def _attribute_list(self, line: str) -> str | None:
        match = _ATTRIBUTES.match(line)
        if not match:
            return None
        inside = match[1].strip()
        style = re.split(r"[,.#%]", inside)[0].strip()
        known = (
            not inside or style in _STYLES or inside[0] in ".#%" or re.match(r"^\w+\s*=", inside)
        )
        return inside if known else None

    def _delimited(self, opening: str) -> list[str]:
        """Lines up to the matching delimiter (or the end), cursor behind it."""
        self._at += 1
        start = self._at
        while (line := self._line()) is not None and line != opening:
            self._at += 1
        inside = self._lines[start : self._at]
        self._at += 1
        return inside

    def _nested(self, lines: list[str]) -> tuple[Block, ...]:
        return tuple(_Parser(lines, self._attributes).blocks())

    def _body(self, style: str, language: str, named: str) -> list[Block]:
        line = self._line()
        assert line is not None
        if match := _HEADING.match(line):
            self._at += 1
            return [Heading(len(match[1]), self._inline(match[2]))]
        if match := _FENCE.match(line):
            return [Code("\n".join(self._delimited(match[1])), match[2])]
        if _DELIMITER.match(line):
            return self._delimited_block(line, style, language, named)
        if match := _INCLUDE.match(line):
            self._at += 1
            return [Paragraph((Span(match[1], "reference", match[1]),))]
        if match := _BLOCK_IMAGE.match(line):
            self._at += 1
            return [Paragraph((Span(first_positional(match[2]), "image", match[1]),))]
        if self._marker(line):
            return [self._list(())]
        if style in ("source", "listing", "literal", "verse"):
            return [Code("\n".join(self._paragraph_lines()), language if style == "source" else "")]
        if line[0] in " \t":
            return [Code(_dedent(self._until_blank()))]
        admonition = _ADMONITION.match(line)
        text = _joined(self._paragraph_lines())
        if admonition:
            rest = text[len(admonition[1]) + 1 :].strip()
            return [Callout(admonition[1], (Paragraph(self._inline(rest)),))]
        paragraph = Paragraph(self._inline(text))
        if style in _LABELS or style == "quote":
            return [Callout(style if style in _LABELS else "", (paragraph,))]
        return [paragraph]

    def _delimited_block(self, opening: str, style: str, language: str, named: str) -> list[Block]:
        inside = self._delimited(opening)
        kind = opening[0]
        if opening.startswith("|"):
            return [self._table("\n".join(inside), named)]
        if (kind == "-" and opening != "--") or kind == "." or style in ("source", "listing"):
            return [Code("\n".join(inside), language if style == "source" else "")]
        if kind == "+":
            return [Paragraph(words("\n".join(inside)))]
        nested = self._nested(inside)
        if style in _LABELS:
            return [Callout(style, nested)]
        if kind == "_":
            by = [part.strip() for part in named.split(",") if part.strip()][1:]
            credit = (Paragraph(self._inline(", ".join(by))),) if by else ()
            return [Callout("", nested + credit)]
        return list(nested)

    def _until_blank(self) -> list[str]:
        start = self._at
        while (line := self._line()) and not _DELIMITER.match(line):
            self._at += 1
        return self._lines[start : self._at]

    def _paragraph_lines(self) -> list[str]:
        """Lines up to a blank line or to something that ends a paragraph; at least one."""
        start = self._at
        self._at += 1
        while (line := self._line()) and not self._interrupts(line):
            self._at += 1
        return [x for x in self._lines[start : self._at] if not re.match(r"^//(?!/)", x)]

    def _interrupts(self, line: str) -> bool:
        return bool(
            _DELIMITER.match(line)
            or _FENCE.match(line)
            or _ANCHOR.match(line)
            or _BLOCK_IMAGE.match(line)
            or _INCLUDE.match(line)
            or _DIRECTIVE.match(line)
            or self._attribute_list(line) is not None
            or line == "+"
        )

    def _marker(self, line: str) -> str:
        """What kind of list item begins here (equal markers are siblings), or ''."""
        if match := _BULLET.match(line):
            return match[1]
        if match := _NUMBER.match(line):
            return "1." if match[2] else match[1]
        if _CALLOUT.match(line):
            return "<1>"
        if (match := _TERM.match(line)) and not _INCLUDE.match(line):
            return match[2]
        return ""

    def _list(self, enclosing: tuple[str, ...]) -> Items:
        first = self._line()
        assert first is not None
        marker = self._marker(first)
        start = 1
        if (number := _NUMBER.match(first)) and number[2]:
            start = int(number[2])
        entries: list[Entry] = []
        while (line := self._line()) is not None and self._marker(line) == marker:
            entries.append(self._entry(line, marker, (*enclosing, marker)))
            ahead = self._blank_lines()
            following = self._line(ahead)
            if ahead and following is not None and self._marker(following) == marker:
                self._at += ahead
        is_term = marker[0] in ":;"
        kind = "term" if is_term else "bullet" if marker[0] in "*-" else "number"
        return Items(kind, tuple(entries), start)

    def _blank_lines(self) -> int:
        """How many blank or comment lines follow the cursor."""
        ahead = 0
        while (line := self._line(ahead)) is not None and (
            not line.strip() or re.match(r"^//(?!/)", line)
        ):
            ahead += 1
        return ahead

    def _entry(self, line: str, marker: str, enclosing: tuple[str, ...]) -> Entry:
        term: Inline = ()
        if marker[0] in ":;":
            match = _TERM.match(line)
            assert match is not None
            term, text = self._inline(match[1]), match[3] or ""
            if not text:  # the description may stand below its term
                following = self._line(1 + self._blank_lines_after(1))
                if following is not None and self._is_text(following):
                    self._at += 1 + self._blank_lines_after(1)
                    text = following.strip()
        else:
            match = _BULLET.match(line) or _NUMBER.match(line) or _CALLOUT.match(line)
            assert match is not None
            text = match[match.lastindex or 1]
        lines = [text]
        self._at += 1
        while (
            text
            and (more := self._line())
            and not self._interrupts(more)
            and not self._marker(more)
            and not _HEADING.match(more)
        ):
            lines.append(more.strip())
            self._at += 1
        body = _joined(lines)
        blocks: list[Block] = [Paragraph(self._inline(body))] if body else []
        self._attached(blocks, enclosing)
        return Entry(tuple(blocks), term)

    def _blank_lines_after(self, ahead: int) -> int:
        count = 0
        while (line := self._line(ahead + count)) is not None and not line.strip():
            count += 1
        return count

    def _is_text(self, line: str) -> bool:
        other = _HEADING.match(line) or _TITLE.match(line) or line.startswith("//")
        return not (other or self._interrupts(line) or self._marker(line))

    def _attached(self, blocks: list[Block], enclosing: tuple[str, ...]) -> None:
        """Nested lists, `+` continuations and indented literals that belong to the item."""
        while True:
            ahead = self._blank_lines()
            line = self._line(ahead)
            if line is None:
                return
            if line == "+":
                self._at += ahead + 1
                blocks += self._next()
            elif self._marker(line):
                if self._marker(line) in enclosing:
                    return
                self._at += ahead
                blocks.append(self._list(enclosing))
            elif ahead and line[0] in " \t":
                self._at += ahead
                blocks.append(Code(_dedent(self._until_blank())))
            else:
                return

    def _table(self, source: str, named: str) -> Table:
        lines = source.strip("\n").split("\n")
        first = next((line for line in lines if line.strip()), "")
        in_first = len(_CELL.findall(first))
        columns = _columns(named) or max(1, in_first)
        pieces = _CELL.split(source)
        cells = [self._inline(" ".join(p.replace("\\|", "|").split())) for p in pieces[1:]]
        if pieces[0].strip():
            cells.insert(0, self._inline(pieces[0].strip()))
        rows = [tuple(cells[i : i + columns]) for i in range(0, len(cells), columns)]
        implicit = len(lines) > 1 and not lines[1].strip() and in_first == columns
        return Table(tuple(rows), bool(re.search(r"options?=.?header|%header", named)) or implicit)


def _columns(named: str) -> int:
    match = re.search(r'cols="([^"]*)"|cols=([^",]+)', named)
    if not match:
        return 0
    count = 0
    for part in (match[1] or match[2]).split(","):
        repeat = re.match(r"^\s*(\d+)\*", part)
        count += int(repeat[1]) if repeat else 1
    return count


def _joined(lines: list[str]) -> str:
    """A paragraph's lines as one, with a newline where AsciiDoc's ` +` asks for one."""
    text = ""
    for line in lines:
        hard = line.endswith(" +")
        text += (line[:-2].rstrip() if hard else line.strip()) + ("\n" if hard else " ")
    return re.sub(r"[ \t]{2,}", " ", text).strip()


def _dedent(lines: list[str]) -> str:
    expanded = [line.expandtabs(4) for line in lines]
    indent = min((len(x) - len(x.lstrip()) for x in expanded if x.strip()), default=0)
    return "\n".join(line[indent:] for line in expanded)
