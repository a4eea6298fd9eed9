"""Any OpenAI-compatible server: chat and embeddings. Used only with `allow_remote: true`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import text_digest

if TYPE_CHECKING:
    from alchemy.config import ModelSettings
    from alchemy.protocols import Message


class _Server:
    """Address, credentials and limits of one remote model."""

    def __init__(self, settings: ModelSettings, role: str) -> None:
        self._place = f"{settings.model_id!r} at {settings.base_url}"
        if not settings.allow_remote:
            raise AlchemyError(
                ErrorCode.REMOTE_FORBIDDEN,
                f"{role} is the remote model {self._place}, and {role}.allow_remote is not set",
                f"Set allow_remote: true in section {role} of models.yaml to send it redacted text.",
            )
        self._model = settings.model_id
        self._digest = text_digest("openai", settings.base_url, settings.model_id)
        self._options: dict[str, Any] = {
            "base_url": settings.base_url,
            # never the client's own fallback to OPENAI_API_KEY: a key goes only where it is configured
            "api_key": settings.api_key.get_secret_value() or "none",
            "timeout": settings.timeout_s,
            "max_retries": settings.max_retries,
        }

    @property
    def digest(self) -> str:
        """sha256 of address and model name; a server does not tell its weights."""
        return self._digest

    @cached_property
    def _client(self) -> openai.OpenAI:
        return openai.OpenAI(**self._options)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except openai.APIStatusError as error:
            raise AlchemyError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"the model {self._place} refused with HTTP {error.status_code}: {error.message}",
                _REMEDIES.get(error.status_code, "Check the server's log."),
            ) from error
        except openai.APITimeoutError as error:
            raise AlchemyError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"the model {self._place} did not answer within {self._options['timeout']:g} s",
                "Raise timeout_s in models.yaml, or use a faster server.",
            ) from error
        # a stream that breaks off raises httpx's own error
        except (openai.OpenAIError, httpx.HTTPError) as error:
            raise AlchemyError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"the model {self._place} cannot be reached: {str(error).rstrip('.')}",
                "Start the server, or correct base_url in models.yaml.",
            ) from error

    def _empty(self) -> AlchemyError:
        return AlchemyError(
            ErrorCode.MODEL_UNAVAILABLE, f"the model {self._place} answered without a choice"
        )


_REMEDIES = {
    401: "Check api_key in models.yaml.",
    403: "Check what this api_key may use.",
    404: "Check model_id and base_url in models.yaml (base_url usually ends in /v1).",
    429: "Wait, or raise the quota with the provider.",
}


class OpenAIChatModel(_Server):
    """See `protocols.ChatModel`."""

    def __init__(self, settings: ModelSettings, role: str) -> None:
        super().__init__(settings, role)
        self._async: tuple[asyncio.AbstractEventLoop, openai.AsyncOpenAI] | None = None

    def _request(self, messages: Sequence[Message], max_new_tokens: int) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            # not max_completion_tokens: vLLM, Ollama and DeepSeek know the older name
            "max_tokens": max_new_tokens,
            "temperature": 0,
        }

    def complete(self, messages: Sequence[Message], max_new_tokens: int = 512) -> str:
        """See `protocols.ChatModel`."""
        with self._asking():
            reply = self._client.chat.completions.create(**self._request(messages, max_new_tokens))
        if not reply.choices:
            raise self._empty()
        return reply.choices[0].message.content or ""

    async def stream(
        self, messages: Sequence[Message], max_new_tokens: int = 512
    ) -> AsyncIterator[str]:
        """See `protocols.ChatModel`."""
        with self._asking():
            events = await self._async_client().chat.completions.create(
                **self._request(messages, max_new_tokens), stream=True
            )
            async with events:
                async for event in events:
                    if event.choices and (text := event.choices[0].delta.content):
                        yield text

    def _async_client(self) -> openai.AsyncOpenAI:
        """One client per event loop: its connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        if self._async is None or self._async[0] is not loop:
            self._async = (loop, openai.AsyncOpenAI(**self._options))
        return self._async[1]


class OpenAIEmbedder(_Server):
    """See `protocols.Embedder`."""

    def __init__(self, settings: ModelSettings, role: str) -> None:
        super().__init__(settings, role)
        self._batch_size = settings.batch_size
        self._dim = 0

    @property
    def dim(self) -> int:
        """Vector length, learned from the first answer."""
        if not self._dim:
            self._dim = int(self._embed(["dimension"]).shape[1])
        return self._dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `protocols.Embedder`."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return np.concatenate(
            [
                self._embed(list(texts[at : at + self._batch_size]))
                for at in range(0, len(texts), self._batch_size)
            ]
        )

    def _embed(self, texts: list[str]) -> np.ndarray:
        with self._asking():
            reply = self._client.embeddings.create(
                model=self._model, input=texts, encoding_format="float"
            )
        rows = sorted(reply.data, key=lambda item: item.index)
        if len(rows) != len(texts):
            raise AlchemyError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"the model {self._place} returned {len(rows)} vectors for {len(texts)} texts",
            )
        vectors = np.asarray([row.embedding for row in rows], dtype=np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """An upper estimate (three UTF-8 bytes a token): the server's tokenizer is not known here."""
        return [-(-len(text.encode("utf-8", "replace")) // 3) for text in texts]
