"""The OpenAI-compatible face: chat completions, embeddings, models."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving import openai_api as dialect
from alchemy.serving.ask import final_answer
from alchemy.types import Draft, Principal
from deployments.routes.chat import SSE_HEADERS
from deployments.routes.context import Provided, Services, Signed

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(
    body: dialect.ChatCompletionRequest, principal: Signed, services: Provided
) -> Response:
    """Ask the assistant, or the plain language model behind it."""
    release = services.release()
    dialect.require_model(body.model, [dialect.ASSISTANT, *dialect.generators(release)])
    if body.model == dialect.ASSISTANT:
        return await _assistant(body, principal, services, release.id)
    identifier = secrets.token_hex(8)
    pieces = _generated(services, body, principal, release.id)
    if body.stream:
        return await _stream(dialect.draft_chunks(body, identifier, pieces))
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Draft):
                return JSONResponse(dialect.draft_completion(body, identifier, piece))
    raise AlchemyError(ErrorCode.INTERNAL, "the generation ended without a result")


@router.post("/v1/embeddings")
async def embeddings(
    body: dialect.EmbeddingRequest, _: Signed, services: Provided
) -> dict[str, Any]:
    """Vectors of the index's own embedding model."""
    dialect.require_model(body.model, [dialect.EMBEDDING])
    texts = body.texts()
    async with services.admission.slot():
        vectors = await services.embed(texts)
    return dialect.embedding_list(body, vectors)


@router.get("/v1/models")
async def models(_: Signed, services: Provided) -> dict[str, Any]:
    """The models of the live release."""
    return dialect.model_list(services.live())


@router.get("/v1/models/{name}")
async def model(name: str, _: Signed, services: Provided) -> dict[str, Any]:
    """One model."""
    dialect.require_model(name, [m["id"] for m in dialect.model_list(services.live())["data"]])
    return dialect.model_body(name)


async def _assistant(
    body: dialect.ChatCompletionRequest, principal: Principal, services: Services, release: str
) -> Response:
    events = services.asker.ask(principal, body.chat_request(), release, body.before())
    if body.stream:
        return await _stream(dialect.answer_chunks(body, secrets.token_hex(8), events))
    return JSONResponse(dialect.answer_completion(await final_answer(events)))


async def _generated(
    services: Services, body: dialect.ChatCompletionRequest, principal: Principal, release: str
) -> AsyncGenerator[str | Draft, None]:
    async with (
        services.admission.slot(),
        aclosing(services.generate(body.generation(), principal, release)) as pieces,
    ):
        async for piece in pieces:
            yield piece


async def _stream(lines: AsyncGenerator[str, None]) -> StreamingResponse:
    first = await anext(lines)  # a refusal before the first chunk keeps its HTTP status

    async def joined() -> AsyncGenerator[str, None]:
        yield first
        async for line in dialect.with_error_chunk(lines):
            yield line

    return StreamingResponse(joined(), media_type="text/event-stream", headers=SSE_HEADERS)
