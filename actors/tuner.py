"""The Tuner: a retrieval adapter for the embedding model, trained by a Ray Train worker."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
from ray.actor import ActorHandle

from actors.base import call, run_stage
from actors.ray_training import fitted
from alchemy import logs
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.protocols import Lake
from alchemy.stage import StageContext, read_jsonl
from alchemy.stores import open_lake
from alchemy.training import tuning
from alchemy.types import Chunk, Receipt

STAGE = "tune"


@ray.remote
class Tuner:
    """Drives the training of a retrieval adapter through Ray Train."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Stage "tune"."""
        return run_stage(STAGE, lambda context: _tune(context, sink), self._settings, run_id, sink)


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the tune stage in a Tuner actor of this run."""
    return call(Tuner, "tuner", settings, run_id, sink)


def _tune(context: StageContext, sink: ActorHandle | None) -> Receipt:
    """Gather pairs, train, publish. One worker: minutes of work, so a retry starts again."""
    plan = tuning.plan(context)
    if isinstance(plan, str):
        return tuning.nothing(context, plan)
    with fitted(tune_loop, context, plan, sink, workers=1) as directory:
        return tuning.publish(context, plan, directory)


def tune_loop(config: dict[str, Any]) -> AlchemyError | None:
    """The Ray Train worker.

    Returns:
        An error that trying again cannot mend (raised, Ray Train would try `max_failures` times).
    """
    from alchemy.models.devices import pick_device, use_cores
    from alchemy.models.query_adapter import tunable_base
    from alchemy.training.retrieval import tune

    logs.configure()
    settings: Settings = config["settings"]
    plan: tuning.TunePlan = config["plan"]
    sink: ActorHandle | None = config["sink"]
    log = logs.get_logger().bind(run_id=config["run_id"], stage=STAGE)

    def progress(event: str, fields: dict[str, Any]) -> None:
        log.info(event, **fields)
        if sink is not None:
            sink.emit.remote(STAGE, event, fields)

    use_cores()
    device = pick_device(settings.model_b.device)
    if settings.training.use_gpu:
        device = str(ray.train.torch.get_device())
    with tempfile.TemporaryDirectory(prefix="alchemy-tune-") as directory:
        scratch = Path(directory)
        try:
            lake = open_lake(settings.lake)
            train, stopping = (
                tuning.fetch_pairs(lake, plan, name, scratch)
                for name in (tuning.TRAIN, tuning.STOPPING)
            )
            index = frozen_index(lake, plan, scratch)
            base, _ = tunable_base(settings.model_b)
            output = scratch / "adapter"
            tuned = tune(base, train, stopping, index, settings.tuning, output, device, progress)
            kept = ray.train.Checkpoint.from_directory(output)
            ray.train.report({"ndcg": tuned.ndcg, "base_ndcg": tuned.base_ndcg}, checkpoint=kept)
        except AlchemyError as error:
            if error.code.retryable:
                raise
            return error
    return None


def frozen_index(lake: Lake, plan: tuning.TunePlan, scratch: Path) -> Any:
    """The run's chunks with the vectors that its index was built from.

    Raises:
        AlchemyError: CORRUPT when the cache has lost vectors that the index stage stored.
    """
    from alchemy.training.retrieval import FrozenIndex

    path = scratch / "chunks.jsonl"
    lake.download(plan.chunks_key, path)
    documents: list[str] = []
    hashes: list[str] = []
    for chunk in read_jsonl(path, Chunk):
        documents.append(chunk.document_id)
        hashes.append(chunk.content_hash)
    vectors = np.zeros((len(hashes), plan.dim), dtype=np.float32)
    missing = EmbeddingCache(lake, plan.embedder, plan.dim).fill(hashes, vectors)
    if missing:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{len(missing)} vectors of this run's index are gone from {lake.uri}",
            "Run stage 'index' again.",
        )
    return FrozenIndex(documents, vectors)
