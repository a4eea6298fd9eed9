"""Asking over a WebSocket: several questions, one after the other, each with its event stream.

The first message is `{"type": "auth", "token": …}` unless the handshake carried the token. The
token is checked again at every question, so that a locked account stops answering at once.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.admission import Busy
from alchemy.serving.ask import error_body, typed, with_errors
from alchemy.wire import ChatRequest, ErrorEvent
from deployments.routes.context import Provided, Services, bearer_token
from deployments.routes.errors import first_problem

router = APIRouter()

_AUTH_WAIT_S = 10.0
_WAITING_QUESTIONS = 8
_POLICY_VIOLATION, _INTERNAL_ERROR = 1008, 1011
_ENDS_SOCKET = {ErrorCode.AUTH_FAILED, ErrorCode.TOKEN_EXPIRED, ErrorCode.OVERLOADED}


@router.websocket("/api/ws")
async def converse(socket: WebSocket, services: Provided) -> None:
    """Serve one socket until either side closes it."""
    await socket.accept()
    questions: asyncio.Queue[str] = asyncio.Queue(_WAITING_QUESTIONS)
    token = bearer_token(socket)
    # reading goes on while an answer is made: a client that leaves ends its answer's work
    reading = asyncio.create_task(_read(socket, questions))
    answering = asyncio.create_task(_answer_all(socket, services, questions, token))
    done, _ = await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
    for task in (reading, answering):
        task.cancel()
    await asyncio.gather(reading, answering, return_exceptions=True)
    for task in done:
        error = task.exception() if not task.cancelled() else None
        if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect):
            await _refuse(socket, typed(error))
            return


async def _read(socket: WebSocket, questions: asyncio.Queue[str]) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is None:
            text = message.get("bytes", b"").decode("utf-8", "replace")
        try:
            questions.put_nowait(text)
        except asyncio.QueueFull as error:
            raise Busy(
                "too many questions wait on this socket", "Wait for answers before asking more."
            ) from error


async def _answer_all(
    socket: WebSocket, services: Services, questions: asyncio.Queue[str], token: str | None
) -> None:
    token = token or await _token_message(questions)
    await services.accounts.resolve(token)
    while True:
        raw = await questions.get()
        principal = await services.accounts.resolve(token)
        try:
            body = ChatRequest.model_validate_json(raw)
            release = services.release().id
        except ValidationError as error:
            await _send_error(socket, first_problem(error))
            continue
        except AlchemyError as error:
            await _send_error(socket, error)
            continue
        async with aclosing(with_errors(services.asker.ask(principal, body, release))) as events:
            async for event in events:
                await socket.send_text(event.model_dump_json())


async def _token_message(messages: asyncio.Queue[str]) -> str:
    try:
        async with asyncio.timeout(_AUTH_WAIT_S):
            message = json.loads(await messages.get())
        if message["type"] == "auth" and isinstance(message["token"], str):
            return message["token"]
    except (TimeoutError, ValueError, KeyError, TypeError):
        pass  # all the same to the caller: below
    raise AlchemyError(
        ErrorCode.AUTH_FAILED,
        "the socket did not sign in",
        'Send {"type": "auth", "token": "…"} as the first message.',
    )


async def _send_error(socket: WebSocket, error: AlchemyError) -> None:
    await socket.send_text(ErrorEvent(error=error_body(error)).model_dump_json())


async def _refuse(socket: WebSocket, error: AlchemyError) -> None:
    try:
        await _send_error(socket, error)
        refused = error.code in _ENDS_SOCKET
        await socket.close(_POLICY_VIOLATION if refused else _INTERNAL_ERROR)
    except (WebSocketDisconnect, RuntimeError):
        return  # the client left first
