"""Agent D: evidence and draft → a cited answer, streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING

from ray import serve
from ray.serve.handle import DeploymentHandle

from alchemy import logs
from alchemy.cleaning import pii
from alchemy.config import Settings
from alchemy.finalist.fusion import Fusion
from alchemy.models.outgoing import service_chat_model
from alchemy.release import reading
from alchemy.release.cache import ReleaseCache
from alchemy.stores import open_lake
from alchemy.types import Answer, Draft, Passage, Release
from deployments.calls import reply_of

if TYPE_CHECKING:
    import numpy as np


@serve.deployment
class Finalist:
    """Answers from passages and draft under the release a request names.

    Args:
        knowledge: the deployment whose batched `embed` compares sentences.
    """

    # Serve awaits it: a replica is ready when the live release is known
    async def __init__(self, settings: Settings, knowledge: DeploymentHandle) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        logs.configure()
        self._knowledge = knowledge
        chat_model = await asyncio.to_thread(
            service_chat_model, settings.model_d, pii.redact_together
        )
        self._chat_model = chat_model
        self._releases: ReleaseCache[Release] = ReleaseCache(
            open_lake(settings.lake), lambda release: release, part="finalist"
        )
        await self._releases.start()

    async def answer(
        self, question: str, passages: list[Passage], draft: Draft | None, release: str
    ) -> AsyncGenerator[str | Answer, None]:
        """Pieces of the text, each verified, then the `Answer`.

        Raises:
            AlchemyError: NOT_FOUND for an unknown release, else as `Fusion.answer`.
        """
        part = await self._releases.get(release)
        # sentences are compared by the model whose index found them, whatever is live meanwhile
        read = partial(self._read, release) if reading.ROLE in part.models else None
        fusion = Fusion(partial(self._embed, release), self._chat_model, read)
        async for piece in fusion.answer(question, passages, draft, part):
            yield piece

    async def _embed(self, release: str, texts: list[str]) -> np.ndarray:
        return await reply_of(self._knowledge.embed.remote(texts, release), "knowledge")

    async def _read(
        self, release: str, question: str, texts: list[str], spans: list[list[tuple[int, int]]]
    ) -> list[np.ndarray]:
        return await reply_of(
            self._knowledge.read.remote(question, texts, spans, release), "knowledge"
        )
