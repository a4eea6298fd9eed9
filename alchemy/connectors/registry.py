"""Every raw object → units of work → documents and quarantined records.

Sources are the folders under `raw/`; readers are found by source and file suffix. What has no
reader is quarantined, so that every object is accounted for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from alchemy.config import Settings
from alchemy.connectors import (
    archive,
    archive_members,
    confluence,
    database,
    documents,
    git_pr,
    jira,
)
from alchemy.connectors.feedback import PREFIX, read_feedback
from alchemy.connectors.records import JSON_LINES, Outcome, RawUnit, Reader, suffix_of
from alchemy.protocols import Lake, LakeObject, RawObject
from alchemy.types import Quarantined, digest_of, text_digest

__all__ = [
    "READERS",
    "RawUnit",
    "object_units",
    "plan_units",
    "raw_digest",
    "raw_objects",
    "read_unit",
]

_SOURCES: Mapping[str, Mapping[str, Reader]] = {
    "jira": jira.READERS,
    "git_pr": git_pr.READERS,
    "confluence": confluence.READERS,
    "documents": documents.READERS,
    "database": database.READERS,
}


def _read_archive(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    return archive.read_archive(lake, unit, settings, _SOURCES, read_unit)


READERS: Mapping[str, Mapping[str, Reader]] = {
    **_SOURCES,
    "archive": dict.fromkeys(archive_members.FORMS, _read_archive),
}
"""Source → file suffix → reader."""

_RAW = "raw/"


def plan_units(lake: Lake, settings: Settings, max_bytes: int = 4 << 20) -> list[RawUnit]:
    """Units covering every object under `raw/`, in key order.

    JSON Lines objects larger than `max_bytes` are cut at line ends, databases into their tables,
    large archives into ranges of members. The sum of all units' records does not depend on `max_bytes`.
    """
    return [
        unit for item in lake.list(_RAW) for unit in object_units(lake, item, settings, max_bytes)
    ]


def read_unit(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Outcome]:
    """The unit's documents, normalised but not redacted, and what was quarantined.

    Ids are unique within the unit only: two objects may hold versions of the same record.

    Raises:
        AlchemyError: the lake cannot give the object.
    """
    readers = READERS.get(unit.source)
    suffix = suffix_of(unit.key, readers or ())
    if readers is None:
        reason = f"no connector for source {unit.source!r}"
    elif suffix not in readers:
        reason = f"no reader for {suffix}" if suffix else "no reader for a file without suffix"
    else:
        yield from readers[suffix](lake, unit, settings)
        return
    yield Quarantined(unit.source, unit.key, "file", reason)


def raw_objects(lake: Lake) -> Iterator[RawObject]:
    """Every object under `raw/` with its sha256, in key order; reads them all."""
    for item in lake.list(_RAW):
        digest = hashlib.sha256()
        for piece in lake.stream(item.key):
            digest.update(piece)
        yield RawObject(item.key, item.size, digest.hexdigest())


def raw_digest(lake: Lake) -> str:
    """Digest of everything raw and of all approved feedback: names a run.

    Feedback that nobody approved teaches nothing, so it starts no run.
    """
    digests = {item.key: item.sha256 for item in raw_objects(lake)}
    for rating in read_feedback(lake):
        if rating.status == "approved":
            digests[f"{PREFIX}{rating.id}"] = text_digest(rating.to_json())
    return digest_of(digests)


def object_units(
    lake: Lake, item: LakeObject, settings: Settings, max_bytes: int
) -> Iterator[RawUnit]:
    """Units covering one raw object; a function of its key and content."""
    source, slash, _ = item.key.removeprefix(_RAW).partition("/")
    source = source if slash else "unknown"
    suffix = suffix_of(item.key, READERS.get(source, ()))
    if suffix in JSON_LINES and suffix in READERS.get(source, {}) and item.size > max_bytes:
        yield from _line_units(lake, source, item.key, max_bytes)
    elif source == "database" and suffix in database.SUFFIXES:
        for table in database.table_names(lake, item.key) or [""]:
            yield RawUnit(source, item.key, part=table)
    elif source == "archive" and suffix in READERS[source]:
        yield from archive.plan(lake, item, settings, max_bytes)
    else:
        yield RawUnit(source, item.key)


def _line_units(lake: Lake, source: str, key: str, max_bytes: int) -> Iterator[RawUnit]:
    """Ranges of whole lines, each ended by the first line end at or after `max_bytes`."""
    start, first, at, line = 0, 1, 0, 1
    for piece in lake.stream(key):
        place = 0
        while (end := piece.find(b"\n", place)) >= 0:
            place, line = end + 1, line + 1
            if at + place - start >= max_bytes:
                yield RawUnit(source, key, start, at + place, line=first)
                start, first = at + place, line
        at += len(piece)
    if at > start:
        yield RawUnit(source, key, start, at, line=first)
