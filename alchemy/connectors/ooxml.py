"""What Word, PowerPoint and Excel files share: a zip package that must be safe to open."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from alchemy.connectors.blocks import Block, Entry, Inline, Items, Paragraph
from alchemy.connectors.content import utc
from alchemy.connectors.fields import BadRecord, clean_line

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_MAX_PARTS = 20_000


def check_package(raw: bytes, part: str, max_bytes: int) -> None:
    """Refuse what is not a whole package, or would be too large when unpacked.

    Args:
        part: name of a part that a file of this format has.
        max_bytes: of all parts together, unpacked.

    Raises:
        BadRecord: not a package of this format, damaged, encrypted or a bomb.
    """
    if raw.startswith(_OLE):
        if _ENCRYPTED in raw:
            raise BadRecord("encrypted: a password is needed to read it")
        raise BadRecord("an old Office format under a new suffix: save it in the new format")
    if not raw.startswith(b"PK"):
        raise BadRecord("not an Office file: it is no zip package")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as package:
            parts = package.infolist()
            # reading stops at the declared size, so that this bounds what is unpacked
            if len(parts) > _MAX_PARTS or sum(p.file_size for p in parts) > max_bytes:
                raise BadRecord(f"unpacks to more than {max_bytes} bytes or {_MAX_PARTS} parts")
            if any(p.flag_bits & 1 for p in parts):
                raise BadRecord("encrypted: a password is needed to read it")
            if part not in package.namelist():
                raise BadRecord(f"not what its suffix says: the package has no {part}")
            for one in parts:
                if one.filename.endswith((".xml", ".rels")):
                    with package.open(one) as stream:
                        if b"<!DOCTYPE" in stream.read(1024):
                            raise BadRecord("a part declares XML entities, which Office never does")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise BadRecord(f"damaged or truncated package ({type(error).__name__})") from error


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a parser raises on a broken file into `BadRecord`."""
    try:
        yield
    except (BadRecord, RecursionError):
        raise
    except Exception as error:
        raise BadRecord(f"not readable as {name} ({type(error).__name__})") from error


@dataclass(frozen=True)
class Properties:
    """A file's core properties; what is missing or unusable is None or empty."""

    title: str
    created_at: str | None
    updated_at: str | None


def properties(core: Any) -> Properties:
    """From the `core_properties` of a document; wrong dates in them are no reason to fail."""

    def moment(read: Callable[[], Any]) -> str | None:
        try:
            value = read()
            return utc(value) if isinstance(value, datetime) else None
        except (ValueError, TypeError, OverflowError):
            return None

    return Properties(
        clean_line(str(core.title or "")),
        moment(lambda: core.created),
        moment(lambda: core.modified),
    )


@dataclass(frozen=True)
class ListLine:
    """One paragraph of a list as Office stores it: its depth and no nesting."""

    depth: int
    kind: Literal["bullet", "number"]
    inline: Inline


def nested(lines: Sequence[ListLine]) -> list[Block]:
    """Flat list paragraphs as nested lists; deeper ones belong to the entry before them."""
    found: list[Block] = []
    at = 0
    while at < len(lines):
        first = lines[at]
        entries: list[Entry] = []
        while at < len(lines) and (lines[at].depth, lines[at].kind) == (first.depth, first.kind):
            line = lines[at]
            at += 1
            start = at
            while at < len(lines) and lines[at].depth > first.depth:
                at += 1
            entries.append(Entry((Paragraph(line.inline), *nested(lines[start:at]))))
        found.append(Items(first.kind, tuple(entries)))
    return found
