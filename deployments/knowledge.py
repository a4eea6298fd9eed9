"""Agent C's read side: passages for a question, and embeddings for whoever needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.util.metrics import Histogram

from alchemy import logs
from alchemy.cleaning import pii
from alchemy.config import Settings
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.models.outgoing import service_embedder
from alchemy.protocols import Embedder
from alchemy.release.retrieval import EncodeQueries, query_encoder
from alchemy.stores import open_lake
from alchemy.types import Passage, Principal, Release
from deployments.metrics import batch_size_histogram
from deployments.releases import ReleaseCache


def embed_requests(embedder: Embedder, requests: list[Sequence[str]]) -> list[np.ndarray]:
    """Embed the texts of several requests in one call: float32[len(request), dim] for each."""
    vectors = embedder.encode([text for request in requests for text in request])
    ends = np.cumsum([len(request) for request in requests])
    return np.split(vectors, ends[:-1])


def encode_asked(asked: Sequence[tuple[EncodeQueries, str]]) -> list[np.ndarray]:
    """Vectors float32[dim] of questions; those under one encoder (one release's) in one call."""
    places: dict[EncodeQueries, list[int]] = {}
    for place, (encode, _) in enumerate(asked):
        places.setdefault(encode, []).append(place)
    vectors: dict[int, np.ndarray] = {}
    for encode, own in places.items():
        vectors.update(zip(own, encode([asked[place][1] for place in own]), strict=True))
    return [vectors[place] for place in range(len(asked))]


@dataclass(frozen=True)
class Opened:
    """What a release's searches need: its index, and what encodes questions for it."""

    snapshot: Snapshot
    encode: EncodeQueries


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
        # the decorator adds methods that no stub knows
        batched: tuple[Any, ...] = (self._embed_batch, self._query_batch)
        for batching in batched:
            batching.set_max_batch_size(settings.serving.batch_size)
            batching.set_batch_wait_timeout_s(settings.serving.batch_wait_s)
        self._releases = ReleaseCache(open_lake(settings.lake), self._open, part="knowledge")
        await self._releases.start()

    def _open(self, release: Release) -> Opened:
        cache = self._settings.state_dir / "cache"
        lake = open_lake(self._settings.lake)
        snapshot = Snapshot.fetch(lake, release.index, release.index_sha256, cache / "index")
        snapshot.require_embedder(self._embedder)
        model, adapters = self._settings.model_b, cache / "adapters"
        return Opened(snapshot, query_encoder(lake, release, model, self._embedder, adapters))

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
            opened = await self._releases.get(release)
            vector = await self._query_batch((opened.encode, question))
            query = Query(question, vector, principal, top_k, tuple(sources or ()))
            # not batched: every query has its own rights, and a full-text search does not share
            find = partial(search, opened.snapshot, [query], self._settings.retrieval)
            return (await asyncio.to_thread(find))[0]

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
