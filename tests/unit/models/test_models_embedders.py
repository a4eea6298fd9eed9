"""The pool of embedding models: each once, by digest, for as long as somebody needs it."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydantic import SecretStr

from alchemy.config import ModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.embedders import RECORDED, EmbedderPool, recorded
from alchemy.models.registry import load_embedder
from alchemy.protocols import Embedder

OWN = ModelSettings(device="cpu", dtype="float32")
OTHER = ModelSettings(device="cpu", dtype="bfloat16")  # moves every vector: another model


class Loads:
    """Loads real models and counts them."""

    def __init__(self) -> None:
        self.settings: list[ModelSettings] = []

    def __call__(self, settings: ModelSettings) -> Embedder:
        self.settings.append(settings)
        return load_embedder(settings)


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def pool(loads: Loads) -> EmbedderPool:
    return EmbedderPool(OWN, loads)


@pytest.fixture(scope="module")
def other_digest() -> str:
    return load_embedder(OTHER).digest


def test_the_configured_model_is_used_where_it_built_the_index(
    pool: EmbedderPool, loads: Loads
) -> None:
    own = pool.own()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: pool.get(own.digest, {}), range(8)))
    assert all(embedder is own for embedder in found)
    assert len(loads.settings) == 1


def test_an_index_of_another_model_gets_that_one_until_nobody_needs_it(
    pool: EmbedderPool, loads: Loads, other_digest: str
) -> None:
    own = pool.own()
    meta = {RECORDED: recorded(OTHER)}
    other = pool.get(other_digest, meta)
    assert other.digest == other_digest and pool.get(other_digest, meta) is other
    assert pool.loaded == tuple(sorted([own.digest, other_digest]))
    text = ["A tap listens to a stream."]
    assert not np.array_equal(own.encode(text), other.encode(text))
    del other
    gc.collect()
    assert pool.loaded == (own.digest,)
    assert pool.get(own.digest, {}) is own and len(loads.settings) == 2


def test_the_configured_model_goes_when_no_release_uses_it(
    pool: EmbedderPool, other_digest: str
) -> None:
    other = pool.get(other_digest, {RECORDED: recorded(OTHER)})
    gc.collect()
    assert pool.loaded == (other.digest,)


def test_a_configured_model_that_is_missing_leaves_the_old_index_searchable(
    other_digest: str,
) -> None:
    gone = ModelSettings(provider="huggingface", model_path="/no/such/model", dtype="float32")
    pool = EmbedderPool(gone, load_embedder)
    assert pool.get(other_digest, {RECORDED: recorded(OTHER)}).digest == other_digest
    with pytest.raises(AlchemyError) as caught:
        pool.get(other_digest[::-1], {})
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({}, "not recorded"),
        ({RECORDED: {"provider": "embedded"}}, "damaged"),
        ({RECORDED: {**recorded(OWN), "dtype": "int3"}}, "damaged"),
        ({RECORDED: {**recorded(OWN), "provider": "openai", "model_id": "e"}}, "remote"),
        ({RECORDED: recorded(OWN)}, "is now where its settings point"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused(
    pool: EmbedderPool, meta: dict[str, object], says: str
) -> None:
    with pytest.raises(AlchemyError, match=says) as caught:
        pool.get("e" * 64, meta)
    assert caught.value.code is ErrorCode.CONFLICT


def test_what_is_recorded_holds_no_secret_and_no_address() -> None:
    remote = ModelSettings(
        provider="openai",
        model_id="e",
        base_url="https://user:hunter2@models.internal/v1",
        api_key=SecretStr("hunter2"),
        allow_remote=True,
    )
    assert "hunter2" not in str(recorded(remote)) and "internal" not in str(recorded(remote))
