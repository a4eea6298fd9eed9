"""Documents as files: Markdown, AsciiDoc, HTML and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from alchemy.config import Settings
from alchemy.connectors.asciidoc import parse_asciidoc
from alchemy.connectors.blocks import to_markdown
from alchemy.connectors.fields import BadRecord, clean_line, normalise, outside_fences, text_metrics
from alchemy.connectors.records import (
    Item,
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    decoded,
    make_document,
    read_whole,
)
from alchemy.connectors.xhtml import html_title, parse_html
from alchemy.protocols import Lake
from alchemy.types import Document

PREFIX = "raw/documents/"
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_SETEXT_TEXT = re.compile(r"^ {0,3}(?![-*+>#|=]|\d+[.)] )\S")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.M)
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", re.I)


def _read(form: str, lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    limit = settings.cleaning.max_record_bytes

    def build(_: object) -> Document:
        raw = read_whole(lake, unit.key, limit)
        title, text = _content(form, raw)
        path = unit.key.removeprefix(PREFIX)
        text = normalise(text)
        return make_document(
            unit,
            settings,
            {},
            key=path,
            title=title or _name(path),
            text=text or _required(text),
            uri=None,
            metrics=text_metrics(text),
            extra={"path": path},
        )

    return build_documents(unit, [Item("file")], build)


READERS: dict[str, Reader] = {
    suffix: partial(_read, form)
    for form, suffixes in {
        "markdown": (".md", ".markdown"),
        "asciidoc": (".adoc", ".asciidoc", ".asc"),
        "html": (".html", ".htm", ".xhtml"),
        "text": (".txt", ".text"),
    }.items()
    for suffix in suffixes
}


def markdown_headings(text: str) -> str:
    """Markdown with underlined headings written with `#`, outside fences."""
    found: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" \t`~"):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            underline = _UNDERLINE.match(line)
            above = found[-1] if found else ""
            alone = len(found) < 2 or not found[-2].strip()
            if underline and alone and _SETEXT_TEXT.match(above):
                found[-1] = f"{'#' if underline[1][0] == '=' else '##'} {above.strip()}"
                continue
        found.append(line)
    return "\n".join(found)


def _content(form: str, raw: bytes) -> tuple[str, str]:
    """Title, if the file has one, and text."""
    if form == "html":
        source = _html_text(raw)
        try:
            text, title = to_markdown(parse_html(source)), html_title(source)
        except (etree.LxmlError, ValueError) as error:
            raise BadRecord("not readable as HTML") from error
        return title or _first_heading(text), text
    source = normalise(decoded(raw))
    if form == "text":
        return "", source
    text = to_markdown(parse_asciidoc(source)) if form == "asciidoc" else markdown_headings(source)
    return _first_heading(text), text


def _html_text(raw: bytes) -> str:
    """UTF-8, else the encoding the document declares."""
    try:
        return decoded(raw)
    except BadRecord:
        declared = _CHARSET.search(raw[:4096])
        if not declared:
            raise
        try:
            return raw.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError) as error:
            raise BadRecord("not valid in the encoding it declares") from error


def _first_heading(text: str) -> str:
    """The first heading outside fences, without inline markup."""
    match = _HEADING.search(outside_fences(text))
    if not match:
        return ""
    return clean_line(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).replace("`", ""))


def _name(path: str) -> str:
    return re.sub(r"[-_]+", " ", PurePosixPath(path).stem)


def _required(text: str) -> str:
    if not text:
        raise BadRecord("the file has no text")
    return text
