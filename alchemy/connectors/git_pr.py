"""Pull requests and commits: flat JSON Lines, the GitHub REST form, git bundles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.changes import FileChange, changes_section
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
from alchemy.connectors.git_repository import read_bundle
from alchemy.connectors.jira_keys import jira_keys
from alchemy.connectors.records import (
    Outcome,
    RawUnit,
    Reader,
    build_documents,
    identifier,
    json_items,
    json_line_items,
    make_document,
    web_address,
)
from alchemy.connectors.reviews import (
    discussion_section,
    read_comments,
    read_reviews,
    records_in,
    review_metrics,
    reviews_section,
    without_hints,
)
from alchemy.protocols import Lake
from alchemy.types import Document

_CONTAINERS = ("pull_requests", "commits", "items")
_ISSUE = re.compile(
    r"\b(?:fix(?:e[sd])?|close[sd]?|resolve[sd]?):?\s+"
    r"(?:https?://github\.com/([\w.-]+/[\w.-]+)/issues/|([\w.-]+/[\w.-]+)?#)(\d{1,9})\b",
    re.I,
)


def read_json_lines(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """One pull request or commit per line."""
    items = json_line_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: _change(unit, settings, value))


def read_json(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """A list of pull requests or commits, or one."""
    # a pull request has commits of its own
    own = ("number", "sha", "title")
    items = (item for item, _ in json_items(lake, unit, settings, _CONTAINERS, own))
    return build_documents(unit, items, lambda value: _change(unit, settings, value))


READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".bundle": read_bundle,
}


def _change(unit: RawUnit, settings: Settings, value: Any) -> Document:
    record = as_object(value)
    commit = get_object(record, "commit")
    if "message" in commit:  # GitHub's commit: the message's first line is its title
        subject, _, rest = (get_text(commit, "message") or "").partition("\n")
        author = get_object(commit, "author")
        record = {"title": subject, "description": rest, "created_at": author.get("date"), **record}
    elif "message" in record and "title" not in record:
        subject, _, rest = (get_text(record, "message") or "").partition("\n")
        record = {"title": subject, "description": rest, **record}
    title = get_text(record, "title", "subject") or ""
    told = get_text(record, "description", "body")
    body = without_hints(told or "")
    files = _file_changes(record)
    reviews, comments = read_reviews(record), read_comments(record)
    commits = records_in(record, "commits")
    messages = [get_text(get_object(c, "commit"), "message") or "" for c in commits or ()]
    parts = [
        body,
        changes_section(files, len(files), get_text(record, "diff_summary") or ""),
        reviews_section(reviews or ()),
        discussion_section(comments or ()),
    ]
    named = get_texts(record, "jira_keys")
    base, head = get_object(record, "base"), get_object(record, "head")
    branch = get_text(head, "ref") or get_text(record, "head_branch")
    key = _key(record)
    empty = not title.strip() and ("title" in record or "subject" in record)
    untitled = "sha" in record and empty
    merged = bool(record.get("merged_at") or record.get("merged") is True)
    parents = [(get_text(p, "sha") or "")[:12] for p in records_in(record, "parents") or ()]
    return make_document(
        unit,
        settings,
        record,
        key=key,
        # a commit without a message is a change all the same, and counts as one
        title=f"Commit {key}" if untitled else title,
        text="\n\n".join(part.strip("\r\n") for part in parts if part.strip()),
        uri=web_address(get_text(record, "html_url"), get_text(record, "url"))
        or f"{unit.key}#{key}",
        created_at=get_time(record, "created_at", "date"),
        updated_at=get_time(record, "updated_at", "merged_at", "closed_at"),
        metrics=_metrics(record, files)
        | {"description_chars": None if told is None else float(len(body.strip()))}
        | review_metrics(record, reviews, _dates(commits)),
        extra={
            "jira_keys": jira_keys(title, body, *messages, branch=branch or "")
            if named is None
            else named,
            "issues": _issues(title, body, *messages),
            "state": "merged" if merged else get_text(record, "state"),
            "untitled": True if untitled else None,
            "draft": True if record.get("draft") is True else None,
            "labels": _labels(record),
            "milestone": _milestone(record),
            "base": get_text(base, "ref") or get_text(record, "base_branch"),
            "head": branch,
            "parents": parents,
            "merge": True if len(parents) > 1 else None,
        },
    )


def _metrics(record: Mapping[str, Any], files: list[FileChange]) -> dict[str, float | None]:
    stats = get_object(record, "stats")
    metrics: dict[str, float | None] = {}
    for name in ("additions", "deletions"):
        told = get_number({**stats, **record}, name)
        listed = [getattr(change, name) for change in files]
        if told is None and listed and None not in listed:
            told = float(sum(listed))
        metrics[name] = told
    metrics["files"] = _files(record)
    for name, lists in (("commits", ("commits",)), ("comments", ("comments", "review_comments"))):
        found = [number for number in (_count(record, one) for one in lists) if number is not None]
        if found:
            metrics[name] = sum(found)
    return metrics


def _count(record: Mapping[str, Any], name: str) -> float | None:
    """How many there are: REST gives a number, an export with the entries their list."""
    entries = records_in(record, name)
    value = record.get(name)
    if entries is None and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if entries is None else float(len(entries))


def _file_changes(record: Mapping[str, Any]) -> list[FileChange]:
    """Changed files of a list: GitHub's objects, or paths."""
    found: list[FileChange] = []
    values = record.get("files")
    for value in values if isinstance(values, list) else ():
        if isinstance(value, str):
            found.append(FileChange(value))
            continue
        entry = as_object(value, "an entry of files")
        numbers = (get_number(entry, name) for name in ("additions", "deletions"))
        added, deleted = (None if number is None else int(number) for number in numbers)
        path = get_text(entry, "filename", "path")
        if path is None:
            raise BadRecord("an entry of files has no filename")
        found.append(
            FileChange(
                path,
                (get_text(entry, "status") or "").lower(),
                added,
                deleted,
                get_text(entry, "previous_filename") or "",
                get_text(entry, "patch") or "",
            )
        )
    return found


def _dates(commits: list[Mapping[str, Any]] | None) -> list[str]:
    found: list[str] = []
    for entry in commits or ():
        commit = get_object(entry, "commit")
        at = get_time(get_object(commit, "committer"), "date")
        at = at or get_time(get_object(commit, "author"), "date")
        found += [at] if at else []
    return found


def _issues(*texts: str) -> list[str]:
    """Issues that the change says it closes: `#12`, `org/app#12`."""
    found = [
        f"{address or other}#{number}"
        for text in texts
        for address, other, number in _ISSUE.findall(text)
    ]
    return list(dict.fromkeys(found))


def _milestone(record: Mapping[str, Any]) -> str | None:
    value = record.get("milestone")
    if isinstance(value, dict):
        return get_text(value, "title")
    return get_text(record, "milestone")


def _key(record: Mapping[str, Any]) -> str:
    """`<repo>#<number>` of a pull request, else the commit's abbreviated hash."""
    number = get_number(record, "number")
    if number is not None:
        if number != int(number) or number < 0:
            raise BadRecord("number is not a whole number")
        base = get_object(get_object(record, "base"), "repo")
        repository = get_text(base, "full_name") or _repository(record)
        return f"{identifier(repository, 'repository') if repository else ''}#{int(number)}"
    sha = get_text(record, "sha")
    if sha is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{7,64}", sha.strip()):
            raise BadRecord("sha is not a commit hash")
        return sha.strip().lower()[:12]
    own = get_text(record, "id")
    if own is None:
        raise BadRecord("the record has no sha, number or id")
    return identifier(own, "id")


def _repository(record: Mapping[str, Any]) -> str | None:
    for name in ("repo", "repository"):
        value = record.get(name)
        if isinstance(value, dict):
            return get_text(value, "full_name")
        if value is not None:
            return get_text(record, name)
    return None


def _files(record: Mapping[str, Any]) -> float | None:
    """How many files changed: a number, or the length of the list of files."""
    if isinstance(record.get("files"), list):
        return float(len(record["files"]))
    return get_number(record, "changed_files", "files_changed", "files")


def _labels(record: Mapping[str, Any]) -> list[str] | None:
    labels = get_list(record, "labels")
    if labels is None:
        return None
    names = [x if isinstance(x, str) else get_text(as_object(x, "a label"), "name") for x in labels]
    return [clean_line(name) for name in names if name]
