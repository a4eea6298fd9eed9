"""Agent B's read side: the base model with each release's adapter, generating in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ray import serve

from alchemy import logs
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.prompts import instruction_prompt
from alchemy.models.registry import load_generator
from alchemy.protocols import GenerationRequest
from alchemy.release.cache import ReleaseCache
from alchemy.serving.batching import Job, run_together
from alchemy.serving.voices import Voice
from alchemy.stores import open_lake
from alchemy.training.adapters import fetch_adapter
from alchemy.training.base import fetch_base
from alchemy.types import Draft, Principal, Release
from deployments.metrics import batch_size_histogram

if TYPE_CHECKING:
    from alchemy.models.causal import CausalGenerator

_BASE = "base"
_CONCURRENT_GENERATIONS = 4
_batched: Any = serve.batch  # its stubs know no batch of streams


@serve.deployment
class Generator:
    """Drafts for the chat, and plain generations for the OpenAI-compatible interface.

    Both share forward passes; drafts have a queue of their own, so that a long generation never
    stands before a short draft.
    """

    # Serve awaits it: a replica is ready when the live release's adapter is loaded
    async def __init__(self, settings: Settings) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        logs.configure()
        self._settings = settings
        self._lake = open_lake(settings.lake)
        self._model: CausalGenerator | None = None
        self._users: Counter[str] = Counter()  # adapter → releases in memory that use it
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="generate")
        self._batch_sizes = batch_size_histogram()
        for queue in (self._draft_steps, self._generate_steps):
            queue.set_max_batch_size(settings.serving.batch_size)
            queue.set_batch_wait_timeout_s(settings.serving.batch_wait_s)
        self._releases = ReleaseCache(
            self._lake, self._load, part="generator", evicted=self._unload
        )
        await self._releases.start()

    async def prepare(self, release: str) -> None:
        """Load the adapter of a release.

        Raises:
            AlchemyError: why it cannot be loaded.
        """
        await self._releases.get(release)

    async def draft(
        self, question: str, principal: Principal, release: str, max_new_tokens: int
    ) -> Draft | None:
        """What the release's adapter says without having seen any evidence.

        None when it learned from what the principal may not read.
        """
        voice = await self._releases.get(release)
        if not voice.may_speak_to(principal):
            return None
        prompt = instruction_prompt(question)
        request = GenerationRequest(prompt, max_new_tokens, adapter=voice.adapter)
        draft: Draft | None = None
        # to its end: Serve reports an end that nobody awaits as a lost exception
        async for piece in self._draft_steps(Job(request, voice.digest)):
            draft = piece if isinstance(piece, Draft) else draft
        return draft

    async def generate(
        self, request: GenerationRequest, principal: Principal, release: str
    ) -> AsyncGenerator[str | Draft, None]:
        """Pieces of the text as they are generated, then the whole as `Draft`.

        Raises:
            AlchemyError: NOT_FOUND for an adapter that is not this release's; FORBIDDEN when it
                learned from what the principal may not read, for the base as well: it was made
                from the same documents.
        """
        voice = await self._releases.get(release)
        if not voice.may_speak_to(principal):
            raise AlchemyError(
                ErrorCode.FORBIDDEN,
                f"the models of release {release!r} learned from documents you may not read",
                "Ask the assistant, which answers from what you may read.",
            )
        if request.adapter not in (_BASE, voice.adapter):
            raise AlchemyError(
                ErrorCode.NOT_FOUND,
                f"release {release!r} has no adapter {request.adapter!r}",
                f"Use {voice.adapter!r} or {_BASE!r}.",
            )
        digest = self._ready_model().digest if request.adapter == _BASE else voice.digest
        async for piece in self._generate_steps(Job(request, digest)):
            yield piece

    @_batched(max_batch_size=16)
    async def _draft_steps(self, jobs: list[Job]) -> AsyncGenerator[list[Any], None]:
        async for row in self._steps("draft", jobs):
            yield row

    @_batched(max_batch_size=16, max_concurrent_batches=_CONCURRENT_GENERATIONS)
    async def _generate_steps(self, jobs: list[Job]) -> AsyncGenerator[list[Any], None]:
        async for row in self._steps("generate", jobs):
            yield row

    async def _steps(self, part: str, jobs: list[Job]) -> AsyncGenerator[list[Any], None]:
        self._batch_sizes.observe(len(jobs), tags={"part": part})
        async for row in run_together(self._ready_model(), jobs, self._worker):
            # the class itself is how Serve is told that a caller's stream is over
            yield [StopIteration if item is None else item for item in row]

    def _ready_model(self) -> CausalGenerator:
        assert self._model is not None  # a release was loaded before anything can be asked of it
        return self._model

    def _load(self, release: Release) -> Voice:
        cache = self._settings.state_dir / "cache"
        base, base_digest = fetch_base(self._lake, self._settings.model_c, cache / "base")
        if self._model is None:
            self._model = load_generator(self._settings.model_c, base)
        adapter = release.adapter or _BASE
        if adapter == _BASE:
            return Voice(_BASE, self._model.digest)
        directory, manifest = fetch_adapter(self._lake, adapter, cache / "adapters", base_digest)
        if manifest.meta["weights"] != release.adapter_digest:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"adapter {adapter!r} is not the one release {release.id!r} was made with",
                "Roll back, or make a new release.",
            )
        digest = self._model.load_adapter(adapter, directory)
        self._users[adapter] += 1
        return Voice.of_adapter(adapter, digest, manifest.meta)

    def _unload(self, release_id: str, voice: Voice) -> None:
        if voice.adapter == _BASE or self._model is None:
            return
        self._users[voice.adapter] -= 1
        if self._users[voice.adapter] <= 0:
            # the model's lock is held during a forward pass: not on the event loop
            self._worker.submit(self._model.unload_adapter, voice.adapter)
