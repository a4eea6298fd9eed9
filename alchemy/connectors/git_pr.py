"""Pull requests and commits: flat JSON Lines and the GitHub REST form."""

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
from alchemy.protocols import Lake
from alchemy.types import Document

_CONTAINERS = ("pull_requests", "commits", "items")
_JIRA_KEY = re.compile(r"(?<![\w-])([A-Z][A-Z0-9]{1,9}-[1-9]\d{0,6})(?![\w-])")
_NOT_JIRA = {"UTF", "SHA", "ISO", "RFC", "CVE", "MD", "HTTP", "JSR", "JDK", "IEEE", "AES", "X"}


def read_json_lines(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """One pull request or commit per line."""
    items = json_line_items(lake, unit, settings)
    return build_documents(unit, items, lambda value: _change(unit, settings, value))


def read_json(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """A list of pull requests or commits, or one."""
    items = (item for item, _ in json_items(lake, unit, settings, _CONTAINERS))
    return build_documents(unit, items, lambda value: _change(unit, settings, value))


READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
}


def jira_keys(*texts: str) -> list[str]:
    """Issue keys named in the texts, each once, in order; names like UTF-8 are none."""
    found = (key for text in texts for key in _JIRA_KEY.findall(text))
    return list(dict.fromkeys(key for key in found if key.split("-")[0] not in _NOT_JIRA))


def _change(unit: RawUnit, settings: Settings, value: Any) -> Document:
    record = as_object(value)
    commit = get_object(record, "commit")
    if "message" in commit:  # GitHub's commit: the message's first line is its title
        subject, _, rest = (get_text(commit, "message") or "").partition("\n")
        author = get_object(commit, "author")
        record = {"title": subject, "description": rest, "created_at": author.get("date"), **record}
    title = get_text(record, "title", "subject") or ""
    body = get_text(record, "description", "body") or ""
    summary = get_text(record, "diff_summary")
    parts = [body, f"## Changes\n\n{summary}" if summary and summary.strip() else ""]
    named = get_texts(record, "jira_keys")
    key = _key(record)
    stats = get_object(record, "stats")
    return make_document(
        unit,
        settings,
        record,
        key=key,
        title=title,
        text="\n\n".join(part.strip("\r\n") for part in parts if part.strip()),
        uri=web_address(get_text(record, "html_url"), get_text(record, "url"))
        or f"{unit.key}#{key}",
        created_at=get_time(record, "created_at", "date"),
        updated_at=get_time(record, "updated_at", "merged_at", "closed_at"),
        metrics={
            "additions": get_number({**stats, **record}, "additions"),
            "deletions": get_number({**stats, **record}, "deletions"),
            "files": _files(record),
        },
        extra={
            "jira_keys": jira_keys(title, body) if named is None else named,
            "state": get_text(record, "state"),
            "labels": _labels(record),
        },
    )


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
