"""The OpenAI dialect: its bodies, and how they map to our questions, generations and vectors.

Model `data-alchemy` is the whole assistant with citations. An adapter version, or `base`, is the
plain language model behind it. Unknown request fields are ignored, as OpenAI's own servers do.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.prompts import instruction_prompt
from alchemy.protocols import GenerationRequest
from alchemy.serving.ask import Stream, typed
from alchemy.types import Draft, Release

if TYPE_CHECKING:
    import numpy as np

ASSISTANT = "data-alchemy"
EMBEDDING = "embedding"
BASE = "base"

_OWNER = "data-alchemy"
_MAX_INPUTS = 256
_MAX_NEW_TOKENS = 512
_DEFAULT_NEW_TOKENS = 128
_PIECE = re.compile(r"\w+|[^\w\s]")

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ContentPart(BaseModel):
    """One part of a message's content; only text is understood."""

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """One turn."""

    role: str
    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        """The message's text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream carries besides the text."""

    include_usage: bool = False


class ChatCompletionRequest(BaseModel):
    """POST /v1/chat/completions. Without a temperature the choice is greedy."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] = 1

    def before(self) -> list[str]:
        """The user messages before the last."""
        return [m.text().strip() for m in self.messages if m.role == "user"][:-1]

    def question(self) -> str:
        """The last user message.

        Raises:
            AlchemyError: INPUT_INVALID when there is none, or it is too long.
        """
        asked = [m.text().strip() for m in self.messages if m.role == "user"]
        if not asked or not asked[-1]:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID, "messages: there is no user message with text"
            )
        if len(asked[-1]) > wire.MAX_QUESTION_CHARS:
            raise AlchemyError(
                ErrorCode.TOO_LARGE,
                f"messages: the question is longer than {wire.MAX_QUESTION_CHARS} characters",
            )
        return asked[-1]

    def chat_request(self) -> wire.ChatRequest:
        """The same question for the assistant."""
        return wire.ChatRequest(
            question=self.question(), session=None, top_k=None, since=None, until=None
        )

    def generation(self) -> GenerationRequest:
        """The same question for the plain model, through the template it was trained with."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        limit = self.max_completion_tokens or self.max_tokens or _DEFAULT_NEW_TOKENS
        return GenerationRequest(
            prompt=instruction_prompt(self.question()),
            max_new_tokens=min(limit, _MAX_NEW_TOKENS),
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            adapter=self.model,
            stop=tuple(stop),
        )

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)


class EmbeddingRequest(BaseModel):
    """POST /v1/embeddings."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    def texts(self) -> list[str]:
        """The inputs.

        Raises:
            AlchemyError: INPUT_INVALID for none, an empty one or too many.
        """
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not texts or not all(texts) or len(texts) > _MAX_INPUTS:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID, f"input: give 1 to {_MAX_INPUTS} texts, none of them empty"
            )
        return texts


def require_model(model: str, known: Iterable[str]) -> None:
    """NOT_FOUND for a model this service does not have."""
    names = list(known)
    if model not in names:
        raise AlchemyError(
            ErrorCode.NOT_FOUND, f"there is no model {model!r}", f"Models: {', '.join(names)}."
        )


def generators(release: Release) -> list[str]:
    """Names under which the plain language model of a release can be asked."""
    return [BASE] if release.adapter in ("", BASE) else [release.adapter, BASE]


def model_list(release: Release | None) -> dict[str, Any]:
    """GET /v1/models."""
    names = [ASSISTANT, EMBEDDING, *(generators(release) if release else ())]
    return {"object": "list", "data": [model_body(name) for name in names]}


def model_body(name: str) -> dict[str, Any]:
    """GET /v1/models/{name}."""
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER}


def error_json(error: AlchemyError) -> dict[str, Any]:
    """An error as OpenAI's clients expect it."""
    status = error.code.http_status
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code.code}}


def count_tokens(text: str) -> int:
    """Words and marks: the usage count where the text never meets a tokenizer of ours."""
    return len(_PIECE.findall(text))


def usage(prompt: int, completion: int) -> dict[str, int]:
    """The usage block."""
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def completion(
    identifier: str,
    model: str,
    text: str,
    used: dict[str, int],
    finish: str = "stop",
    **extension: Any,
) -> dict[str, Any]:
    """A whole chat completion; `extension` are fields of ours beside OpenAI's."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {
        "id": f"chatcmpl-{identifier}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": used,
        **extension,
    }


def answer_completion(answer: wire.AnswerBody) -> dict[str, Any]:
    """The assistant's answer as a completion; `data_alchemy` holds it with its citations."""
    used = usage(count_tokens(answer.question), count_tokens(answer.text))
    body = answer.model_dump(mode="json")
    return completion(answer.id, ASSISTANT, answer.text, used, data_alchemy=body)


def draft_completion(
    request: ChatCompletionRequest, identifier: str, draft: Draft
) -> dict[str, Any]:
    """A plain generation as a completion."""
    used = usage(count_tokens(request.question()), draft.tokens)
    return completion(identifier, request.model, draft.text, used, _finish(request, draft))


async def answer_chunks(
    request: ChatCompletionRequest, identifier: str, stream: Stream
) -> AsyncGenerator[str, None]:
    """The assistant's event stream as SSE lines of completion chunks."""
    chunks = _Chunks(identifier, ASSISTANT)
    async with aclosing(stream):
        async for event in stream:
            if isinstance(event, wire.TokenEvent):
                yield chunks.text(event.text)
            elif isinstance(event, wire.AnswerEvent):
                answer = event.answer
                yield chunks.end("stop", data_alchemy=answer.model_dump(mode="json"))
                if request.with_usage:
                    used = usage(count_tokens(answer.question), count_tokens(answer.text))
                    yield chunks.usage(used)
    yield "data: [DONE]\n\n"


async def draft_chunks(
    request: ChatCompletionRequest, identifier: str, pieces: AsyncGenerator[str | Draft, None]
) -> AsyncGenerator[str, None]:
    """A plain generation as SSE lines of completion chunks."""
    chunks = _Chunks(identifier, request.model)
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, str):
                if piece:
                    yield chunks.text(piece)
                continue
            yield chunks.end(_finish(request, piece))
            if request.with_usage:
                yield chunks.usage(usage(count_tokens(request.question()), piece.tokens))
    yield "data: [DONE]\n\n"


async def with_error_chunk(lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same lines, with a fault as the last of them instead of an exception."""
    try:
        async with aclosing(lines):
            async for line in lines:
                yield line
    except Exception as error:  # noqa: BLE001 - the fault is the stream's last line, and logged
        yield _line(error_json(typed(error)))


def embedding_list(request: EmbeddingRequest, vectors: np.ndarray) -> dict[str, Any]:
    """Vectors as OpenAI sends them: floats, or base64 of little-endian float32.

    Raises:
        AlchemyError: INPUT_INVALID when another number of dimensions was asked for.
    """
    if request.dimensions not in (None, vectors.shape[1]):
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"dimensions: this model has {vectors.shape[1]}",
            "Leave the field out.",
        )
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(request, vector)}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(count_tokens(text) for text in request.texts())
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": used}


def _vector(request: EmbeddingRequest, vector: np.ndarray) -> str | Sequence[float]:
    if request.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return vector.tolist()


def _finish(request: ChatCompletionRequest, draft: Draft) -> str:
    return "length" if draft.tokens >= request.generation().max_new_tokens else "stop"


class _Chunks:
    """Builds the chunks of one completion; the first carries the role."""

    def __init__(self, identifier: str, model: str) -> None:
        self._head = {
            "id": f"chatcmpl-{identifier}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._role: dict[str, str] = {"role": "assistant"}

    def text(self, text: str) -> str:
        delta, self._role = {**self._role, "content": text}, {}
        return self._choice(delta, None)

    def end(self, finish: str, **extension: Any) -> str:
        return self._choice(self._role, finish, **extension)

    def usage(self, used: dict[str, int]) -> str:
        return _line({**self._head, "choices": [], "usage": used})

    def _choice(self, delta: dict[str, str], finish: str | None, **extension: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _line({**self._head, "choices": [choice], **extension})


def _line(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
