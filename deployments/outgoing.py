"""Models as the service uses them: a remote one is sent redacted text only.

Passages were redacted when they were washed; what a person types into a question was not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np

from alchemy.cleaning import pii
from alchemy.config import ModelSettings
from alchemy.models.registry import load_chat_model, load_embedder
from alchemy.protocols import ChatModel, Embedder, Message


def service_chat_model(settings: ModelSettings) -> ChatModel | None:
    """See `load_chat_model`."""
    model = load_chat_model(settings)
    return RedactedChat(model) if model and settings.provider == "openai" else model


def service_embedder(settings: ModelSettings) -> Embedder:
    """See `load_embedder`."""
    embedder = load_embedder(settings)
    return RedactedEmbedder(embedder) if settings.provider == "openai" else embedder


class RedactedChat:
    """A chat model that reads redacted messages; one numbering for a conversation."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def digest(self) -> str:
        """See `protocols.ChatModel`."""
        return self._model.digest

    def complete(self, messages: Sequence[Message], max_new_tokens: int = 512) -> str:
        """See `protocols.ChatModel`."""
        return self._model.complete(_redacted(messages), max_new_tokens)

    def stream(self, messages: Sequence[Message], max_new_tokens: int = 512) -> AsyncIterator[str]:
        """See `protocols.ChatModel`."""
        return self._model.stream(_redacted(messages), max_new_tokens)


class RedactedEmbedder:
    """An embedder that reads redacted texts."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def digest(self) -> str:
        """See `protocols.Embedder`."""
        return self._embedder.digest

    @property
    def dim(self) -> int:
        """See `protocols.Embedder`."""
        return self._embedder.dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `protocols.Embedder`."""
        return self._embedder.encode([pii.redact(text, pii.Numbering()) for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `protocols.Embedder`."""
        return self._embedder.count_tokens(texts)


def _redacted(messages: Sequence[Message]) -> list[Message]:
    numbering = pii.Numbering()
    return [replace(m, content=pii.redact(m.content, numbering)) for m in messages]
