"""A reranker is used where it makes the search better, and a release says which one it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from release_world import Words, World, chunks, pairs

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Reranker
from alchemy.release import evaluate, refresh, reranking, stage
from alchemy.release.model import live_release, used_model
from alchemy.settings import WeightSettings
from alchemy.stage import write_receipt
from alchemy.types import Release, text_digest


class Knowing:
    """Knows which text answers a question; the sign says whether it tells the truth."""

    digest = "k" * 64

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._right = {pair.instruction: pair.response for pair in pairs()}

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        right = [self._right.get(question, "?") in text for question, text in pairs]
        return self._sign * np.where(right, 9.0, -9.0).astype(np.float32)


class Blind(Words):
    """Encodes each text as if it said something else: the search finds by chance."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return super().encode([text_digest(text) for text in texts])


def released(world: World, reranker: Reranker | None, embedder: Words | None = None) -> Release:
    candidate = replace(world.candidate(), reranker=reranker, embedder=embedder or Words())
    write_receipt(world.lake, evaluate.run(world.context("evaluate"), candidate))
    stage.run(world.context("release"))
    release = live_release(world.lake)
    assert release is not None
    return release


def verdict(release: Release) -> dict[str, Any]:
    return release.evaluation["reranker"]


@pytest.fixture
def confusing(world: World) -> World:
    """A company whose search goes by vectors alone, which say nothing under `Blind`."""
    by_vectors = RetrievalSettings(weights=WeightSettings(lexical=0.0))
    world.settings = world.settings.model_copy(update={"retrieval": by_vectors})
    return world


def test_a_reranker_that_finds_more_is_part_of_the_release(confusing: World) -> None:
    release = released(confusing, Knowing(1.0), Blind())
    judged = verdict(release)
    assert judged["used"] is True
    assert judged["with"]["value"] > judged["without"]["value"]
    assert release.models["reranker"] == Knowing.digest
    assert used_model(release, reranking.ROLE, lambda: Knowing(1.0)) is not None


def test_a_reranker_that_changes_nothing_or_harms_is_left_out(world: World, tmp_path: Path) -> None:
    release = released(world, Knowing(1.0))  # every question finds its document first anyway
    assert verdict(release)["used"] is False
    assert "reranker" not in release.models
    harmed = released(World(tmp_path / "other"), Knowing(-1.0))
    assert verdict(harmed)["difference"]["high"] < 0
    assert "reranker" not in harmed.models


def test_a_release_without_one_never_loads_it(world: World) -> None:
    release = released(world, None)
    assert "reranker" not in release.evaluation

    def load() -> Reranker:
        raise AssertionError("loaded for nothing")

    assert used_model(release, reranking.ROLE, load) is None


@pytest.mark.parametrize("configured", [None, "other"])
def test_another_reranker_than_was_released_is_refused(
    confusing: World, configured: str | None
) -> None:
    release = released(confusing, Knowing(1.0), Blind())
    other = Knowing(1.0)
    other.digest = "o" * 64
    with pytest.raises(AlchemyError, match="full-cycle") as refused:
        used_model(release, reranking.ROLE, lambda: other if configured else None)
    assert refused.value.code is ErrorCode.CONFLICT


def test_a_refresh_compares_and_goes_on_with_the_released_one(confusing: World) -> None:
    before = released(confusing, Knowing(1.0), Blind())
    content = chunks()
    text = f"{content[-1].text} It was replaced since."
    changed = replace(content[-1], text=text, end=len(text), content_hash=text_digest(text))
    confusing.publish_index([*content[:-1], changed])
    refresh.run(confusing.context("refresh"), Blind(), lambda: Knowing(1.0))
    after = live_release(confusing.lake)
    assert after is not None
    assert after.index != before.index
    assert after.models == before.models
