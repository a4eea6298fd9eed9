"""Running text of Jira wiki markup → spans."""

from __future__ import annotations

import re
from html import unescape
from typing import Literal

from alchemy.connectors.blocks import Inline, Span, raised

_DROPPED = re.compile(
    r"\{(?:color|anchor|quote|panel|info|note|tip|warning|expand|toc|section|column)"
    r"(?::[^}\n]{0,300})?\}"
)
_BRACED_CODE = re.compile(r"\{\{\{\}([^\n{}]+)\{\}\}\}")
_BRACED = re.compile(r"\{([*_+^~-])\}(?=\S)([^\n]{1,1000}?)(?<=\S)\{\1\}")
_INLINE = re.compile(
    r"\{\{(?P<code>.{1,1000}?)\}\}"
    r"|\[(?P<label>[^\[\]|\n]+)\|(?P<target>[^\[\]|\s]+)(?:\|[^\[\]|\n]*)?\]"
    r"|\[(?P<bare>(?:https?|ftp|file)://[^\[\]|\s]+|mailto:[^\[\]|\s]+)\]"
    r"|\[~(?P<user>[^\[\]\s]+)\]"
    r"|\[\^(?P<file>[^\[\]|\n@\\]+\.\w{1,8})\]"
    r"|\[(?P<key>[A-Z][A-Z0-9_]+-\d+)\]"
    r"|(?<![\w!])!(?P<image>[^!\s|<>]+\.\w{2,5}|[^!\n|<>]{1,200}?\.(?:png|jpe?g|gif|bmp|svg))"
    r"(?:\|[^!\n]*)?!(?!\w)"
    r"|(?P<url>(?:https?|ftp)://[^\s\[\]|<>{}]*[^\s\[\]|<>{}.,;:!?'\")*])"
    r"|(?<![\w*\\])\*(?P<strong>(?=[^\s*])[^*\n]*?(?<=\S))\*(?![\w*])"
    r"|(?<![\w\\])_(?P<em>(?=[^\s_])[^_\n]*?(?<=\S))_(?!\w)"
    # a hyphen inside a word ends nothing; "-n " is an option of a command
    r"|(?<![^\s(|])-(?P<deleted>(?![A-Za-z]?[\s>-])(?:[^\n-]|(?<=\w)-(?=\w)){1,400}(?<=[^\s-]))-"
    r"(?![^\s.,;:!?)|])"
    r"|(?<![^\s(|])\+(?P<inserted>(?=[^\s+])[^+\n]{0,300}?(?<=\S))\+(?![^\s.,;:!?)|])"
    r"|\^(?P<super>[-+]?\w{1,10})\^"
    r"|(?<![\w~/\\])~(?P<sub>[^\s~/\\]{1,40})~(?![\w~/])"
    r"|\?\?(?P<cite>(?=\S)[^?\n]{1,300}?)\?\?"
    r"|(?P<line_break>[ \t]*\\\\(?=\s|$)[ \t]*)"
    r"|\\(?P<escaped>[{}\[\]*_+!|~^?-])"
    r"|(?<!\S)\((?P<icon>[/x!])\)(?!\S)",
)
# what every form of `_INLINE` holds: most running text has none of it and needs no closer look
_MARKED = re.compile(r"[\[{!^~\\]|\?\?|://|(?<!\w)[*_]|(?<![^\s(|])[-+]|\([/x!]\)")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
_KINDS: dict[str, Literal["strong", "emphasis", "deleted"]] = {
    "strong": "strong",
    "em": "emphasis",
    "cite": "emphasis",
    "deleted": "deleted",
}
_ICONS = {"/": "✓", "x": "✗", "!": "⚠"}


def parse_inline(text: str) -> Inline:
    """Spans of running text in wiki markup."""
    if _MARKED.search(text) is None:
        return (Span(_unescaped(text)),) if text else ()
    text = _DROPPED.sub("", text)
    if "{" in text:  # Jira Cloud braces the marks that stand inside a word
        text = _BRACED_CODE.sub(r"{{\1}}", text)
        text = _BRACED.sub(r"\2", text)
    spans: list[Span] = []
    end = 0
    for match in _INLINE.finditer(text):
        spans.append(Span(_unescaped(text[end : match.start()])))
        spans += _spans(match)
        end = match.end()
    spans.append(Span(_unescaped(text[end:])))
    return tuple(span for span in spans if span.text or span.target)


def _unescaped(text: str) -> str:
    """Jira shows HTML's entities as characters; `&copy=2` of an address is none."""
    return _ENTITY.sub(lambda match: unescape(match[0]), text)


def _spans(match: re.Match[str]) -> Inline:
    group = match.groupdict()
    if code := group["code"]:
        return (Span(code, "code"),)
    if target := group["target"]:
        label = re.sub(r"\{\{(.+?)\}\}", r"`\1`", group["label"].strip())
        kind = "reference" if target.startswith("#") else "link"
        return (Span(label, kind, target.removeprefix("mailto:")),)
    if address := group["bare"] or group["url"]:
        return (Span(address.removeprefix("mailto:"), "link", address.removeprefix("mailto:")),)
    if user := group["user"]:
        return (Span(f"@{user.removeprefix('accountid:')}"),)
    if name := group["image"]:
        return (Span("", "image", name),)
    if name := group["file"]:
        return (Span(name, "reference", name),)
    if group["super"]:
        return (Span(raised(group["super"])),)
    if group["icon"]:
        # "(x)" is a cross where a mark is expected, a variable in a sentence
        alone = group["icon"] != "x" or not match.string[: match.start()].strip()
        return (Span(_ICONS[group["icon"]] if alone else match[0]),)
    for name in ("strong", "em", "cite", "deleted", "inserted", "sub"):
        if inner := group[name]:
            inside = parse_inline(inner)
            kind = _KINDS.get(name)
            return tuple(Span(s.text, kind) if kind and s.kind == "text" else s for s in inside)
    return (Span("\n" if group["line_break"] else group["key"] or group["escaped"]),)
