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
    words,
)
from alchemy.connectors.fields import BadRecord, type_name

_PANELS = {"info": "INFO", "note": "NOTE", "warning": "WARNING", "success": "TIP", "error": "ERROR"}
_CONTAINERS = {
    *("doc", "expand", "nestedExpand", "layoutSection", "layoutColumn", "bodiedExtension"),
    *("mediaSingle", "mediaGroup", "listItem", "tableCell", "tableHeader"),
}
_BLOCKS = _CONTAINERS | {
    *("paragraph", "heading", "bulletList", "orderedList", "codeBlock", "blockquote", "panel"),
    *("table", "rule", "taskList", "decisionList"),
}


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
            return [
                Items(
                    "number" if kind == "orderedList" else "bullet",
                    tuple(Entry(tuple(_entry(child))) for child in content),
                    start if isinstance(start, int) else 1,
                )
            ]
        case "table":
            rows = [_content(row) for row in content]
            header = bool(rows) and any(cell.get("type") == "tableHeader" for cell in rows[0])
            return [
                Table(
                    tuple(tuple(flatten(_blocks(_content(c))) for c in row) for row in rows), header
                )
            ]
        case "rule":
            return []
        case _:
            title = words(_string(attributes.get("title")))
            return [*([Paragraph(title)] if title else []), *_blocks(content)]


def _entry(node: Mapping[str, Any]) -> list[Block]:
    blocks = _blocks(_content(node)) if node.get("type") != "taskList" else _block(node)
    if node.get("type") == "taskItem":
        done = _attributes(node).get("state") == "DONE"
        return [Paragraph((Span("[x] " if done else "[ ] "), *flatten(blocks)))]
    return blocks


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
            url = _string(attributes.get("url"))
            return (Span(url, "link", url),) if url else ()
        case "media" | "mediaInline":
            alt = _string(attributes.get("alt"))
            return (Span(alt, "image", ""),) if alt else ()
        case "date":
            return words(_date(attributes.get("timestamp")))
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
        elif kind == "strong" and span.kind == "text":
            span = Span(text, "strong")
        elif kind == "em" and span.kind == "text":
            span = Span(text, "emphasis")
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
