from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import serve

from alchemy.config import LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge import stage
from alchemy.models.registry import load_embedder
from alchemy.release.model import publish_release
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import read_manifest
from alchemy.types import PUBLIC_GROUP, Chunk, Insight, Principal, Release
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
        self._lake = LocalLake(root)
        self._embedder = load_embedder(self.settings.model_b)

    def release(self, name: str, **texts: str) -> None:
        chunks = [make_chunk(key, text) for key, text in sorted(texts.items())]
        outputs = {
            "wash": ("processed", "rag_chunks.jsonl", chunks),
            "quant": ("quant", "insights.jsonl", [Insight("jira:A", "A is large.")]),
        }
        scratch = self._lake.root / "scratch" / name
        for part, (prefix, file, records) in outputs.items():
            context = StageContext(name, part, self.settings, self._lake, scratch)
            write_jsonl(context.out(file), records)
            files = {file: context.out(file)}
            receipt = context.finish(f"{prefix}/{name}", files, rows=0, schema=(), inputs={})
            write_receipt(self._lake, receipt)
        context = StageContext(name, "index", self.settings, self._lake, scratch)
        receipt = stage.run(context, self._embedder)
        release = Release(
            id=name,
            created_at="2024-01-01T00:00:00Z",
            run_id=name,
            index=receipt.uri.removeprefix("index/"),
            index_sha256=read_manifest(self._lake, receipt.uri).sha256,
            adapter="base",
            adapter_digest="",
            thresholds={},
            models={},
            prompts={},
            evaluation={},
        )
        publish_release(self._lake, release)


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
    found = await knowledge.search.remote("What writes files?", READER, "first", 1, None)
    assert [p.chunk.document_id for p in found] == ["jira:A"]
    assert found[0].insight == "A is large."

    company.release("second", A="Nothing here.", B="The ftp sink writes files.")
    for name, expected in (("second", "jira:B"), ("first", "jira:A")):
        found = await knowledge.search.remote("What writes files?", READER, name, 1, ["jira"])
        assert [p.chunk.document_id for p in found] == [expected]


async def test_an_unknown_release_is_not_found(knowledge: Any) -> None:
    with pytest.raises(Exception, match="nowhere") as raised:
        await knowledge.search.remote("x", READER, "nowhere", 1, None)
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
