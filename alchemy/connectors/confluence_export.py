"""The pages of Confluence's own space export, as the records its REST interface would give."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alchemy.config import ArchiveSettings, Settings
from alchemy.connectors.archive_members import DAMAGE, form_of, members, safe_path
from alchemy.connectors.compressed import check_ratio
from alchemy.connectors.confluence_entities import OVERSIZED, Entities, Entity, reference, text
from alchemy.connectors.fields import BadRecord
from alchemy.connectors.records import Item, RawUnit, too_large
from alchemy.protocols import Lake

_FILE = "entities.xml"
_BODY_FORMS = {"0": "wiki", "1": "plain", "2": "storage"}


def export_items(lake: Lake, unit: RawUnit, settings: Settings) -> Iterator[Item]:
    """One item for each page and blog post that is not an earlier version of another one."""
    with tempfile.TemporaryDirectory(prefix="alchemy-confluence-") as scratch:
        entities = Entities(Path(scratch, "entities.sqlite"))
        try:
            entities.load(_pieces(lake, unit.key, settings), settings.cleaning.max_record_bytes)
        except BadRecord as error:
            yield Item("file", problem=str(error))
        else:
            space = _Export(entities, settings.cleaning.max_record_bytes)
            empty = True
            for item in space.items():
                empty = False
                yield item
            if empty:
                yield Item("file", problem="the export has no pages")
        finally:
            entities.close()


def _pieces(lake: Lake, key: str, settings: Settings) -> Iterator[bytes]:
    """The content of `entities.xml`, which may be in a zip with the attachments."""
    if not form_of(key):
        yield from lake.stream(key)
        return
    limits = settings.archives
    for number, member in enumerate(members(lake, key, limits.max_ratio, limits.max_members)):
        if number == limits.max_members:
            raise BadRecord(f"more members than archives.max_members ({number})")
        if member.directory or member.name.rpartition("/")[2] != _FILE:
            continue
        safe_path(member.name)
        if member.problem:
            raise BadRecord(f"{_FILE}: {member.problem}")
        size = 0
        try:
            for piece in member.read():
                size += len(piece)
                _check(size, member.packed, limits)
                yield piece
        except DAMAGE as error:
            raise BadRecord(f"{_FILE} cannot be unpacked ({type(error).__name__})") from error
        return
    raise BadRecord(f"the zip has no {_FILE}: it is no space export in XML")


def _check(size: int, packed: int | None, limits: ArchiveSettings) -> None:
    if size > limits.max_member_bytes:
        raise BadRecord(
            f"{_FILE} is larger than archives.max_member_bytes ({limits.max_member_bytes} bytes)"
        )
    if packed is not None:
        check_ratio(size, packed, limits.max_ratio)


class _Export:
    """Objects put together to records."""

    def __init__(self, entities: Entities, max_bytes: int) -> None:
        self._entities = entities
        self._max_bytes = max_bytes
        self._spaces: dict[str, tuple[str, list[str] | None]] = {}

    def items(self) -> Iterator[Item]:
        for kind, page in self._entities.of_class("Page", "BlogPost"):
            if not _is_earlier(page):
                position = f"{kind} {page['id']}"
                try:
                    yield Item(position, self._record(kind, page))
                except BadRecord as error:
                    yield Item(position, problem=str(error))

    def _record(self, kind: str, page: Entity) -> Mapping[str, Any]:
        key = page["id"]
        record: dict[str, Any] = {
            "id": key,
            "type": "blogpost" if kind == "BlogPost" else "page",
            "status": text(page, "contentStatus") or "current",
            "title": text(page, "title"),
            "body": self._body(page),
            "ancestors": self._ancestors(page),
            "restrictions": self._restrictions(page),
            "history": {"createdDate": text(page, "creationDate")},
            "version": {
                "when": text(page, "lastModificationDate"),
                "number": text(page, "version") or None,
            },
            "metadata": {"labels": {"results": self._labels(key)}},
            "children": {
                "comment": {"results": self._comments(key)},
                "page": {"results": self._titles(key, "Page")},
                "attachment": {"results": self._titles(key, "Attachment")},
            },
        }
        space, readers = self._space(reference(page, "space"))
        record["space"] = {"key": space} if space else None
        # whoever a restriction names must also be able to see the space: it is the narrower one
        above: list[Any] = record["ancestors"]
        if not any(one["restrictions"] for one in (record, *above)):
            record["acl"] = readers
        return record

    def _body(self, entity: Entity) -> Mapping[str, Any]:
        if entity.get(OVERSIZED):
            raise BadRecord(too_large(self._max_bytes))
        bodies = self._entities.owned(entity["id"], "BodyContent")
        if not bodies:
            return {"storage": {"value": ""}}
        if bodies[0].get(OVERSIZED):
            raise BadRecord(too_large(self._max_bytes))
        form = _BODY_FORMS.get(text(bodies[0], "bodyType") or "2")
        if form is None:
            raise BadRecord("bodyType of its body is unknown")
        # a CDATA section inside a body cannot end as usual: the body is one, too
        return {form: {"value": text(bodies[0], "body").replace("]] >", "]]>")}}

    def _above(self, page: Entity) -> list[Entity]:
        """The pages above a page, the outermost first."""
        found: list[Entity] = []
        seen = {page["id"]}
        while key := reference(page, "parent"):
            above = self._entities.one(key, "Page")
            if above is None:
                raise BadRecord("a page above it, which may be restricted, is not in the export")
            if key in seen:
                raise BadRecord("it is below itself")
            seen.add(key)
            found.append(above)
            page = above
        return found[::-1]

    def _ancestors(self, page: Entity) -> list[Mapping[str, Any]]:
        return [
            {"title": text(above, "title"), "restrictions": self._restrictions(above)}
            for above in self._above(page)
        ]

    def _restrictions(self, page: Entity) -> Mapping[str, Any]:
        """Its restriction of reading; empty without one."""
        sets = self._entities.owned(page["id"], "ContentPermissionSet")
        if {*page.get("contentPermissionSets", ())} - {one["id"] for one in sets}:
            raise BadRecord("the export lacks restrictions that it names")
        reading = [one for one in sets if text(one, "type").lower() == "view"]
        if not reading:
            return {}
        named = [p for one in reading for p in self._entities.owned(one["id"], "ContentPermission")]
        groups = [{"name": name} for p in named if (name := text(p, "groupName"))]
        users = [{"key": key} for p in named if (key := _person(p))]
        # at least one: whoever may read it is then known, or the page goes to quarantine
        size = max(1, len(named))
        return {"read": {"group": {"results": groups, "size": size}, "user": {"results": users}}}

    def _space(self, key: str) -> tuple[str, list[str] | None]:
        """Key of a space, and who may see it; None for everybody."""
        if key not in self._spaces:
            entity = self._entities.one(key, "Space") or {}
            granted = [
                p
                for p in self._entities.owned(key, "SpacePermission")
                if text(p, "type") == "VIEWSPACE"
            ]
            names = [
                text(p, "group") or (f"confluence-user:{_person(p)}" if _person(p) else "")
                for p in granted
            ]
            # a permission for nobody in particular is one for everybody
            readers = sorted(set(names)) if granted and all(names) else None
            self._spaces[key] = (text(entity, "key"), readers)
        return self._spaces[key]

    def _labels(self, key: str) -> list[Mapping[str, Any]]:
        found = (
            self._entities.one(reference(one, "label"), "Label") or {}
            for one in self._entities.owned(key, "Labelling")
        )
        # `my:` labels are a person's bookmarks
        return [
            {"name": text(label, "name")} for label in found if text(label, "namespace") != "my"
        ]

    def _comments(self, key: str) -> list[Mapping[str, Any]]:
        return [
            {"body": self._body(comment), "version": {"when": text(comment, "creationDate")}}
            for comment in self._entities.owned(key, "Comment")
            if _is_current(comment)
        ]

    def _titles(self, key: str, kind: str) -> list[Mapping[str, Any]]:
        found = self._entities.owned(key, kind)
        return [
            {"title": text(one, "title") or text(one, "fileName")}
            for one in found
            if _is_current(one)
        ]


def _is_earlier(entity: Entity) -> bool:
    """Whether it is a version that another object has replaced."""
    return bool(reference(entity, "originalVersion") or text(entity, "originalVersionId"))


def _is_current(entity: Entity) -> bool:
    return not _is_earlier(entity) and (text(entity, "contentStatus") or "current") == "current"


def _person(permission: Entity) -> str:
    return reference(permission, "userSubject") or text(permission, "userName")
