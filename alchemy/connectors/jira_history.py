"""What happened to an issue: its changelog as numbers and as text.

People's names are never read: who changed something is not part of what is known about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alchemy.connectors.fields import (
    BadRecord,
    as_object,
    clean_line,
    get_list,
    get_number,
    get_text,
    get_time,
    type_name,
)

DONE = frozenset(
    {
        *("done", "resolved", "closed", "complete", "completed", "finished", "released", "fixed"),
        *("won't do", "won't fix", "cancelled", "canceled", "rejected", "declined", "duplicate"),
        *("完成", "已完成", "已解决", "已关闭", "关闭"),
    }
)
"""Names of statuses in which no work is left; the issue's own category adds its current one."""
_TOLD = {
    **{"status": "Status", "resolution": "Resolution", "priority": "Priority"},
    **{"fix version": "Fix version", "fixversions": "Fix version", "fix version/s": "Fix version"},
}
_MOST_LINES = 100
_DAY_S = 86400.0


@dataclass(frozen=True)
class Change:
    """One field's change; `at` is ISO 8601 in UTC, a missing value is empty."""

    at: str
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class History:
    """Changes, oldest first; not `complete` when the export holds only a page of them."""

    changes: tuple[Change, ...]
    complete: bool = True

    def of(self, field: str) -> list[Change]:
        """The changes of one field that changed something."""
        return [c for c in self.changes if c.field == field and c.before != c.after]


def read_history(record: Mapping[str, Any]) -> History | None:
    """The changelog of a REST issue (`histories`, or a page of `values`) or a flat list."""
    changelog = record.get("changelog")
    if changelog is None:
        return None
    total = None
    if isinstance(changelog, dict):
        total = get_number(changelog, "total")
        name = next((n for n in ("histories", "values") if changelog.get(n) is not None), "values")
        entries = get_list(changelog, name) or []
    elif isinstance(changelog, list):
        entries = changelog
    else:
        raise BadRecord(f"changelog is {type_name(changelog)}, not an object or a list")
    dated = [_entry(as_object(entry, "a changelog entry")) for entry in entries]
    # Jira Cloud lists the newest first; of one second's entries the lower id came first
    dated.sort(key=lambda entry: entry[:2])
    changes = tuple(change for _, _, found in dated for change in found)
    return History(changes, complete=total is None or total <= len(entries))


def _entry(entry: Mapping[str, Any]) -> tuple[str, int, list[Change]]:
    at = get_time(entry, "created", "created_at", "date")
    if at is None:
        raise BadRecord("a changelog entry has no created")
    own = entry.get("id")
    number = int(own) if isinstance(own, int | str) and str(own).isdecimal() else 0
    items = get_list(entry, "items")
    found = [entry] if items is None else [as_object(i, "a changelog item") for i in items]
    changes = (_change(at, item) for item in found)
    return at, number, [change for change in changes if change is not None]


def _change(at: str, item: Mapping[str, Any]) -> Change | None:
    """A change of a field that is read."""
    field = get_text(item, "field")
    if field is None:
        raise BadRecord("a changelog item has no field")
    field = clean_line(field).lower()
    if field not in _TOLD and field != "assignee":
        return None
    before, after = (
        clean_line(get_text(item, f"{side}String", side) or "") for side in ("from", "to")
    )
    return Change(at, field, before, after)


def history_metrics(
    history: History, created_at: str | None, status: str | None, done: bool
) -> dict[str, float | None]:
    """How often an issue was reopened and handed over, and its days in each status it has left.

    Empty for an incomplete history: a part of it would give wrong numbers.

    Args:
        history: the issue's changes.
        created_at: where its first status began.
        status: its status now.
        done: whether Jira counts that status as done.
    """
    if not history.complete:
        return {}
    closed = DONE | ({status.lower()} if status and done else set[str]())
    moves = history.of("status")
    metrics: dict[str, float | None] = {
        "reopened": float(sum(_left(move, closed) for move in moves)),
        "assignee_changes": float(len(history.of("assignee"))),
    }
    since = created_at
    for move in moves:
        if since is not None and move.before and move.at >= since:
            name = f"days_in_{slug(move.before)}"
            metrics[name] = round((metrics.get(name) or 0.0) + days_between(since, move.at), 4)
        since = move.at
    return metrics


def done_at(history: History, status: str | None, done: bool) -> str | None:
    """When the issue last became done, if it still is."""
    closed = DONE | ({status.lower()} if status and done else set[str]())
    moves = history.of("status")
    if not moves or moves[-1].after.lower() not in closed:
        return None
    reached = moves[-1].at
    for move in reversed(moves):
        if move.after.lower() not in closed:
            break
        reached = move.at
    return reached


def _left(move: Change, closed: frozenset[str]) -> bool:
    return move.before.lower() in closed and move.after.lower() not in closed


def days_between(start: str, end: str) -> float:
    """Days from one ISO time to another."""
    moments = (datetime.fromisoformat(text) for text in (end, start))
    return round((next(moments) - next(moments)).total_seconds() / _DAY_S, 4)


def slug(name: str) -> str:
    """A status name as part of a column's name."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")[:40] or "unnamed"


def history_lines(history: History) -> Sequence[str]:
    """Changes of status, resolution, priority and fix version, one line per moment."""
    told: dict[str, list[str]] = {}
    for change in history.changes:
        label = _TOLD.get(change.field)
        if label is None or change.before == change.after:
            continue
        if label == "Fix version":  # versions come and go one at a time
            said = f"{label} {change.after} added" if change.after else ""
            said = said or f"{label} {change.before} removed"
        else:
            said = f"{label} {change.before or 'none'} → {change.after or 'none'}"
        told.setdefault(change.at, []).append(said)
    lines = [f"- {at[:10]}: {'; '.join(said)}" for at, said in told.items()]
    left_out = len(lines) - _MOST_LINES
    return lines if left_out <= 0 else [f"- {left_out} earlier changes", *lines[left_out:]]
