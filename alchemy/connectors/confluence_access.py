"""Who may read a page: Confluence's restrictions as groups.

A restriction that cannot be read is an error: the page must not become public by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alchemy.connectors.fields import (
    BadRecord,
    as_object,
    clean_line,
    get_list,
    get_number,
    get_object,
    get_text,
)


def readers(record: Mapping[str, Any]) -> list[str] | None:
    """Groups that may read the page, people as `confluence-user:<key>`; None when it is open.

    A page is restricted by its own restrictions and by those of its ancestors: only groups that
    all of them name remain.
    """
    found = _restricted(record)
    for ancestor in get_list(record, "ancestors") or ():
        if isinstance(ancestor, str):  # a title alone
            continue
        above = _restricted(as_object(ancestor, "an ancestor"))
        if above is not None:
            found = above if found is None else [group for group in found if group in above]
    if found is not None and not found:
        raise BadRecord("the page and its ancestors are restricted to no common group or user")
    return found


def _restricted(record: Mapping[str, Any]) -> list[str] | None:
    """Groups and users a page's own read restriction names; None without one."""
    restrictions = get_object(record, "restrictions")
    read = get_object(restrictions, "read")
    inside = get_object(read, "restrictions") if "restrictions" in read else read
    groups = [_group(entry) for entry in _results(inside, "group")]
    users = [_user(entry) for entry in _results(inside, "user")]
    found = sorted({*groups, *users})
    sizes = [get_number(get_object(inside, kind), "size") or 0 for kind in ("group", "user")]
    if not found and any(sizes):
        raise BadRecord("restrictions name nobody although the page is restricted")
    return found or None


def _results(restrictions: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    entries = get_list(get_object(restrictions, kind), "results") or []
    return [as_object(entry, f"a restriction's {kind}") for entry in entries]


def _group(entry: Mapping[str, Any]) -> str:
    name = clean_line(get_text(entry, "name") or "")
    if not name:
        raise BadRecord("a restriction's group has no name")
    return name


def _user(entry: Mapping[str, Any]) -> str:
    key = clean_line(get_text(entry, "userKey", "accountId", "username", "key") or "")
    if not key:
        raise BadRecord("a restriction's user has no key")
    return f"confluence-user:{key}"
