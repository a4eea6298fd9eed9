"""Atlassian Document Format (the JSON of Jira and Confluence Cloud) → blocks.

Unknown node types are read through to the text they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
from alchemy.connectors.fields import BadRecord, type_name

_PANELS = {"info": "INFO", "note": "NOTE", "warning": "WARNING", "success": "TIP", "error": "ERROR"}
_CONTAINERS = {
    *("doc", "expand", "nestedExpand", "layoutSection", "layoutColumn", "bodiedExtension"),
    *("mediaSingle", "mediaGroup", "caption", "listItem", "tableCell", "tableHeader"),
    *("multiBodiedExtension", "extensionFrame", "bodiedSyncBlock"),
}
_BLOCKS = _CONTAINERS | {
    *("paragraph", "heading", "bulletList", "orderedList", "codeBlock", "blockquote", "panel"),
    *("table", "rule", "taskList", "decisionList", "blockCard", "embedCard", "extension"),
}
_TEXT_PARAMETERS = ("key", "jqlQuery", "title", "name", "url", "text", "__bodyContent")
"""What a macro without content shows: an issue's key, a file's name, an address."""


def parse_adf(value: Any) -> tuple[Block, ...]:
    """Blocks of an ADF document."""
    if not isinstance(value, dict) or not isinstance(value.get("content", []), list):
        raise BadRecord(f"a rich text field is {type_name(value)}, not an ADF document")
    return tuple(_blocks([value]))


def _content(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = node.get("content") or []
    if not isinstance(content, list) or not all(isinstance(child, dict) for child in content):
        raise BadRecord("an ADF node's content is not a list of nodes")
    return content


def _attributes(node: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = node.get("attrs")
    return attributes if isinstance(attributes, dict) else {}


def _blocks(nodes: Sequence[Mapping[str, Any]]) -> list[Block]:
    found: list[Block] = []
    run: list[Mapping[str, Any]] = []

    def close() -> None:
        if run:
            found.append(Paragraph(_inline(run)))
            run.clear()

    for node in nodes:
        if node.get("type") in _BLOCKS or any(c.get("type") in _BLOCKS for c in _content(node)):
            close()
            found += _block(node)
        else:
            run.append(node)
    close()
    return found


def _block(node: Mapping[str, Any]) -> list[Block]:
    content, attributes = _content(node), _attributes(node)
    match node.get("type"):
        case "paragraph":
            return [Paragraph(_inline(content))]
        case "heading":
            level = attributes.get("level")
            return [Heading(level if isinstance(level, int) else 1, _inline(content))]
        case "codeBlock":
            text = "".join(span.text for span in _inline(content))
            return [Code(text, _word(attributes.get("language")))]
        case "blockquote":
            return [Callout("", tuple(_blocks(content)))]
        case "panel":
            label = _PANELS.get(_word(attributes.get("panelType")), "NOTE")
            return [Callout(label, tuple(_blocks(content)))]
        case "bulletList" | "orderedList" | "decisionList" | "taskList" as kind:
            start = attributes.get("order")
            numbered = kind == "orderedList"
            first = start if numbered and isinstance(start, int) else 1
            return [Items("number" if numbered else "bullet", _entries(content), first)]
        case "table":
            rows = [_content(row) for row in content]
            # a header column alone makes no header row
            header = bool(rows and rows[0]) and all(c.get("type") == "tableHeader" for c in rows[0])
            return [Table(grid([_cell(cell) for cell in row] for row in rows), header)]
        case "rule":
            return []
        case "blockCard" | "embedCard":
            return [Paragraph(_spans(node))]
        case "extension":
            return [Paragraph(_spans(node)), *_blocks(content)]
        case _:
            title = words(_string(attributes.get("title")) or _parameter(node, "title"))
            return [*([Paragraph(title)] if title else []), *_blocks(content)]


def _entries(nodes: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
    """Items of a list; a list between items belongs to the item before it."""
    entries: list[Entry] = []
    for node in nodes:
        if node.get("type") in ("taskList", "decisionList") and entries:
            entries[-1] = Entry((*entries[-1].blocks, *_block(node)))
        elif node.get("type") in ("taskItem", "blockTaskItem"):
            box = Span("[x] " if _attributes(node).get("state") == "DONE" else "[ ] ")
            match _blocks(_content(node)):
                case [Paragraph(inline), *rest]:
                    entries.append(Entry((Paragraph((box, *inline)), *rest)))
                case rest:
                    entries.append(Entry((Paragraph((box,)), *rest)))
        else:
            entries.append(Entry(tuple(_blocks(_content(node)))))
    return tuple(entries)


def _cell(node: Mapping[str, Any]) -> tuple[Inline, int, int]:
    columns, rows = (_attributes(node).get(name) for name in ("colspan", "rowspan"))
    return (
        flatten(_blocks(_content(node))),
        columns if isinstance(columns, int) else 1,
        rows if isinstance(rows, int) else 1,
    )


def _parameter(node: Mapping[str, Any], name: str) -> str:
    """A macro's parameter: Confluence keeps it under `macroParams`, as `{value}`."""
    parameters = _attributes(node).get("parameters")
    if not isinstance(parameters, dict):
        return ""
    macro = parameters.get("macroParams")
    value = macro.get(name) if isinstance(macro, dict) else parameters.get(name)
    return _string(value.get("value") if isinstance(value, dict) else value).strip()


def _inline(nodes: Sequence[Mapping[str, Any]]) -> Inline:
    return tuple(span for node in nodes for span in _spans(node))


def _spans(node: Mapping[str, Any]) -> Inline:
    attributes = _attributes(node)
    match node.get("type"):
        case "text":
            return _marked(node)
        case "hardBreak":
            return (Span("\n"),)
        case "inlineCard" | "blockCard" | "embedCard":
            data = attributes.get("data")
            linked = data if isinstance(data, dict) else {}
            url = _string(attributes.get("url")) or _string(linked.get("url"))
            label = _string(linked.get("name")) or url
            return (Span(label, "link", url),) if label else ()
        case "media" | "mediaInline":
            alt, url = _string(attributes.get("alt")), _string(attributes.get("url"))
            return (Span(alt, "image", url),) if alt or url else ()
        case "date":
            return words(_date(attributes.get("timestamp")))
        case "mention":
            name = _string(attributes.get("text")) or _string(attributes.get("id"))
            return words(name and f"@{name.removeprefix('@')}")
        case "placeholder":  # tells the writer what to write
            return ()
        case "extension" | "inlineExtension":
            shown = (value for name in _TEXT_PARAMETERS if (value := _parameter(node, name)))
            return words(_string(attributes.get("text")) or next(shown, ""))
        case _:
            inside = _inline(_content(node))
            return inside or words(
                _string(attributes.get("text")) or _string(attributes.get("shortName"))
            )


def _marked(node: Mapping[str, Any]) -> Inline:
    text = node.get("text")
    if not isinstance(text, str):
        raise BadRecord(f"an ADF text node holds {type_name(text)}, not a string")
    span = Span(text)
    marks = node.get("marks")
    for mark in marks if isinstance(marks, list) else ():
        kind = mark.get("type") if isinstance(mark, dict) else None
        if kind == "link":
            return (Span(text, "link", _string(_attributes(mark).get("href"))),)
        if kind == "code":
            span = Span(text, "code")
        elif kind == "strike" and span.kind != "code":
            span = Span(span.text, "deleted")
        elif kind == "subsup" and _attributes(mark).get("type") == "sup":
            span = Span(raised(text), span.kind)
        elif kind == "strong" and span.kind == "text":
            span = Span(span.text, "strong")
        elif kind == "em" and span.kind == "text":
            span = Span(span.text, "emphasis")
    return (span,)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str:
    text = _string(value)
    return text if text and not set(text) & set(" \t\n`") else ""


def _date(timestamp: Any) -> str:
    """A date node holds milliseconds since 1970, as text."""
    try:
        return datetime.fromtimestamp(int(timestamp) / 1000, UTC).date().isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return _string(timestamp)
