"""Ratings and corrections: one JSON file each in the lake, waiting for a reviewer.

A rating's id holds its day, so that its key is found without a search. Rating the same answer again
replaces the rating and puts it back to `pending`: what a reviewer approved is what was read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import KeyValue, Lake
from alchemy.serving.sessions import Sessions, now_iso
from alchemy.stores.tombstones import Forgotten, Key
from alchemy.types import JsonRecord, Principal, text_digest

Status = Literal["pending", "approved", "rejected"]

_PREFIX = "feedback/"
_FORGET = "forget"
_ID = re.compile(r"(\d{4})(\d{2})(\d{2})-[0-9a-f]{24}")
_OWN_KEPT = 500
_SCANNED = 5000
_READERS = 16
"""Ratings are small objects: reading many of them is waiting for the lake."""


@dataclass(frozen=True)
class FeedbackRecord(JsonRecord):
    """`feedback/<yyyy>/<mm>/<dd>/<id>.json`.

    Attributes:
        answer_text: the rated text; `correction` what the user says it should be.
        acl: groups that may read every source of the answer.
        citations: as in `Answer`.
        reviewed_by: who decided; None while pending.
    """

    id: str
    answer_id: str
    question: str
    answer_text: str
    rating: Literal["up", "down"]
    correction: str | None
    comment: str | None
    user: str
    tenant: str
    acl: tuple[str, ...]
    citations: tuple[dict[str, Any], ...]
    release: str
    status: Status
    created_at: str
    reviewed_by: str | None = None
    reviewed_at: str | None = None


class FeedbackDesk:
    """Takes ratings, shows where they stand, and records decisions."""

    def __init__(
        self,
        lake: Lake,
        kv: KeyValue,
        sessions: Sessions,
        forgotten: Callable[[], Forgotten] = Forgotten,
    ) -> None:
        self._forgotten = forgotten
        self._lake = lake
        self._kv = kv
        self._sessions = sessions

    async def submit(
        self,
        principal: Principal,
        answer_id: str,
        rating: Literal["up", "down"],
        correction: str | None = None,
        comment: str | None = None,
    ) -> FeedbackRecord:
        """Store a rating of an answer this principal was given.

        Sending the same rating again changes nothing.

        Raises:
            AlchemyError: NOT_FOUND for an answer that was not given to this principal.
        """
        given = await self._sessions.answer(principal, answer_id)
        answer = given.answer
        record = FeedbackRecord(
            id=f"{given.at[:10].replace('-', '')}-{text_digest(answer_id, principal.user)[:24]}",
            answer_id=answer_id,
            question=answer.question,
            answer_text=answer.text,
            rating=rating,
            correction=(correction or "").strip() or None,
            comment=(comment or "").strip() or None,
            user=principal.user,
            tenant=given.tenant,
            acl=given.acl,
            citations=tuple(citation.to_dict() for citation in answer.citations),
            release=answer.release,
            status="pending",
            created_at=now_iso(),
        )
        existing = await self._find(record.id)
        if existing is not None and _content(existing) == _content(record):
            return existing
        await self._store(record)
        if existing is None:
            await self._kv.append(_own_key(principal.user), record.id, keep=_OWN_KEPT)
        return record

    async def own(self, principal: Principal) -> list[FeedbackRecord]:
        """The principal's ratings, newest first."""
        ids = await self._kv.items(_own_key(principal.user))
        found = [await self._find(feedback_id) for feedback_id in reversed(ids)]
        return [record for record in found if record is not None]

    async def all(
        self, reviewer: Principal, status: Status | None = None, limit: int = 200
    ) -> list[FeedbackRecord]:
        """Ratings in the reviewer's tenant that the reviewer may read, newest day first."""
        found = await asyncio.to_thread(self._scan)
        visible = (
            record
            for record in found
            if _may_review(reviewer, record) and status in (None, record.status)
        )
        return list(islice(visible, limit))

    async def decide(
        self, reviewer: Principal, feedback_id: str, verdict: Literal["approved", "rejected"]
    ) -> FeedbackRecord:
        """Record a reviewer's decision.

        Raises:
            AlchemyError: NOT_FOUND for an unknown rating, or one of sources the reviewer may not
                read; FORBIDDEN for the reviewer's own rating.
        """
        record = await self._find(feedback_id)
        if record is None or not _may_review(reviewer, record):
            raise AlchemyError(ErrorCode.NOT_FOUND, f"there is no feedback {feedback_id!r}")
        if record.user == reviewer.user and "admin" not in reviewer.roles:
            raise AlchemyError(
                ErrorCode.FORBIDDEN,
                "nobody decides on their own feedback",
                "Ask another reviewer.",
            )
        decided = dataclasses.replace(
            record, status=verdict, reviewed_by=reviewer.user, reviewed_at=now_iso()
        )
        await self._store(decided)
        return decided

    async def erase(self, documents: Collection[Key], by: str) -> int:
        """Blank the ratings of answers that quote these documents; how many."""
        gone = Forgotten(0, frozenset(documents))
        return await asyncio.to_thread(self._erase, gone, by)

    def _erase(self, gone: Forgotten, by: str) -> int:
        ids = [json.dumps(i, ensure_ascii=False).encode() for _, i in gone.documents]

        def blank(key: str) -> int:
            raw = self._lake.read(key)
            if not any(document_id in raw for document_id in ids):
                return 0
            try:
                record = FeedbackRecord.from_dict(json.loads(raw))
            except (ValueError, TypeError) as error:
                get_logger().error("feedback.corrupt", key=key, error=str(error))
                return 0
            clean = blanked(record, by)
            if not gone.any(record.tenant, cited(record)) or clean == record:
                return 0
            self._lake.write(key, clean.to_json().encode() + b"\n")
            return 1

        keys = [item.key for item in self._lake.list(_PREFIX) if item.key.endswith(".json")]
        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(blank, keys))

    async def _store(self, record: FeedbackRecord) -> None:
        key = _key_of(record.id)
        assert key is not None
        await asyncio.to_thread(self._lake.write, key, record.to_json().encode() + b"\n")

    async def _find(self, feedback_id: str) -> FeedbackRecord | None:
        key = _key_of(feedback_id)
        if key is None:
            return None
        try:
            raw = await asyncio.to_thread(self._lake.read, key)
        except AlchemyError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return None
            raise
        return self._parse(key, raw)

    def _scan(self) -> list[FeedbackRecord]:
        keys = [item.key for item in self._lake.list(_PREFIX) if item.key.endswith(".json")]
        newest = sorted(keys, reverse=True)[:_SCANNED]
        found: list[FeedbackRecord] = []
        for key in newest:
            try:
                found.append(self._parse(key, self._lake.read(key)))
            except AlchemyError as error:
                if error.code is not ErrorCode.CORRUPT:
                    raise
                # one damaged file must not hide everyone's feedback from the reviewers
                get_logger().error("feedback.corrupt", key=key, error=str(error))
        return found

    def _parse(self, key: str, raw: bytes) -> FeedbackRecord:
        try:
            record = FeedbackRecord.from_dict(json.loads(raw))
        except (ValueError, TypeError) as error:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"{key} in {self._lake.uri} is not a feedback record",
                "Mend or remove the file.",
            ) from error
        withdrawn = self._forgotten().any(record.tenant, cited(record))
        return blanked(record, record.reviewed_by or _FORGET) if withdrawn else record


def cited(record: FeedbackRecord) -> list[str]:
    """Ids of the documents that the rated answer quotes."""
    return [citation["document_id"] for citation in record.citations]


def blanked(record: FeedbackRecord, by: str) -> FeedbackRecord:
    """The rating without a word of what it is about: it counts, but shows and teaches nothing.

    People paste from documents into corrections and questions, so these go as well.
    """
    kept = ("document_id", "chunk_id")
    return dataclasses.replace(
        record,
        question="",
        answer_text="",
        correction=None,
        comment=None,
        citations=tuple({name: citation[name] for name in kept} for citation in record.citations),
        status="rejected",
        reviewed_by=record.reviewed_by or by,
        reviewed_at=record.reviewed_at or now_iso(),
    )


def _key_of(feedback_id: str) -> str | None:
    day = _ID.fullmatch(feedback_id)
    return f"{_PREFIX}{'/'.join(day.groups())}/{feedback_id}.json" if day else None


def _own_key(user: str) -> str:
    return f"feedback:{user}"


def _content(record: FeedbackRecord) -> tuple[str, str | None, str | None]:
    return record.rating, record.correction, record.comment


def _may_review(reviewer: Principal, record: FeedbackRecord) -> bool:
    """A reviewer sees what they could have been answered themselves; an admin their tenant's."""
    if "admin" in reviewer.roles:
        return reviewer.tenant == record.tenant
    return reviewer.may_read(record.tenant, record.acl)
