"""Stage "index": chunks and insights of a run → a published index version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alchemy.knowledge.build import embed_chunks, index_version, write_index
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.knowledge.snapshot import FORMAT, INDEX_PREFIX
from alchemy.models.embedders import RECORDED, recorded
from alchemy.protocols import Embedder
from alchemy.stage import StageContext, read_jsonl
from alchemy.stores.versions import (
    MANIFEST,
    Manifest,
    file_digest,
    publish_directory,
    read_manifest,
)
from alchemy.types import Chunk, Insight, Receipt

_SCHEMA = ("vectors.faiss: float32[n, d]", "catalog.sqlite: chunks, documents, access, words")


def run(context: StageContext, embedder: Embedder) -> Receipt:
    """Build and publish the index of this run; a version that is already published is reused.

    Args:
        embedder: embeds new texts; the Indexer actor passes one that spreads them over Ray.

    Returns:
        Receipt with uri `index/<version>` and counts `chunks`, `documents`, `embedded` (distinct
        texts embedded now) and `cached` (chunks whose vector was known).
    """
    wash, quant = context.receipt_of("wash"), context.receipt_of("quant")
    chunks_path = context.fetch(f"{wash.uri}/rag_chunks.jsonl")
    insights_path = context.fetch(f"{quant.uri}/insights.jsonl")
    version = index_version(file_digest(chunks_path), file_digest(insights_path), embedder.digest)
    root = f"{INDEX_PREFIX}/{version}"
    embedded = 0
    if context.lake.exists(f"{root}/{MANIFEST}"):
        context.progress("index.reused", {"version": version})
        manifest = read_manifest(context.lake, root)
    else:
        manifest, embedded = _build(context, embedder, version, chunks_path, insights_path)
    chunks = int(manifest.meta["chunks"])
    return context.receipt(
        root,
        {f"{root}/{name}": digest for name, digest in manifest.files.items()},
        size=manifest.bytes,
        rows=chunks,
        schema=_SCHEMA,
        inputs={"wash": wash.sha256, "quant": quant.sha256, "embedder": embedder.digest},
        counts={
            "chunks": chunks,
            "documents": int(manifest.meta["documents"]),
            "embedded": embedded,
            "cached": chunks - embedded,
        },
    )


def _build(
    context: StageContext,
    embedder: Embedder,
    version: str,
    chunks_path: Path,
    insights_path: Path,
) -> tuple[Manifest, int]:
    vectors, embedded = embed_chunks(
        lambda: read_jsonl(chunks_path, Chunk),
        embedder,
        EmbeddingCache(context.lake, embedder.digest, embedder.dim),
        lambda done, total: context.progress("index.embed", {"done": done, "total": total}),
    )
    documents: set[str] = set()

    def counted() -> Iterator[Chunk]:
        for chunk in read_jsonl(chunks_path, Chunk):
            documents.add(chunk.document_id)
            yield chunk

    directory = context.out(version)
    count = write_index(directory, counted(), vectors, read_jsonl(insights_path, Insight))
    meta = {
        "format": FORMAT,
        "embedder": embedder.digest,
        RECORDED: recorded(context.settings.model_b),
        "dim": embedder.dim,
        "chunks": count,
        "documents": len(documents),
    }
    manifest = publish_directory(context.lake, INDEX_PREFIX, version, directory, meta)
    context.progress("index.published", {"version": version, "chunks": count})
    return manifest, embedded
