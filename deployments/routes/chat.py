"""Asking over REST and server-sent events, and the conversations so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.ask import Event, Stream, answer_body, final_answer, with_errors
from alchemy.wire import (
    AnswerBody,
    ChatRequest,
    ErrorEvent,
    SessionBody,
    SessionDetail,
    TurnBody,
)
from deployments.routes.context import Provided, Signed

router = APIRouter()

SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.post("/api/chat")
async def chat(body: ChatRequest, principal: Signed, services: Provided) -> AnswerBody:
    """Ask and get the whole answer."""
    return await final_answer(services.asker.ask(principal, body, services.release().id))


@router.post("/api/chat/stream")
async def stream(body: ChatRequest, principal: Signed, services: Provided) -> StreamingResponse:
    """Ask and get the events as they happen, as server-sent events."""
    events = services.asker.ask(principal, body, services.release().id)
    first = await anext(events)  # a refusal before the first event keeps its HTTP status
    return StreamingResponse(
        _lines(first, events), media_type="text/event-stream", headers=SSE_HEADERS
    )


@router.get("/api/sessions")
async def sessions(principal: Signed, services: Provided) -> list[SessionBody]:
    """The caller's conversations, last used first."""
    found = await services.sessions.list(principal.user)
    return [SessionBody(**summary.to_dict()) for summary in found]


@router.get("/api/sessions/{session}")
async def session_turns(
    session: Annotated[str, Path(max_length=64)], principal: Signed, services: Provided
) -> SessionDetail:
    """One conversation of the caller's."""
    turns = await services.sessions.turns(principal.user, session)
    if not turns:
        raise AlchemyError(ErrorCode.NOT_FOUND, f"you have no conversation {session!r}")
    bodies = [TurnBody(at=turn.at, answer=answer_body(turn.answer, session)) for turn in turns]
    return SessionDetail(id=session, turns=bodies)


async def _lines(first: Event, rest: Stream) -> AsyncGenerator[str, None]:
    yield _line(first)
    async for event in with_errors(rest):
        yield _line(event)


def _line(event: Event | ErrorEvent) -> str:
    return f"event: {event.type}\ndata: {event.model_dump_json()}\n\n"
