"""Models that people's questions reach: a remote one is sent redacted text only.

Passages were redacted when they were washed; what a person types into a question was not. The
redactor is handed in, since it belongs to the layer above.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np

from alchemy.config import ModelSettings
from alchemy.models.registry import load_chat_model, load_embedder
from alchemy.protocols import ChatModel, Embedder, Message, Redact


def service_chat_model(settings: ModelSettings, redact: Redact) -> ChatModel | None:
    """See `load_chat_model`."""
    model = load_chat_model(settings)
    return RedactedChat(model, redact) if model and settings.provider == "openai" else model


def service_embedder(settings: ModelSettings, redact: Redact) -> Embedder:
    """See `load_embedder`."""
    embedder = load_embedder(settings)
    return RedactedEmbedder(embedder, redact) if settings.provider == "openai" else embedder


class RedactedChat:
    """A chat model that reads redacted messages; one numbering for a conversation."""

    def __init__(self, model: ChatModel, redact: Redact) -> None:
        self._model = model
        self._redact = redact

    @property
    def digest(self) -> str:
        """See `protocols.ChatModel`."""
        return self._model.digest

    def complete(self, messages: Sequence[Message], max_new_tokens: int = 512) -> str:
        """See `protocols.ChatModel`."""
        return self._model.complete(self._redacted(messages), max_new_tokens)

    def stream(self, messages: Sequence[Message], max_new_tokens: int = 512) -> AsyncIterator[str]:
        """See `protocols.ChatModel`."""
        return self._model.stream(self._redacted(messages), max_new_tokens)

    def _redacted(self, messages: Sequence[Message]) -> list[Message]:
        contents = self._redact([message.content for message in messages])
        return [replace(m, content=c) for m, c in zip(messages, contents, strict=True)]


class RedactedEmbedder:
    """An embedder that reads redacted texts."""

    def __init__(self, embedder: Embedder, redact: Redact) -> None:
        self._embedder = embedder
        self._redact = redact

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
        return self._embedder.encode([one for text in texts for one in self._redact([text])])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `protocols.Embedder`."""
        return self._embedder.count_tokens(texts)
