"""A small world to answer in: passages, a release, and an embedder that needs no model."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

import numpy as np

from alchemy.finalist.abstention import PRIOR
from alchemy.finalist.fusion import Fusion
from alchemy.finalist.prompts import FUSION
from alchemy.finalist.terms import STOPWORDS, term_set
from alchemy.protocols import ChatModel, Message
from alchemy.types import Answer, Chunk, Draft, Passage, Release

DIM = 256
ADAPTER_DIGEST = "a" * 64


async def embed(texts: list[str]) -> np.ndarray:
    """Bags of hashed words, L2-normalised: texts with shared words are near."""
    vectors = np.zeros((len(texts), DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        for term in term_set(text) - STOPWORDS:
            vectors[row, hashlib.blake2b(term.encode()).digest()[0]] += 1.0
        vectors[row, 0] += 1e-3
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def passage(
    text: str,
    document: str = "documents:guide",
    *,
    title: str = "Guide",
    ordinal: int = 0,
    similarity: float = 0.6,
    headings: tuple[str, ...] = (),
) -> Passage:
    chunk = Chunk(
        id=f"{document}#{ordinal}",
        document_id=document,
        source=document.partition(":")[0],
        title=title,
        uri=f"file:///{document}",
        tenant="default",
        acl=("everyone",),
        text=text,
        ordinal=ordinal,
        start=0,
        end=len(text),
        heading_path=headings,
    )
    return Passage(chunk=chunk, score=1.0 / (ordinal + 1), similarity=similarity)


def release(**thresholds: float) -> Release:
    return Release(
        id="rl-test",
        created_at="2024-01-01T00:00:00Z",
        run_id="run-test",
        index="ix-1",
        index_sha256="0" * 64,
        adapter="ad-1",
        adapter_digest=ADAPTER_DIGEST,
        thresholds={**PRIOR, **thresholds},
        models={},
        prompts={"finalist": FUSION},
        evaluation={},
    )


def draft(text: str, digest: str = ADAPTER_DIGEST) -> Draft:
    return Draft(text=text, adapter="ad-1", digest=digest, tokens=len(text.split()), seconds=0.0)


class ScriptedModel:
    """A chat model that says what it is told to, a few characters at a time."""

    digest = "scripted"

    def __init__(self, reply: str, step: int = 3) -> None:
        self.reply = reply
        self.step = step
        self.asked: list[Sequence[Message]] = []

    def complete(self, messages: Sequence[Message], max_new_tokens: int = 512) -> str:
        self.asked.append(messages)
        return self.reply

    async def stream(
        self, messages: Sequence[Message], max_new_tokens: int = 512
    ) -> AsyncIterator[str]:
        self.asked.append(messages)
        for start in range(0, len(self.reply), self.step):
            yield self.reply[start : start + self.step]


async def collect(
    question: str,
    passages: Sequence[Passage],
    *,
    guess: Draft | None = None,
    of: Release | None = None,
    model: ChatModel | None = None,
) -> tuple[list[str], Answer]:
    pieces: list[str] = []
    async for part in Fusion(embed, model).answer(question, passages, guess, of or release()):
        if isinstance(part, Answer):
            return pieces, part
        pieces.append(part)
    raise AssertionError("the stream ended without an answer")


def ask(question: str, passages: Sequence[Passage], **options: object) -> tuple[list[str], Answer]:
    return asyncio.run(collect(question, passages, **options))  # type: ignore[arg-type]
