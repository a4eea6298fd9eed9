"""Rows of a Jira CSV export → flat records."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from alchemy.config import Settings
from alchemy.connectors.fields import BadRecord
from alchemy.connectors.records import Item, RawUnit, decoded, read_lines, too_large
from alchemy.protocols import Lake

_COLUMNS = {
    **{"issue key": "key", "issuekey": "key", "component/s": "components", "label": "labels"},
    **{"story points": "story_points", "storypoint": "story_points"},
    "story point estimate": "story_points",
    **{"issue type": "issuetype", "component": "components", "comment": "comments"},
    **{"fix version/s": "fix_versions", "fix versions": "fix_versions"},
    **{"affects version/s": "versions", "affects versions": "versions"},
    **{"attachment": "attachments", "sprint": "sprints", "log work": "worklogs"},
    **{"sub-tasks": "subtasks", "sub-task": "subtasks", "parent key": "parent"},
    # Jira's `Parent` and `Parent id` are numbers of its database, names of people are not read
    **{"parent": "", "watchers": "watchers"},
}
_CUSTOM = {
    **{"story points": "story_points", "story point estimate": "story_points"},
    **{"epic link": "epic", "sprint": "sprints"},
}
_REPEATED = {"labels", "components", "fix_versions", "versions", "sprints", "subtasks"}
_LINK = re.compile(r"(inward|outward) issue link \((.*)\)\s*", re.I)
_CUSTOM_COLUMN = re.compile(r"custom field \((.*)\)\s*", re.I)


def csv_items(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Item]:
    """A flat record per row, or the problem that row has."""
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

    given = lines()
    try:
        header = next(given, "")
    except BadRecord as error:
        yield Item("line 1", problem=str(error))
        return
    rows = csv.reader(itertools.chain([header], given), delimiter=_delimiter(header), strict=True)
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
            names = [name.strip() for name in row]
        elif row and len(row) != len(names):
            problem = f"row has {len(row)} fields, the header has {len(names)}"
            yield Item(position, problem=problem)
        elif any(cell.strip() for cell in row):
            yield Item(position, _record(names, row))


def _delimiter(header: str) -> str:
    """What stands most often between names: Jira lets people choose it."""
    unquoted = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=unquoted.count)


def _record(names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Flat record of a row: empty cells are absent, repeated columns are lists."""
    record: dict[str, Any] = {}
    custom: dict[str, list[str]] = {}
    for name, cell in zip(names, row, strict=True):
        if not cell.strip():
            continue
        if link := _LINK.fullmatch(name):
            # the export names the kind of link only; from the other end it reads backwards
            kind = link[2] if link[1].lower() == "outward" else f"{link[2]} (inward)"
            record.setdefault("links", []).append({"type": kind, "key": cell})
            continue
        own = _CUSTOM_COLUMN.fullmatch(name)
        field = _CUSTOM.get(own[1].lower(), "") if own else _field(name)
        if own and not field:
            custom.setdefault(own[1], []).append(cell)
        elif field == "comments":
            record.setdefault("comments", []).append(_comment(cell))
        elif field == "attachments":
            # "07/Oct/15 8:46 PM;author;trace.log;https://…" in Jira's export
            parts = cell.split(";")
            record.setdefault(field, []).append(parts[2] if len(parts) > 3 else cell)
        elif field == "worklogs":
            record["worklog_count"] = record.get("worklog_count", 0) + 1
        elif field == "watchers":
            record["watches"] = record.get("watches", 0) + 1
        elif field in _REPEATED:
            record.setdefault(field, []).append(cell)
        elif field:
            record.setdefault(field, cell)
    if "parent" in record and "parent_summary" in record:
        record["parent"] = {"key": record["parent"], "summary": record["parent_summary"]}
    if custom:
        record["custom"] = {k: v[0] if len(v) == 1 else v for k, v in custom.items()}
    return record


def _field(name: str) -> str:
    lowered = name.lower()
    return _COLUMNS.get(lowered, lowered.replace(" ", "_"))


def _comment(cell: str) -> Any:
    # "07/Oct/15 8:46 PM;author;text" in Jira's export
    parts = cell.split(";", 2)
    stamped = len(parts) == 3 and re.search(r"\d.*\d", parts[0])
    return {"created": parts[0], "body": parts[2]} if stamped else cell
