"""Agent C's write side: the index stage, with embedding spread over Ray actors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util import ActorPool

from actors.base import call, run_stage, typed_error
from alchemy import logs
from alchemy.config import Settings
from alchemy.knowledge import stage
from alchemy.models.devices import use_cores
from alchemy.models.registry import load_embedder
from alchemy.protocols import Embedder
from alchemy.types import Receipt

_PIECE = 128
"""Texts per call: small enough that workers finish together, large enough to batch by length."""


@ray.remote(max_restarts=2, max_task_retries=2)
class EmbeddingWorker:
    """Holds one copy of the embedding model."""

    def __init__(self, settings: Settings) -> None:
        logs.configure()
        self._settings = settings
        self._loaded: Embedder | None = None

    def _embedder(self) -> Embedder:
        # not in the constructor: Ray reports an error raised there as text, without its type
        if self._loaded is None:
            use_cores(sharing=self._settings.indexing.embedding_workers)
            self._loaded = load_embedder(self._settings.model_b)
        return self._loaded

    def describe(self) -> tuple[str, int]:
        """Digest and dimension of the model."""
        return self._embedder().digest, self._embedder().dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `protocols.Embedder`."""
        return self._embedder().encode(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `protocols.Embedder`."""
        return self._embedder().count_tokens(texts)


class SpreadEmbedder:
    """An `Embedder` whose work is done by a pool of actors."""

    def __init__(self, workers: Sequence[Any]) -> None:
        self._pool = ActorPool(list(workers))
        self._first = workers[0]
        self._digest, self._dim = _result(lambda: ray.get(self._first.describe.remote()))

    @property
    def digest(self) -> str:
        """See `protocols.Embedder`."""
        return self._digest

    @property
    def dim(self) -> int:
        """See `protocols.Embedder`."""
        return self._dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """See `protocols.Embedder`."""
        if not texts:
            return np.zeros((0, self._dim), dtype=np.float32)
        pieces = [texts[start : start + _PIECE] for start in range(0, len(texts), _PIECE)]
        found = self._pool.map(lambda worker, piece: worker.encode.remote(piece), pieces)
        return np.concatenate(_result(lambda: list(found)))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `protocols.Embedder`."""
        return _result(lambda: ray.get(self._first.count_tokens.remote(texts)))


@contextmanager
def spread_embedder(settings: Settings) -> Iterator[SpreadEmbedder]:
    """A pool of `indexing.embedding_workers` actors, gone afterwards."""
    options: dict[str, Any] = {"num_cpus": settings.indexing.worker_cpus}
    if settings.indexing.worker_gpus:
        options["num_gpus"] = settings.indexing.worker_gpus
    count = settings.indexing.embedding_workers
    workers: list[Any] = [EmbeddingWorker.options(**options).remote(settings) for _ in range(count)]
    try:
        yield SpreadEmbedder(workers)
    finally:
        for worker in workers:
            ray.kill(worker)


def _result(ask: Any) -> Any:
    """What Ray returns; a worker's typed error as it was raised, its death as STAGE_FAILED."""
    try:
        return ask()
    except RayError as error:
        raise typed_error(
            error,
            "an embedding worker failed",
            "Run the same command again; texts that were embedded stay embedded.",
        ) from error


@ray.remote
class Indexer:
    """Builds and publishes the index of a run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Stage "index"."""
        with spread_embedder(self._settings) as embedder:
            return run_stage(
                "index",
                lambda context: stage.run(context, embedder),
                self._settings,
                run_id,
                sink,
            )


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the index stage in an Indexer actor of this run."""
    return call(Indexer, "indexer", settings, run_id, sink)
