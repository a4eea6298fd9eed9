"""The seams: what a stage or a deployment needs from a store or a model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from alchemy.types import Draft

Redact: TypeAlias = Callable[[Sequence[str]], list[str]]
"""Texts of one record → the same texts redacted, with one numbering for all of them."""


@dataclass(frozen=True)
class LakeObject:
    """One stored object: key relative to the lake's root, size in bytes.

    Attributes:
        modified: seconds since the epoch by the lake's own clock; 0 where nobody asked.
    """

    key: str
    size: int
    modified: float = field(default=0.0, kw_only=True, compare=False)


@dataclass(frozen=True)
class RawObject(LakeObject):
    """An object of the raw data with the sha256 of its content."""

    sha256: str


@runtime_checkable
class Lake(Protocol):
    """Keyed blobs, local directory or S3. Keys use `/`, never start with it, never hold `..`.

    All methods raise `AlchemyError`: NOT_FOUND for a missing key, LAKE_NOT_WRITABLE, or
    LAKE_UNAVAILABLE. Writes are atomic: a reader sees the whole object or none.
    """

    @property
    def uri(self) -> str:
        """`file:///abs/dir` or `s3://bucket/prefix`."""
        ...

    def read(self, key: str) -> bytes:
        """The whole object."""
        ...

    def stream(self, key: str, chunk_bytes: int = 1 << 20, start: int = 0) -> Iterator[bytes]:
        """The object from byte `start` on, in pieces, in order."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Copy the object to a local file (parents are made)."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Create or replace the object."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Create the object; CONFLICT if the key exists. Of two racing writers one wins."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Create or replace the object from a local file."""
        ...

    def list(self, prefix: str) -> Iterator[LakeObject]:
        """All objects whose key starts with `prefix`, in key order."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object exists."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is absent."""
        ...

    def check_writable(self) -> None:
        """Raise LAKE_NOT_WRITABLE with the remedy when nothing can be written."""
        ...


class Embedder(Protocol):
    """Text → vectors."""

    @property
    def digest(self) -> str:
        """sha256 that changes with the weights; names the embedding cache."""
        ...

    @property
    def dim(self) -> int:
        """Vector length."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dim], L2-normalised, row i for text i."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text under this model's tokenizer, without special tokens."""
        ...


class Reranker(Protocol):
    """Question and text → how well the text answers."""

    @property
    def digest(self) -> str:
        """sha256 that changes with the weights."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """float32[n]: log-odds that each text is relevant to its question."""
        ...


class Reader(Protocol):
    """Question and passages → how well each of their parts answers, read in its passage."""

    @property
    def digest(self) -> str:
        """sha256 that changes with the weights."""
        ...

    def read(
        self, question: str, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[np.ndarray]:
        """float32[len(spans[i])] for text i: a score of each part `text[start:end]` in [-1, 1].

        Only scores of one question compare.
        """
        ...


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt with its own limits; honoured inside a batch.

    Attributes:
        prompt: full prompt text, already through the template.
        max_new_tokens: at most this many generated tokens.
        temperature: 0 is greedy.
        adapter: adapter version or `base`.
    """

    prompt: str
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    adapter: str = ""
    stop: tuple[str, ...] = ()


class Generator(Protocol):
    """Base model with LoRA adapters."""

    @property
    def digest(self) -> str:
        """sha256 of the base weights."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Draft]:
        """One draft per request, in order, from shared forward passes."""
        ...

    def stream(self, requests: Sequence[GenerationRequest]) -> Iterator[list[str | None]]:
        """After each step, the new text of each request; None once that request is finished."""
        ...


@dataclass(frozen=True)
class Message:
    """A chat turn: role `system | user | assistant`."""

    role: str
    content: str


class ChatModel(Protocol):
    """A model that follows instructions (model_a refiner, model_d finalist)."""

    @property
    def digest(self) -> str:
        """sha256 of weights, or of provider, address and model name for a remote model."""
        ...

    def complete(self, messages: Sequence[Message], max_new_tokens: int = 512) -> str:
        """The whole reply. Raises MODEL_UNAVAILABLE."""
        ...

    def stream(self, messages: Sequence[Message], max_new_tokens: int = 512) -> AsyncIterator[str]:
        """The reply in pieces as they are produced. Raises MODEL_UNAVAILABLE."""
        ...


class KeyValue(Protocol):
    """The few Redis operations the system uses, async, JSON values.

    Implemented on redis-py; raises REDIS_UNAVAILABLE when the server cannot be reached.
    """

    async def get(self, key: str) -> Any | None:
        """Value of the key, or None."""
        ...

    async def set(self, key: str, value: Any, ttl_s: float | None = None) -> None:
        """Create or replace, optionally expiring."""
        ...

    async def create(self, key: str, value: Any, ttl_s: float | None = None) -> bool:
        """Create only; False when the key exists."""
        ...

    async def delete(self, *keys: str) -> int:
        """How many keys were removed."""
        ...

    async def append(self, key: str, value: Any, keep: int, ttl_s: float | None = None) -> None:
        """Push to a list and keep the newest `keep` items."""
        ...

    async def items(self, key: str) -> list[Any]:
        """The list, oldest first."""
        ...

    async def discard(self, key: str, value: Any) -> int:
        """Take every item that equals `value` out of a list; how many."""
        ...

    async def holding(self, prefix: str, texts: Collection[str]) -> list[str]:
        """Keys with this prefix whose value, or one of whose items, holds one of these strings.

        A string counts as held where it stands as a whole JSON string, key or value.
        """
        ...

    async def scan(self, prefix: str) -> list[str]:
        """Keys with this prefix, sorted."""
        ...

    async def ping(self) -> None:
        """Raise REDIS_UNAVAILABLE when the server does not answer."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
