"""Embeddings kept in the lake, so that a new index costs only what changed.

`embeddings/<model digest>/<name>.safetensors` holds `hashes` uint8[n, 32] (sha256 of the embedded
text) and `vectors` float32[n, d]. Shards are only ever added, and named after what they hold: an
interrupted run that repeats a block writes the same object again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import text_digest

PREFIX = "embeddings"
_HASH_BYTES = 32


class EmbeddingCache:
    """Vectors by content hash (sha256 hex) of one embedding model. Memory: one shard at a time."""

    def __init__(self, lake: Lake, model_digest: str, dim: int) -> None:
        self._lake = lake
        self._root = f"{PREFIX}/{model_digest}"
        self._dim = dim

    def fill(self, hashes: Sequence[str], vectors: np.ndarray) -> set[str]:
        """Copy known vectors into the rows of `vectors` (float32[len(hashes), dim]).

        Returns:
            The hashes that are not in the cache.

        Raises:
            AlchemyError: CORRUPT for a damaged shard.
        """
        rows: dict[bytes, list[int]] = {}
        for row, content_hash in enumerate(hashes):
            rows.setdefault(bytes.fromhex(content_hash), []).append(row)
        for stored_hashes, stored_vectors in self._shards():
            if not rows:
                break
            for position, raw in enumerate(stored_hashes):
                wanted = rows.pop(raw, None)
                if wanted is not None:
                    vectors[wanted] = stored_vectors[position]
        return {raw.hex() for raw in rows}

    def add(self, hashes: Sequence[str], vectors: np.ndarray) -> None:
        """Store a block of new vectors as one shard."""
        from safetensors.numpy import save

        raw = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8)
        tensors = {
            "hashes": raw.reshape(len(hashes), _HASH_BYTES),
            "vectors": np.ascontiguousarray(vectors, dtype=np.float32),
        }
        name = text_digest(*hashes)[:16]
        self._lake.write(f"{self._root}/{name}.safetensors", save(tensors))

    def _shards(self) -> Iterator[tuple[list[bytes], np.ndarray]]:
        for item in self._lake.list(f"{self._root}/"):
            hashes, vectors = _read_shard(self._lake, item.key)
            if hashes.shape != (len(vectors), _HASH_BYTES) or vectors.shape[1:] != (self._dim,):
                raise self._damaged(item.key)
            yield [row.tobytes() for row in hashes], vectors

    def _damaged(self, key: str) -> AlchemyError:
        return _damaged(self._lake, key, f" of length {self._dim}")


def shard_hashes(lake: Lake, key: str) -> list[str]:
    """Content hashes (sha256 hex) whose vectors a shard holds; CORRUPT for a damaged one."""
    hashes, _ = _read_shard(lake, key)
    return [row.tobytes().hex() for row in hashes]


def _read_shard(lake: Lake, key: str) -> tuple[np.ndarray, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(lake.read(key))
        return tensors["hashes"], tensors["vectors"]
    except (SafetensorError, KeyError) as error:
        raise _damaged(lake, key) from error


def _damaged(lake: Lake, key: str, what: str = "") -> AlchemyError:
    return AlchemyError(
        ErrorCode.CORRUPT,
        f"{key} in {lake.uri} is not a shard of embeddings{what}",
        "Delete it; its texts are embedded again.",
    )
