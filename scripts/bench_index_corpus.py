"""A corpus for `bench_index.py`: chunks of real words, vectors clustered like real ones, questions.

Texts are windows over the real issues' descriptions, each word exchanged for another of the corpus
with some chance. Vectors are those of real issues with noise of the size that real near neighbours
have. Everything follows from the seed, so each engine makes the same corpus in its own process.
"""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alchemy.models.registry import load_embedder
from alchemy.settings import ModelSettings
from alchemy.types import PUBLIC_GROUP, Chunk

COMMON, RARE = "staff", "auditors"
"""99 of 100 chunks may be read by the first group, one by the second."""
_WORDS = 60
_CHUNKS_PER_DOCUMENT = 2
_NOISE = 0.8
"""Length of the noise beside a unit vector: a cosine of about 0.78 between chunks of a cluster."""


def issues(directory: Path, limit: int) -> list[tuple[str, str, str]]:
    """(key, title, description) of real issues."""
    csv.field_size_limit(1 << 27)
    found: list[tuple[str, str, str]] = []
    for path in sorted(directory.glob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                if len(row["description"] or "") > 200:
                    found.append((row["issuekey"], row["title"] or "", row["description"]))
    random.Random(1).shuffle(found)
    return found[:limit]


def embedded(directory: Path, cache: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Vectors of issues, float32[n, d]; of questions, float32[q, d]; the questions' texts.

    Questions are titles of issues that are not among the first.
    """
    base = issues(directory, 4500)
    questions = [title for _, title, _ in base[4000:] if len(title.split()) > 3]
    path = cache / "vectors.npz"
    if not path.exists():
        embedder = load_embedder(ModelSettings())
        texts = [f"{title}\n{description}" for _, title, description in base[:4000]]
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, issues=embedder.encode(texts), questions=embedder.encode(questions))
    stored = np.load(path)
    return stored["issues"], stored["questions"], questions


def vectors(base: np.ndarray, count: int) -> np.ndarray:
    """float32[count, d]: real vectors with noise."""
    chance = np.random.default_rng(7)
    made = np.empty((count, base.shape[1]), dtype=np.float32)
    for start in range(0, count, 50_000):
        size = min(50_000, count - start)
        noise = chance.standard_normal((size, base.shape[1]), dtype=np.float32)
        noise *= np.float32(_NOISE / np.sqrt(base.shape[1]))
        block = base[chance.integers(len(base), size=size)] + noise
        made[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def chunks(directory: Path, count: int) -> Iterator[Chunk]:
    """So many chunks, two to a document."""
    chance = random.Random(11)
    base = [
        (title, words)
        for _, title, text in issues(directory, 20_000)
        if len(words := text.split()) > 20
    ]
    vocabulary = [word for _, words in base for word in words]
    for number in range(count):
        document, ordinal = divmod(number, _CHUNKS_PER_DOCUMENT)
        title, words = base[chance.randrange(len(base))]
        start = chance.randrange(max(1, len(words) - _WORDS))
        text = " ".join(
            chance.choice(vocabulary) if chance.random() < 0.15 else word
            for word in words[start : start + _WORDS]
        )
        document_id = f"jira:BENCH-{document}"
        yield Chunk(
            id=f"{document_id}#{ordinal}",
            document_id=document_id,
            source="jira",
            title=title,
            uri=f"https://example.org/{document}",
            tenant="default",
            acl=(RARE if number % 100 == 0 else COMMON,),
            text=text,
            ordinal=ordinal,
            start=0,
            end=len(text),
            content_hash=hashlib.sha256(f"{title}\n{text}".encode()).hexdigest(),
        )


def groups(rare: bool) -> tuple[str, ...]:
    """Of someone who may read everything, or one chunk in a hundred."""
    return (PUBLIC_GROUP, RARE) if rare else (PUBLIC_GROUP, RARE, COMMON)
