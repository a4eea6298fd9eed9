"""A real HTTP and WebSocket server on loopback that speaks `alchemy.wire`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, Request, WebSocket
from fastapi.responses import JSONResponse

from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode

PASSWORD = "correct horse"


@dataclass
class Gateway:
    """The server's address, and what a test may make it do or look at."""

    url: str = ""

    def reset(self) -> None:
        """As new, at the same address."""
        self.__dict__.update(Gateway(url=self.url).__dict__)

    refusals: int = 0
    """How many of the next requests are refused with 429."""
    retry_after: str = "0.01"
    expired_tokens: set[str] = field(default_factory=set)
    logins: int = 0
    ingested: list[wire.IngestRequest] = field(default_factory=list)
    rated: list[wire.FeedbackRequest] = field(default_factory=list)
    stream_end: str = "answer"
    delay_s: float = 0.0


def answer_body(request: wire.ChatRequest) -> wire.AnswerBody:
    return wire.AnswerBody(
        id="a1",
        session=request.session or "new",
        question=request.question,
        text="A tap listens. [1]",
        citations=[
            wire.CitationBody(
                document_id="documents:Taps",
                chunk_id="documents:Taps#0",
                title="Taps",
                uri="Taps.asciidoc",
                quote="A tap listens.",
            )
        ],
        confidence=0.9,
        abstained=False,
        release="rl-1",
        adapter="ad-1",
        adapter_digest="d" * 64,
        timings={"fuse": 0.1},
    )


def build(gateway: Gateway) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(AlchemyError)
    async def typed(_: Request, error: AlchemyError) -> JSONResponse:
        headers = {"Retry-After": gateway.retry_after} if error.code.http_status == 429 else {}
        return JSONResponse(error.to_dict(), error.code.http_status, headers)

    def admit(authorization: str) -> None:
        if gateway.refusals > 0:
            gateway.refusals -= 1
            raise AlchemyError(ErrorCode.OVERLOADED, "the queue is full", "Try again soon.")
        token = authorization.removeprefix("Bearer ")
        if token in gateway.expired_tokens:
            raise AlchemyError(ErrorCode.TOKEN_EXPIRED, "the token has expired", "Sign in again.")
        if not token.startswith("token-"):
            raise AlchemyError(ErrorCode.AUTH_FAILED, "a bearer token is needed", "Sign in.")

    @app.post("/api/login")
    async def login(body: wire.LoginRequest) -> wire.LoginResponse:
        if body.password != PASSWORD:
            raise AlchemyError(ErrorCode.AUTH_FAILED, "wrong user or password", "Try again.")
        gateway.logins += 1
        return wire.LoginResponse(
            token=f"token-{gateway.logins}", expires_in=60, user=body.user, roles=[]
        )

    @app.post("/api/chat")
    def chat(body: wire.ChatRequest, authorization: str = Header("")) -> wire.AnswerBody:
        admit(authorization)
        time.sleep(gateway.delay_s)
        return answer_body(body)

    @app.post("/api/search")
    async def search(
        body: wire.SearchRequest, authorization: str = Header("")
    ) -> wire.SearchResponse:
        admit(authorization)
        passage = wire.PassageBody(
            document_id="jira:XD-1",
            chunk_id="jira:XD-1#0",
            title=body.query,
            uri="",
            source=(body.sources or ["documents"])[0],
            section="",
            text="text",
            score=1.0,
            similarity=0.5,
            signals={},
        )
        return wire.SearchResponse(passages=[passage] * body.top_k, release="rl-1")

    @app.post("/api/ingest")
    async def ingest(
        body: wire.IngestRequest, authorization: str = Header("")
    ) -> wire.IngestResponse:
        admit(authorization)
        gateway.ingested.append(body)
        key = f"raw/{body.source}/{len(gateway.ingested)}.jsonl"
        return wire.IngestResponse(
            key=key, records=len(body.records), job_id="job-1" if body.run else None
        )

    @app.post("/api/feedback")
    async def feedback(
        body: wire.FeedbackRequest, authorization: str = Header("")
    ) -> wire.FeedbackResponse:
        admit(authorization)
        gateway.rated.append(body)
        return wire.FeedbackResponse(id="f1", status="pending")

    @app.get("/api/me")
    async def me(authorization: str = Header("")) -> wire.MeResponse:
        admit(authorization)
        token = authorization.removeprefix("Bearer ")
        return wire.MeResponse(user=token, tenant="default", roles=[], groups=["everyone"])

    @app.get("/api/sessions")
    async def sessions(authorization: str = Header("")) -> list[wire.SessionBody]:
        admit(authorization)
        return [wire.SessionBody(id="s1", title="Taps", turns=2, updated_at="2024-01-01")]

    @app.websocket("/api/ws")
    async def ws(socket: WebSocket) -> None:
        try:
            admit(socket.headers.get("authorization", ""))
        except AlchemyError as error:
            headers = {"Retry-After": gateway.retry_after}
            await socket.send_denial_response(
                JSONResponse(error.to_dict(), error.code.http_status, headers)
            )
            return
        await socket.accept()
        request = wire.ChatRequest.model_validate_json(await socket.receive_text())
        answer = answer_body(request)
        events: list[Any] = [
            wire.StatusEvent(step="retrieving"),
            wire.StatusEvent(step="fusing"),
            *(wire.TokenEvent(text=piece) for piece in ("A tap ", "listens. ", "[1]")),
        ]
        if gateway.stream_end == "answer":
            events.append(wire.AnswerEvent(answer=answer))
        elif gateway.stream_end == "error":
            fault = AlchemyError(ErrorCode.MODEL_UNAVAILABLE, "model_d is gone", "Start it.")
            events.append(wire.ErrorEvent(error=wire.ErrorBody.model_validate(fault.to_dict())))
        for event in events:
            await socket.send_text(event.model_dump_json())
        await socket.close()

    return app


@contextmanager
def running() -> Iterator[Gateway]:
    """The gateway, served from a thread."""
    state = Gateway()
    server = uvicorn.Server(
        uvicorn.Config(build(state), log_level="warning", timeout_graceful_shutdown=1)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    state.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield state
    server.should_exit = True
    thread.join(timeout=5)
