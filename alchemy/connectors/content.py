"""What a parser makes of one file, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

PAGE_BREAK = "\f"
"""Between two pages of a paged document's text; chunks count it to know their page."""


@dataclass(frozen=True)
class Content:
    """A file's text with what the file says about itself.

    Attributes:
        title: empty when the file has none, None when its format has no titles.
        created_at, updated_at: ISO 8601 in UTC.
        extra: goes into the document's `extra`.
    """

    title: str | None
    text: str
    created_at: str | None = None
    updated_at: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def utc(moment: datetime) -> str:
    """The moment in UTC; one without a zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
