from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import serve

from alchemy.config import LakeSettings, ModelSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge import stage
from alchemy.models.embedded import minilm_directory
from alchemy.models.registry import load_embedder
from alchemy.protocols import Embedder
from alchemy.release.model import live_release, publish_release
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.tombstones import write_tombstones
from alchemy.stores.versions import Manifest, read_manifest
from alchemy.types import NO_LIMITS, PUBLIC_GROUP, Chunk, Filters, Insight, Principal, Release
from deployments.gateway_engines import HandleEngines
from deployments.knowledge import Knowledge

READER = Principal("u", "default", (PUBLIC_GROUP,))


def make_chunk(key: str, text: str) -> Chunk:
    chunk = Chunk(
        id=f"jira:{key}#0",
        document_id=f"jira:{key}",
        source="jira",
        title=key,
        uri="",
        tenant="default",
        acl=(PUBLIC_GROUP,),
        text=text,
        ordinal=0,
        start=0,
        end=len(text),
    )
    digest = hashlib.sha256(chunk.embedding_text().encode()).hexdigest()
    return Chunk.from_dict({**chunk.to_dict(), "content_hash": digest})


class Company:
    """Publishes releases whose index holds the given texts."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(lake=LakeSettings(root=str(root)))
        self.lake = LocalLake(root)
        self._embedder = load_embedder(self.settings.model_b)

    def release(self, name: str, model: ModelSettings | None = None, **texts: str) -> None:
        """Publish a release; built with another embedding model where one is given."""
        settings = self.settings.model_copy(update={"model_b": model or self.settings.model_b})
        self.publish(name, settings, load_embedder(model) if model else self._embedder, **texts)

    def publish(self, name: str, settings: Settings, embedder: Embedder, **texts: str) -> None:
        chunks = [make_chunk(key, text) for key, text in sorted(texts.items())]
        outputs = {
            "wash": ("processed", "rag_chunks.jsonl", chunks),
            "quant": ("quant", "insights.jsonl", [Insight("jira:A", "A is large.")]),
        }
        scratch = self.lake.root / "scratch" / name
        for part, (prefix, file, records) in outputs.items():
            context = StageContext(name, part, settings, self.lake, scratch)
            write_jsonl(context.out(file), records)
            files = {file: context.out(file)}
            receipt = context.finish(f"{prefix}/{name}", files, rows=0, schema=(), inputs={})
            write_receipt(self.lake, receipt)
        context = StageContext(name, "index", settings, self.lake, scratch)
        receipt = stage.run(context, embedder)
        release = Release(
            id=name,
            created_at="2024-01-01T00:00:00Z",
            run_id=name,
            index=receipt.uri.removeprefix("index/"),
            index_sha256=read_manifest(self.lake, receipt.uri).sha256,
            adapter="base",
            adapter_digest="",
            thresholds={},
            models={},
            prompts={},
            evaluation={},
        )
        publish_release(self.lake, release)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    company = Company(tmp_path_factory.mktemp("lake"))
    company.release("first", A="The hdfs sink writes files.", B="The http source listens.")
    return company


@pytest.fixture(scope="module")
def knowledge(ray_cluster: None, company: Company) -> Iterator[Any]:
    serve.start(http_options={"location": "NoServer"})
    bound = Knowledge.options(ray_actor_options={"num_cpus": 0.1}).bind(company.settings)
    yield serve.run(bound, name="knowledge-test", route_prefix=None)
    serve.shutdown()


async def test_a_question_is_answered_from_the_release_it_names(
    knowledge: Any, company: Company
) -> None:
    found = await knowledge.search.remote(
        "What writes files?", READER, "first", 1, NO_LIMITS, "hybrid"
    )
    assert [p.chunk.document_id for p in found] == ["jira:A"]
    assert found[0].insight == "A is large."

    company.release("second", A="Nothing here.", B="The ftp sink writes files.")
    for name, expected in (("second", "jira:B"), ("first", "jira:A")):
        found = await knowledge.search.remote(
            "What writes files?", READER, name, 1, Filters(("jira",)), "hybrid"
        )
        assert [p.chunk.document_id for p in found] == [expected]


async def test_an_unknown_release_is_not_found(knowledge: Any) -> None:
    with pytest.raises(Exception, match="nowhere") as raised:
        await knowledge.search.remote("x", READER, "nowhere", 1, NO_LIMITS, "hybrid")
    typed = AlchemyError.unwrap(raised.value)
    assert typed is not None
    assert typed.code is ErrorCode.NOT_FOUND


async def test_concurrent_calls_get_their_own_vectors(knowledge: Any, company: Company) -> None:
    texts = [[f"text {i}", f"other {i}"][: 1 + i % 2] for i in range(24)]
    vectors = await asyncio.gather(*(knowledge.embed.remote(request) for request in texts))
    embedder = load_embedder(company.settings.model_b)
    for request, found in zip(texts, vectors, strict=True):
        assert found.shape == (len(request), embedder.dim)
        assert np.allclose((found * embedder.encode(request)).sum(axis=1), 1.0, atol=0.02)
    assert (await knowledge.embed.remote([])).shape == (0, embedder.dim)


async def found_by(knowledge: Any, release: str, question: str) -> list[str]:
    passages = await knowledge.search.remote(question, READER, release, 5, NO_LIMITS, "hybrid")
    return [passage.chunk.document_id for passage in passages]


async def test_a_forgotten_document_is_found_by_no_release_within_two_seconds(
    knowledge: Any, company: Company
) -> None:
    company.release("third", A="The ftp sink writes files.", B="A tap listens.")
    question = "What does the ftp sink of A write?"
    assert "jira:A" in await found_by(knowledge, "third", question)
    keys = [("default", "jira:A")]
    write_tombstones(company.lake, keys, "forget", "root")
    await asyncio.sleep(2)
    for release in ("first", "second", "third"):
        for wording in (question, "A", "jira:A", "ftp sink"):
            assert "jira:A" not in await found_by(knowledge, release, wording)
    owners = await knowledge.owners.remote(["jira:A", "jira:NO"], "third")
    assert owners == {"jira:A": "default"}, "an admin can still lift it"
    write_tombstones(company.lake, keys, "lift", "root")
    await asyncio.sleep(2)
    assert "jira:A" in await found_by(knowledge, "third", question)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """A small BERT of 32 dimensions with random weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    directory = tmp_path_factory.mktemp("other-model")
    tokenizer = AutoTokenizer.from_pretrained(minilm_directory(), local_files_only=True)
    torch.manual_seed(3)
    model = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
        )
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return ModelSettings(provider="huggingface", model_path=str(directory), dtype="float32")


async def test_an_index_of_another_model_is_served_beside_the_old_one(
    knowledge: Any, company: Company, other_model: ModelSettings
) -> None:
    answered: list[list[str]] = []
    swapped = asyncio.Event()

    async def keep_asking() -> None:
        while not swapped.is_set():
            answered.append(await found_by(knowledge, "first", "What writes files?"))

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    texts = {"A": "Nothing here.", "B": "The hdfs sink writes files."}
    await asyncio.to_thread(lambda: company.release("swapped", other_model, **texts))
    assert "jira:B" in await found_by(knowledge, "swapped", "B: the hdfs sink writes files")
    swapped.set()
    await asyncio.gather(*asking)
    assert answered and all(found[0] == "jira:A" for found in answered)

    old = await knowledge.embed.remote(["the same text"], "first")
    new = await knowledge.embed.remote(["the same text"], "swapped")
    assert (old.shape, new.shape) == ((1, 384), (1, 32))
    both = await asyncio.gather(
        *(knowledge.embed.remote([f"t{n}"], ["first", "swapped"][n % 2]) for n in range(12))
    )
    assert [len(vectors[0]) for vectors in both] == [384, 32] * 6


class Failing:
    """An embedder whose machine dies half-way."""

    digest, dim = "f" * 64, 8

    def encode(self, texts: Any) -> np.ndarray:
        raise AlchemyError(ErrorCode.STAGE_FAILED, "the embedding worker died")

    def count_tokens(self, texts: Any) -> list[int]:
        return [len(text.split()) for text in texts]


async def test_a_failed_build_changes_nothing(knowledge: Any, company: Company) -> None:
    company.release("before", A="The jms source listens.")
    versions = {item.key for item in company.lake.list("index/")}
    with pytest.raises(AlchemyError, match="worker died"):
        company.publish("broken", company.settings, Failing(), A="Something else.")
    assert {item.key for item in company.lake.list("index/")} == versions
    live = live_release(company.lake)
    assert live is not None and live.id == "before"
    assert await found_by(knowledge, "before", "Who listens?") == ["jira:A"]


async def test_the_gateway_learns_that_a_release_is_broken_before_it_names_it(
    knowledge: Any, company: Company
) -> None:
    company.release("whole", A="The tcp sink writes.")
    whole = json.loads(company.lake.read("releases/whole.json"))
    root = f"index/{whole['index']}"
    files = {name: "0" * 64 for name in read_manifest(company.lake, root).files}
    rotten = Manifest("ix-rotten", files, 1, "9" * 64)
    for name in files:
        company.lake.write(f"index/ix-rotten/{name}", company.lake.read(f"{root}/{name}"))
    company.lake.write("index/ix-rotten/manifest.json", rotten.to_json().encode())
    record = {**whole, "id": "rotten", "index": "ix-rotten", "index_sha256": "9" * 64}
    company.lake.write("releases/rotten.json", json.dumps(record).encode())

    engines = HandleEngines(knowledge, knowledge, knowledge)
    await asyncio.to_thread(engines.prepare, "whole", with_generator=True)
    with pytest.raises(AlchemyError, match="does not match its manifest") as caught:
        await asyncio.to_thread(engines.prepare, "rotten", with_generator=False)
    assert caught.value.code is ErrorCode.CORRUPT
