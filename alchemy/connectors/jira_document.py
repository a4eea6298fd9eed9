"""An issue, whatever form it came in, and the document made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.adf import parse_adf
from alchemy.connectors.blocks import to_markdown
from alchemy.connectors.fields import (
    BadRecord,
    as_object,
    clean_line,
    get_object,
    get_text,
    get_time,
    normalise,
    type_name,
)
from alchemy.connectors.jira_history import (
    DONE,
    History,
    days_between,
    done_at,
    history_lines,
    history_metrics,
)
from alchemy.connectors.records import RawUnit, make_document
from alchemy.connectors.wiki_markup import parse_wiki
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
_SHORT = 200
"""A custom field with more characters, or with lines, is a section of its own."""
_DETAILS = (
    ("Resolution", "resolution"),
    ("Fix versions", "fix_versions"),
    ("Affects versions", "versions"),
    ("Due", "due_date"),
    ("Epic", "epic"),
    ("Sprints", "sprints"),
    ("Attachments", "attachments"),
)


@dataclass(frozen=True)
class Comment:
    """A comment as it was written; `at` is when."""

    body: Any
    at: str | None = None


@dataclass(frozen=True)
class Related:
    """Another issue; `relation` reads from this issue to it."""

    relation: str
    key: str
    summary: str | None = None

    def to_dict(self) -> dict[str, str]:
        """As an entry of the document's `links`."""
        entry = {"type": self.relation, "key": self.key}
        return {**entry, "summary": self.summary} if self.summary else entry


@dataclass(frozen=True)
class Issue:
    """What every form of an issue is read into.

    Attributes:
        description, environment: wiki markup (a string) or ADF (an object).
        comments: those everyone who sees the issue may read; None when the export has none.
        restricted: how many comments only a role or a group may read.
        done: whether Jira counts the status as done.
        security: name of the security level that hides the issue from others.
        custom: the site's own fields by name: text, lists of text, or rich text.
        numbers: votes, watches, worklogs.
    """

    key: str
    summary: str
    description: Any
    created_at: str | None
    updated_at: str | None
    uri: str | None
    comments: Sequence[Comment] | None = None
    restricted: int = 0
    comment_count: float | None = None
    story_points: float | None = None
    environment: Any = None
    resolved_at: str | None = None
    history: History | None = None
    done: bool = False
    security: str | None = None
    links: Sequence[Related] | None = None
    parent: Related | None = None
    subtasks: Sequence[Related] | None = None
    custom: Mapping[str, Any] = field(default_factory=dict[str, Any])
    numbers: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_comments(entries: Sequence[Any] | None) -> tuple[list[Comment] | None, int]:
    """Comments that are open to all, and how many are not: those stay out of every text."""
    if entries is None:
        return None, 0
    found: list[Comment] = []
    restricted = 0
    for entry in entries:
        if isinstance(entry, str):
            found.append(Comment(entry))
            continue
        comment = as_object(entry, "a comment")
        if comment.get("visibility"):  # of any type: what is not understood is not shown
            restricted += 1
        else:
            found.append(Comment(comment.get("body"), get_time(comment, "created_at", "created")))
    return found, restricted


def priority_rank(name: str) -> float | None:
    """1 (least urgent) … 5 of a priority's name; Jira numbers them from 1, the most urgent."""
    lowered = clean_line(name).lower()
    numbered = _NUMBERED.fullmatch(lowered)
    return 6.0 - float(numbered[1]) if numbered else PRIORITY_RANK.get(lowered)


def rich(value: Any, name: str) -> str:
    """Markdown of wiki markup (a string) or ADF (an object)."""
    if value is None:
        return ""
    if isinstance(value, str):
        return to_markdown(parse_wiki(normalise(value)))
    if isinstance(value, dict):
        return to_markdown(parse_adf(value))
    raise BadRecord(f"{name} is {type_name(value)}, not text")


def issue_document(
    unit: RawUnit, settings: Settings, record: Mapping[str, Any], issue: Issue
) -> Document:
    """The document of an issue; `record` says who may read it."""
    description = rich(issue.description, "description")
    short, sections = _custom(issue.custom)
    status = issue.extra.get("status")
    closed = bool(status) and (issue.done or str(status).lower() in DONE)
    extra = {
        **issue.extra,
        "state": ("closed" if closed else "open") if status else None,
        "links": None if issue.links is None else [link.to_dict() for link in issue.links],
        "parent": issue.parent and issue.parent.key,
        "subtasks": None if issue.subtasks is None else [task.key for task in issue.subtasks],
        "custom": short or None,
    }
    parts = [description]
    environment = rich(issue.environment, "environment")
    parts += [f"## Environment\n\n{environment}"] if environment else []
    parts += [f"## {name}\n\n{text}" for name, text in sections.items()]
    parts += _list("Details", [*_details(extra), *(f"- {k}: {v}" for k, v in short.items())])
    parts += _list("Related issues", _related(issue))
    if issue.history is not None:
        parts += _list("History", history_lines(issue.history))
    parts += _comments(issue.comments or ())
    security = issue.security and clean_line(issue.security)
    if security and record.get("acl") is None:
        # nobody has said which people a level means: a group of its name has no members by accident
        record = {**record, "acl": [f"jira-security:{security}"]}
    return make_document(
        unit,
        settings,
        record,
        key=issue.key,
        title=issue.summary,
        text="\n\n".join(part for part in parts if part),
        uri=issue.uri or f"{unit.key}#{issue.key}",
        created_at=issue.created_at,
        updated_at=issue.updated_at,
        metrics=_metrics(issue, description),
        extra={k: clean_line(v) if isinstance(v, str) else v for k, v in extra.items()},
    )


def _metrics(issue: Issue, description: str) -> dict[str, float | None]:
    priority, status = issue.extra.get("priority"), issue.extra.get("status")
    metrics: dict[str, float | None] = {
        "story_points": issue.story_points,
        "comment_count": issue.comment_count,
        "priority_rank": priority_rank(priority) if priority else None,
        "description_chars": None if issue.description is None else float(len(description)),
        **{name: number for name, number in issue.numbers.items() if number is not None},
    }
    if issue.restricted:
        metrics["restricted_comments"] = float(issue.restricted)
    attachments = issue.extra.get("attachments")
    if attachments is not None:
        metrics["attachments"] = float(len(attachments))
    ended = issue.resolved_at
    if issue.history is not None:
        ended = ended or done_at(issue.history, status, issue.done)
        metrics |= history_metrics(issue.history, issue.created_at, status, issue.done)
    if issue.created_at and ended and ended >= issue.created_at:
        metrics["days_open"] = days_between(issue.created_at, ended)
    return metrics


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return ["\n".join([f"## {title}", "", *lines])] if lines else []


def _details(extra: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for label, name in _DETAILS:
        value = extra.get(name)
        text = ", ".join(value) if isinstance(value, list) else value
        if text:
            lines.append(f"- {label}: {clean_line(text)}")
    return lines


def _related(issue: Issue) -> list[str]:
    """Issues whose summary is known; a bare key says nothing that `extra` does not."""
    others = [issue.parent] if issue.parent else []
    others += [*(issue.subtasks or ()), *(issue.links or ())]
    return [f"- {o.relation} {o.key}: {clean_line(o.summary)}" for o in others if o.summary]


def _comments(comments: Sequence[Comment]) -> list[str]:
    texts = [(c.at, rich(c.body, "a comment's body")) for c in comments]
    written = [(at, text) for at, text in texts if text.strip()]
    parts = ["## Comments"] if written else []
    for number, (at, text) in enumerate(written, 1):
        parts.append(f"### Comment {number}{f' ({at[:10]})' if at else ''}\n\n{text}")
    return parts


def _custom(fields: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Custom fields with a short value, and those that are texts of their own."""
    short: dict[str, str] = {}
    sections: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and value.get("type") == "doc":
            text = rich(value, name)
        elif isinstance(value, str):
            long = "\n" in value.strip() or len(value) > _SHORT
            text = rich(value, name) if long else clean_line(value)
        else:
            text = ", ".join(_values(value))
        if not text:
            continue
        if "\n" in text or len(text) > _SHORT:
            sections[clean_line(name)] = text
        else:
            short[clean_line(name)] = text
    return short, sections


def _values(value: Any) -> list[str]:
    """Words of an option, a version, a number or a list of them; a person has none."""
    if isinstance(value, str):
        return [clean_line(value)] if value.strip() else []
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int | float):
        return [f"{value:.15g}"]
    if isinstance(value, list):
        return [text for entry in value for text in _values(entry)]
    if not isinstance(value, dict) or {"accountId", "emailAddress", "displayName"} & set(value):
        return []
    found = _values(value.get("value")) or _values(value.get("name"))
    child = _values(get_object(value, "child").get("value")) if found else []
    return [" / ".join([*found, *child])] if found else []


def issue_reference(value: Any, relation: str, name: str) -> Related:
    """An issue named by its key, or by an object with `key` and `summary`."""
    if isinstance(value, str):
        return Related(relation, clean_line(value))
    entry = as_object(value, name)
    key = get_text(entry, "key")
    if not key:
        raise BadRecord(f"{name} has no key")
    summary = get_text(get_object(entry, "fields"), "summary") or get_text(entry, "summary")
    return Related(relation, clean_line(key), clean_line(summary) if summary else None)
