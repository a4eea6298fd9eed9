"""Conversations and the answers given in them, in Redis, per user.

An answer is remembered with what it was made of, so that a rating can be bound to it later and
inherits the access rules of its sources.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import KeyValue
from alchemy.serving.auth import PRIVATE_PREFIX
from alchemy.types import PUBLIC_GROUP, Answer, Chunk, JsonRecord, Passage, Principal

_TITLE_CHARS = 80
_LISTED = 50


@dataclass(frozen=True)
class Turn(JsonRecord):
    """A question and its answer."""

    answer: Answer
    at: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        return cls(Answer.from_dict(data["answer"]), data["at"])


@dataclass(frozen=True)
class SessionSummary(JsonRecord):
    """One line of a user's list of conversations."""

    id: str
    title: str
    turns: int
    updated_at: str


@dataclass(frozen=True)
class GivenAnswer(JsonRecord):
    """An answer with whom it was given to and who may read it.

    Attributes:
        acl: groups of which each may read every source of the answer; never empty.
    """

    answer: Answer
    user: str
    tenant: str
    acl: tuple[str, ...]
    session: str
    at: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        answer = Answer.from_dict(data["answer"])
        return cls(**{**data, "answer": answer, "acl": tuple(data["acl"])})


class Sessions:
    """Conversations of all users.

    Args:
        kv: turns under `session:<user>:<id>`, a user's list under `sessions:<user>`, answers under
            `answer:<id>`.
        ttl_s: how long an unused conversation is kept.
        keep_turns: newest turns kept per conversation.
    """

    def __init__(self, kv: KeyValue, ttl_s: float, keep_turns: int) -> None:
        self._kv = kv
        self._ttl_s = ttl_s
        self._keep_turns = keep_turns

    async def turns(self, user: str, session: str) -> list[Turn]:
        """The kept turns of a conversation, oldest first; empty for a new one."""
        return [Turn.from_dict(row) for row in await self._kv.items(_turns_key(user, session))]

    async def list(self, user: str) -> list[SessionSummary]:
        """The user's newest conversations, last used first."""
        titles: dict[str, str] = {}
        for row in reversed(await self._kv.items(_list_key(user))):
            titles.setdefault(row["id"], row["title"])
        found: list[SessionSummary] = []
        for session, title in list(titles.items())[:_LISTED]:
            rows = await self._kv.items(_turns_key(user, session))
            if rows:  # an expired conversation leaves its line behind
                found.append(SessionSummary(session, title, len(rows), rows[-1]["at"]))
        return sorted(found, key=lambda summary: summary.updated_at, reverse=True)

    async def remember(
        self, principal: Principal, session: str, answer: Answer, passages: Sequence[Passage]
    ) -> None:
        """Add a turn and keep the answer for feedback.

        Args:
            passages: what the answer was made from.
        """
        user, at = principal.user, now_iso()
        turns_key = _turns_key(user, session)
        if not await self._kv.items(turns_key):
            line = {"id": session, "title": answer.question.strip()[:_TITLE_CHARS]}
            await self._kv.append(_list_key(user), line, keep=4 * _LISTED)
        turn = Turn(answer, at).to_dict()
        await self._kv.append(turns_key, turn, keep=self._keep_turns, ttl_s=self._ttl_s)
        acl = readers(user, sources_of(answer, passages))
        given = GivenAnswer(answer, user, principal.tenant, acl, session, at)
        await self._kv.set(_answer_key(answer.id), given.to_dict(), ttl_s=self._ttl_s)

    async def answer(self, principal: Principal, answer_id: str) -> GivenAnswer:
        """An answer this principal was given.

        Raises:
            AlchemyError: NOT_FOUND, also for an answer of someone else.
        """
        row = await self._kv.get(_answer_key(answer_id))
        if row is None or row["user"] != principal.user or row["tenant"] != principal.tenant:
            raise AlchemyError(
                ErrorCode.NOT_FOUND,
                f"you have no answer {answer_id!r}",
                "Rate an answer by the id it came with; old answers expire.",
            )
        return GivenAnswer.from_dict(row)


def new_session_id() -> str:
    """A fresh id, not guessable."""
    return secrets.token_urlsafe(12)


def now_iso() -> str:
    """The time as every record has it: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sources_of(answer: Answer, passages: Sequence[Passage]) -> list[Chunk]:
    """The chunks an answer quotes; all it could have used when it quotes none."""
    cited = {citation.chunk_id for citation in answer.citations}
    chunks = [passage.chunk for passage in passages]
    return [chunk for chunk in chunks if chunk.id in cited] or chunks


def readers(user: str, sources: Sequence[Chunk]) -> tuple[str, ...]:
    """Groups of which each may read all sources.

    Where no single group may, the result names a group of this user alone, which nobody's
    principal carries: the text then reaches no one else.
    """
    allowed: set[str] | None = None
    for chunk in sources:
        if PUBLIC_GROUP in chunk.acl:
            continue
        allowed = set(chunk.acl) if allowed is None else allowed & set(chunk.acl)
    if allowed is None:
        return (PUBLIC_GROUP,)
    return tuple(sorted(allowed)) or (PRIVATE_PREFIX + user,)


def _turns_key(user: str, session: str) -> str:
    return f"session:{user}:{session}"


def _list_key(user: str) -> str:
    return f"sessions:{user}"


def _answer_key(answer_id: str) -> str:
    return f"answer:{answer_id}"
