"""One question from retrieval to the stored answer, as a stream of events.

Plain async code over three injected engines, so that the same flow runs under Ray Serve and in a
test. Every wait has the request's deadline; nothing is awaited while an event is handed out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.serving.admission import Admission
from alchemy.serving.sessions import Sessions, new_session_id
from alchemy.types import Answer, Draft, Filters, Mode, Passage, Principal

T = TypeVar("T")
Event = wire.StatusEvent | wire.TokenEvent | wire.AnswerEvent
Stream = AsyncGenerator[Event, None]

NO_ADAPTER = "none"
"""`Answer.adapter` of an answer made from evidence alone."""

_PIECES = re.compile(r"\s*\S+|\s+$")
_DRAFT_SHARE = 0.5
"""Part of the deadline a draft may take before the answer goes on without it."""


@dataclass(frozen=True)
class Engines:
    """What an answer is made with. Each raises `AlchemyError` only.

    Attributes:
        standalone: (question, earlier questions, oldest first) → the question without need of them.
        search: (question, principal, release, top_k, filters, mode) → passages, best first; mode is
            `hybrid`, `dense` or `lexical`.
        draft: (question, principal, release, max_new_tokens) → draft; None where the model learned
            from what this principal may not read.
        finalize: (question, passages, draft, release) → pieces of the text, then the `Answer`.
        compute: (question, principal, release, filters) → the answer to a question about many
            records and what it was made from; None for one that texts should answer.
    """

    standalone: Callable[[str, Sequence[str]], str]
    search: Callable[[str, Principal, str, int, Filters, Mode], Coroutine[Any, Any, list[Passage]]]
    draft: Callable[[str, Principal, str, int], Coroutine[Any, Any, Draft | None]]
    finalize: Callable[[str, list[Passage], Draft | None, str], AsyncGenerator[str | Answer, None]]
    compute: Callable[
        [str, Principal, str, Filters], Coroutine[Any, Any, tuple[Answer, list[Passage]] | None]
    ]


@dataclass(frozen=True)
class _Evidence:
    passages: list[Passage]
    draft: Draft | None
    timings: dict[str, float]


class Asker:
    """Answers questions.

    Args:
        admission: how many answers are made at once, and how many may wait.
        passages: passages per answer where the request names no number.
        draft_tokens: limit of the draft.
        deadline_s: bound on the whole of one answer.
    """

    def __init__(
        self,
        engines: Engines,
        sessions: Sessions,
        admission: Admission,
        *,
        passages: int,
        draft_tokens: int,
        deadline_s: float,
    ) -> None:
        self._engines = engines
        self._sessions = sessions
        self._admission = admission
        self._passages = passages
        self._draft_tokens = draft_tokens
        self._deadline_s = deadline_s

    async def ask(
        self,
        principal: Principal,
        request: wire.ChatRequest,
        release: str,
        before: Sequence[str] = (),
    ) -> Stream:
        """Status events, the text in pieces, and last the answer, which is stored by then.

        A follow-up is answered as the question it stands for, and remembered as it was asked.
        Without a generator the answer is made from evidence alone: a logged, named degradation.

        Args:
            before: earlier questions, for who keeps the conversation and names no session.

        Raises:
            AlchemyError: OVERLOADED, DEADLINE, or what an engine or a store raised.
        """
        started = time.monotonic()
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        async with AsyncExitStack() as held:
            async with self._within(deadline):
                await held.enter_async_context(self._admission.slot())
                question = await self._standalone(principal, request, before)
            yield wire.StatusEvent(step="retrieving")
            async with self._within(deadline):
                computing, filters = time.monotonic(), filters_of(request)
                computed = await self._engines.compute(question, principal, release, filters)
            if computed is not None:
                answer, passages = computed
                evidence = _Evidence(passages, None, {"compute": _since(computing)})
                yield wire.StatusEvent(step="fusing")
                for piece in _PIECES.findall(answer.text):
                    yield wire.TokenEvent(text=piece)
                timings = {**evidence.timings, "total": _since(started)}
                yield await self._kept(principal, request, answer, evidence, timings, deadline)
                return
            yield wire.StatusEvent(step="consulting")
            evidence = await self._consult(principal, request, question, release, deadline)
            timings = dict(evidence.timings)
            yield wire.StatusEvent(step="fusing")
            fusing = time.monotonic()
            answer: Answer | None = None
            async with aclosing(self._fuse(question, evidence, release, deadline)) as fused:
                async for piece in fused:
                    if isinstance(piece, Answer):
                        answer = piece
                    else:
                        timings.setdefault("first_token", _since(started))
                        yield wire.TokenEvent(text=piece)
            assert answer is not None  # what `_fuse` ends with
            timings |= {"fuse": _since(fusing), "total": _since(started)}
            yield await self._kept(principal, request, answer, evidence, timings, deadline)

    async def _kept(
        self,
        principal: Principal,
        request: wire.ChatRequest,
        answer: Answer,
        evidence: _Evidence,
        timings: dict[str, float],
        deadline: float,
    ) -> wire.AnswerEvent:
        """The answer's event, once the conversation holds the answer."""
        answer = dataclasses.replace(
            answer, question=request.question, timings={**answer.timings, **timings}
        )
        if evidence.draft is None:  # whatever the release has, it had no part in this answer
            answer = dataclasses.replace(answer, adapter=NO_ADAPTER, adapter_digest="")
        session = request.session or new_session_id()
        async with self._within(deadline):
            await self._sessions.remember(principal, session, answer, evidence.passages)
        _log_answer(answer, evidence)
        return wire.AnswerEvent(answer=answer_body(answer, session))

    async def _fuse(
        self, question: str, evidence: _Evidence, release: str, deadline: float
    ) -> AsyncGenerator[str | Answer, None]:
        """The finalist's pieces; ends with an answer of the right release, or raises."""
        async with aclosing(
            self._engines.finalize(question, evidence.passages, evidence.draft, release)
        ) as pieces:
            while True:
                async with self._within(deadline):
                    piece = await anext(pieces, None)
                if piece is None:
                    raise AlchemyError(ErrorCode.INTERNAL, "the finalist ended without an answer")
                if isinstance(piece, Answer) and piece.release != release:
                    raise AlchemyError(
                        ErrorCode.INTERNAL,
                        f"asked release {release!r}, the finalist answered with {piece.release!r}",
                    )
                yield piece
                if isinstance(piece, Answer):
                    return

    async def _standalone(
        self, principal: Principal, request: wire.ChatRequest, before: Sequence[str]
    ) -> str:
        if request.session:
            turns = await self._sessions.turns(principal.user, request.session)
            before = [turn.answer.question for turn in turns]
        return self._engines.standalone(request.question, before)

    async def _consult(
        self,
        principal: Principal,
        request: wire.ChatRequest,
        question: str,
        release: str,
        deadline: float,
    ) -> _Evidence:
        """Search and draft side by side; a failed search fails, a failed draft does not."""
        top_k = request.top_k or self._passages
        engines, filters = self._engines, filters_of(request)
        search = asyncio.create_task(
            _timed(lambda: engines.search(question, principal, release, top_k, filters, "hybrid"))
        )
        draft = asyncio.create_task(
            _timed(lambda: engines.draft(question, principal, release, self._draft_tokens))
        )
        try:
            async with self._within(deadline):
                passages, search_s = await search
                drafted, draft_s = await self._drafted(draft, deadline)
        finally:
            for task in (search, draft):
                task.cancel()
            await asyncio.gather(search, draft, return_exceptions=True)
        timings = {"retrieve": search_s} | ({"draft": draft_s} if drafted else {})
        return _Evidence(passages, drafted, timings)

    async def _drafted(
        self, task: asyncio.Task[tuple[Draft | None, float]], deadline: float
    ) -> tuple[Draft | None, float]:
        """The draft, or None where there is none to be had in time; why is logged."""
        log = get_logger()
        try:
            async with asyncio.timeout_at(deadline - self._deadline_s * (1 - _DRAFT_SHARE)):
                return await task
        except AlchemyError as error:
            log.warning("chat.without_draft", code=error.code.code, error=str(error))
        except TimeoutError:
            log.warning("chat.without_draft", code=ErrorCode.DEADLINE.code)
        return None, 0.0

    @asynccontextmanager
    async def _within(self, deadline: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError as error:
            raise AlchemyError(
                ErrorCode.DEADLINE,
                f"the answer was not ready within {self._deadline_s:g} s",
                "Try again; the service may be busy.",
            ) from error


async def with_errors(stream: Stream) -> AsyncGenerator[Event | wire.ErrorEvent, None]:
    """The same stream, with a fault as its last event instead of an exception."""
    try:
        async with aclosing(stream):
            async for event in stream:
                yield event
    except Exception as error:  # noqa: BLE001 - the fault is the stream's last event, and logged
        yield wire.ErrorEvent(error=error_body(typed(error)))


async def final_answer(stream: Stream) -> wire.AnswerBody:
    """Run a stream to its end and return the answer."""
    async with aclosing(stream):
        async for event in stream:
            if isinstance(event, wire.AnswerEvent):
                return event.answer
    raise AlchemyError(ErrorCode.INTERNAL, "the stream ended without an answer")


def typed(error: Exception) -> AlchemyError:
    """The typed error in a chain of causes; anything else is logged and becomes INTERNAL."""
    found = AlchemyError.unwrap(error)
    if found is None:
        get_logger().exception("request.failed", exc_info=error)
        return AlchemyError(
            ErrorCode.INTERNAL, "something failed inside the service", "Its log has the details."
        )
    if found.code.http_status >= 500:
        get_logger().error("request.failed", code=found.code.code, error=str(found))
    return found


def error_body(error: AlchemyError) -> wire.ErrorBody:
    """The wire form of an error."""
    return wire.ErrorBody(
        code=error.code.code,
        message=error.message,
        remedy=error.remedy,
        retryable=error.code.retryable,
    )


def filters_of(body: wire.FilterBody) -> Filters:
    """What a request limits its search to."""
    return Filters(
        tuple(body.sources or ()),
        tuple(body.projects or ()),
        body.since or None,
        body.until or None,
    )


def answer_body(answer: Answer, session: str) -> wire.AnswerBody:
    """The wire form of an answer."""
    return wire.AnswerBody(session=session, **answer.to_dict())


def _log_answer(answer: Answer, evidence: _Evidence) -> None:
    """Never the question or the answer: logs are not covered by access control."""
    get_logger().info(
        "chat.answered",
        answer=answer.id,
        release=answer.release,
        adapter=answer.adapter,
        passages=len(evidence.passages),
        drafted=evidence.draft is not None,
        abstained=answer.abstained,
        confidence=round(answer.confidence, 3),
        timings=answer.timings,
    )


async def _timed(work: Callable[[], Awaitable[T]]) -> tuple[T, float]:
    started = time.monotonic()
    return await work(), _since(started)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 4)
