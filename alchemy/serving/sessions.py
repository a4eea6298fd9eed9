"""Conversations and the answers given in them, in Redis, per user.

An answer is remembered with what it was made of, so that a rating can be bound to it later and
inherits the access rules of its sources.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import KeyValue
from alchemy.serving.auth import PRIVATE_PREFIX
from alchemy.stores.tombstones import Forgotten, Key
from alchemy.types import PUBLIC_GROUP, Answer, Chunk, JsonRecord, Passage, Principal

_TITLE_CHARS = 80
_LISTED = 50
_TURNS, _ANSWERS = "session:", "answer:"


@dataclass(frozen=True)
class Turn(JsonRecord):
    """A question and its answer.

    Attributes:
        sources: ids of the documents it was made of.
    """

    answer: Answer
    at: str
    tenant: str
    sources: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        answer = Answer.from_dict(data["answer"])
        # earlier versions stored no tenant
        return cls(answer, data["at"], data.get("tenant", "default"), _sources(data))


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
        sources: ids of the documents it was made of.
    """

    answer: Answer
    user: str
    tenant: str
    acl: tuple[str, ...]
    session: str
    at: str
    sources: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        answer = Answer.from_dict(data["answer"])
        return cls(
            **{**data, "acl": tuple(data["acl"]), "sources": _sources(data), "answer": answer}
        )


class Sessions:
    """Conversations of all users.

    Args:
        kv: turns under `session:<user>:<id>`, a user's list under `sessions:<user>`, answers under
            `answer:<id>`.
        ttl_s: how long an unused conversation is kept.
        keep_turns: newest turns kept per conversation.
        forgotten: what must not be shown or stored, whatever Redis still holds.
    """

    def __init__(
        self,
        kv: KeyValue,
        ttl_s: float,
        keep_turns: int,
        forgotten: Callable[[], Forgotten] = Forgotten,
    ) -> None:
        self._kv = kv
        self._ttl_s = ttl_s
        self._keep_turns = keep_turns
        self._forgotten = forgotten

    async def turns(self, user: str, session: str) -> list[Turn]:
        """The kept turns of a conversation, oldest first; empty for a new one."""
        rows = await self._kv.items(_turns_key(user, session))
        forgotten = self._forgotten()
        turns = (Turn.from_dict(row) for row in rows)
        return [turn for turn in turns if not forgotten.any(turn.tenant, turn.sources)]

    async def list(self, user: str) -> list[SessionSummary]:
        """The user's newest conversations, last used first."""
        titles: dict[str, str] = {}
        for row in reversed(await self._kv.items(_list_key(user))):
            titles.setdefault(row["id"], row["title"])
        found: list[SessionSummary] = []
        for session, title in list(titles.items())[:_LISTED]:
            turns = await self.turns(user, session)
            if turns:  # an expired conversation leaves its line behind
                found.append(SessionSummary(session, title, len(turns), turns[-1].at))
        return sorted(found, key=lambda summary: summary.updated_at, reverse=True)

    async def remember(
        self, principal: Principal, session: str, answer: Answer, passages: Sequence[Passage]
    ) -> None:
        """Add a turn and keep the answer for feedback.

        Args:
            passages: what the answer was made from.

        Raises:
            AlchemyError: CONFLICT when a source was forgotten meanwhile; nothing is kept then.
        """
        user, at, made_of = principal.user, now_iso(), sources_of(answer, passages)
        sources = tuple(dict.fromkeys(chunk.document_id for chunk in made_of))
        self._refuse_forgotten(principal.tenant, sources)
        turns_key = _turns_key(user, session)
        if not await self._kv.items(turns_key):
            line = {"id": session, "title": answer.question.strip()[:_TITLE_CHARS]}
            await self._kv.append(_list_key(user), line, keep=4 * _LISTED)
        turn = Turn(answer, at, principal.tenant, sources).to_dict()
        await self._kv.append(turns_key, turn, keep=self._keep_turns, ttl_s=self._ttl_s)
        acl = readers(user, made_of)
        given = GivenAnswer(answer, user, principal.tenant, acl, session, at, sources)
        await self._kv.set(_answer_key(answer.id), given.to_dict(), ttl_s=self._ttl_s)
        try:
            # a sweep that began while this was written may have passed here before
            self._refuse_forgotten(principal.tenant, sources)
        except AlchemyError:
            await self._drop_turn(turns_key, turn)
            await self._kv.delete(_answer_key(answer.id))
            raise

    async def erase(self, documents: Collection[Key]) -> tuple[int, int]:
        """Remove what was made of these documents: how many turns, how many answers.

        A conversation that has no turn left loses its title too.
        """
        gone = Forgotten(0, frozenset(documents))
        ids = {document_id for _, document_id in documents}
        turns = answers = 0
        for key in await self._kv.holding(_TURNS, ids):
            for row in await self._kv.items(key):
                turn = Turn.from_dict(row)
                if gone.any(turn.tenant, turn.sources):
                    await self._drop_turn(key, row)
                    turns += 1
        for key in await self._kv.holding(_ANSWERS, ids):
            row = await self._kv.get(key)
            if row is not None and gone.any(row["tenant"], _sources(row)):
                answers += await self._kv.delete(key)
        return turns, answers

    async def _drop_turn(self, key: str, row: Any) -> None:
        await self._kv.discard(key, row)
        if await self._kv.items(key):
            return
        user, _, session = key.removeprefix(_TURNS).rpartition(":")
        for line in await self._kv.items(_list_key(user)):
            if line["id"] == session:
                await self._kv.discard(_list_key(user), line)

    def _refuse_forgotten(self, tenant: str, sources: Sequence[str]) -> None:
        if self._forgotten().any(tenant, sources):
            raise AlchemyError(
                ErrorCode.CONFLICT,
                "a source of this answer was withdrawn while it was made",
                "Ask again.",
            )

    async def answer(self, principal: Principal, answer_id: str) -> GivenAnswer:
        """An answer this principal was given.

        Raises:
            AlchemyError: NOT_FOUND, also for an answer of someone else.
        """
        row = await self._kv.get(_answer_key(answer_id))
        mine = row is not None and (row["user"], row["tenant"]) == (
            principal.user,
            principal.tenant,
        )
        if row is None or not mine or self._forgotten().any(row["tenant"], _sources(row)):
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


def _sources(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Documents of a stored turn or answer; of one that an earlier version stored, what it cites."""
    if "sources" in row:
        return tuple(row["sources"])
    return tuple(dict.fromkeys(c["document_id"] for c in row["answer"]["citations"]))


def _turns_key(user: str, session: str) -> str:
    return f"{_TURNS}{user}:{session}"


def _list_key(user: str) -> str:
    return f"sessions:{user}"


def _answer_key(answer_id: str) -> str:
    return f"{_ANSWERS}{answer_id}"
