"""Documents as files: Markdown, AsciiDoc, HTML, text, PDF, Word, PowerPoint and Excel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import yaml
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from alchemy.config import Settings
from alchemy.connectors.asciidoc import parse_asciidoc
from alchemy.connectors.blocks import references, to_markdown
from alchemy.connectors.content import Content, utc
from alchemy.connectors.encodings import decode
from alchemy.connectors.fields import BadRecord, clean_line, normalise, outside_fences, text_metrics
from alchemy.connectors.pdf_process import read_pdf
from alchemy.connectors.records import (
    Item,
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    make_document,
    read_whole,
)
from alchemy.connectors.sheets import read_xlsx
from alchemy.connectors.slides import read_pptx
from alchemy.connectors.word import read_docx
from alchemy.connectors.xhtml import html_title, parse_html
from alchemy.protocols import Lake
from alchemy.types import Document

PREFIX = "raw/documents/"
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_SETEXT_TEXT = re.compile(r"^ {0,3}(?![-*+>#|=]|\d+[.)] )\S")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.M)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,65536}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)

_Parser: TypeAlias = Callable[[bytes, int], Content]
"""A file's bytes, the largest size of a record → its content; `BadRecord` when it has none."""


def _read(parse: _Parser, lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    limit = settings.cleaning.max_record_bytes

    def build(_: object) -> Document:
        content = parse(read_whole(lake, unit.key, limit), limit)
        path = unit.key.removeprefix(PREFIX)
        text = normalise(content.text)
        if not text.strip():
            raise BadRecord("the file has no text")
        return make_document(
            unit,
            settings,
            {},
            key=path,
            title=_title(content, text, path),
            text=text,
            uri=None,
            created_at=content.created_at,
            updated_at=content.updated_at,
            metrics=text_metrics(text),
            extra={"path": path, **content.extra},
        )

    return build_documents(unit, [Item("file")], build)


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


def _markdown(raw: bytes, _: int) -> Content:
    source, extra = _decoded(raw)
    source, fields = _front_matter(normalise(source))
    text = markdown_headings(source)
    title = fields.pop("title", None)
    created = _first_time(fields, "date", "created", "created_at")
    updated = _first_time(fields, "lastmod", "updated", "modified", "updated_at", "last_updated")
    return Content(
        clean_line(str(title)) if isinstance(title, str | int | float) else "",
        text,
        created,
        updated,
        {**extra, **({"front_matter": _json(fields)} if fields else {})},
    )


def _asciidoc(raw: bytes, _: int) -> Content:
    source, extra = _decoded(raw)
    blocks = parse_asciidoc(normalise(source))
    return Content("", to_markdown(blocks), extra=extra | {"references": references(blocks)})


def _html(raw: bytes, _: int) -> Content:
    source, extra = _decoded(raw, declared=True)
    try:
        blocks, title = parse_html(source), html_title(source)
    except (etree.LxmlError, ValueError) as error:
        raise BadRecord("not readable as HTML") from error
    found = {"references": references(blocks)}
    return Content(clean_line(title), to_markdown(blocks), extra=extra | found)


def _plain(raw: bytes, _: int) -> Content:
    source, extra = _decoded(raw)
    return Content(None, source, extra=extra)


def _old_format(name: str, suffix: str, raw: bytes, _: int) -> Content:
    raise BadRecord(f"{name} is not readable: convert the file to {suffix}")


_PARSERS: dict[tuple[str, ...], _Parser] = {
    (".md", ".markdown"): _markdown,
    (".adoc", ".asciidoc", ".asc"): _asciidoc,
    (".html", ".htm", ".xhtml"): _html,
    (".txt", ".text"): _plain,
    (".docx", ".docm"): read_docx,
    (".pptx", ".pptm"): read_pptx,
    (".xlsx", ".xlsm"): read_xlsx,
    (".doc", ".dot"): partial(_old_format, "the Word 97 format", ".docx"),
    (".ppt", ".pps"): partial(_old_format, "the PowerPoint 97 format", ".pptx"),
    (".xls", ".xlt"): partial(_old_format, "the Excel 97 format", ".xlsx"),
}


def _read_pdf(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    parse = partial(read_pdf, timeout_s=settings.cleaning.pdf_timeout_s)
    return _read(parse, lake, unit, settings)


READERS: dict[str, Reader] = {
    **{
        suffix: partial(_read, parse) for suffixes, parse in _PARSERS.items() for suffix in suffixes
    },
    ".pdf": _read_pdf,
}


def _decoded(raw: bytes, declared: bool = False) -> tuple[str, dict[str, Any]]:
    """Text, and for `extra` the encoding when it is not UTF-8."""
    text, encoding = decode(raw, declared)
    return text, {} if encoding == "utf-8" else {"encoding": encoding}


def _front_matter(text: str) -> tuple[str, dict[str, Any]]:
    """The text without the YAML mapping at its start, and that; a rule is not front matter."""
    match = _FRONT_MATTER.match(text)
    if not match:
        return text, {}
    try:
        fields = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: the 31st of June
        return text, {}
    if not isinstance(fields, dict) or not fields:
        return text, {}
    return text[match.end() :], {str(name): value for name, value in fields.items()}


def _first_time(fields: dict[str, Any], *names: str) -> str | None:
    """The first of these fields that holds a time, taken out of the mapping."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                continue
        if isinstance(value, date):
            del fields[name]
            moment = value if isinstance(value, datetime) else datetime(*value.timetuple()[:3])
            try:
                return utc(moment)
            except OverflowError:
                return None
    return None


def _json(value: Any, depth: int = 0) -> Any:
    """YAML as JSON: aliases could make it endless, so what is nested deeper than needed is left."""
    if isinstance(value, Mapping) and depth < 3:
        return {str(k): _json(v, depth + 1) for k, v in list(value.items())[:100]}
    if isinstance(value, list | tuple | set) and depth < 3:
        return [_json(item, depth + 1) for item in list(value)[:100]]
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value) if isinstance(value, float | date) else type(value).__name__


def _title(content: Content, text: str, path: str) -> str:
    """The file's own title, else its first heading, else its name.

    A paged document's first heading may be the company's name only; a file name that holds it says
    more.
    """
    if content.title:
        return content.title
    name, heading = _name(path), "" if content.title is None else _first_heading(text)
    paged = "pages" in content.extra
    return name if not heading or (paged and heading.lower() in name.lower()) else heading


def _first_heading(text: str) -> str:
    """The first heading outside fences, without inline markup."""
    match = _HEADING.search(outside_fences(text))
    if not match:
        return ""
    return clean_line(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).replace("`", ""))


def _name(path: str) -> str:
    return re.sub(r"[-_]+", " ", PurePosixPath(path).stem)
