"""An embedder, chunks and principals for the tests of this folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from alchemy.knowledge.build import write_index
from alchemy.knowledge.snapshot import FORMAT, Snapshot
from alchemy.stores.versions import Manifest, directory_digests
from alchemy.types import PUBLIC_GROUP, Chunk, Insight, Principal, digest_of, text_digest


class BagOfWords:
    """A small real embedder: hashed word counts, so texts that share words are near."""

    dim = 64
    digest = text_digest("bag of words")

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += texts
        vectors = np.full((len(texts), self.dim), 1e-6, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, int(hashlib.md5(word.encode()).hexdigest(), 16) % self.dim] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def make_chunk(
    document_id: str,
    text: str,
    *,
    ordinal: int = 0,
    title: str = "",
    tenant: str = "default",
    acl: tuple[str, ...] = (PUBLIC_GROUP,),
    heading_path: tuple[str, ...] = (),
) -> Chunk:
    chunk = Chunk(
        id=f"{document_id}#{ordinal}",
        document_id=document_id,
        source=document_id.partition(":")[0],
        title=title or document_id,
        uri=f"https://example.org/{document_id}",
        tenant=tenant,
        acl=acl,
        text=text,
        ordinal=ordinal,
        start=0,
        end=len(text),
        heading_path=heading_path,
    )
    digest = hashlib.sha256(chunk.embedding_text().encode()).hexdigest()
    return Chunk.from_dict({**chunk.to_dict(), "content_hash": digest})


def reader(*groups: str, tenant: str = "default") -> Principal:
    return Principal(user="u", tenant=tenant, groups=(PUBLIC_GROUP, *groups))


SnapshotOf = Callable[..., Snapshot]


def open_snapshot(
    directory: Path,
    embedder: BagOfWords,
    chunks: Sequence[Chunk],
    insights: Iterable[Insight] = (),
) -> Snapshot:
    """Build and open an index of some chunks."""
    vectors = embedder.encode([chunk.embedding_text() for chunk in chunks])
    write_index(directory, chunks, vectors, insights)
    files = directory_digests(directory)
    meta = {"format": FORMAT, "embedder": embedder.digest}
    return Snapshot.open(directory, Manifest("ix-test", files, 0, digest_of(files), meta))
