"""Confluence storage format and ordinary HTML → blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

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
    grid,
    raised,
    words,
)
from alchemy.connectors.xhtml_tree import (
    attribute,
    child_named,
    html_root,
    macro_parameter,
    name_of,
    pieces,
    storage_root,
)

_PLAIN = ("text", "strong", "emphasis")
_IGNORED = {
    *("script", "style", "head", "template", "svg"),
    # what a page is used with, not what it says
    *("nav", "noscript", "button", "select", "textarea", "datalist", "input"),
    *("ac:parameter", "ac:placeholder", "ac:adf-attribute", "ac:task-id", "ac:task-uuid"),
}
_CONTAINERS = {
    *("html", "body", "div", "section", "article", "main", "header", "footer", "aside"),
    *("figure", "figcaption", "address", "form", "fieldset", "details", "summary", "center"),
    *("ac:layout", "ac:layout-section", "ac:layout-cell", "ac:rich-text-body", "root"),
    *("ac:adf-extension", "ac:adf-content", "ac:adf-fallback"),
}
_BLOCKS = _CONTAINERS | {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "dl", "table", "pre", "blockquote"),
    *("hr", "ac:task-list", "li", "tr", "td", "th", "tbody", "thead", "tfoot", "dt", "dd"),
    *("ac:adf-node",),
}
_CALLOUTS = {"info": "INFO", "note": "NOTE", "tip": "TIP", "warning": "WARNING"}
_INLINE_MACROS = {"status", "jira", "jiraissues", "anchor", "mathinline", "profile"}
_SHOWN = ("title", "key", "jqlQuery", "url", "body", "name", "diagramName", "page", "user")
"""Parameters that a macro without a body shows, the first one there."""
_SILENT = {
    *("toc", "toc-zone", "children", "pagetree", "pagetreesearch", "attachments", "anchor"),
    *("recently-updated", "contributors", "contentbylabel", "detailssummary", "livesearch"),
    *("blog-posts", "change-history", "content-report-table", "space-details", "popular-labels"),
}
"""Macros that list what is written elsewhere: their parameters say how, not what."""
_EMOTICONS = {
    **{"tick": "✓", "cross": "✗", "warning": "⚠", "information": "ℹ", "question": "?"},
    **{"plus": "+", "minus": "-", "thumbs-up": "👍", "thumbs-down": "👎", "light-on": "💡"},
}


def parse_storage(text: str) -> tuple[Block, ...]:
    """Blocks of a storage-format page; a fragment that is not XML is read as HTML."""
    root = storage_root(text)
    return () if root is None else tuple(_blocks(root))


def parse_html(text: str) -> tuple[Block, ...]:
    """Blocks of an HTML document or fragment."""
    root = html_root(text)
    return () if root is None else tuple(_blocks(root))


def html_title(text: str) -> str:
    """The document's `<title>`."""
    root = html_root(text)
    found = None if root is None else root.find(".//title")
    return " ".join(found.text_content().split()) if found is not None else ""


def _is_block(element: Any) -> bool:
    name = name_of(element)
    if name in ("ac:image", "ac:link"):  # a caption or a label may be made of paragraphs
        return False
    if name in ("ac:structured-macro", "ac:macro"):
        return attribute(element, "ac:name") not in _INLINE_MACROS
    if name in _BLOCKS:
        return True
    return name not in _IGNORED and any(_is_block(child) for child in element)


def _blocks(element: Any) -> list[Block]:
    found: list[Block] = []
    run: list[Span] = []
    if name_of(element) == "ac:adf-extension":  # its fallback says the same for older readers
        node = child_named(element, "ac:adf-node")
        if node is not None:
            return _block(node)

    def close() -> None:
        inline = _trimmed(run)
        if inline:
            found.append(Paragraph(inline))
        run.clear()

    for piece in pieces(element):
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
    name = name_of(element)
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
            return [Items("bullet", _tasks(element))]
        case "ac:adf-node":
            return _node(element)
        case _:
            return _blocks(element)


def _highlighted(element: Any) -> str:
    code = child_named(element, "code")
    classes = (
        f"{attribute(element, 'class')} {attribute(code, 'class') if code is not None else ''}"
    )
    match = re.search(r"\b(?:language|lang)-([\w+#-]+)", classes)
    return match[1] if match else ""


def _list(element: Any, name: str) -> Items:
    entries = []
    for piece in pieces(element):
        if isinstance(piece, str):
            if piece.strip():
                entries.append(Entry((Paragraph(words(_spaced(piece).strip())),)))
        elif name_of(piece) in ("ul", "ol") and entries:  # a list between items belongs to the last
            entries[-1] = Entry((*entries[-1].blocks, *_block(piece)))
        elif name_of(piece) not in _IGNORED and name_of(piece):
            entries.append(
                Entry(tuple(_blocks(piece) if name_of(piece) == "li" else _block(piece)))
            )
    start = attribute(element, "start")
    kind = "number" if name == "ol" else "bullet"
    return Items(kind, tuple(entries), int(start) if start.isdecimal() else 1)


def _definitions(element: Any) -> Items:
    entries: list[Entry] = []
    groups = [list(child) if name_of(child) == "div" else [child] for child in element]
    for child in (child for group in groups for child in group):
        if name_of(child) == "dt":
            entries.append(Entry((), _trimmed(_inside(child))))
        elif name_of(child) == "dd":
            term = entries.pop() if entries else Entry(())
            entries.append(Entry((*term.blocks, *_blocks(child)), term.term))
    return Items("term", tuple(entries))


def _table(element: Any) -> list[Block]:
    rows: list[list[tuple[Inline, int, int]]] = []
    header = False
    found: list[Block] = []
    for row in _rows(element):
        if name_of(row) == "caption":
            found.append(Paragraph(_trimmed(_inside(row))))
            continue
        cells = [cell for cell in row if name_of(cell) in ("td", "th")]
        if not rows:
            header = bool(cells) and all(name_of(cell) == "th" for cell in cells)
        rows.append([_cell(cell) for cell in cells])
    return [*found, Table(grid(rows), header)]


def _cell(element: Any) -> tuple[Inline, int, int]:
    columns, rows = (attribute(element, name).strip() for name in ("colspan", "rowspan"))
    return (
        flatten(_blocks(element)),
        int(columns) if re.fullmatch(r"[0-9]{1,5}", columns) else 1,
        int(rows) if re.fullmatch(r"[0-9]{1,5}", rows) else 1,
    )


def _rows(element: Any) -> Iterator[Any]:
    """Rows and captions of this table, not of one inside a cell."""
    for child in element:
        if name_of(child) in ("tr", "caption"):
            yield child
        elif name_of(child) in ("tbody", "thead", "tfoot"):
            yield from _rows(child)


def _macro(element: Any) -> list[Block]:
    kind = attribute(element, "ac:name")
    rich, plain = (
        child_named(element, "ac:rich-text-body"),
        child_named(element, "ac:plain-text-body"),
    )
    title = words(macro_parameter(element, "title"))
    heading: list[Block] = [Paragraph(title)] if title else []
    if plain is not None:
        text = "".join(plain.itertext()).strip("\n")
        if kind == "html":
            return [*heading, *parse_html(f"<div>{text}</div>")]
        language = macro_parameter(element, "language")
        return [*heading, Code(text, language if re.fullmatch(r"[\w+#-]+", language) else "")]
    if rich is None:
        shown = () if kind in _SILENT else _shown(element)
        return [Paragraph(shown)] if shown else []
    inside = tuple([*heading, *_blocks(rich)])
    if kind in _CALLOUTS:
        return [Callout(_CALLOUTS[kind], inside)]
    return [Callout("", inside)] if kind == "quote" else list(inside)


def _shown(macro: Any) -> Inline:
    """What a macro without a body stands for: a page it includes, a file, an issue, a title."""
    resources = [
        found
        for child in macro
        if name_of(child) in ("ac:parameter", "ac:link", "ri:attachment", "ri:page", "ri:url")
        for found in child.iter()
        if name_of(found).startswith("ri:") and name_of(found) not in ("ri:space", "ri:user")
    ]
    linked = [_reference(resource) for resource in resources if _resource(resource)]
    if linked:
        return tuple(span for one in linked for span in (*words(" "), one))[1:]
    kind = attribute(macro, "ac:name")
    value = next((v for name in _SHOWN if (v := macro_parameter(macro, name))), "")
    if not value and kind in ("include", "excerpt-include"):
        value = macro_parameter(macro, "")
    if value and (kind.startswith("math") or value == macro_parameter(macro, "jqlQuery")):
        return (Span(value, "code"),)
    return (Span(value, "link", value),) if re.match("https?://", value) else words(value)


def _reference(resource: Any) -> Span:
    name = _resource(resource)
    if name_of(resource) == "ri:url":
        return Span(name, "link", name)
    return Span(name, "reference", _place(resource))


def _place(resource: Any) -> str:
    """What a resource is found by: its name, of a page in another space `SPACE:title`."""
    name, space = _resource(resource), attribute(resource, "ri:space-key")
    return f"{space}:{name}" if space and name_of(resource) in ("ri:page", "ri:blog-post") else name


def _tasks(element: Any) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for child in element:
        if name_of(child) == "ac:task-list" and entries:  # a list between tasks belongs to the last
            entries[-1] = Entry((*entries[-1].blocks, *_block(child)))
        elif name_of(child) == "ac:task":
            entries.append(_task(child))
        elif name_of(child):
            entries.append(Entry(tuple(_blocks(child))))
    return tuple(entries)


def _task(element: Any) -> Entry:
    status, body = child_named(element, "ac:task-status"), child_named(element, "ac:task-body")
    done = status is not None and "".join(status.itertext()).strip() == "complete"
    box = Span("[x] " if done else "[ ] ")
    match _blocks(body) if body is not None else []:
        case [Paragraph(inline), *rest]:
            return Entry((Paragraph((box, *inline)), *rest))
        case rest:
            return Entry((Paragraph((box,)), *rest))


def _node(element: Any) -> list[Block]:
    """A node that storage format has no markup for: a panel with a colour, a decision list."""
    kind = attribute(element, "type")
    found: list[Block] = []
    for child in element:
        if name_of(child) == "ac:adf-node":
            found += _node(child)
        elif name_of(child) == "ac:adf-content":
            found += _blocks(child)
    if kind == "panel":
        panel = next((_text(c) for c in element if attribute(c, "key") == "panel-type"), "")
        return [Callout(_CALLOUTS.get(panel.lower(), "NOTE"), tuple(found))]
    if kind == "decision-list":
        return [Items("bullet", tuple(Entry((block,)) for block in found))]
    return found


def _text(element: Any) -> str:
    return "".join(element.itertext()).strip()


def _inside(element: Any) -> list[Span]:
    spans: list[Span] = []
    for piece in pieces(element):
        if isinstance(piece, str):
            spans.append(Span(_spaced(piece)))
        else:
            spans += _spans(piece)
    return spans


def _spans(element: Any) -> list[Span]:
    name = name_of(element)
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
            return [Span(attribute(element, "alt"), "image", attribute(element, "src"))]
        case "ac:image":
            target = next((c for c in element if name_of(c) in ("ri:attachment", "ri:url")), None)
            place = _resource(target) if target is not None else ""
            caption = child_named(element, "ac:caption")
            label = attribute(element, "ac:alt") or attribute(element, "ac:title")
            below = [Span(" "), *_inside(caption)] if caption is not None else []
            return [Span(label, "image", place), *below]
        case "ac:link":
            return _page_link(element)
        case "ac:emoticon":
            known = _EMOTICONS.get(attribute(element, "ac:name"), "")
            return [Span(attribute(element, "ac:emoji-fallback") or known)]
        case "time":
            return [Span(attribute(element, "datetime"))] if not len(element) else _inside(element)
        case "ac:structured-macro" | "ac:macro":
            body = child_named(element, "ac:rich-text-body")
            if body is not None:
                return _inside(body)
            return [] if attribute(element, "ac:name") in _SILENT else list(_shown(element))
        case "sup":
            return [Span(raised(s.text), s.kind, s.target) for s in _inside(element)]
        case "s" | "del" | "strike":
            return [Span(s.text, "deleted") if s.kind in _PLAIN else s for s in _inside(element)]
        case "strong" | "b" | "em" | "i":
            kind = "strong" if name in ("strong", "b") else "emphasis"
            inside = _inside(element)
            return [
                Span(s.text, kind) if s.kind == "text" and s.text.strip() else s for s in inside
            ]
        case _:
            return _inside(element)


def _link(element: Any) -> list[Span]:
    target = attribute(element, "href").strip()
    inside = _trimmed(_inside(element))
    label = " ".join("".join(span.text for span in inside).split())
    if not re.match(r"(?:https?|ftp|mailto):", target):
        return [Span(label, "reference", label and target)]
    return [Span(label or target, "link", target)]


def _page_link(element: Any) -> list[Span]:
    body = next(
        (c for c in element if name_of(c) in ("ac:plain-text-link-body", "ac:link-body")), None
    )
    resource = next((c for c in element if name_of(c).startswith("ri:")), None)
    anchor = attribute(element, "ac:anchor")
    name = _resource(resource) if resource is not None else anchor
    target = _place(resource) if resource is not None else anchor and f"#{anchor}"
    if body is None:
        return [Span(name, "reference", target)]
    inside = _trimmed(_inside(body))
    if any(span.kind in ("code", "image") for span in inside):
        return list(inside)
    return [Span("".join(span.text for span in inside).strip() or name, "reference", target)]


def _resource(element: Any) -> str:
    names = ("ri:content-title", "ri:filename", "ri:value", "ri:space-key")
    found = next((value for name in names if (value := attribute(element, name))), "")
    if name_of(element) != "ri:user":
        return found
    person = (attribute(element, f"ri:{name}") for name in ("username", "account-id", "userkey"))
    return next((f"@{name}" for name in person if name), "")


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
