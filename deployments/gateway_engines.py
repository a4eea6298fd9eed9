"""The other deployments as the gateway sees them: plain async callables with typed errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from ray.serve.handle import DeploymentHandle

from alchemy.errors import AlchemyError
from alchemy.knowledge.followup import standalone
from alchemy.logs import get_logger
from alchemy.protocols import GenerationRequest
from alchemy.quant.cues import may_compute
from alchemy.release.cache import BROKEN
from alchemy.serving.ask import Engines
from alchemy.types import Answer, Draft, Filters, Mode, Passage, Principal
from deployments.calls import await_prepared, pieces_of, reply_of

if TYPE_CHECKING:
    import numpy as np


class HandleEngines:
    """Calls of the deployments `Knowledge`, `Generator` and `Finalist`.

    A caller that stops waiting cancels the call it made.
    """

    def __init__(
        self, knowledge: DeploymentHandle, generator: DeploymentHandle, finalist: DeploymentHandle
    ) -> None:
        self._knowledge = knowledge
        self._generator = generator
        self._finalist = finalist

    def engines(self) -> Engines:
        """For `Asker`."""
        return Engines(
            standalone=standalone,
            search=self.search,
            draft=self.draft,
            finalize=self.finalize,
            compute=self.compute,
        )

    async def search(
        self,
        question: str,
        principal: Principal,
        release: str,
        top_k: int,
        filters: Filters,
        mode: Mode,
    ) -> list[Passage]:
        """See `Engines.search`."""
        call = self._knowledge.search.remote(question, principal, release, top_k, filters, mode)
        return await reply_of(call, "knowledge")

    async def compute(
        self, question: str, principal: Principal, release: str, filters: Filters
    ) -> tuple[Answer, list[Passage]] | None:
        """See `Engines.compute`; asks only for questions that may want it."""
        if not may_compute(question):
            return None
        call = self._knowledge.compute.remote(question, principal, release, filters)
        return await reply_of(call, "knowledge")

    def prepare(self, release: str, *, with_generator: bool) -> None:
        """Have a release loaded before anyone is sent to it. Blocks: not on an event loop.

        Args:
            with_generator: also refuse a release whose adapter is broken; a generator that is
                merely away never holds a release back.

        Raises:
            AlchemyError: why it cannot be loaded.
        """
        await_prepared(self._knowledge.prepare.remote(release), "knowledge")
        if not with_generator:
            return
        try:
            await_prepared(self._generator.prepare.remote(release), "generator")
        except AlchemyError as error:
            if error.code in BROKEN:
                raise
            get_logger().warning("release.without_generator", release=release, error=str(error))

    async def owners(self, document_ids: Sequence[str], release: str) -> dict[str, str]:
        """Document id → tenant, of those that the release's index holds."""
        return await reply_of(
            self._knowledge.owners.remote(list(document_ids), release), "knowledge"
        )

    async def embed(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts, float32[n, dim]."""
        return await reply_of(self._knowledge.embed.remote(texts), "knowledge")

    async def draft(
        self, question: str, principal: Principal, release: str, max_new_tokens: int
    ) -> Draft | None:
        """See `Engines.draft`."""
        call = self._generator.draft.remote(question, principal, release, max_new_tokens)
        return await reply_of(call, "generator")

    def finalize(
        self, question: str, passages: list[Passage], draft: Draft | None, release: str
    ) -> AsyncGenerator[str | Answer, None]:
        """See `Engines.finalize`."""
        streaming = self._finalist.options(stream=True)
        return pieces_of(streaming.answer.remote(question, passages, draft, release), "finalist")

    def generate(
        self, request: GenerationRequest, principal: Principal, release: str
    ) -> AsyncGenerator[str | Draft, None]:
        """Pieces of a plain generation, then its `Draft`."""
        streaming = self._generator.options(stream=True)
        return pieces_of(streaming.generate.remote(request, principal, release), "generator")
