"""Confluence storage format and ordinary HTML → blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from html.entities import html5
from typing import Any

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]
from lxml import html as lxml_html

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
    flatten,
    words,
)

_NAMESPACES = "".join(f' xmlns:{p}="{p}"' for p in ("ac", "ri", "at"))
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_XML_ENTITIES = {"amp", "lt", "gt", "quot", "apos"}
_IGNORED = {"script", "style", "head", "template", "ac:parameter", "ac:placeholder", "svg"}
_CONTAINERS = {
    *("html", "body", "div", "section", "article", "main", "header", "footer", "nav", "aside"),
    *("figure", "figcaption", "address", "form", "fieldset", "details", "summary", "center"),
    *("ac:layout", "ac:layout-section", "ac:layout-cell", "ac:rich-text-body", "root"),
}
_BLOCKS = _CONTAINERS | {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "dl", "table", "pre", "blockquote"),
    *("hr", "ac:task-list", "li", "tr", "td", "th", "tbody", "thead", "tfoot", "dt", "dd"),
}
_CALLOUTS = {"info": "INFO", "note": "NOTE", "tip": "TIP", "warning": "WARNING"}
_INLINE_MACROS = {"status", "jira", "anchor"}


def parse_storage(text: str) -> tuple[Block, ...]:
    """Blocks of a storage-format page; a fragment that is not XML is read as HTML."""
    try:
        root = etree.fromstring(f"<root{_NAMESPACES}>{_numeric(text)}</root>", _xml_parser())
    except (etree.XMLSyntaxError, ValueError):
        flat = (escape(part) if verbatim else part for part, verbatim in _sections(text))
        return parse_html(f"<div>{''.join(flat)}</div>")
    return tuple(_blocks(root))


def parse_html(text: str) -> tuple[Block, ...]:
    """Blocks of an HTML document or fragment."""
    root = _html_root(text)
    return () if root is None else tuple(_blocks(root))


def html_title(text: str) -> str:
    """The document's `<title>`."""
    root = _html_root(text)
    found = None if root is None else root.find(".//title")
    return " ".join(found.text_content().split()) if found is not None else ""


def _xml_parser() -> etree.XMLParser:
    # pages are foreign input: no entities are expanded, nothing is fetched
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def _html_root(text: str) -> Any:
    # an encoding declaration inside text that is already decoded is refused by the parser
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text).replace("\0", "")
    try:
        return lxml_html.document_fromstring(text)
    except etree.ParserError:  # nothing but comments or white space
        return None


def _numeric(text: str) -> str:
    """HTML's named characters as themselves, outside CDATA: XML knows only five."""
    return "".join(
        f"<![CDATA[{part}]]>" if verbatim else _ENTITY.sub(_character, part)
        for part, verbatim in _sections(text)
    )


def _sections(text: str) -> Iterator[tuple[str, bool]]:
    """The text in order, cut into the content of CDATA sections (True) and the rest."""
    at = 0
    while (start := text.find("<![CDATA[", at)) >= 0 and (end := text.find("]]>", start)) >= 0:
        yield text[at:start], False
        yield text[start + 9 : end], True
        at = end + 3
    yield text[at:], False


def _character(match: re.Match[str]) -> str:
    if match[1] in _XML_ENTITIES:
        return match[0]
    return html5.get(f"{match[1]};", f"&amp;{match[1]};")


def _name(element: Any) -> str:
    """`h1`, `ac:link`; empty for comments and processing instructions."""
    if not isinstance(element.tag, str):
        return ""
    space, _, local = element.tag.rpartition("}")
    return f"{space.lstrip('{')}:{local}".lower() if space else local.lower()


def _get(element: Any, name: str) -> str:
    prefix, _, local = name.rpartition(":")
    return element.get(f"{{{prefix}}}{local}" if prefix else local) or element.get(name) or ""


def _find(element: Any, name: str) -> Any:
    return next((child for child in element if _name(child) == name), None)


def _parameter(macro: Any, name: str) -> str:
    for child in macro:
        if _name(child) == "ac:parameter" and _get(child, "ac:name") == name:
            return "".join(child.itertext()).strip()
    return ""


def _pieces(element: Any) -> Iterator[Any]:
    """Text and child elements in order."""
    if element.text:
        yield element.text
    for child in element:
        yield child
        if child.tail:
            yield child.tail


def _is_block(element: Any) -> bool:
    name = _name(element)
    if name in ("ac:structured-macro", "ac:macro"):
        return _get(element, "ac:name") not in _INLINE_MACROS
    if name in _BLOCKS:
        return True
    return name not in _IGNORED and any(_is_block(child) for child in element)


def _blocks(element: Any) -> list[Block]:
    found: list[Block] = []
    run: list[Span] = []

    def close() -> None:
        inline = _trimmed(run)
        if inline:
            found.append(Paragraph(inline))
        run.clear()

    for piece in _pieces(element):
        if isinstance(piece, str):
            run.append(Span(_spaced(piece)))
        elif _is_block(piece):
            close()
            found += _block(piece)
        else:
            run += _spans(piece)
    close()
    return found


def _block(element: Any) -> list[Block]:
    name = _name(element)
    if re.fullmatch("h[1-6]", name):
        return [Heading(int(name[1]), _trimmed(_inside(element)))]
    match name:
        case "ul" | "ol":
            return [_list(element, name)]
        case "dl":
            return [_definitions(element)]
        case "table":
            return _table(element)
        case "pre":
            return [Code("".join(element.itertext()).strip("\n"), _highlighted(element))]
        case "blockquote":
            return [Callout("", tuple(_blocks(element)))]
        case "ac:structured-macro" | "ac:macro":
            return _macro(element)
        case "ac:task-list":
            return [Items("bullet", tuple(_task(child) for child in element if _name(child)))]
        case _:
            return _blocks(element)


def _highlighted(element: Any) -> str:
    code = _find(element, "code")
    classes = f"{_get(element, 'class')} {_get(code, 'class') if code is not None else ''}"
    match = re.search(r"\b(?:language|lang)-([\w+#-]+)", classes)
    return match[1] if match else ""


def _list(element: Any, name: str) -> Items:
    entries = []
    for piece in _pieces(element):
        if isinstance(piece, str):
            if piece.strip():
                entries.append(Entry((Paragraph(words(_spaced(piece).strip())),)))
        elif _name(piece) in ("ul", "ol") and entries:  # a list between items belongs to the last
            entries[-1] = Entry((*entries[-1].blocks, *_block(piece)))
        elif _name(piece) not in _IGNORED and _name(piece):
            entries.append(Entry(tuple(_blocks(piece) if _name(piece) == "li" else _block(piece))))
    start = _get(element, "start")
    kind = "number" if name == "ol" else "bullet"
    return Items(kind, tuple(entries), int(start) if start.isdecimal() else 1)


def _definitions(element: Any) -> Items:
    entries: list[Entry] = []
    groups = [list(child) if _name(child) == "div" else [child] for child in element]
    for child in (child for group in groups for child in group):
        if _name(child) == "dt":
            entries.append(Entry((), _trimmed(_inside(child))))
        elif _name(child) == "dd":
            term = entries.pop() if entries else Entry(())
            entries.append(Entry((*term.blocks, *_blocks(child)), term.term))
    return Items("term", tuple(entries))


def _table(element: Any) -> list[Block]:
    rows: list[tuple[Inline, ...]] = []
    header = False
    found: list[Block] = []
    for row in _rows(element):
        if _name(row) == "caption":
            found.append(Paragraph(_trimmed(_inside(row))))
            continue
        cells = [cell for cell in row if _name(cell) in ("td", "th")]
        if not rows:
            header = bool(cells) and all(_name(cell) == "th" for cell in cells)
        rows.append(tuple(flatten(_blocks(cell)) for cell in cells))
    return [*found, Table(tuple(rows), header)]


def _rows(element: Any) -> Iterator[Any]:
    """Rows and captions of this table, not of one inside a cell."""
    for child in element:
        if _name(child) in ("tr", "caption"):
            yield child
        elif _name(child) in ("tbody", "thead", "tfoot"):
            yield from _rows(child)


def _macro(element: Any) -> list[Block]:
    kind = _get(element, "ac:name")
    rich, plain = _find(element, "ac:rich-text-body"), _find(element, "ac:plain-text-body")
    title = words(_parameter(element, "title"))
    heading: list[Block] = [Paragraph(title)] if title else []
    if plain is not None:
        text = "".join(plain.itertext()).strip("\n")
        language = _parameter(element, "language")
        return [*heading, Code(text, language if re.fullmatch(r"[\w+#-]+", language) else "")]
    if rich is None:
        return heading
    inside = tuple([*heading, *_blocks(rich)])
    if kind in _CALLOUTS:
        return [Callout(_CALLOUTS[kind], inside)]
    return [Callout("", inside)] if kind == "quote" else list(inside)


def _task(element: Any) -> Entry:
    status, body = _find(element, "ac:task-status"), _find(element, "ac:task-body")
    done = status is not None and "".join(status.itertext()).strip() == "complete"
    inside = flatten(_blocks(body)) if body is not None else ()
    return Entry((Paragraph((Span("[x] " if done else "[ ] "), *inside)),))


def _inside(element: Any) -> list[Span]:
    spans: list[Span] = []
    for piece in _pieces(element):
        if isinstance(piece, str):
            spans.append(Span(_spaced(piece)))
        else:
            spans += _spans(piece)
    return spans


def _spans(element: Any) -> list[Span]:
    name = _name(element)
    if not name or name in _IGNORED:
        return []
    match name:
        case "br":
            return [Span("\n")]
        case "code" | "tt" | "kbd" | "samp":
            return [Span("".join(element.itertext()), "code")]
        case "a":
            return _link(element)
        case "img":
            return [Span(_get(element, "alt"), "image", _get(element, "src"))]
        case "ac:image":
            target = next((c for c in element if _name(c) in ("ri:attachment", "ri:url")), None)
            place = _resource(target) if target is not None else ""
            return [Span(_get(element, "ac:alt"), "image", place)]
        case "ac:link":
            return _page_link(element)
        case "ac:emoticon":
            return [Span(_get(element, "ac:emoji-fallback"))]
        case "time":
            return [Span(_get(element, "datetime"))] if not len(element) else _inside(element)
        case "ac:structured-macro" | "ac:macro":
            return [Span(_parameter(element, "title") or _parameter(element, "key"))]
        case "strong" | "b" | "em" | "i":
            kind = "strong" if name in ("strong", "b") else "emphasis"
            inside = _inside(element)
            return [
                Span(s.text, kind) if s.kind == "text" and s.text.strip() else s for s in inside
            ]
        case _:
            return _inside(element)


def _link(element: Any) -> list[Span]:
    target = _get(element, "href").strip()
    inside = _trimmed(_inside(element))
    label = " ".join("".join(span.text for span in inside).split())
    if not re.match(r"(?:https?|ftp|mailto):", target):
        return [Span(label, "reference", label and target)]
    return [Span(label or target, "link", target)]


def _page_link(element: Any) -> list[Span]:
    body = next(
        (c for c in element if _name(c) in ("ac:plain-text-link-body", "ac:link-body")), None
    )
    resource = next((c for c in element if _name(c).startswith("ri:")), None)
    target = _resource(resource) if resource is not None else _get(element, "ac:anchor")
    label = "".join(body.itertext()).strip() if body is not None else ""
    return [Span(label or target, "reference", target)]


def _resource(element: Any) -> str:
    names = ("ri:content-title", "ri:filename", "ri:value", "ri:space-key")
    return next((value for name in names if (value := _get(element, name))), "")


def _spaced(text: str) -> str:
    """HTML white space counts as one space; no-break spaces are wanted ones."""
    return re.sub(r"[ \t\r\n\f]+", " ", text)


def _trimmed(spans: list[Span]) -> Inline:
    """No space at the ends, none doubled between spans."""
    found: list[Span] = []
    for span in spans:
        text = span.text
        if span.kind == "text" and (not found or found[-1].text.endswith((" ", "\n"))):
            text = text.lstrip(" ")
        if text or span.target:
            found.append(Span(text, span.kind, span.target))
    while found and not found[-1].target and not found[-1].text.strip():
        found.pop()
    return tuple(found)
