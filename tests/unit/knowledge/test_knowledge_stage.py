from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from knowledge_fixtures import BagOfWords, make_chunk, reader

from alchemy.config import LakeSettings, RetrievalSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge import stage
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import read_manifest
from alchemy.types import Chunk, Insight, Receipt

CHUNKS = [make_chunk(f"jira:XD-{i:02}", f"issue number {i} about streams") for i in range(12)]


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


class Company:
    """A run whose wash and quant stages are done."""

    def __init__(self, lake: LocalLake, tmp_path: Path) -> None:
        self.lake = lake
        self.tmp_path = tmp_path
        self.attempts = 0
        self.events: list[tuple[str, dict[str, Any]]] = []

    def washed(
        self, chunks: Sequence[Chunk], insights: Sequence[Insight] = (), run_id: str = "run-1"
    ) -> StageContext:
        self.attempts += 1
        scratch = self.tmp_path / f"scratch-{self.attempts}"
        settings = Settings(lake=LakeSettings(root=str(self.lake.root)))
        for name, output, records in (
            ("wash", "processed", chunks),
            ("quant", "quant", insights),
        ):
            context = StageContext(run_id, name, settings, self.lake, scratch)
            file = "rag_chunks.jsonl" if name == "wash" else "insights.jsonl"
            count = write_jsonl(context.out(file), records)
            receipt = context.finish(
                f"{output}/{run_id}", {file: context.out(file)}, rows=count, schema=(), inputs={}
            )
            write_receipt(self.lake, receipt)
        return StageContext(
            run_id, "index", settings, self.lake, scratch, lambda e, f: self.events.append((e, f))
        )

    def index(
        self, embedder: BagOfWords, chunks: Sequence[Chunk] = CHUNKS, **options: Any
    ) -> Receipt:
        return stage.run(self.washed(chunks, **options), embedder)


@pytest.fixture
def company(lake: LocalLake, tmp_path: Path) -> Company:
    return Company(lake, tmp_path)


def version_of(receipt: Receipt) -> str:
    return receipt.uri.removeprefix("index/")


def opened(company: Company, receipt: Receipt, tmp_path: Path) -> Snapshot:
    digest = read_manifest(company.lake, receipt.uri).sha256
    return Snapshot.fetch(company.lake, version_of(receipt), digest, tmp_path / "cache")


def test_the_index_stage_publishes_what_a_search_finds(
    company: Company, embedder: BagOfWords, tmp_path: Path
) -> None:
    insight = Insight("jira:XD-03", "XD-03 is rare.", {}, 0.5)
    receipt = company.index(embedder, insights=[insight])
    snapshot = opened(company, receipt, tmp_path)
    snapshot.require_embedder(embedder)
    query = Query("XD-03", embedder.encode(["XD-03"])[0], reader(), 1)
    found = search(snapshot, [query], RetrievalSettings())[0][0]
    assert (found.chunk, found.insight, found.signals["quant"]) == (
        CHUNKS[3],
        "XD-03 is rare.",
        0.5,
    )


def test_an_index_that_was_not_released_is_refused(
    company: Company, embedder: BagOfWords, tmp_path: Path
) -> None:
    version = version_of(company.index(embedder))
    with pytest.raises(AlchemyError, match=version) as raised:
        Snapshot.fetch(company.lake, version, "0" * 64, tmp_path / "cache")
    assert raised.value.code is ErrorCode.CORRUPT


def test_the_receipt_names_inputs_files_and_counts(company: Company, embedder: BagOfWords) -> None:
    receipt = company.index(embedder)
    manifest = read_manifest(company.lake, receipt.uri)
    assert receipt.uri.startswith("index/ix-")
    assert receipt.rows == 12
    assert receipt.counts == {"chunks": 12, "documents": 12, "embedded": 12, "cached": 0}
    assert set(receipt.inputs) == {"wash", "quant", "embedder"}
    assert receipt.files == {f"{receipt.uri}/{n}": d for n, d in manifest.files.items()}
    assert company.events[-2:] == [
        ("index.embed", {"done": 12, "total": 12}),
        ("index.published", {"version": version_of(receipt), "chunks": 12}),
    ]


def test_the_same_content_in_another_run_is_the_same_version(
    company: Company, embedder: BagOfWords
) -> None:
    first = company.index(embedder)
    embedder.encoded.clear()
    second = company.index(embedder, run_id="run-2")
    assert (second.uri, second.sha256, second.rows) == (first.uri, first.sha256, first.rows)
    assert second.counts == {"chunks": 12, "documents": 12, "embedded": 0, "cached": 12}
    assert embedder.encoded == []


def test_only_changed_chunks_are_embedded(company: Company, embedder: BagOfWords) -> None:
    company.index(embedder)
    embedder.encoded.clear()
    changed = [*CHUNKS[:-1], make_chunk("jira:XD-11", "rewritten")]
    receipt = company.index(embedder, changed, run_id="run-2")
    assert embedder.encoded == [changed[-1].embedding_text()]
    assert receipt.counts["embedded"] == 1
    assert receipt.counts["cached"] == 11


def test_changed_rights_are_a_new_version_without_embedding(
    company: Company, embedder: BagOfWords
) -> None:
    first = company.index(embedder)
    embedder.encoded.clear()
    closed = [Chunk.from_dict({**c.to_dict(), "acl": ["staff"]}) for c in CHUNKS]
    second = company.index(embedder, closed, run_id="run-2")
    assert second.uri != first.uri
    assert embedder.encoded == []


def test_a_repeated_text_is_embedded_once_and_found_everywhere(
    company: Company, embedder: BagOfWords, tmp_path: Path
) -> None:
    twins = [make_chunk(f"jira:XD-{i}", "same text", title="Same") for i in range(3)]
    receipt = company.index(embedder, twins)
    assert receipt.counts["embedded"] == 1
    snapshot = opened(company, receipt, tmp_path)
    vector = embedder.encode([twins[0].embedding_text()])[0]
    assert np.allclose(snapshot.vectors.cosines(vector, np.arange(3)), 1.0, atol=1e-5)


def test_another_model_builds_a_version_beside_the_old_one(
    company: Company, embedder: BagOfWords
) -> None:
    class OtherModel(BagOfWords):
        digest = "a" * 64

    first = company.index(embedder)
    second = company.index(OtherModel(), run_id="run-2")
    assert second.uri != first.uri
    assert second.counts["embedded"] == 12
    assert company.lake.exists(f"{first.uri}/manifest.json")


class DiesMidway(BagOfWords):
    """Loses its process after the first block."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if self.encoded:
            raise ConnectionError("worker died")
        return super().encode(texts)


def test_an_interrupted_run_continues_after_the_last_block_with_the_same_result(
    company: Company,
    lake: LocalLake,
    tmp_path: Path,
    embedder: BagOfWords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alchemy.knowledge.build._BLOCK", 5)
    with pytest.raises(ConnectionError):
        company.index(DiesMidway())
    resumed = company.index(embedder)
    assert len(embedder.encoded) == 7
    whole = Company(LocalLake(tmp_path / "other"), tmp_path / "elsewhere").index(BagOfWords())
    assert (resumed.uri, resumed.sha256) == (whole.uri, whole.sha256)


def test_a_company_without_chunks_has_an_empty_index(
    company: Company, embedder: BagOfWords
) -> None:
    assert company.index(embedder, []).rows == 0


def test_a_chunk_without_hash_is_named(company: Company, embedder: BagOfWords) -> None:
    bad = Chunk.from_dict({**CHUNKS[0].to_dict(), "content_hash": ""})
    with pytest.raises(AlchemyError, match="jira:XD-00#0") as raised:
        company.index(embedder, [bad])
    assert raised.value.code is ErrorCode.SCHEMA_BROKEN


def test_a_missing_wash_receipt_names_the_stage(lake: LocalLake, tmp_path: Path) -> None:
    context = StageContext("run-1", "index", Settings(), lake, tmp_path / "scratch")
    with pytest.raises(AlchemyError, match="wash"):
        stage.run(context, BagOfWords())


def test_the_cache_keeps_models_apart(lake: LocalLake) -> None:
    hashes = ["ab" * 32]
    EmbeddingCache(lake, "model-1", 4).add(hashes, np.ones((1, 4), dtype=np.float32))
    rows = np.zeros((1, 4), dtype=np.float32)
    assert EmbeddingCache(lake, "model-2", 4).fill(hashes, rows) == set(hashes)
    assert EmbeddingCache(lake, "model-1", 4).fill(hashes, rows) == set()
    assert rows.tolist() == [[1.0] * 4]


@pytest.mark.parametrize("damage", [b"", b"garbage" * 9])
def test_a_damaged_shard_is_named(lake: LocalLake, damage: bytes) -> None:
    cache = EmbeddingCache(lake, "model", 4)
    cache.add(["ab" * 32], np.ones((1, 4), dtype=np.float32))
    key = next(iter(lake.list("embeddings/"))).key
    lake.write(key, damage)
    with pytest.raises(AlchemyError, match=r"safetensors .*Delete it") as raised:
        cache.fill(["cd" * 32], np.zeros((1, 4), dtype=np.float32))
    assert raised.value.code is ErrorCode.CORRUPT
