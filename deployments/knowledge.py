"""Agent C's read side: passages for a question, and embeddings for whoever needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.util.metrics import Histogram

from alchemy import logs
from alchemy.cleaning import pii
from alchemy.config import Settings
from alchemy.knowledge.erasure import Hider, tenants
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.knowledge.warmup import warm_up
from alchemy.models.outgoing import service_embedder
from alchemy.protocols import Embedder
from alchemy.stores import open_lake
from alchemy.types import Passage, Principal, Release
from deployments.forgetting import TombstoneFollower
from deployments.metrics import batch_size_histogram, refused_counter
from deployments.releases import ReleaseCache


def embed_requests(embedder: Embedder, requests: list[Sequence[str]]) -> list[np.ndarray]:
    """Embed the texts of several requests in one call: float32[len(request), dim] for each."""
    vectors = embedder.encode([text for request in requests for text in request])
    ends = np.cumsum([len(request) for request in requests])
    return np.split(vectors, ends[:-1])


@serve.deployment
class Knowledge:
    """Searches the index of the release a request names; embeds texts in shared batches."""

    # Serve awaits it: a replica is ready when the live release's index is open
    async def __init__(self, settings: Settings) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        logs.configure()
        self._settings = settings
        self._embedder = await asyncio.to_thread(
            service_embedder, settings.model_b, pii.redact_together
        )
        self._batch_sizes = batch_size_histogram()
        self._step_seconds = Histogram(
            "alchemy_step_seconds",
            description="Time of one step of an answer.",
            boundaries=[0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
            tag_keys=("step",),
        )
        batching: Any = self._embed_batch  # the decorator adds methods that no stub knows
        batching.set_max_batch_size(settings.serving.batch_size)
        batching.set_batch_wait_timeout_s(settings.serving.batch_wait_s)
        lake = open_lake(settings.lake)
        self._hider = Hider()
        self._tombstones = TombstoneFollower(lake)
        await self._tombstones.start()
        self._releases = ReleaseCache(
            lake, self._open, part="knowledge", refused=refused_counter("knowledge")
        )
        await self._releases.start()

    def _open(self, release: Release) -> Snapshot:
        cache = self._settings.state_dir / "cache" / "index"
        lake = open_lake(self._settings.lake)
        snapshot = Snapshot.fetch(lake, release.index, release.index_sha256, cache)
        snapshot.require_embedder(self._embedder)
        warm_up(snapshot, self._embedder, self._settings.retrieval)
        return snapshot

    async def prepare(self, release: str) -> None:
        """Load, verify and warm up the index of a release.

        Raises:
            AlchemyError: why it cannot be loaded.
        """
        await self._snapshot(release)

    async def search(
        self,
        question: str,
        principal: Principal,
        release: str,
        top_k: int,
        sources: Sequence[str] | None = None,
    ) -> list[Passage]:
        """The best passages this principal may read, best first.

        Args:
            release: id of the release whose index is searched.
            sources: only these; None or empty for all.

        Raises:
            AlchemyError: NOT_FOUND for an unknown release, or why it cannot be loaded.
        """
        async with self._timed("retrieve"):
            snapshot = await self._snapshot(release)
            vectors = await self.embed([question])
            query = Query(question, vectors[0], principal, top_k, tuple(sources or ()))
            # not batched: every query has its own rights, and a full-text search does not share
            find = partial(search, snapshot, [query], self._settings.retrieval)
            return (await asyncio.to_thread(find))[0]

    async def owners(self, document_ids: Sequence[str], release: str) -> dict[str, str]:
        """Document id → tenant, of those that the release's index holds, hidden or not.

        Raises:
            AlchemyError: as `search`.
        """
        snapshot = await self._snapshot(release)
        return await asyncio.to_thread(tenants, snapshot, document_ids)

    async def _snapshot(self, release: str) -> Snapshot:
        """The index of a release, without what is forgotten."""
        snapshot = await self._releases.get(release)
        forgotten = self._tombstones.now()
        if not self._hider.applied(snapshot, forgotten):
            await asyncio.to_thread(self._hider.apply, snapshot, forgotten)
        return snapshot

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, float32[n, dim], L2-normalised; computed together with other calls'."""
        if not texts:
            return np.zeros((0, self._embedder.dim), dtype=np.float32)
        return await self._embed_batch(texts)

    @serve.batch
    async def _embed_batch(self, requests: list[Sequence[str]]) -> list[np.ndarray]:
        self._batch_sizes.observe(len(requests), tags={"part": "embed"})
        async with self._timed("embed"):
            return await asyncio.to_thread(embed_requests, self._embedder, requests)

    @asynccontextmanager
    async def _timed(self, step: str) -> AsyncIterator[None]:
        started = time.perf_counter()
        yield
        self._step_seconds.observe(time.perf_counter() - started, tags={"step": step})
