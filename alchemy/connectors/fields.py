"""Typed fields of a raw record, and normalised text.

What is absent or null is None; what has the wrong type raises `BadRecord`. Reasons name fields and
types, never values.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any


class BadRecord(Exception):
    """This record cannot become a document; the message is the quarantine's reason."""


def type_name(value: Any) -> str:
    """A value's JSON type, for messages."""
    names: tuple[tuple[Any, str], ...] = (
        (bool, "a boolean"),
        ((int, float), "a number"),
        (str, "a string"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def as_object(value: Any, name: str = "record") -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise BadRecord(f"{name} is {type_name(value)}, not an object")
    return value


def get_text(record: Mapping[str, Any], *names: str) -> str | None:
    """The first of these fields that is there, a string; None when all are absent or null."""
    for name in names:
        value = record.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise BadRecord(f"{name} is {type_name(value)}, not a string")
            return value
    return None


def get_list(record: Mapping[str, Any], name: str) -> list[Any] | None:
    """A list; None when absent or null."""
    value = record.get(name)
    if value is not None and not isinstance(value, list):
        raise BadRecord(f"{name} is {type_name(value)}, not a list")
    return value


def get_texts(record: Mapping[str, Any], name: str) -> list[str] | None:
    """A list of strings; None when absent or null."""
    values = get_list(record, name)
    if values is not None and not all(isinstance(value, str) for value in values):
        raise BadRecord(f"{name} holds something that is not a string")
    return None if values is None else [clean_line(value) for value in values]


def get_object(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested object; empty when absent or null."""
    value = record.get(name)
    return {} if value is None else as_object(value, name)


def get_number(record: Mapping[str, Any], *names: str) -> float | None:
    """The first of these fields that is there, a finite number or its text; None when absent."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadRecord(f"{name} is {type_name(value)}, not a number")
        try:
            number = float(value)
        except (ValueError, OverflowError) as error:
            raise BadRecord(f"{name} is not a number") from error
        if not math.isfinite(number):
            raise BadRecord(f"{name} is not a finite number")
        return number
    return None


_TIME_FORMATS = (
    *("%d/%b/%y %I:%M %p", "%d/%b/%Y %I:%M %p", "%d/%b/%y %H:%M", "%d/%b/%Y %H:%M"),
    *("%d/%b/%y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d"),
)


def get_time(record: Mapping[str, Any], *names: str) -> str | None:
    """ISO 8601 in UTC from ISO text, a Jira CSV date or epoch (milli)seconds; None when absent."""
    for name in names:
        value = record.get(name)
        if value is not None and value != "":
            moment = _moment(value)
            if moment is None:
                raise BadRecord(f"{name} is not a time")
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000 if abs(value) > 1e11 else value, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    if not isinstance(value, str):
        return None
    text = value.strip()
    attempts: list[Callable[[], datetime]] = [lambda: datetime.fromisoformat(text)]
    attempts += [lambda f=form: datetime.strptime(text, f) for form in _TIME_FORMATS]
    for attempt in attempts:
        try:
            moment = attempt()
            # a time without a zone is read as UTC; year 1 or 9999 may not survive the conversion
            zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return zoned.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


# --- text -------------------------------------------------------------------------------------

_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029\u0085\v]")
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
SURROGATES = re.compile("[\ud800-\udfff]")


def normalise(text: str) -> str:
    """NFC, newline ends, ordinary spaces, no control or invisible characters, trimmed.

    Form feeds stay: they divide the pages of a paged document.
    """
    text = _LINE_ENDS.sub("\n", _TERMINAL.sub("", text))
    text = _SPACES.sub(" ", _DROPPED.sub("", text))
    text = unicodedata.normalize("NFC", SURROGATES.sub("\ufffd", text))
    return "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip("\n")


def clean_line(text: str) -> str:
    """Normalised, on one line."""
    return " ".join(normalise(text).split())


_HEADING_LINE = re.compile(r"^#{1,6} ", re.M)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})")
_URL = re.compile(r"\b(?:https?|ftp)://")


def outside_fences(text: str) -> str:
    """The lines of light Markdown that are not fenced code."""
    kept: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            kept.append(line)
    return "\n".join(kept)


def text_metrics(text: str) -> dict[str, float | None]:
    """Size and structure of a page."""
    prose = outside_fences(text)
    return {
        "chars": float(len(text)),
        "headings": float(len(_HEADING_LINE.findall(prose))),
        "links": float(len(_URL.findall(prose))),
    }
