"""The embedded embedding model."""

from __future__ import annotations

import random
import socket

import numpy as np
import pytest

from alchemy.config import ModelSettings
from alchemy.models.registry import load_embedder
from alchemy.protocols import Embedder

TEXTS = [
    "The HDFS sink writes every message of a stream to a file.",
    "Messages of a stream are stored in files on HDFS by the sink.",
    "My grandmother bakes an apple cake on Sundays.",
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(ModelSettings(device="cpu", dtype="float32"))


def test_vectors_are_float32_of_unit_length(embedder: Embedder) -> None:
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (3, embedder.dim) == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_texts_of_like_meaning_are_near(embedder: Embedder) -> None:
    like, unlike = embedder.encode(TEXTS)[1:] @ embedder.encode(TEXTS)[0]
    assert like > 0.8 > 0.2 > unlike


def test_each_row_belongs_to_its_text_whatever_the_lengths(embedder: Embedder) -> None:
    chance = random.Random(3)
    words = " ".join(TEXTS).split()
    texts = [" ".join(chance.choices(words, k=k)) for k in (1, 60, 9, 200, 8, 1, 30, 9)]
    alone = np.concatenate([embedder.encode([text]) for text in texts])
    np.testing.assert_allclose(embedder.encode(texts), alone, atol=2e-5)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, 384)
    assert embedder.count_tokens([]) == []


def test_tokens_are_counted_without_markers_and_without_a_limit(embedder: Embedder) -> None:
    assert embedder.count_tokens(["", "stream", "stream " * 1000]) == [0, 1, 1000]


def test_bfloat16_is_as_good_and_has_its_own_digest(embedder: Embedder) -> None:
    half = load_embedder(ModelSettings(device="cpu", dtype="bfloat16"))
    cosines = (half.encode(TEXTS) * embedder.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999
    assert half.digest != embedder.digest


def test_loading_and_encoding_never_reach_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the embedded model opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_embedder(ModelSettings()).encode(TEXTS[:1]).shape == (1, 384)
