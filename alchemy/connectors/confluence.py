"""Wiki pages: Confluence REST JSON with storage-format bodies, space exports, and the flat form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.adf import parse_adf
from alchemy.connectors.blocks import Block, references, to_markdown
from alchemy.connectors.confluence_access import readers
from alchemy.connectors.confluence_export import export_items
from alchemy.connectors.fields import (
    BadRecord,
    as_object,
    clean_line,
    get_list,
    get_number,
    get_object,
    get_text,
    get_time,
    normalise,
    outside_fences,
    text_metrics,
    type_name,
)
from alchemy.connectors.records import (
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    identifier,
    json_items,
    json_line_items,
    make_document,
    parsed,
    web_address,
)
from alchemy.connectors.wiki_markup import parse_wiki
from alchemy.connectors.xhtml import parse_storage
from alchemy.protocols import Lake
from alchemy.types import Document

_CONTAINERS = ("results", "pages")
_STATUSES = ("draft", "archived", "trashed", "deleted", "historical")
_CLOSING_TAG = re.compile(r"</(?:p|h[1-6]|ul|ol|table|div|blockquote|ac:[a-z-]+)>", re.I)
_CODE = re.compile(r"`[^`\n]+`")


def read_json_lines(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """One page per line."""
    items = json_line_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: _page(unit, settings, value))


def read_json(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """A REST response (`results`), one page, or a list of pages."""
    items = [item for item, _ in json_items(lake, unit, settings, _CONTAINERS)]
    pages = {
        str(page["id"]): page
        for page in (item.value for item in items)
        if isinstance(page, dict) and isinstance(page.get("id"), str | int)
    }
    return build_documents(
        unit, items, lambda value: _page(unit, settings, _placed(as_object(value), pages))
    )


def read_export(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """A space as Confluence itself exports it: `entities.xml`, alone or in its zip."""
    items = export_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: _page(unit, settings, value))


READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".xml": read_export,
    ".zip": read_export,
}


def _placed(record: Mapping[str, Any], pages: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record with the pages above it, where it names its parent only and that is in its file."""
    above: dict[str, Mapping[str, Any]] = {}
    parent = record.get("parentId")
    while str(parent) in pages and str(parent) not in above:
        above[str(parent)] = pages[str(parent)]
        parent = pages[str(parent)].get("parentId")
    if record.get("ancestors") is not None or not above:
        return record
    return {**record, "ancestors": [*above.values()][::-1]}


def _page(unit: RawUnit, settings: Settings, value: Any) -> Document:
    record = as_object(value)
    status = (get_text(record, "status") or "current").strip().lower()
    if status not in ("current", "published"):
        # a draft or a page in the bin is not what the company says
        known = status if status in _STATUSES else "not current"
        raise BadRecord(f"status is {known}")
    title = clean_line(get_text(record, "title") or "")
    body, referred = _body(record)
    comments, also = _comments(record)
    text = "\n\n".join([part for part in (body, *comments) if part])
    space = _space(record)
    key = f"{identifier(space, 'space')}/" if space else ""
    key += _page_id(record, title)
    history, version = get_object(record, "history"), get_object(record, "version")
    kind = get_text(record, "type")
    groups = readers(record) if record.get("acl") is None else None
    return make_document(
        unit,
        settings,
        record if groups is None else {**record, "acl": groups},
        key=key,
        title=title,
        text=text,
        uri=_address(record) or f"{unit.key}#{key}",
        created_at=get_time({**history, **record}, "created_at", "createdAt", "createdDate"),
        updated_at=get_time(record, "updated_at") or get_time(version, "createdAt", "when"),
        metrics=text_metrics(text) | _numbers(record, len(comments) - 1),
        extra={
            "space": space,
            "ancestors": _ancestors(record),
            "labels": _labels(record),
            "type": kind if kind and kind != "page" else None,
            "attachments": _children(record, "attachment"),
            "references": list(dict.fromkeys([*referred, *also])),
        },
    )


def _comments(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """A heading and the comments below the page, where the export has them; what they refer to."""
    comments = get_object(get_object(record, "children"), "comment")
    parts: list[str] = []
    referred: list[str] = []
    for value in get_list(comments, "results") or ():
        comment = as_object(value, "a comment")
        text, found = _body(comment)
        referred += found
        if text:
            date = get_time(get_object(comment, "version"), "createdAt", "when")
            parts.append(
                f"### Comment {len(parts) + 1}{f' ({date[:10]})' if date else ''}\n\n{text}"
            )
    return ["## Comments", *parts] if parts else [], referred


def _numbers(record: Mapping[str, Any], comments: int) -> dict[str, float | None]:
    """What the record alone says about its place and its life; only what is there."""
    version = get_number(get_object(record, "version"), "number")
    found: dict[str, float | None] = {} if version is None else {"versions": version}
    children = get_object(record, "children")
    for name, column in (("page", "child_pages"), ("attachment", "attachments")):
        listed = _children(record, name)
        size = get_number(get_object(children, name), "size")
        if size is not None or listed is not None:
            found[column] = size if size is not None else float(len(listed or ()))
    if "comment" in children:
        found["comment_count"] = float(max(comments, 0))
    return found


def _children(record: Mapping[str, Any], name: str) -> list[str] | None:
    """Titles of child pages or attachments."""
    found = get_list(get_object(get_object(record, "children"), name), "results")
    if found is None:
        return None
    titles = (get_text(as_object(child, f"a child {name}"), "title") for child in found)
    return [clean_line(title) for title in titles if title]


def _body(record: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The page's text from the first representation that is there, and what it refers to."""
    content = _content(record)
    if isinstance(content, str):
        return normalise(content), []
    return normalise(to_markdown(content)), [clean_line(r) for r in references(content)]


def _content(record: Mapping[str, Any]) -> tuple[Block, ...] | str:
    body = record.get("body")
    if body is None:
        return ""
    if isinstance(body, str):
        return parse_storage(body) if _is_markup(body) else body
    forms = as_object(body, "body")
    for name in ("storage", "view", "export_view"):
        content = get_object(forms, name)
        if content:
            return parse_storage(get_text(content, "value") or "")
    if wiki := get_object(forms, "wiki"):
        return parse_wiki(get_text(wiki, "value") or "")
    if plain := get_object(forms, "plain"):
        return get_text(plain, "value") or ""
    adf = get_object(forms, "atlas_doc_format").get("value")
    if adf is not None:
        return parse_adf(parsed(adf) if isinstance(adf, str) else adf)
    raise BadRecord("body has no storage, view, export_view or atlas_doc_format value")


def _is_markup(body: str) -> bool:
    """Whether a flat body is XHTML; Markdown may show tags in its code."""
    return bool(_CLOSING_TAG.search(_CODE.sub("", outside_fences(body))))


def _space(record: Mapping[str, Any]) -> str | None:
    space = record.get("space")
    if isinstance(space, dict):
        return get_text(space, "key")
    if isinstance(space, str) or space is None:
        return space or get_text(record, "space_key", "spaceId")
    raise BadRecord(f"space is {type_name(space)}, not a string or an object")


def _page_id(record: Mapping[str, Any], title: str) -> str:
    """The page's own id, else its title as a slug."""
    own = record.get("id")
    if isinstance(own, int) and not isinstance(own, bool):
        return str(own)
    if (text := get_text(record, "id")) is not None:
        return identifier(text, "id")
    slug = re.sub(r"[^\w]+", "-", title.lower()).strip("-")
    if not slug:
        raise BadRecord("the page has neither id nor title")
    return slug[:200]


def _address(record: Mapping[str, Any]) -> str | None:
    links = get_object(record, "_links")
    base, path = get_text(links, "base"), get_text(links, "webui")
    return web_address(get_text(record, "url", "uri"), f"{base}{path}" if base and path else None)


def _ancestors(record: Mapping[str, Any]) -> list[str] | None:
    ancestors = get_list(record, "ancestors")
    if ancestors is None:
        return None
    titles = (
        above if isinstance(above, str) else get_text(as_object(above, "an ancestor"), "title")
        for above in ancestors
    )
    return [clean_line(title) for title in titles if title]


def _labels(record: Mapping[str, Any]) -> list[str] | None:
    """Flat `labels`, or the REST form's `metadata.labels.results[].name`."""
    nested = get_object(get_object(record, "metadata"), "labels")
    labels = get_list(nested, "results") if nested else get_list(record, "labels")
    if labels is None:
        return None
    names = [x if isinstance(x, str) else get_text(as_object(x, "a label"), "name") for x in labels]
    return [clean_line(name) for name in names if name]
