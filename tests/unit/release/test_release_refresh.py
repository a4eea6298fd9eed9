"""A new index under the live release: what stays, and when the gate refuses it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from release_world import RUN, Words, World, chunks

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release import evaluate, refresh, stage
from alchemy.release.model import live_release
from alchemy.stage import write_receipt
from alchemy.types import Chunk, Release, text_digest


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A company with a live release."""
    world = World(tmp_path)
    write_receipt(world.lake, evaluate.run(world.context("evaluate"), world.candidate()))
    stage.run(world.context("release"))
    return world


def live(world: World) -> Release:
    release = live_release(world.lake)
    assert release is not None
    return release


def with_text(chunk: Chunk, text: str) -> Chunk:
    return replace(chunk, text=text, end=len(text), content_hash=text_digest(text))


def test_a_changed_document_goes_live_with_everything_else_as_it_was(world: World) -> None:
    before = live(world)
    content = chunks()
    world.publish_index([*content[:-1], with_text(content[-1], "The shell was replaced.")])
    receipt = refresh.run(world.context("refresh"), Words())
    after = live(world)
    assert receipt.uri == f"releases/{after.id}.json"
    assert after.index != before.index and after.parent == before.id
    kept = ("adapter", "adapter_digest", "thresholds", "models", "prompts", "run_id")
    assert {k: getattr(after, k) for k in kept} == {k: getattr(before, k) for k in kept}
    assert refresh.run(world.context("refresh"), Words()).counts == receipt.counts


def test_an_index_that_finds_less_stays_back(world: World) -> None:
    before = live(world)
    world.publish_index([replace(chunk, acl=("nobody",)) for chunk in chunks()])
    with pytest.raises(AlchemyError, match=r"recall@10|mrr@10") as caught:
        refresh.run(world.context("refresh"), Words())
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert live(world).id == before.id
    verdict = json.loads(world.lake.read(f"runs/{RUN}/refresh/verdict.json"))
    assert verdict["passed"] is False and verdict["reasons"]


def test_questions_about_deleted_documents_do_not_count(world: World) -> None:
    world.publish_index(chunks()[:5])
    refresh.run(world.context("refresh"), Words())
    assert live(world).evaluation["retrieval"]["recall@10"]["value"] == 1.0


def test_before_the_first_release_there_is_nothing_to_refresh(tmp_path: Path) -> None:
    with pytest.raises(AlchemyError, match="full-cycle") as caught:
        refresh.run(World(tmp_path).context("refresh"), Words())
    assert caught.value.code is ErrorCode.NOT_READY
