"""Backups: the members of an archive, each read by the connector of its source.

A member is spooled to a scratch file and offered through a read-only lake, so readers run
unchanged. It belongs to the source that a folder of its path names, else to the one its suffix and
content point to. Ids are those of the source: a record in a backup and in the live export are
versions of one id.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from alchemy.config import ArchiveSettings, Settings
from alchemy.connectors.archive_members import (
    DAMAGE,
    Member,
    form_of,
    members,
    safe_path,
    shown_name,
)
from alchemy.connectors.compressed import check_ratio
from alchemy.connectors.fields import BadRecord
from alchemy.connectors.records import Outcome, RawUnit, suffix_of
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake, LakeObject
from alchemy.stores.keys import missing
from alchemy.types import Quarantined

PREFIX = "raw/archive/"
_SEPARATOR = "!/"
_DATA = (".json", ".jsonl", ".ndjson", ".csv")
_ENVELOPES = {
    **dict.fromkeys(("issues",), "jira"),
    **dict.fromkeys(("pull_requests", "commits"), "git_pr"),
    **dict.fromkeys(("results", "pages", "items"), ""),
}
_PEEKED_LINES = 20
_TASK_UNITS = 16
"""A task reads as many unpacked bytes as this many units of other sources: opening an archive
costs more than opening a file."""
_PASSES = 16
"""A compressed tar can only be read from its start, so tasks over one repeat each other's
unpacking. With at most this many tasks that costs 8 times one unpacking, far less than cleaning
the content once."""

Read: TypeAlias = Callable[[Lake, RawUnit, Settings], Iterator[Outcome]]
Sources: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Source → suffixes it reads."""


def plan(lake: Lake, item: LakeObject, settings: Settings, max_bytes: int) -> Iterator[RawUnit]:
    """Ranges of members; an archive that is small or cannot be listed is one unit."""
    task_bytes = _TASK_UNITS * max_bytes
    form = form_of(item.key)
    ends: list[int] = []
    if item.size > task_bytes and (form == "zip" or form.startswith("tar")):
        limits = settings.archives
        try:
            listed = members(lake, item.key, limits.max_ratio, limits.max_members)
            sizes = [member.size for _, member in zip(range(limits.max_members), listed)]  # noqa: B905
        except BadRecord:
            sizes = []  # the one unit reports it
        if " " in form:
            task_bytes = max(task_bytes, sum(sizes) // _PASSES)
        held = 0
        for number, size in enumerate(sizes[:-1], 1):
            held += size
            if held >= task_bytes:
                ends.append(number)
                held = 0
    for start, end in zip([0, *ends], [*ends, None], strict=True):
        yield RawUnit("archive", item.key, start, end)


def read_archive(
    lake: Lake, unit: RawUnit, settings: Settings, sources: Sources, read: Read
) -> Iterator[Outcome]:
    """The documents of the unit's members, and each member that could not be read."""
    reading = _Reading(settings, sources, read, settings.archives.max_total_bytes)
    return reading.archive(lake, unit.key, unit.key, unit.start, unit.end, 1)


@dataclass
class _Reading:
    """One unit's work; `left` is what may still be unpacked, nested archives included."""

    settings: Settings
    sources: Sources
    read: Read
    left: int

    @property
    def limits(self) -> ArchiveSettings:
        return self.settings.archives

    def archive(
        self, lake: Lake, key: str, shown: str, first: int, end: int | None, depth: int
    ) -> Iterator[Outcome]:
        """Members `first` to `end` of the archive at `key`, which people know as `shown`."""
        seen: set[str] = set()
        number = -1
        try:
            listed = members(lake, key, self.limits.max_ratio, self.limits.max_members)
            for number, member in enumerate(listed):
                if number == end:
                    return
                if number == self.limits.max_members:
                    raise BadRecord(
                        f"more members than archives.max_members ({number}); the rest was not read"
                    )
                if member.directory:  # nothing is made of it, so its name does not matter
                    continue
                try:
                    path = safe_path(member.name)
                    if path in seen:
                        raise BadRecord("another member has the same name")
                    seen.add(path)
                    if member.problem:
                        raise BadRecord(member.problem)
                    if number >= first:
                        yield from self._member(member, path, shown, depth)
                    else:  # another unit's; it counts as it counts there
                        self._check(member.size)
                        self.left -= member.size
                except BadRecord as error:
                    if number >= first:
                        position = f"member {shown_name(member.name)}"
                        yield Quarantined("archive", shown, position, str(error))
            if number < 0:
                raise BadRecord("the archive is empty")
        except BadRecord as error:
            yield Quarantined("archive", shown, "file", str(error))

    def _member(self, member: Member, path: str, shown: str, depth: int) -> Iterator[Outcome]:
        with tempfile.TemporaryDirectory(prefix="alchemy-archive-") as scratch:
            file = Path(scratch, "member")
            nested = form_of(path) and not self._reads("database", path)
            if nested and depth >= self.limits.max_depth:
                raise BadRecord(f"archives nested deeper than archives.max_depth ({depth})")
            self._spool(member, file)
            inner = f"{shown}{_SEPARATOR}{path}"
            if nested:
                lake = MemberLake(inner, file)
                yield from self.archive(lake, inner, inner, 0, None, depth + 1)
                return
            source = self._source(inner.removeprefix(PREFIX), file)
            if not source:
                raise BadRecord("neither its folder nor its content says which source it is from")
            key = _virtual_key(source, inner.removeprefix(PREFIX))
            for outcome in self.read(MemberLake(key, file), RawUnit(source, key), self.settings):
                if outcome.uri.startswith(key):
                    outcome = replace(outcome, uri=f"{inner}{outcome.uri[len(key) :]}")
                yield outcome

    def _spool(self, member: Member, file: Path) -> None:
        """Write the member's bytes, within the limits."""
        limits, size = self.limits, 0
        self._check(member.size)
        with file.open("wb") as target:
            for piece in self._pieces(member):
                size += len(piece)
                self._check(size)
                if member.packed is not None:
                    check_ratio(size, member.packed, limits.max_ratio)
                target.write(piece)
        self.left -= size
        if size < member.size:
            raise BadRecord("it is shorter than the archive says: cut off")

    def _pieces(self, member: Member) -> Iterator[bytes]:
        try:
            yield from member.read()
        except zipfile.BadZipFile as error:
            raise BadRecord("its checksum does not match, or its header is damaged") from error
        except DAMAGE as error:
            raise BadRecord(f"it cannot be unpacked ({type(error).__name__})") from error

    def _check(self, size: int) -> None:
        if size > self.limits.max_member_bytes:
            limit = self.limits.max_member_bytes
            raise BadRecord(f"larger than archives.max_member_bytes ({limit} bytes)")
        if size > self.left:
            limit = self.limits.max_total_bytes
            raise BadRecord(f"the archive unpacks to more than archives.max_total_bytes ({limit})")

    # --- which source -------------------------------------------------------------------------

    def _reads(self, source: str, path: str) -> bool:
        readers = self.sources[source]
        return suffix_of(path, readers) in readers

    def _source(self, path: str, file: Path) -> str:
        """Named by the last folder that is a source and reads such files, else by content."""
        folders = [part for part in reversed(path.split("/")[:-1]) if part in self.sources]
        if folders:
            return next((part for part in folders if self._reads(part, path)), folders[0])
        if suffix_of(path, _DATA) in _DATA:
            return _recognised(
                file, suffix_of(path, _DATA), self.settings.cleaning.max_record_bytes
            )
        able = [source for source in self.sources if self._reads(source, path)]
        return "documents" if "documents" in able else (able[0] if len(able) == 1 else "")


def _virtual_key(source: str, path: str) -> str:
    """The key that the source's reader sees, from which it makes ids.

    A database's name is its path inside the archive, below a folder `database` if there is one;
    other ids come from the record, or hold archive and member.
    """
    if source == "database":
        inside = path.rpartition(_SEPARATOR)[2]
        below = f"/{inside}".rpartition("/database/")[2]
        return f"raw/database/{below.lstrip('/')}"
    return f"raw/{source}/{path}"


def _recognised(file: Path, suffix: str, max_bytes: int) -> str:
    """The source whose records look like this file's first one; empty for none."""
    if file.stat().st_size > max_bytes and suffix == ".json":
        return ""
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        try:
            if suffix == ".csv":
                header = next(csv.reader([text.readline(max_bytes)]), [])
                names = {name.strip().lower().replace("issue key", "key") for name in header}
                return _by_fields(dict.fromkeys(names, ""))
            if suffix == ".json":
                return _by_content(json.load(text))
        except (ValueError, RecursionError, csv.Error):
            return ""
        for _ in range(_PEEKED_LINES):
            try:
                if found := _by_content(json.loads(text.readline(max_bytes))):
                    return found
            except (ValueError, RecursionError):
                continue
    return ""


def _by_content(value: Any) -> str:
    if isinstance(value, list):
        return next((found for one in value[:_PEEKED_LINES] if (found := _by_content(one))), "")
    if not isinstance(value, dict):
        return ""
    if found := _by_fields(value):
        return found
    for name, source in _ENVELOPES.items():
        if isinstance(value.get(name), list):
            return source or _by_content(value[name])
    return ""


def _by_fields(record: Mapping[str, Any]) -> str:
    names = record.keys()
    if "key" in names and names & {"fields", "summary"}:
        return "jira"
    if names & {"sha", "number"} and names & {"title", "subject", "commit"}:
        return "git_pr"
    return "confluence" if {"title", "body"} <= names else ""


class MemberLake:
    """A lake of one object, a scratch file; it cannot be written."""

    def __init__(self, key: str, file: Path) -> None:
        self._key, self._file = key, file

    @property
    def uri(self) -> str:
        """The scratch file."""
        return self._file.as_uri()

    def _found(self, key: str) -> Path:
        if key != self._key:
            raise missing(self.uri, key)
        return self._file

    def read(self, key: str) -> bytes:
        """See `protocols.Lake`."""
        return self._found(key).read_bytes()

    def stream(self, key: str, chunk_bytes: int = 1 << 20, start: int = 0) -> Iterator[bytes]:
        """See `protocols.Lake`."""
        with self._found(key).open("rb") as file:
            file.seek(start)
            while piece := file.read(chunk_bytes):
                yield piece

    def download(self, key: str, path: Path) -> None:
        """See `protocols.Lake`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._found(key), path)

    def list(self, prefix: str) -> Iterator[LakeObject]:
        """See `protocols.Lake`."""
        if self._key.startswith(prefix):
            yield LakeObject(self._key, self._file.stat().st_size)

    def exists(self, key: str) -> bool:
        """See `protocols.Lake`."""
        return key == self._key

    def write(self, key: str, data: bytes) -> None:
        """Refused."""
        raise self._refused(key)

    def create(self, key: str, data: bytes) -> None:
        """Refused."""
        raise self._refused(key)

    def upload(self, key: str, path: Path) -> None:
        """Refused."""
        raise self._refused(key)

    def delete(self, key: str) -> None:
        """Refused."""
        raise self._refused(key)

    def check_writable(self) -> None:
        """Refused."""
        raise self._refused(self._key)

    def _refused(self, key: str) -> AlchemyError:
        return AlchemyError(ErrorCode.LAKE_NOT_WRITABLE, f"{key!r} is a member of an archive")
