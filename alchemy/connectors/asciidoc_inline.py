"""Inline AsciiDoc → spans."""

from __future__ import annotations

import re
from collections.abc import Mapping

from alchemy.connectors.blocks import Inline, Span, words

_INLINE = re.compile(
    r"(?P<pass>\$\$(?P<pass_text>.{1,2000}?)\$\$|\+\+\+(?P<pass3>.{1,2000}?)\+\+\+"
    r"|(?<!\w)(?:pass:[a-z,]*|kbd:|btn:)\[(?P<pass_macro>[^\]]{1,2000})\])"
    r"|`(?P<code>[^`]+)`"
    r"|footnote(?:ref)?:\[(?P<note>[^\]]{0,2000})\]"
    r"|image:(?P<image>[^\s\[\]:][^\s\[\]]*)\[(?P<alt>[^\]]{0,500})\]"
    r"|<<(?P<ref>[^<>,\s]+)(?:,[ \t]*(?P<ref_text>[^<>]*))?>>"
    r"|xref:(?P<xref>[^\s\[\]]+)\[(?P<xref_text>[^\]]{0,500})\]"
    r"|(?:link:(?P<link>[^\s\[\]]+)|(?P<url>(?:https?|ftp|irc)://[^\s\[\]<>]*[^\s\[\]<>.,;:!?'\")*`]))"
    r"(?:\[(?P<label>[^\]]{0,1000})\])?"
    r"|\*\*(?P<strong2>(?=\S)[^*]+?)\*\*|__(?P<em2>(?=\S)[^_]+?)__"
    r"|(?<![\w*\\])\*(?P<strong>(?=[^\s*])[^*\n]*?(?<=[^\s]))\*(?![\w*])"
    r"|(?<![\w\\])_(?P<em>(?=[^\s_])[^\n]{0,500}?(?<=[^\s]))_(?!\w)"
    r"|(?<![\w+\\])\+(?P<mono>(?=[^\s+])[^+\n]*?(?<=[^\s]))\+(?![\w+])"
    r"|\\(?P<escaped>\{[\w-]+\})|\{(?P<attribute>[\w-]+)\}"
    r"|\[\[(?P<anchor>[\w-]+)\]\]",
    re.S,
)


def parse_inline(text: str, attributes: Mapping[str, str] | None = None) -> Inline:
    """Spans of one run of AsciiDoc text."""
    known = attributes or {}
    spans: list[Span] = []
    end = 0
    for match in _INLINE.finditer(text):
        if match.start() > end:
            spans.append(Span(text[end : match.start()]))
        spans += _spans(match, known)
        end = match.end()
    if end < len(text):
        spans.append(Span(text[end:]))
    return tuple(span for span in spans if span.text or span.target)


def _spans(match: re.Match[str], known: Mapping[str, str]) -> Inline:
    group = match.groupdict()
    if match["pass"]:
        return words(group["pass_text"] or group["pass3"] or group["pass_macro"] or "")
    if (code := group["code"]) is not None:
        literal = code[1:-1] if len(code) > 2 and code[0] == code[-1] == "+" else code
        return (Span(literal, "code"),)
    if (mono := group["mono"]) is not None:
        return (Span(mono.replace("$$", ""), "code"),)
    if (note := group["note"]) is not None:
        return (Span(" ("), *parse_inline(note.strip(), known), Span(")"))
    if group["image"]:
        return (Span(first_positional(group["alt"]), "image", group["image"]),)
    if group["ref"]:
        target = group["ref"].lstrip("#")
        return (Span((group["ref_text"] or "").strip() or target, "reference", target),)
    if group["xref"]:
        label = group["xref_text"].strip()
        return (Span(label or group["xref"], "reference", group["xref"]),)
    if target := group["link"] or group["url"]:
        label = first_positional(group["label"] or "").removesuffix("^")
        if group["link"] and "://" not in target:
            return (Span(label or target, "reference", target),)
        return (Span(label or target, "link", target),)
    for name in ("strong2", "strong", "em2", "em"):
        if (inner := group[name]) is not None:
            kind = "strong" if name.startswith("strong") else "emphasis"
            inside = parse_inline(inner, known)
            return tuple(Span(s.text, kind) if s.kind == "text" else s for s in inside)
    if group["escaped"]:
        return words(group["escaped"])
    if name := group["attribute"]:
        return words(known.get(name, {"nbsp": " ", "empty": ""}.get(name, match[0])))
    return ()


def first_positional(attributes: str) -> str:
    """Link label or alt text: what precedes the named and sized attributes."""
    text = attributes.strip()
    if '"' in text or re.search(r",\s*(?:\w+=|\d+)", text):
        quoted = re.match(r'^"([^"]*)"', text)
        return quoted[1] if quoted else re.split(r",\s*(?=\w+=|\d+)", text)[0].strip()
    return "" if re.match(r"^\w+=\S+$", text) else text
