"""Chunks and their vectors → the files of one index version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.catalog import Catalog
from alchemy.knowledge.catalog_writer import write_catalog
from alchemy.knowledge.embeddings import EmbeddingCache
from alchemy.knowledge.snapshot import FORMAT
from alchemy.knowledge.vectors import Kind, Vectors
from alchemy.protocols import Embedder
from alchemy.types import Chunk, Insight, text_digest

_BLOCK = 2048
"""Texts per shard of the cache: what an interrupted run may have to embed again."""


def index_version(
    chunks_sha256: str,
    insights_sha256: str,
    embedder_digest: str,
    kind: Kind = "auto",
    records_sha256: str = "",
) -> str:
    """`ix-<12 hex>` of everything the index is made of; the same content is the same version."""
    parts = (str(FORMAT), chunks_sha256, insights_sha256, embedder_digest, kind, records_sha256)
    return f"ix-{text_digest(*parts)[:12]}"


def embed_chunks(
    read_chunks: Callable[[], Iterable[Chunk]],
    embedder: Embedder,
    cache: EmbeddingCache,
    embedded: Callable[[int, int], None],
) -> tuple[np.ndarray, int]:
    """Vectors of all chunks in order; only what the cache lacks is embedded.

    Args:
        read_chunks: starts a new pass over the chunks; called twice, so that their texts are
            never all in memory.
        embedded: called with (done, total) after each block; total counts distinct new texts.

    Returns:
        float32[n, dim] and the number of embedded texts.

    Raises:
        AlchemyError: SCHEMA_BROKEN for a chunk without a content hash.
    """
    hashes = [_checked_hash(chunk) for chunk in read_chunks()]
    vectors = np.zeros((len(hashes), embedder.dim), dtype=np.float32)
    missing = cache.fill(hashes, vectors)
    total = len(missing)
    rows: dict[str, list[int]] = {}
    for row, content_hash in enumerate(hashes):
        if content_hash in missing:
            rows.setdefault(content_hash, []).append(row)
    done = 0
    if total:
        embedded(0, total)
    for block in _blocks(read_chunks(), missing):
        found = embedder.encode([chunk.embedding_text() for chunk in block])
        block_hashes = [chunk.content_hash for chunk in block]
        for content_hash, vector in zip(block_hashes, found, strict=True):
            vectors[rows[content_hash]] = vector
        cache.add(block_hashes, found)
        done += len(block)
        embedded(done, total)
    return vectors, total


def write_index(
    directory: Path,
    chunks: Iterable[Chunk],
    vectors: np.ndarray,
    insights: Iterable[Insight],
    *,
    kind: Kind = "auto",
    previous: Catalog | None = None,
    lists: Vectors | None = None,
) -> int:
    """Write the files of an index version into an empty directory; how many chunks.

    Args:
        vectors: float32[n, d], row i for chunk i.
        kind: see `Vectors.build`.
        previous: of an earlier version; the words of chunks it has are not worked out again.
        lists: vectors of an earlier version by the same embedder, see `Vectors.build`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    Vectors.build(vectors, kind, lists).write(directory)
    return write_catalog(directory, chunks, insights, previous)


def _checked_hash(chunk: Chunk) -> str:
    if len(chunk.content_hash) != 64:
        raise AlchemyError(
            ErrorCode.SCHEMA_BROKEN,
            f"chunk {chunk.id!r} has the content hash {chunk.content_hash!r}, not a sha256",
            "Run stage 'wash' again.",
        )
    return chunk.content_hash


def _blocks(chunks: Iterable[Chunk], missing: set[str]) -> Iterator[Sequence[Chunk]]:
    """The first chunk of each missing hash, in blocks; empties `missing`."""
    block: list[Chunk] = []
    for chunk in chunks:
        if chunk.content_hash in missing:
            missing.remove(chunk.content_hash)
            block.append(chunk)
            if len(block) == _BLOCK:
                yield block
                block = []
    if block:
        yield block
