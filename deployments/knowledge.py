"""Agent C's read side: passages for a question, and embeddings for whoever needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from ray import serve
from ray.util.metrics import Histogram

from alchemy import logs
from alchemy.config import Settings
from alchemy.knowledge.erasure import Hider, tenants
from alchemy.knowledge.search import Query
from alchemy.protocols import Embedder
from alchemy.release.cache import ReleaseCache
from alchemy.release.computing import Computed
from alchemy.release.parts import KnowledgePart, KnowledgeParts
from alchemy.release.retrieval import EncodeQueries
from alchemy.serving.embedding import embed_requests, encode_asked
from alchemy.stores import open_lake
from alchemy.types import Filters, Mode, Passage, Principal
from deployments.forgetting import TombstoneFollower
from deployments.metrics import batch_size_histogram, refused_counter


@serve.deployment
class Knowledge:
    """Searches the index of the release a request names; embeds texts in shared batches."""

    # Serve awaits it: a replica is ready when the live release's index is open
    async def __init__(self, settings: Settings) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        logs.configure()
        self._parts = KnowledgeParts(settings)
        self._batch_sizes = batch_size_histogram()
        self._step_seconds = Histogram(
            "alchemy_step_seconds",
            description="Time of one step of an answer.",
            boundaries=[0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
            tag_keys=("step",),
        )
        # the decorator adds methods that no stub knows
        batched: tuple[Any, ...] = (self._embed_batch, self._query_batch)
        for batching in batched:
            batching.set_max_batch_size(settings.serving.batch_size)
            batching.set_batch_wait_timeout_s(settings.serving.batch_wait_s)
        lake = open_lake(settings.lake)
        self._hider = Hider()
        self._tombstones = TombstoneFollower(lake)
        await self._tombstones.start()
        self._releases = ReleaseCache(
            lake, self._parts.open, part="knowledge", refused=refused_counter("knowledge")
        )
        await self._releases.start()
        # until there is a release, this is what `embed` answers with; nobody else holds it
        self._before_release: Embedder | None = None
        if self._releases.live is None:
            self._before_release = await asyncio.to_thread(self._parts.embedders.own)

    async def prepare(self, release: str) -> None:
        """Load, verify and warm up the index of a release, and load its embedding model.

        Raises:
            AlchemyError: why it cannot be loaded.
        """
        await self._part(release)

    async def search(
        self,
        question: str,
        principal: Principal,
        release: str,
        top_k: int,
        filters: Filters,
        mode: Mode,
    ) -> list[Passage]:
        """The best passages this principal may read, best first.

        Args:
            release: id of the release whose index is searched.

        Raises:
            AlchemyError: NOT_FOUND for an unknown release, or why it cannot be loaded.
        """
        async with self._timed("retrieve"):
            part = await self._part(release)
            vector = await self._query_batch((part.encode, question))
            query = Query(question, vector, principal, top_k, filters, mode)
            # not batched: every query has its own rights, and a full-text search does not share
            return await asyncio.to_thread(part.search, query)

    async def read(
        self, question: str, texts: list[str], spans: list[list[tuple[int, int]]], release: str
    ) -> list[np.ndarray]:
        """See `protocols.Reader.read`, by the release's reader.

        Raises:
            AlchemyError: as `search`; INPUT_INVALID for a release without a reader.
        """
        part = await self._part(release)
        async with self._timed("read"):
            return await asyncio.to_thread(part.reader.read, question, texts, spans)

    async def compute(
        self, question: str, principal: Principal, release: str, filters: Filters
    ) -> Computed | None:
        """See `KnowledgePart.compute`; raises as `search`."""
        part = await self._part(release)
        forgotten = self._tombstones.now()
        async with self._timed("compute"):
            return await asyncio.to_thread(part.compute, question, principal, filters, forgotten)

    async def owners(self, document_ids: Sequence[str], release: str) -> dict[str, str]:
        """Document id → tenant, of those that the release's index holds, hidden or not.

        Raises:
            AlchemyError: as `search`.
        """
        part = await self._part(release)
        return await asyncio.to_thread(tenants, part.snapshot, document_ids)

    async def _part(self, release: str) -> KnowledgePart:
        """The index of a release, without what is forgotten."""
        part = await self._releases.get(release)
        forgotten = self._tombstones.now()
        if not self._hider.applied(part.snapshot, forgotten):
            await asyncio.to_thread(self._hider.apply, part.snapshot, forgotten)
        return part

    async def embed(self, texts: Sequence[str], release: str | None = None) -> np.ndarray:
        """Vectors of texts, float32[n, dim], L2-normalised; computed together with other calls'.

        Args:
            release: by the embedding model of this release; None for the live one's, or before the
                first release the configured one.
        """
        live = self._releases.live
        wanted = release or (live.id if live is not None else None)
        if wanted is None:
            embedder = self._before_release or await asyncio.to_thread(self._parts.embedders.own)
        else:
            embedder = (await self._releases.get(wanted)).embedder
            self._before_release = None
        if not texts:
            return np.zeros((0, embedder.dim), dtype=np.float32)
        return await self._embed_batch((embedder, texts))

    @serve.batch
    async def _embed_batch(
        self, requests: list[tuple[Embedder, Sequence[str]]]
    ) -> list[np.ndarray]:
        self._batch_sizes.observe(len(requests), tags={"part": "embed"})
        async with self._timed("embed"):
            return await asyncio.to_thread(embed_requests, requests)

    @serve.batch
    async def _query_batch(self, asked: list[tuple[EncodeQueries, str]]) -> list[np.ndarray]:
        self._batch_sizes.observe(len(asked), tags={"part": "query"})
        async with self._timed("embed"):
            return await asyncio.to_thread(encode_asked, asked)

    @asynccontextmanager
    async def _timed(self, step: str) -> AsyncIterator[None]:
        started = time.perf_counter()
        yield
        self._step_seconds.observe(time.perf_counter() - started, tags={"step": step})
