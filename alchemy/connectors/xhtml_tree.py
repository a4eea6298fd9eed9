"""Storage format and HTML text → an element tree, and what is read of an element.

Pages are foreign input: no entity is expanded, nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from html.entities import html5
from typing import Any

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]
from lxml import html as lxml_html

_NAMESPACES = "".join(f' xmlns:{p}="{p}"' for p in ("ac", "ri", "at"))
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_XML_ENTITIES = {"amp", "lt", "gt", "quot", "apos"}


def storage_root(text: str) -> Any:
    """The tree of a storage-format page; a fragment that is not XML is read as HTML."""
    try:
        return etree.fromstring(f"<root{_NAMESPACES}>{_numeric(text)}</root>", _xml_parser())
    except (etree.XMLSyntaxError, ValueError):
        flat = (escape(part) if verbatim else part for part, verbatim in _sections(text))
        return html_root(f"<div>{''.join(flat)}</div>")


def _xml_parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def html_root(text: str) -> Any:
    """The tree of an HTML document or fragment; None when it has no element."""
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


def name_of(element: Any) -> str:
    """`h1`, `ac:link`; empty for comments and processing instructions."""
    if not isinstance(element.tag, str):
        return ""
    space, _, local = element.tag.rpartition("}")
    return f"{space.lstrip('{')}:{local}".lower() if space else local.lower()


def attribute(element: Any, name: str) -> str:
    """An attribute, `ri:filename` or `class`; empty when absent."""
    prefix, _, local = name.rpartition(":")
    return element.get(f"{{{prefix}}}{local}" if prefix else local) or element.get(name) or ""


def child_named(element: Any, name: str) -> Any:
    """The first child with this name; None without one."""
    return next((child for child in element if name_of(child) == name), None)


def macro_parameter(macro: Any, name: str) -> str:
    """The text of a macro's parameter; empty when absent."""
    for child in macro:
        if name_of(child) == "ac:parameter" and attribute(child, "ac:name") == name:
            return "".join(child.itertext()).strip()
    return ""


def pieces(element: Any) -> Iterator[Any]:
    """Text and child elements in order."""
    if element.text:
        yield element.text
    for child in element:
        yield child
        if child.tail:
            yield child.tail
