"""The talk about a pull request: reviews, comments on lines, comments; as text and as numbers.

Names of reviewers are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alchemy.connectors.blocks import fenced
from alchemy.connectors.fields import (
    as_object,
    clean_line,
    get_list,
    get_object,
    get_text,
    get_time,
)

_HUNK_LINES = 8
_HTML_COMMENT = re.compile(r"<!--.*?-->", re.S)
_FENCED = re.compile(r"(^[ \t]*(?P<fence>`{3,}|~{3,}).*?^[ \t]*(?P=fence)[ \t]*$)", re.S | re.M)
_REQUESTED = "changes requested"


@dataclass(frozen=True)
class Said:
    """A review or a comment.

    Attributes:
        state: a review's verdict in words.
        path, hunk: what a comment on a line is about.
        thread: the same for a comment and its answers.
        own: whether the change's author said it.
    """

    at: str
    body: str
    state: str = ""
    path: str = ""
    hunk: str = ""
    thread: str = ""
    own: bool = False


def read_reviews(record: Mapping[str, Any]) -> list[Said] | None:
    """Submitted reviews, oldest first; None when the export has none."""
    entries = records_in(record, "reviews")
    if entries is None:
        return None
    author = _who(record)
    found: list[Said] = []
    for entry in entries:
        state = (get_text(entry, "state") or "commented").lower().replace("_", " ")
        if state != "pending":
            at = get_time(entry, "submitted_at", "submittedAt", "created_at") or ""
            found.append(Said(at, message(entry), state, own=_who(entry) in {author} - {None}))
    return sorted(found, key=lambda said: said.at)


def read_comments(record: Mapping[str, Any]) -> list[Said] | None:
    """Comments on lines by thread, then comments on the whole; None when the export has none."""
    on_lines, general = records_in(record, "review_comments"), records_in(record, "comments")
    if on_lines is None and general is None:
        return None
    found: list[Said] = []
    for entry in [*(on_lines or ()), *(general or ())]:
        root = entry.get("in_reply_to_id") or entry.get("id")
        found.append(
            Said(
                get_time(entry, "created_at", "createdAt") or "",
                message(entry),
                path=clean_line(get_text(entry, "path") or ""),
                hunk=get_text(entry, "diff_hunk", "diffHunk") or "",
                thread=f"{root}" if isinstance(root, int | str) else "",
            )
        )
    began: dict[tuple[str, str], str] = {}
    for said in sorted(found, key=lambda said: said.at):
        began.setdefault((said.path, said.thread), said.at)
    return sorted(
        found,
        key=lambda s: (
            (not s.path, began[s.path, s.thread], s.thread, s.at) if s.path else (True, s.at)
        ),
    )


def reviews_section(reviews: Sequence[Said]) -> str:
    """Verdicts and what was written with them; silent remarks are left out."""
    told = [said for said in reviews if said.body or said.state != "commented"]
    parts = [
        f"### Review {number}{_date(said)}: {said.state}"
        + (f"\n\n{said.body}" if said.body else "")
        for number, said in enumerate(told, 1)
    ]
    return "\n\n".join(["## Reviews", *parts]) if parts else ""


def discussion_section(comments: Sequence[Said]) -> str:
    """Comments under what they are about."""
    parts: list[str] = []
    before = None
    for said in comments:
        if not said.body:
            continue
        here = (said.path, said.thread)
        if said.path and here != before:
            parts.append(f"### On {said.path}{_date(said)}")
            if said.hunk.strip():
                lines = said.hunk.rstrip("\n").split("\n")
                parts.append(fenced("\n".join(lines[-_HUNK_LINES:]), "diff"))
        elif not said.path:
            parts.append(f"### Comment{_date(said)}")
        parts.append(said.body)
        before = here
    return "\n\n".join(["## Discussion", *parts]) if parts else ""


def review_metrics(
    record: Mapping[str, Any], reviews: Sequence[Said] | None, commits: Sequence[str]
) -> dict[str, float]:
    """Rounds of review and hours; only what the export tells.

    A round ends when changes are requested; the next one begins with the first review after new
    commits, or with the next review where the commits are not known.
    """
    created, merged = get_time(record, "created_at"), get_time(record, "merged_at")
    metrics: dict[str, float] = {}
    if created and merged:
        metrics["hours_to_merge"] = _hours(created, merged)
    if reviews is None:
        return metrics
    rounds, asked = min(len(reviews), 1), ""
    for said in reviews:
        if asked and (not commits or any(asked < at <= said.at for at in commits)):
            rounds, asked = rounds + 1, ""
        if said.state == _REQUESTED:
            asked = said.at
    metrics["review_rounds"] = float(rounds)
    first = next((said.at for said in reviews if said.at and not said.own), None)
    if created and first:
        metrics["hours_to_first_review"] = _hours(created, first)
    return metrics


def records_in(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]] | None:
    """Objects in a list, or in GraphQL's `nodes`; None where REST gives only their number."""
    value = record.get(name)
    if isinstance(value, dict):
        value = get_list(value, "nodes")
    if not isinstance(value, list):
        return None
    return [as_object(entry, f"an entry of {name}") for entry in value]


def message(entry: Mapping[str, Any]) -> str:
    """A body without the hints that templates hide in HTML comments."""
    return without_hints(get_text(entry, "body") or "").strip()


def without_hints(body: str) -> str:
    """Markdown without HTML comments, except in code."""
    if "<!--" not in body:
        return body
    kept: list[str] = []
    end = 0
    for match in _FENCED.finditer(body):
        kept += [_HTML_COMMENT.sub("", body[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*kept, _HTML_COMMENT.sub("", body[end:])])


def _who(entry: Mapping[str, Any]) -> str | None:
    """Whom two entries have in common; compared, never shown."""
    for name in ("user", "author"):
        if isinstance(entry.get(name), dict):
            return get_text(get_object(entry, name), "login")
    return None


def _date(said: Said) -> str:
    return f" ({said.at[:10]})" if said.at else ""


def _hours(start: str, end: str) -> float:
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return round(seconds / 3600, 4)
