"""Word documents (DOCX) → blocks: headings, lists, tables, code, links, footnotes, text boxes.

`python-docx` opens the package, its styles and relationships; the body is walked element by element,
because its paragraph API passes over content controls, tracked insertions and text boxes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from alchemy.connectors.blocks import (
    Block,
    Callout,
    Code,
    Heading,
    Inline,
    Paragraph,
    Span,
    Table,
    flatten,
    plain,
    to_markdown,
    words,
)
from alchemy.connectors.content import Content
from alchemy.connectors.ooxml import ListLine, check_package, nested, properties, reading

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_UNPACKED_RATIO = 4
_CODE = re.compile(r"\b(?:source ?)?code\b|listing|preformatted|verbatim|^macro", re.I)
_HEADING = re.compile(r"heading (\d)", re.I)
_DEEPER_LIST = re.compile(r"list (?:bullet|number) ([2-9])", re.I)
_QUOTE = re.compile(r"(?:intense )?quote", re.I)
_SKIPPED = {"del", "moveFrom", "instrText", "delText", "Fallback", "pPr", "rPr", "sdtPr", "tblPr"}
_BREAKS = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "-", "softHyphen": ""}
_WRAPPERS = {"sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"}


def read_docx(raw: bytes, max_bytes: int) -> Content:
    """The document of a DOCX file.

    Raises:
        BadRecord: not a DOCX file, damaged, encrypted or a bomb.
    """
    check_package(raw, "word/document.xml", _UNPACKED_RATIO * max_bytes)
    from docx import Document as open_docx

    with reading("DOCX"):
        document = open_docx(io.BytesIO(raw))
        core = properties(document.core_properties)
        text = to_markdown(_Reader(document).blocks())
    return Content(core.title, text, core.created_at, core.updated_at)


@dataclass(frozen=True)
class _Style:
    """What a paragraph style means, its own settings before those of the style it is based on."""

    level: int = 0
    code: bool = False
    quote: bool = False
    numbering: tuple[str, int] | None = None


@dataclass
class _Notes:
    """Foot- and endnotes by kind and id, and those referred to so far."""

    texts: dict[tuple[str, str], Any] = field(default_factory=dict)
    used: dict[tuple[str, str], int] = field(default_factory=dict)

    def number(self, kind: str, note: str) -> int:
        return self.used.setdefault((kind, note), len(self.used) + 1)


class _Reader:
    def __init__(self, document: Any) -> None:
        self._body = document.element.body
        self._links = document.part.rels
        self._styles = {s.style_id: _meaning(s) for s in document.styles if s.type == 1}
        self._code_runs = {
            s.style_id for s in document.styles if s.type == 2 and _CODE.search(s.name or "")
        }
        self._formats = _list_formats(document.part)
        self._notes = _notes(document.part)
        self._boxes: list[Any] = []

    def blocks(self) -> list[Block]:
        """The body, and after it the notes it refers to."""
        found = self._blocks(self._body)
        done = 0
        while done < len(self._notes.used):  # a note may refer to another
            (key, number) = list(self._notes.used.items())[done]
            element = self._notes.texts.get(key)
            inside = flatten(self._blocks(element)) if element is not None else ()
            if plain(inside).strip():
                found.append(Paragraph((Span(f"[{number}] "), *inside)))
            done += 1
        return found

    def _blocks(self, parent: Any) -> list[Block]:
        found: list[Block] = []
        items: list[ListLine] = []
        code: list[str] = []

        def close(keep: str = "") -> None:
            if items and keep != "list":
                found.extend(nested(items))
                items.clear()
            if code and keep != "code":
                found.append(Code("\n".join(code)))
                code.clear()

        for element in _content(parent):
            if _name(element) == "tbl":
                close()
                found.append(self._table(element))
                continue
            style = self._styles.get(_value(element.pPr, "pStyle") or "", _Style())
            inline = _stripped(self._inline(element))
            listed = self._listed(element, style)
            if style.code:
                close("code")
                code.append(plain(self._inline(element)))
            elif not plain(inline).strip():
                close("list")
            elif style.level or self._outline(element):
                close()
                found.append(Heading(style.level or self._outline(element), inline))
            elif listed:
                close("list")
                items.append(ListLine(*listed, inline))
            else:
                close()
                found.append(
                    Callout("", (Paragraph(inline),)) if style.quote else Paragraph(inline)
                )
            if self._boxes:
                boxes, self._boxes = self._boxes, []
                close()
                for box in boxes:
                    found.extend(self._blocks(box))
        close()
        return found

    def _outline(self, paragraph: Any) -> int:
        level = _value(paragraph.pPr, "outlineLvl")
        return int(level) + 1 if level and level.isdecimal() and int(level) < 6 else 0

    def _listed(
        self, paragraph: Any, style: _Style
    ) -> tuple[int, Literal["bullet", "number"]] | None:
        number, level = style.numbering or ("", 0)
        own = _child(paragraph.pPr, "numPr")
        if own is not None:
            number = _value(own, "numId") or number
            level = int(_value(own, "ilvl") or level)
        if number in ("", "0"):  # 0 takes the style's numbering away
            return None
        formats = self._formats
        return level, formats.get((number, level), formats.get((number, 0), "bullet"))

    def _table(self, table: Any) -> Table:
        rows: list[tuple[Inline, ...]] = []
        for row in _wrapped(table, "tr"):
            cells: list[Inline] = []
            for cell in _wrapped(row, "tc"):
                settings = _child(cell, "tcPr")
                merge = _child(settings, "vMerge")
                goes_on = merge is not None and merge.get(f"{_W}val") != "restart"
                cells.append(() if goes_on else flatten(self._blocks(cell)))
                span = _value(settings, "gridSpan") or "1"
                cells += [()] * (min(int(span), 100) - 1 if span.isdecimal() else 0)
            if any(plain(cell).strip() for cell in cells):
                rows.append(tuple(cells))
        header = len(rows) > 1 and all(plain(cell).strip() for cell in rows[0])
        return Table(tuple(rows), header)

    def _inline(self, parent: Any, code: bool = False) -> Inline:
        spans: list[Span] = []
        for child in parent:
            name = _name(child)
            if name in _SKIPPED or not name:
                continue
            if name == "t":
                spans.append(Span(child.text or "", "code" if code else "text"))
            elif name in _BREAKS:
                spans.append(Span(_BREAKS[name]))
            elif name == "hyperlink":
                spans += self._link(child)
            elif name in ("footnoteReference", "endnoteReference"):
                number = self._notes.number(name[:-9], child.get(f"{_W}id") or "")
                spans.append(Span(f"[{number}]"))
            elif name == "txbxContent":
                self._boxes.append(child)
            elif name == "r":
                style = _value(_child(child, "rPr"), "rStyle")
                spans += self._inline(child, style in self._code_runs)
            else:
                spans += self._inline(child, code)
        return _merged(spans)

    def _link(self, element: Any) -> list[Span]:
        inside = self._inline(element)
        relation = self._links.get(element.get(_R_ID) or "")
        if relation is None or not relation.is_external:
            return list(inside)
        return [Span(plain(inside), "link", relation.target_ref)]


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _child(element: Any, name: str) -> Any:
    return None if element is None else element.find(f"{_W}{name}")


def _value(element: Any, name: str) -> str | None:
    child = _child(element, name)
    return None if child is None else child.get(f"{_W}val")


def _content(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those inside content controls and insertions as well."""
    for child in parent:
        name = _name(child)
        if name in ("p", "tbl"):
            yield child
        elif name in _WRAPPERS:
            yield from _content(child)


def _wrapped(parent: Any, wanted: str) -> Iterator[Any]:
    for child in parent:
        if _name(child) == wanted:
            yield child
        elif _name(child) in _WRAPPERS:
            yield from _wrapped(child, wanted)


def _meaning(style: Any) -> _Style:
    level, code, quote = 0, False, False
    numbering: tuple[str, int] | None = None
    seen = 0
    while style is not None and seen < 20:  # styles based on each other in a circle
        name = style.name or ""
        heading = _HEADING.fullmatch(name)
        level = level or (int(heading[1]) if heading else 1 if name.lower() == "title" else 0)
        code = code or bool(_CODE.search(name))
        quote = quote or bool(_QUOTE.fullmatch(name))
        settings = _child(_child(style.element, "pPr"), "numPr")
        number = _value(settings, "numId")
        if numbering is None and number:
            # Word's own styles of deeper lists are lists of their own, and say the depth by name
            deeper = _DEEPER_LIST.match(name)
            depth = int(deeper[1]) - 1 if deeper else int(_value(settings, "ilvl") or 0)
            numbering = number, depth
        style, seen = style.base_style, seen + 1
    return _Style(level, code and not level, quote, None if level else numbering)


def _list_formats(part: Any) -> Mapping[tuple[str, int], Literal["bullet", "number"]]:
    """List id and depth → kind of list."""
    numbering = _part(part, "numbering")
    if numbering is None:
        return {}
    abstract = {
        item.get(f"{_W}abstractNumId"): {
            int(level.get(f"{_W}ilvl") or 0): _value(level, "numFmt")
            for level in item.findall(f"{_W}lvl")
        }
        for item in numbering.findall(f"{_W}abstractNum")
    }
    return {
        (item.get(f"{_W}numId"), depth): "bullet" if form in ("bullet", "none") else "number"
        for item in numbering.findall(f"{_W}num")
        for depth, form in abstract.get(_value(item, "abstractNumId"), {}).items()
    }


def _notes(part: Any) -> _Notes:
    found = _Notes()
    for kind in ("footnote", "endnote"):
        notes = _part(part, f"{kind}s")
        for note in () if notes is None else notes.findall(f"{_W}{kind}"):
            if note.get(f"{_W}type") in (None, "normal"):  # the others are separators
                found.texts[kind, note.get(f"{_W}id") or ""] = note
    return found


def _part(part: Any, kind: str) -> Any:
    """The root element of a related part."""
    from docx.oxml.parser import parse_xml

    for relation in part.rels.values():
        if relation.reltype.endswith(f"/{kind}") and not relation.is_external:
            return parse_xml(relation.target_part.blob)
    return None


def _merged(spans: list[Span]) -> Inline:
    """Neighbours of one kind as one: Word cuts runs wherever somebody typed."""
    found: list[Span] = []
    for span in spans:
        if found and found[-1].kind == span.kind and span.kind in ("text", "code"):
            found[-1] = Span(found[-1].text + span.text, span.kind)
        else:
            found.append(span)
    return tuple(found)


def _stripped(inline: Inline) -> Inline:
    text = "".join(span.text for span in inline)
    return inline if text.strip() else words("")
