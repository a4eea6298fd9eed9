"""The Evaluator: measures and calibrates a run's index and adapter, then releases them."""

from __future__ import annotations

from pathlib import Path

import ray
from ray.actor import ActorHandle

from actors.base import call, run_stage
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.snapshot import Snapshot
from alchemy.models.devices import use_cores
from alchemy.models.query_adapter import AdaptedQueries, tunable_base
from alchemy.models.registry import (
    load_chat_model,
    load_embedder,
    load_generator,
    load_reader,
    load_reranker,
)
from alchemy.models.weights import ADAPTER_WEIGHTS
from alchemy.release import evaluate, refresh, stage
from alchemy.release.candidate import Candidate
from alchemy.release.retrieval import RetrievalAdapter
from alchemy.stage import StageContext
from alchemy.stores.versions import read_manifest
from alchemy.training import tuning
from alchemy.training.adapters import fetch_adapter
from alchemy.training.base import fetch_base
from alchemy.types import Receipt


@ray.remote
class Evaluator:
    """Stage "evaluate" with the real engines loaded beside each other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Load what the run built, and measure it."""
        use_cores()
        return run_stage("evaluate", evaluate_run, self._settings, run_id, sink)


@ray.remote
class Releaser:
    """Stage "release": asks the gate and moves the pointer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """See `alchemy.release.stage.run`."""
        return run_stage("release", stage.run, self._settings, run_id, sink)


@ray.remote
class Refresher:
    """Stage "refresh": the live release with a new index."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """See `alchemy.release.refresh.run`."""
        use_cores()
        embedder = load_embedder(self._settings.model_b)
        return run_stage(
            "refresh",
            lambda context: refresh.run(
                context, embedder, lambda: load_reranker(self._settings.reranker)
            ),
            self._settings,
            run_id,
            sink,
        )


def evaluate_run(context: StageContext) -> Receipt:
    """Load index, models and adapter of this run from the lake, then evaluate them."""
    settings, lake = context.settings, context.lake
    index, train = context.receipt_of("index"), context.receipt_of("train")
    cache = settings.state_dir / "cache"
    version = index.uri.rpartition("/")[2]
    expected = read_manifest(lake, index.uri).sha256
    snapshot = Snapshot.fetch(lake, version, expected, cache / "index")
    try:
        embedder = load_embedder(settings.model_b)
        snapshot.require_embedder(embedder)
        base_dir, base_digest = fetch_base(lake, settings.model_c, cache / "base")
        generator = load_generator(settings.model_c, base_dir)
        adapter = train.uri.rpartition("/")[2]
        adapter_dir, _ = fetch_adapter(lake, adapter, cache / "adapters", base_digest)
        digest = generator.load_adapter(adapter, adapter_dir)
        _same_adapter(train, digest)
        candidate = Candidate(
            snapshot=snapshot,
            embedder=embedder,
            generator=generator,
            adapter=adapter,
            adapter_digest=digest,
            chat_model=load_chat_model(settings.model_d),
            retrieval=_retrieval_adapter(context, cache / "adapters"),
            reranker=load_reranker(settings.reranker),
            reader=load_reader(settings.reader),
        )
        context.progress("evaluate.loaded", {"index": version, "adapter": adapter})
        return evaluate.run(context, candidate)
    finally:
        snapshot.close()


def _retrieval_adapter(context: StageContext, cache: Path) -> RetrievalAdapter | None:
    """The adapter of queries that this run trained, loaded; None when it trained none."""
    version = tuning.adapter_of(context.receipt_of("tune"))
    if not version:
        return None
    model = context.settings.model_b
    _, base = tunable_base(model)
    directory, manifest = fetch_adapter(context.lake, version, cache, base)
    return RetrievalAdapter(
        version=version,
        digest=str(manifest.meta["weights"]),
        encode=AdaptedQueries(model, directory).encode_queries,
        held_out=tuning.held_out_pairs(context),
    )


def _same_adapter(train: Receipt, digest: str) -> None:
    """What is loaded must be what this run trained."""
    recorded = train.files.get(f"{train.uri}/{ADAPTER_WEIGHTS}")
    if recorded != digest:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"adapter {train.uri} is {digest[:12]}, the train receipt says {str(recorded)[:12]}",
            "Run stage 'train' again.",
        )


def start_evaluate(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the evaluate stage in an Evaluator actor of this run."""
    return call(Evaluator, "evaluator", settings, run_id, sink)


def start_release(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the release stage in a Releaser actor of this run."""
    return call(Releaser, "releaser", settings, run_id, sink)


def start_refresh(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the refresh stage in a Refresher actor of this run."""
    return call(Refresher, "refresher", settings, run_id, sink)
