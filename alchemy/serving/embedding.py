"""Requests for vectors that share forward passes, whichever models they are for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from alchemy.protocols import Embedder

Encode: TypeAlias = Callable[[Sequence[str]], np.ndarray]
"""Texts → float32[n, dim], L2-normalised."""


def embed_requests(requests: Sequence[tuple[Embedder, Sequence[str]]]) -> list[np.ndarray]:
    """Embed several requests, those of one model in one call: float32[len(request), dim] each."""
    found: list[np.ndarray] = [np.empty(0)] * len(requests)
    for embedder in {id(embedder): embedder for embedder, _ in requests}.values():
        mine = [place for place, (model, _) in enumerate(requests) if model is embedder]
        vectors = embedder.encode([text for place in mine for text in requests[place][1]])
        ends = np.cumsum([len(requests[place][1]) for place in mine])
        for place, rows in zip(mine, np.split(vectors, ends[:-1]), strict=True):
            found[place] = rows
    return found


def encode_asked(asked: Sequence[tuple[Encode, str]]) -> list[np.ndarray]:
    """Vectors float32[dim] of questions; those under one encoder (one release's) in one call."""
    places: dict[Encode, list[int]] = {}
    for place, (encode, _) in enumerate(asked):
        places.setdefault(encode, []).append(place)
    vectors: dict[int, np.ndarray] = {}
    for encode, own in places.items():
        vectors.update(zip(own, encode([asked[place][1] for place in own]), strict=True))
    return [vectors[place] for place in range(len(asked))]
