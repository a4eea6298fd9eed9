from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import ray

from actors import indexer
from alchemy.config import LakeSettings, ModelSettings, RetrievalSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.models.registry import load_embedder
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import read_manifest
from alchemy.types import PUBLIC_GROUP, Chunk, Insight, Principal

pytestmark = pytest.mark.usefixtures("ray_cluster")

TOPICS = ("hdfs sink", "http source", "rich gauge", "message bus", "zookeeper ensemble")


def make_chunk(number: int) -> Chunk:
    topic = TOPICS[number % len(TOPICS)]
    chunk = Chunk(
        id=f"jira:XD-{number:03}#0",
        document_id=f"jira:XD-{number:03}",
        source="jira",
        title=f"Work on the {topic}",
        uri="",
        tenant="default",
        acl=(PUBLIC_GROUP,),
        text=f"Step {number}: the {topic} needs work.",
        ordinal=0,
        start=0,
        end=1,
    )
    digest = hashlib.sha256(chunk.embedding_text().encode()).hexdigest()
    return Chunk.from_dict({**chunk.to_dict(), "content_hash": digest})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake in which run-1 is washed and measured: 150 chunks, more than one piece of work."""
    settings = Settings(lake=LakeSettings(root=str(tmp_path / "lake")))
    lake = LocalLake(settings.lake.root)
    outputs = {
        "wash": ("processed", "rag_chunks.jsonl", [make_chunk(i) for i in range(150)]),
        "quant": ("quant", "insights.jsonl", [Insight("jira:XD-007", "XD-7 is large.")]),
    }
    for stage, (prefix, name, records) in outputs.items():
        context = StageContext("run-1", stage, settings, lake, tmp_path / "scratch")
        write_jsonl(context.out(name), records)
        files = {name: context.out(name)}
        receipt = context.finish(f"{prefix}/run-1", files, rows=len(records), schema=(), inputs={})
        write_receipt(lake, receipt)
    return settings


@ray.remote
class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def emit(self, stage: str, event: str, fields: dict[str, object]) -> None:
        self.events.append((stage, event, fields))

    def seen(self) -> list[tuple[str, str, dict[str, object]]]:
        return self.events


def test_the_index_is_built_by_workers_and_answers_by_meaning(
    settings: Settings, tmp_path: Path
) -> None:
    sink = Sink.remote()
    receipt = indexer.start(settings, "run-1", sink)
    assert receipt.counts == {"chunks": 150, "documents": 150, "embedded": 150, "cached": 0}
    events = ray.get(sink.seen.remote())
    assert ("index", "index.embed", {"done": 150, "total": 150}) in events

    lake = LocalLake(settings.lake.root)
    version = receipt.uri.removeprefix("index/")
    snapshot = Snapshot.fetch(
        lake, version, read_manifest(lake, receipt.uri).sha256, tmp_path / "c"
    )
    embedder = load_embedder(settings.model_b)
    snapshot.require_embedder(embedder)
    question = "How big is the ZooKeeper cluster?"
    reader = Principal("u", "default", (PUBLIC_GROUP,))
    vector = embedder.encode([question])[0]
    found = search(snapshot, [Query(question, vector, reader, 5)], RetrievalSettings())[0]
    assert found[0].chunk.title == "Work on the zookeeper ensemble"
    own = embedder.encode([make_chunk(7).embedding_text()])[0]
    assert snapshot.vectors.cosines(own, np.array([7]))[0] > 0.99

    again = indexer.start(settings, "run-1", None)
    assert (again.uri, again.sha256) == (receipt.uri, receipt.sha256)
    assert again.counts["embedded"] == 0


def test_a_model_that_cannot_be_loaded_is_the_stages_error(settings: Settings) -> None:
    model = ModelSettings(provider="huggingface", model_path="/nowhere")
    with pytest.raises(AlchemyError, match="/nowhere") as raised:
        indexer.start(settings.model_copy(update={"model_b": model}), "run-1", None)
    assert raised.value.code is ErrorCode.MODEL_UNAVAILABLE
