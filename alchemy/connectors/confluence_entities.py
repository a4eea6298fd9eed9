"""Confluence's own space export: `entities.xml` → its objects, kept in a scratch database.

An export of gigabytes names its objects in any order (a page's text, comments and restrictions may
stand long before or after it), so they are put on disk as the file streams by and looked up then.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from xml.parsers import expat

from alchemy.connectors.fields import BadRecord

Entity: TypeAlias = Mapping[str, Any]
"""`id`, and by name: a property's text, `{"id": …}` for a reference, a list of ids."""

OVERSIZED = "oversized"
"""Field of an object whose text was over the limit and was dropped."""

_ROOT = "hibernate-generic"
_OWNERS = {
    "Space": (),
    "Page": ("parent",),
    "BlogPost": (),
    "BodyContent": ("content",),
    "Comment": ("containerContent", "content", "page"),
    "Attachment": ("containerContent", "content"),
    "Label": (),
    "Labelling": ("content",),
    "ContentPermissionSet": ("owningContent",),
    "ContentPermission": ("owningSet",),
    "SpacePermission": ("space",),
}
"""Class of the objects that are read → the property that says whose it is, in any version."""
_MOST_PROPERTIES = 4
"""An object's text is bounded by this times the largest record: one property holds nearly all."""
_CONTROLS = bytes.maketrans(
    bytes(set(range(32)) - {9, 10, 13}), b" " * (32 - 3)
)  # pasted into pages, exported as they are, and not allowed in XML
_FAST = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16000;"
_TABLE = """
CREATE TABLE entity (
  place INTEGER PRIMARY KEY, class TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, record TEXT NOT NULL
)
"""
_INDEXES = """
CREATE INDEX by_id ON entity (id, class);
CREATE INDEX by_owner ON entity (owner, class);
"""


class Entities:
    """The objects of one export, in a database of its own."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(_FAST + _TABLE)

    def load(self, pieces: Iterable[bytes], max_bytes: int) -> None:
        """Read the whole file.

        Raises:
            BadRecord: no space export, damaged or cut off. Nothing of it may be used then: what is
                missing could be the restrictions of a page.
        """
        self._database.execute("BEGIN")
        insert = "INSERT INTO entity (class, id, owner, record) VALUES (?, ?, ?, ?)"
        self._database.executemany(insert, map(_row, _objects(pieces, max_bytes)))
        self._database.execute("COMMIT")
        self._database.executescript(_INDEXES)

    def of_class(self, *names: str) -> Iterator[tuple[str, Entity]]:
        """Class and object of each of these classes, in the file's order."""
        marks = ", ".join("?" * len(names))
        query = f"SELECT class, record FROM entity WHERE class IN ({marks}) ORDER BY place"
        for name, record in self._database.execute(query, names):
            yield name, json.loads(record)

    def one(self, key: str, *names: str) -> Entity | None:
        """The object of one of these classes with this id."""
        marks = ", ".join("?" * len(names))
        query = f"SELECT record FROM entity WHERE id = ? AND class IN ({marks})"
        found = self._database.execute(query, (key, *names)).fetchone()
        return json.loads(found[0]) if found else None

    def owned(self, owner: str, name: str) -> list[Entity]:
        """The objects of a class that belong to this one, in the file's order."""
        query = "SELECT record FROM entity WHERE owner = ? AND class = ? ORDER BY place"
        return [json.loads(record) for (record,) in self._database.execute(query, (owner, name))]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def text(entity: Entity, name: str) -> str:
    """A property's text; empty when it is absent or something else."""
    value = entity.get(name)
    return value if isinstance(value, str) else ""


def reference(entity: Entity, *names: str) -> str:
    """The id that the first of these properties refers to; empty without one."""
    for name in names:
        value = entity.get(name)
        if isinstance(value, dict) and value.get("id"):
            return value["id"]
    return ""


def _row(found: tuple[str, Entity]) -> tuple[str, str, str, str]:
    name, entity = found
    owner = reference(entity, *_OWNERS[name])
    return name, entity["id"], owner, json.dumps(entity, ensure_ascii=False)


# --- the file -------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """Turns the parser's events into objects."""

    max_bytes: int
    done: list[tuple[str, Entity]] = field(default_factory=list)
    depth: int = 0
    kind: str = ""
    entity: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    held: list[str] = field(default_factory=list)
    size: int = 0
    kept: int = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins: 1 the root, 2 an object, 3 its properties, deeper what they hold."""
        self.depth += 1
        if self.depth == 1:
            if tag != _ROOT:
                raise BadRecord(f"not a Confluence space export: its root is not {_ROOT}")
        elif self.depth == 2:
            kind = attributes.get("class", "")
            self.kind = kind if tag == "object" and kind in _OWNERS else ""
            self.entity, self.kept = {"id": ""}, 0
        elif self.kind:
            if self.depth == 3:
                self.size = 0
                self.name = "id" if tag == "id" else attributes.get("name", "")
                if tag == "collection":
                    self.entity[self.name] = []
            self.held.clear()

    def characters(self, data: str) -> None:
        """Text of a property; what is over the limit is dropped as it comes."""
        if self.kind and self.depth >= 3:
            self.size += len(data.encode())
            if self.size > self.max_bytes:
                self.entity[OVERSIZED] = True
                self.held.clear()
                return
            self.held.append(data)
            self.kept += len(data)
            if self.kept > _MOST_PROPERTIES * self.max_bytes:
                raise BadRecord("an object has more properties than any that Confluence writes")

    def end(self, tag: str) -> None:
        """An element ends."""
        if self.kind and self.depth == 2:
            self.done.append((self.kind, self.entity))
        elif self.kind and self.depth == 3 and self.name not in self.entity:
            self.entity[self.name] = "".join(self.held)
        elif self.kind and self.depth == 3 and self.name == "id":
            self.entity["id"] = "".join(self.held).strip()
        elif self.kind and self.depth > 3 and tag == "id":
            self._refer("".join(self.held).strip())
        self.held.clear()
        self.depth -= 1

    def _refer(self, key: str) -> None:
        listed = self.entity.get(self.name)
        if isinstance(listed, list):
            listed.append(key)
        else:
            self.entity[self.name] = {"id": key}


def _objects(pieces: Iterable[bytes], max_bytes: int) -> Iterator[tuple[str, Entity]]:
    reader = _Reader(max_bytes)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = _refuse_entities
    wide = None
    try:
        for piece in pieces:
            wide = b"\0" in piece[:4] if wide is None else wide
            parser.Parse(piece if wide else piece.translate(_CONTROLS))
            yield from reader.done
            reader.done.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadRecord(
            f"not readable as XML at line {error.lineno}: {expat.ErrorString(error.code)}"
        ) from error
    yield from reader.done


def _refuse_entities(*_: object) -> None:
    raise BadRecord("it declares a document type, which Confluence never does")
