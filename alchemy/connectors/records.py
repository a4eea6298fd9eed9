"""What every connector shares: units of raw data, reading them record by record, documents.

A record that cannot be used raises `BadRecord`; the loop turns it into a `Quarantined` line with
its position and goes on. Reasons name fields and types, never values.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from alchemy.config import Settings
from alchemy.connectors.fields import BadRecord, clean_line, get_text, normalise, type_name
from alchemy.protocols import Lake
from alchemy.types import Document, JsonRecord, Quarantined, text_digest

JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class RawUnit(JsonRecord):
    """A piece of raw data that one task reads.

    Attributes:
        key: lake key of the object.
        start, end: byte range of whole lines in a JSON Lines object, of an archive the numbers of
            its members; `end` None is the object's end.
        line: 1-based number of the line at `start`.
        part: table of a database object.
    """

    source: str
    key: str
    start: int = 0
    end: int | None = None
    part: str = ""
    line: int = 1


Outcome: TypeAlias = Document | Quarantined
Reader: TypeAlias = Callable[[Lake, RawUnit, Settings], Iterator[Outcome]]


@dataclass(frozen=True)
class Item:
    """A record found in an object: its parsed value, or the problem that prevented one."""

    position: str
    value: Any = None
    problem: str = ""


def suffix_of(key: str, known: Iterable[str]) -> str:
    """The longest of the known suffixes the key ends with (`.tar.gz`), else its last suffix."""
    name = key.rpartition("/")[2].lower()
    found = [suffix for suffix in known if name.endswith(suffix) and name != suffix]
    return max(found, key=len, default=PurePosixPath(name).suffix)


def build_documents(
    unit: RawUnit, items: Iterable[Item], build: Callable[[Any], Document]
) -> Iterator[Outcome]:
    """One outcome per item; a second record with the same id is quarantined."""
    seen: dict[str, str] = {}
    for item in items:
        try:
            if item.problem:
                raise BadRecord(item.problem)
            document = build(item.value)
            if document.id in seen:
                raise BadRecord(f"same id as {seen[document.id]}")
            seen[document.id] = item.position
        except BadRecord as error:
            yield Quarantined(unit.source, unit.key, item.position, str(error))
        except RecursionError:
            yield Quarantined(unit.source, unit.key, item.position, "nested too deeply")
        else:
            yield document


# --- reading objects ------------------------------------------------------------------------------


def read_lines(lake: Lake, unit: RawUnit, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Number and bytes of each line of the unit, without its end; None for one over `max_bytes`.

    A longer line is dropped as it streams by: memory stays within `max_bytes` and one piece.
    """
    number, held, oversized = unit.line, bytearray(), False
    left = None if unit.end is None else unit.end - unit.start
    for piece in lake.stream(unit.key, start=unit.start):
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        *ends, rest = piece.split(b"\n")
        for end in ends:
            held += end
            oversized = oversized or len(held) > max_bytes
            yield number, None if oversized else bytes(held)
            number, oversized = number + 1, False
            held.clear()
        if not oversized:
            held += rest
            if len(held) > max_bytes:
                oversized = True
                held.clear()
        if left == 0:
            break
    if held or oversized:
        yield number, None if oversized else bytes(held)


def too_large(max_bytes: int) -> str:
    """The reason for a record over the limit."""
    return f"record is larger than cleaning.max_record_bytes ({max_bytes} bytes)"


def read_whole(lake: Lake, key: str, max_bytes: int) -> bytes:
    """The object, unless it is larger than one record may be."""
    held = bytearray()
    for piece in lake.stream(key):
        held += piece
        if len(held) > max_bytes:
            raise BadRecord(too_large(max_bytes))
    return bytes(held)


def decoded(raw: bytes) -> str:
    """UTF-8 text, a byte order mark removed."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecord(f"not valid UTF-8 at byte {error.start}") from error


def parsed(text: str) -> Any:
    """A JSON value; NaN and Infinity are not JSON."""
    try:
        return json.loads(text, parse_constant=_not_json)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        raise BadRecord(f"not valid JSON: {error.msg} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise BadRecord("nested too deeply") from error
    except ValueError as error:  # an integer beyond Python's digit limit
        raise BadRecord("not valid JSON: a number is too long") from error


def _not_json(name: str) -> Any:
    raise BadRecord(f"not valid JSON: {name}")


def json_line_items(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Item]:
    """The lines of a JSON Lines unit; blank lines are not records."""
    limit = settings.cleaning.max_record_bytes
    for number, raw in read_lines(lake, unit, limit):
        position = f"line {number}"
        if raw is None:
            yield Item(position, problem=too_large(limit))
        elif raw.strip():
            yield _attempt(position, lambda raw=raw: parsed(decoded(raw)))


def json_items(
    lake: Lake,
    unit: RawUnit,
    settings: Settings,
    containers: Sequence[str],
    own: Sequence[str] = (),
) -> Iterator[tuple[Item, Mapping[str, Any]]]:
    """The records of a JSON object with the object around them.

    The object is a list of records, one record, or an envelope with the records under one of
    `containers` (`issues`, `results`, …). With one of the fields `own` it is a record.
    """
    whole = _attempt(
        "file",
        lambda: parsed(decoded(read_whole(lake, unit.key, settings.cleaning.max_record_bytes))),
    )
    value = whole.value
    if whole.problem:
        yield whole, {}
    elif isinstance(value, list):
        for number, record in enumerate(value):
            yield Item(f"[{number}]", record), {}
    elif (
        isinstance(value, dict)
        and not any(field in value for field in own)
        and (name := next((c for c in containers if c in value), ""))
    ):
        if not isinstance(value[name], list):
            yield Item(name, problem=f"{name} is {type_name(value[name])}, not a list"), value
            return
        for number, record in enumerate(value[name]):
            yield Item(f"{name}[{number}]", record), value
    else:
        yield Item("file", value), {}


def _attempt(position: str, action: Callable[[], Any]) -> Item:
    try:
        return Item(position, action())
    except BadRecord as error:
        return Item(position, problem=str(error))


# --- documents ------------------------------------------------------------------------------------


def access(record: Mapping[str, Any], settings: Settings) -> tuple[str, tuple[str, ...]]:
    """Tenant and groups of a record: its own, else the configured ones.

    What is there but unusable is an error: a wrong guess would show the record to the wrong people.
    """
    tenant = get_text(record, "tenant")
    if tenant is not None and not tenant.strip():
        raise BadRecord("tenant is empty")
    acl = record.get("acl")
    if isinstance(acl, str):  # tables and CSV have no lists
        acl = [group for group in acl.split(",") if group.strip()]
    if acl is not None and not (
        isinstance(acl, list) and acl and all(isinstance(g, str) and g.strip() for g in acl)
    ):
        raise BadRecord("acl is not a list of group names")
    cleaning = settings.cleaning
    groups = cleaning.acl if acl is None else tuple(sorted({group.strip() for group in acl}))
    return (cleaning.tenant if tenant is None else tenant.strip()), groups


def web_address(*candidates: str | None) -> str | None:
    """The first http(s) URL; other schemes are not followed from an answer."""
    return next((c.strip() for c in candidates if c and re.match(r"\s*https?://\S", c)), None)


def identifier(value: str, name: str) -> str:
    """A key that is part of a document's id."""
    key = value.strip()
    if not key or len(key) > 500 or re.search(r"[\s\x00-\x1f\x7f\ud800-\udfff]", key):
        raise BadRecord(f"{name} is not usable as an id")
    return unicodedata.normalize("NFC", key)


def make_document(
    unit: RawUnit,
    settings: Settings,
    record: Mapping[str, Any],
    *,
    key: str,
    title: str,
    text: str,
    uri: str | None,
    created_at: str | None = None,
    updated_at: str | None = None,
    metrics: Mapping[str, float | None] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Document:
    """The document of a record: normalised, hashed, with its access rights.

    A record without text is found by its title, so the title becomes its text.
    """
    title, text = clean_line(title), normalise(text)
    if not title and not text:
        raise BadRecord("title and text are empty")
    title = title or clean_line(text[:400])[:120]
    text = text or title
    tenant, acl = access(record, settings)
    return Document(
        id=f"{unit.source}:{key}",
        source=unit.source,
        title=title,
        text=text,
        uri=uri or unit.key,
        tenant=tenant,
        acl=acl,
        created_at=created_at,
        updated_at=updated_at,
        metrics=dict(metrics or {}),
        extra={name: value for name, value in (extra or {}).items() if value not in (None, [])},
        content_hash=text_digest(title, text),
    )
