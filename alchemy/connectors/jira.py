"""Jira issues: flat JSON Lines, REST and bulk JSON, CSV exports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from alchemy.config import Settings
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
)
from alchemy.connectors.jira_csv import csv_items
from alchemy.connectors.jira_document import (
    Issue,
    Related,
    issue_document,
    issue_reference,
    priority_rank,
    read_comments,
)
from alchemy.connectors.jira_history import read_history
from alchemy.connectors.records import (
    Item,
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    identifier,
    json_items,
    json_line_items,
    web_address,
)
from alchemy.protocols import Lake
from alchemy.types import Document

__all__ = ["READERS", "priority_rank"]

_STORY_POINTS = {"story points", "story point estimate"}
_NOT_CUSTOM = re.compile(r"story point.*|rank|development|\[chart\].*|sprint|epic link|epic name")
"""Custom fields that are read by themselves or hold nothing a person wrote."""
_PERSON = re.compile(
    r"\b(?:assignee|reporter|review(?:er)?s?|testers?|owners?|approvers?|participants?|developers?"
    r"|watchers?|authors?|users?|contacts?|managers?|leads?|people)\b"
)
_SPRINT_NAME = re.compile(r"\bname=([^,\]]+)")


def read_json_lines(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """One issue per line, flat or as REST gives it."""
    items = json_line_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: read_issue(unit, settings, value, {}))


def read_json(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """A search or bulk response (`issues`), one issue, or a list of issues."""
    names: Mapping[str, Any] = {}

    def items() -> Iterator[Item]:
        nonlocal names
        for item, envelope in json_items(lake, unit, settings, ("issues",)):
            found = envelope.get("names")
            names = found if isinstance(found, dict) else {}
            yield item

    return build_documents(unit, items(), lambda value: read_issue(unit, settings, value, names))


def read_csv(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """Jira's CSV export, or a CSV with the flat form's column names."""
    items = csv_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: read_issue(unit, settings, value, {}))


READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
}


def read_issue(unit: RawUnit, settings: Settings, value: Any, names: Mapping[str, Any]) -> Document:
    """The document of one issue, in REST or flat form.

    Args:
        names: id of a custom field → its name.

    Raises:
        BadRecord: the value is no issue.
    """
    record = as_object(value)
    if "fields" not in record:
        return issue_document(unit, settings, record, _flat(record))
    own_names = record.get("names")
    named = {**names, **own_names} if isinstance(own_names, dict) else names
    rights = {name: record[name] for name in ("tenant", "acl") if name in record}
    issue = _rest(record, get_object(record, "fields"), named)
    return issue_document(unit, settings, {**get_object(record, "fields"), **rights}, issue)


def _key(record: Mapping[str, Any]) -> str:
    key = get_text(record, "key")
    if key is None:
        raise BadRecord("the issue has no key")
    return identifier(key, "key")


# --- the flat form --------------------------------------------------------------------------------


def _flat(record: Mapping[str, Any]) -> Issue:
    entries = get_list(record, "comments")
    comments, restricted = read_comments(entries)
    count = get_number(record, "comment_count")
    status, parent = get_text(record, "status"), record.get("parent")
    due = get_time(record, "due_date", "duedate")
    return Issue(
        key=_key(record),
        summary=get_text(record, "summary", "title") or "",
        description=get_text(record, "description"),
        created_at=get_time(record, "created_at", "created"),
        updated_at=get_time(record, "updated_at", "updated"),
        uri=web_address(get_text(record, "url", "uri")),
        comments=comments,
        restricted=restricted,
        comment_count=count if count is not None or entries is None else float(len(entries)),
        story_points=get_number(record, "story_points"),
        environment=get_text(record, "environment"),
        resolved_at=get_time(record, "resolved_at", "resolutiondate", "resolved"),
        history=read_history(record),
        done=(get_text(record, "status_category") or "").lower() == "done",
        security=get_text(record, "security", "security_level"),
        links=_flat_links(record),
        parent=issue_reference(parent, "part of", "parent") if parent else None,
        subtasks=_references(record, "subtasks"),
        custom=_named_custom(get_object(record, "custom")),
        numbers={
            "votes": get_number(record, "votes"),
            "watches": get_number(record, "watches"),
            "worklogs": get_number(record, "worklog_count"),
        },
        extra={
            "status": status,
            "priority": _flat_priority(record),
            "issuetype": get_text(record, "issuetype", "issue_type"),
            "labels": get_texts(record, "labels"),
            "components": get_texts(record, "components"),
            "resolution": get_text(record, "resolution"),
            "fix_versions": _texts(record, "fix_versions", "fixVersions"),
            "versions": _texts(record, "versions", "affects_versions"),
            "due_date": due and due[:10],
            "epic": get_text(record, "epic", "epic_link"),
            "sprints": _texts(record, "sprints"),
            "attachments": _texts(record, "attachments"),
        },
    )


def _flat_priority(record: Mapping[str, Any]) -> str | None:
    value = record.get("priority")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return get_text(record, "priority")


def _texts(record: Mapping[str, Any], *names: str) -> list[str] | None:
    """A list under the first of these names that is there: strings, or objects with a name."""
    name = next((n for n in names if record.get(n) is not None), names[0])
    values = get_list(record, name)
    if values is None or all(isinstance(value, str) for value in values):
        return get_texts(record, name)
    return _names(record, name, "name", "filename")


def _references(record: Mapping[str, Any], name: str) -> list[Related] | None:
    values = get_list(record, name)
    return values and [issue_reference(value, "has subtask", "a subtask") for value in values]


def _flat_links(record: Mapping[str, Any]) -> list[Related] | None:
    links = get_list(record, "links")
    if links is None:
        return None
    found: list[Related] = []
    for link in links:
        kind = None if isinstance(link, str) else get_text(as_object(link, "a link"), "type")
        found.append(issue_reference(link, clean_line(kind or "relates to"), "a link"))
    return found


def _named_custom(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Custom fields by name, without people and without what is read elsewhere."""
    return {
        name: value
        for name, value in fields.items()
        if not _NOT_CUSTOM.fullmatch(name.lower()) and not _PERSON.search(name.lower())
    }


# --- the REST form --------------------------------------------------------------------------------


def _rest(record: Mapping[str, Any], fields: Mapping[str, Any], names: Mapping[str, Any]) -> Issue:
    key = _key(record)
    status, comment = get_object(fields, "status"), get_object(fields, "comment")
    entries = get_list(comment, "comments")
    comments, restricted = read_comments(entries)
    count = get_number(comment, "total")
    custom = {
        name: fields[field]
        for field, name in names.items()
        if field.startswith("customfield_") and isinstance(name, str) and field in fields
    }
    own = {name.lower(): value for name, value in custom.items()}
    epic, due = own.get("epic link"), get_time(fields, "duedate")
    parent = fields.get("parent")
    return Issue(
        key=key,
        summary=get_text(fields, "summary") or "",
        description=fields.get("description"),
        created_at=get_time(fields, "created"),
        updated_at=get_time(fields, "updated"),
        uri=_browse(get_text(record, "self"), key) or web_address(get_text(record, "url")),
        comments=comments,
        restricted=restricted,
        comment_count=count if count is not None or entries is None else float(len(entries)),
        story_points=_story_points(fields, names),
        environment=fields.get("environment"),
        resolved_at=get_time(fields, "resolutiondate"),
        history=read_history(record),
        done=get_text(get_object(status, "statusCategory"), "key") == "done",
        security=_security(fields),
        links=_rest_links(fields),
        parent=issue_reference(parent, "part of", "parent") if parent else None,
        subtasks=_references(fields, "subtasks"),
        custom=_named_custom(custom),
        numbers={
            "votes": get_number(get_object(fields, "votes"), "votes"),
            "watches": get_number(get_object(fields, "watches"), "watchCount"),
            "worklogs": _worklogs(fields),
        },
        extra={
            "status": get_text(status, "name"),
            "priority": get_text(get_object(fields, "priority"), "name"),
            "issuetype": get_text(get_object(fields, "issuetype"), "name"),
            "labels": get_texts(fields, "labels"),
            "components": _names(fields, "components"),
            "resolution": get_text(get_object(fields, "resolution"), "name"),
            "fix_versions": _names(fields, "fixVersions"),
            "versions": _names(fields, "versions"),
            "due_date": due and due[:10],
            "epic": epic if isinstance(epic, str) else None,
            "sprints": _sprints(own.get("sprint")),
            "attachments": _names(fields, "attachment", "filename"),
        },
    )


def _security(fields: Mapping[str, Any]) -> str | None:
    """The security level's name; one without a name hides the issue all the same."""
    level = fields.get("security")
    if not level:
        return None
    if isinstance(level, str):
        return level
    return get_text(as_object(level, "security"), "name", "id") or "unnamed"


def _story_points(fields: Mapping[str, Any], names: Mapping[str, Any]) -> float | None:
    """The custom field that the response's `names` call story points, else the plain one."""
    for field, name in names.items():
        if isinstance(name, str) and name.lower() in _STORY_POINTS:
            number = get_number(fields, field)
            if number is not None:
                return number
    return get_number(fields, "story_points", "storyPoints")


def _names(fields: Mapping[str, Any], field: str, *names: str) -> list[str] | None:
    values = get_list(fields, field)
    if values is None:
        return None
    names = names or ("name",)
    found = (get_text(as_object(value, f"an entry of {field}"), *names) for value in values)
    return [clean_line(text) for text in found if text]


def _sprints(value: Any) -> list[str] | None:
    """Names of sprints: objects, or Jira Server's printed Java objects."""
    if not isinstance(value, list):
        return None
    found: list[str] = []
    for sprint in value:
        if isinstance(sprint, dict):
            found.append(get_text(sprint, "name") or "")
        elif isinstance(sprint, str):
            match = _SPRINT_NAME.search(sprint)
            found.append(match[1] if match else "" if "[" in sprint else sprint)
    return [clean_line(name) for name in found if name.strip()]


def _worklogs(fields: Mapping[str, Any]) -> float | None:
    worklog = get_object(fields, "worklog")
    entries = get_list(worklog, "worklogs")
    total = get_number(worklog, "total")
    return total if total is not None or entries is None else float(len(entries))


def _rest_links(fields: Mapping[str, Any]) -> list[Related] | None:
    links = get_list(fields, "issuelinks")
    if links is None:
        return None
    found: list[Related] = []
    for value in links:
        link = as_object(value, "an issue link")
        kind = get_object(link, "type")
        for direction in ("inward", "outward"):
            other = get_object(link, f"{direction}Issue")
            if get_text(other, "key"):
                phrase = get_text(kind, direction, "name") or "relates to"
                found.append(issue_reference(other, clean_line(phrase), "a linked issue"))
    return found


def _browse(address: str | None, key: str) -> str | None:
    """The page a person opens, from the API address of the issue."""
    match = re.match(r"(https?://.+?)/rest/api/", address or "")
    return f"{match[1]}/browse/{key}" if match else None
