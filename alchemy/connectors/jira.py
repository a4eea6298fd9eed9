"""Jira issues: flat JSON Lines, REST and bulk JSON, CSV exports."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.adf import parse_adf
from alchemy.connectors.blocks import to_markdown
from alchemy.connectors.fields import (
    BadRecord,
    as_object,
    clean_line,
    get_list,
    get_number,
    get_object,
    get_text,
    get_texts,
    get_time,
    normalise,
    type_name,
)
from alchemy.connectors.records import (
    Item,
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    decoded,
    identifier,
    json_items,
    json_line_items,
    make_document,
    read_lines,
    too_large,
    web_address,
)
from alchemy.connectors.wiki_markup import parse_wiki
from alchemy.protocols import Lake
from alchemy.types import Document

_PRIORITIES = (
    ("trivial", "lowest"),
    ("minor", "low"),
    ("major", "medium", "normal"),
    ("critical", "high"),
    ("blocker", "highest", "urgent"),
)
PRIORITY_RANK = {name: float(rank) for rank, names in enumerate(_PRIORITIES, 1) for name in names}
"""Priority name → 1 (least urgent) … 5; a name that is not here has no rank."""
_NUMBERED = re.compile(r"p?([1-5])")

_STORY_POINTS = {"story points", "story point estimate"}


def read_json_lines(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """One issue per line, flat or as REST gives it."""
    items = json_line_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: _issue(unit, settings, value, {}))


def read_json(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """A search or bulk response (`issues`), one issue, or a list of issues."""
    names: Mapping[str, Any] = {}

    def items() -> Iterator[Item]:
        nonlocal names
        for item, envelope in json_items(lake, unit, settings, ("issues",)):
            found = envelope.get("names")
            names = found if isinstance(found, dict) else {}
            yield item

    return build_documents(unit, items(), lambda value: _issue(unit, settings, value, names))


def read_csv(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """Jira's CSV export, or a CSV with the flat form's column names."""
    items = _csv_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: _flat(unit, settings, value))


READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
}


def _issue(unit: RawUnit, settings: Settings, value: Any, names: Mapping[str, Any]) -> Document:
    record = as_object(value)
    if "fields" in record:
        return _rest(unit, settings, record, names)
    return _flat(unit, settings, record)


# --- the flat form --------------------------------------------------------------------------------


def _flat(unit: RawUnit, settings: Settings, record: Mapping[str, Any]) -> Document:
    key = _key(record)
    comments = get_list(record, "comments")
    bodies = [_flat_comment(comment) for comment in comments or ()]
    count = get_number(record, "comment_count")
    return _document(
        unit,
        settings,
        record,
        key=key,
        summary=get_text(record, "summary", "title") or "",
        description=get_text(record, "description"),
        comments=bodies,
        comment_count=count if count is not None or comments is None else float(len(comments)),
        story_points=get_number(record, "story_points"),
        uri=web_address(get_text(record, "url", "uri")),
        created_at=get_time(record, "created_at", "created"),
        updated_at=get_time(record, "updated_at", "updated"),
        extra={
            "status": get_text(record, "status"),
            "priority": _flat_priority(record),
            "issuetype": get_text(record, "issuetype", "issue_type"),
            "labels": get_texts(record, "labels"),
            "components": get_texts(record, "components"),
            "links": _flat_links(record),
        },
    )


def _flat_priority(record: Mapping[str, Any]) -> str | None:
    value = record.get("priority")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return get_text(record, "priority")


def _flat_comment(comment: Any) -> tuple[str | None, str]:
    if isinstance(comment, str):
        return None, comment
    record = as_object(comment, "a comment")
    return get_time(record, "created_at", "created"), _rich(record.get("body"), "a comment's body")


def _flat_links(record: Mapping[str, Any]) -> list[dict[str, str]] | None:
    links = get_list(record, "links")
    if links is None:
        return None
    found: list[dict[str, str]] = []
    for link in links:
        if isinstance(link, str):
            found.append({"type": "relates to", "key": clean_line(link)})
        else:
            entry = as_object(link, "a link")
            kind, key = get_text(entry, "type"), get_text(entry, "key")
            if not key:
                raise BadRecord("a link has no key")
            found.append({"type": clean_line(kind or "relates to"), "key": clean_line(key)})
    return found


# --- the REST form --------------------------------------------------------------------------------


def _rest(
    unit: RawUnit, settings: Settings, record: Mapping[str, Any], names: Mapping[str, Any]
) -> Document:
    key, fields = _key(record), get_object(record, "fields")
    own_names = record.get("names")
    named = {**names, **own_names} if isinstance(own_names, dict) else names
    comment = get_object(fields, "comment")
    comments = get_list(comment, "comments")
    bodies = [
        (get_time(entry, "created"), _rich(entry.get("body"), "a comment's body"))
        for entry in (as_object(c, "a comment") for c in comments or ())
    ]
    count = get_number(comment, "total")
    return _document(
        unit,
        settings,
        {**fields, **{k: record[k] for k in ("tenant", "acl") if k in record}},
        key=key,
        summary=get_text(fields, "summary") or "",
        description=fields.get("description"),
        comments=bodies,
        comment_count=count if count is not None or comments is None else float(len(comments)),
        story_points=_story_points(fields, named),
        uri=_browse(get_text(record, "self"), key) or web_address(get_text(record, "url")),
        created_at=get_time(fields, "created"),
        updated_at=get_time(fields, "updated"),
        extra={
            "status": get_text(get_object(fields, "status"), "name"),
            "priority": get_text(get_object(fields, "priority"), "name"),
            "issuetype": get_text(get_object(fields, "issuetype"), "name"),
            "labels": get_texts(fields, "labels"),
            "components": _names(fields, "components"),
            "links": _rest_links(fields),
        },
    )


def _story_points(fields: Mapping[str, Any], names: Mapping[str, Any]) -> float | None:
    """The custom field that the response's `names` call story points, else the plain one."""
    for field, name in names.items():
        if isinstance(name, str) and name.lower() in _STORY_POINTS:
            number = get_number(fields, field)
            if number is not None:
                return number
    return get_number(fields, "story_points", "storyPoints")


def _names(fields: Mapping[str, Any], field: str) -> list[str] | None:
    values = get_list(fields, field)
    if values is None:
        return None
    found = (get_text(as_object(value, f"an entry of {field}"), "name") for value in values)
    return [clean_line(name) for name in found if name]


def _rest_links(fields: Mapping[str, Any]) -> list[dict[str, str]] | None:
    links = get_list(fields, "issuelinks")
    if links is None:
        return None
    found: list[dict[str, str]] = []
    for value in links:
        link = as_object(value, "an issue link")
        kind = get_object(link, "type")
        for direction in ("inward", "outward"):
            other = get_text(get_object(link, f"{direction}Issue"), "key")
            if other:
                phrase = get_text(kind, direction, "name") or "relates to"
                found.append({"type": clean_line(phrase), "key": clean_line(other)})
    return found


def _browse(address: str | None, key: str) -> str | None:
    """The page a person opens, from the API address of the issue."""
    match = re.match(r"(https?://.+?)/rest/api/", address or "")
    return f"{match[1]}/browse/{key}" if match else None


# --- CSV ------------------------------------------------------------------------------------------

_COLUMNS = {
    "issue key": "key",
    "issuekey": "key",
    "story points": "story_points",
    "storypoint": "story_points",
    "story point estimate": "story_points",
    "custom field (story points)": "story_points",
    "custom field (story point estimate)": "story_points",
    "issue type": "issuetype",
    "component/s": "components",
    "component": "components",
    "comment": "comments",
    "label": "labels",
}
_REPEATED = {"labels", "components", "comments", "links"}


def _csv_items(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Item]:
    limit = settings.cleaning.max_record_bytes
    # the module's own limit is process-wide and far below what a description may hold
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    held = 0

    def lines() -> Iterator[str]:
        nonlocal held
        for _, raw in read_lines(lake, unit, limit):
            held += limit + 1 if raw is None else len(raw) + 1
            if raw is None or held > limit:
                raise BadRecord(f"{too_large(limit)}; the rest of the file was not read")
            yield decoded(raw) + "\n"

    rows = csv.reader(lines(), strict=True)
    names: list[str] = []
    first = 1
    while True:
        held = 0
        position = f"line {first}"
        try:
            row = next(rows, None)
        except BadRecord as error:
            yield Item(position, problem=str(error))
            return
        except csv.Error as error:
            yield Item(position, problem=f"not valid CSV: {error}; the rest was not read")
            return
        if row is None:
            return
        first = rows.line_num + 1
        if not names:
            names = [_column(name) for name in row]
        elif row and len(row) != len(names):
            problem = f"row has {len(row)} fields, the header has {len(names)}"
            yield Item(position, problem=problem)
        elif any(cell.strip() for cell in row):
            yield Item(position, _csv_record(names, row))


def _column(name: str) -> str:
    lowered = name.strip().lower()
    if "issue link (" in lowered:
        return f"links {name[name.index('(') + 1 :].rstrip(') ')}"
    return _COLUMNS.get(lowered, lowered.replace(" ", "_"))


def _csv_record(names: list[str], row: list[str]) -> dict[str, Any]:
    """Flat record of a row: empty cells are absent, repeated columns are lists."""
    record: dict[str, Any] = {}
    for name, cell in zip(names, row, strict=True):
        field, _, kind = name.partition(" ")
        if not cell.strip():
            continue
        if field == "links" and kind:
            record.setdefault("links", []).append({"type": kind, "key": cell})
        elif field == "comments":
            # "07/Oct/15 8:46 PM;author;text" in Jira's export
            parts = cell.split(";", 2)
            stamped = len(parts) == 3 and re.search(r"\d.*\d", parts[0])
            comment = {"created": parts[0], "body": parts[2]} if stamped else cell
            record.setdefault("comments", []).append(comment)
        elif field in _REPEATED:
            record.setdefault(field, []).append(cell)
        else:
            record.setdefault(field, cell)
    return record


# --- the document ---------------------------------------------------------------------------------


def priority_rank(name: str) -> float | None:
    """1 (least urgent) … 5 of a priority's name; Jira numbers them from 1, the most urgent."""
    lowered = clean_line(name).lower()
    numbered = _NUMBERED.fullmatch(lowered)
    return 6.0 - float(numbered[1]) if numbered else PRIORITY_RANK.get(lowered)


def _key(record: Mapping[str, Any]) -> str:
    key = get_text(record, "key")
    if key is None:
        raise BadRecord("the issue has no key")
    return identifier(key, "key")


def _rich(value: Any, name: str) -> str:
    """Markdown of wiki markup (a string) or ADF (an object)."""
    if value is None:
        return ""
    if isinstance(value, str):
        return to_markdown(parse_wiki(normalise(value)))
    if isinstance(value, dict):
        return to_markdown(parse_adf(value))
    raise BadRecord(f"{name} is {type_name(value)}, not text")


def _document(
    unit: RawUnit,
    settings: Settings,
    record: Mapping[str, Any],
    *,
    key: str,
    summary: str,
    description: Any,
    comments: list[tuple[str | None, str]],
    comment_count: float | None,
    story_points: float | None,
    uri: str | None,
    created_at: str | None,
    updated_at: str | None,
    extra: Mapping[str, Any],
) -> Document:
    body = _rich(description, "description")
    parts = [body] if body else []
    written = [(date, text) for date, text in comments if text.strip()]
    if written:
        parts.append("## Comments")
    for number, (date, text) in enumerate(written, 1):
        parts.append(f"### Comment {number}{f' ({date[:10]})' if date else ''}\n\n{text}")
    priority = extra.get("priority")
    return make_document(
        unit,
        settings,
        record,
        key=key,
        title=summary,
        text="\n\n".join(parts),
        uri=uri or f"{unit.key}#{key}",
        created_at=created_at,
        updated_at=updated_at,
        metrics={
            "story_points": story_points,
            "comment_count": comment_count,
            "priority_rank": priority_rank(priority) if priority else None,
            "description_chars": None if description is None else float(len(body)),
        },
        extra={k: clean_line(v) if isinstance(v, str) else v for k, v in extra.items()},
    )
