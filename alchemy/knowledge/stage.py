"""Stage "index": chunks and insights of a run → a published index version."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.build import embed_chunks, index_version, write_index
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.knowledge.snapshot import FORMAT, INDEX_PREFIX, RECORDS_FILE, Snapshot
from alchemy.models.embedders import RECORDED, recorded
from alchemy.protocols import Embedder
from alchemy.stage import StageContext, read_jsonl
from alchemy.stores.versions import (
    MANIFEST,
    Manifest,
    advance_pointer,
    file_digest,
    live_pointer,
    publish_directory,
    read_manifest,
)
from alchemy.types import Chunk, Insight, Receipt

_SCHEMA = (
    "vectors.faiss: float32[n, d] or codes of it",
    "vectors.safetensors: float16[n, d], beside codes",
    "catalog.sqlite: chunks, documents, access, terms",
    "words.safetensors: postings",
    "rows.safetensors: access, source, project, date of each chunk",
    "facts.parquet: labels and numbers of each document",
)
LATEST = "indexed"
"""Pointers to the newest built version: what the next build takes unchanged chunks from."""


@dataclass(frozen=True)
class _Files:
    chunks: Path
    insights: Path
    records: Path | None


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
    records = f"{quant.uri}/{RECORDS_FILE}"
    records_path = context.fetch(records) if records in quant.files else None
    version = index_version(
        file_digest(chunks_path),
        file_digest(insights_path),
        embedder.digest,
        context.settings.retrieval.index,
        file_digest(records_path) if records_path else "",
    )
    root = f"{INDEX_PREFIX}/{version}"
    embedded = 0
    if context.lake.exists(f"{root}/{MANIFEST}"):
        context.progress("index.reused", {"version": version})
        manifest = read_manifest(context.lake, root)
    else:
        files = _Files(chunks_path, insights_path, records_path)
        manifest, embedded = _build(context, embedder, version, files)
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
    context: StageContext, embedder: Embedder, version: str, files: _Files
) -> tuple[Manifest, int]:
    vectors, embedded = embed_chunks(
        lambda: read_jsonl(files.chunks, Chunk),
        embedder,
        EmbeddingCache(context.lake, embedder.digest, embedder.dim),
        lambda done, total: context.progress("index.embed", {"done": done, "total": total}),
    )
    documents: set[str] = set()

    def counted() -> Iterator[Chunk]:
        for chunk in read_jsonl(files.chunks, Chunk):
            documents.add(chunk.document_id)
            yield chunk

    directory = context.out(version)
    previous = _previous(context)
    try:
        count = write_index(
            directory,
            counted(),
            vectors,
            read_jsonl(files.insights, Insight),
            kind=context.settings.retrieval.index,
            previous=previous.catalog if previous else None,
            lists=previous.vectors if previous and previous.built_with(embedder) else None,
        )
    finally:
        if previous is not None:
            previous.close()
    if files.records is not None:
        shutil.copyfile(files.records, directory / RECORDS_FILE)
    meta = {
        "format": FORMAT,
        "embedder": embedder.digest,
        RECORDED: recorded(context.settings.model_b),
        "dim": embedder.dim,
        "chunks": count,
        "documents": len(documents),
    }
    manifest = publish_directory(context.lake, INDEX_PREFIX, version, directory, meta)
    _point_to(context, version)
    context.progress("index.published", {"version": version, "chunks": count})
    return manifest, embedded


def _previous(context: StageContext) -> Snapshot | None:
    """The newest index, to take unchanged chunks from; None where there is none to be used."""
    pointer = live_pointer(context.lake, LATEST)
    if pointer is None:
        return None
    version = str(pointer[1]["index"])
    cache = context.settings.state_dir / "cache" / "index"
    try:
        manifest = read_manifest(context.lake, f"{INDEX_PREFIX}/{version}")
        return Snapshot.fetch(context.lake, version, manifest.sha256, cache)
    except AlchemyError as error:
        if error.code not in (ErrorCode.NOT_FOUND, ErrorCode.CORRUPT):
            raise
        # it only saves time: collected as garbage, of an older format, or damaged
        context.progress("index.from_scratch", {"previous": version, "reason": str(error)})
        return None


def _point_to(context: StageContext, version: str) -> None:
    pointer = live_pointer(context.lake, LATEST)
    try:
        after = pointer[0] if pointer else 0
        advance_pointer(context.lake, LATEST, {"index": version}, after=after)
    except AlchemyError as error:
        if error.code is not ErrorCode.CONFLICT:  # another run's index is as good to start from
            raise
