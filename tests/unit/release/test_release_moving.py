"""Promotion and rollback by hand: the pointer moves, and what was rolled back stays away."""

from __future__ import annotations

import json

import pytest
from release_world import ADAPTER, World

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release import evaluate, stage
from alchemy.release.model import live_release
from alchemy.release.moving import differences, promote_release, roll_back, withdrawal
from alchemy.stage import write_receipt
from alchemy.stores.versions import publish_directory
from alchemy.types import Release


def released(world: World, weights: bytes = b"weights") -> Release:
    """Evaluate and release what the world holds now, its adapter with a manifest."""
    if not world.lake.exists(f"adapters/{ADAPTER}/manifest.json"):
        whole = world.directory / "whole"
        whole.mkdir()
        (whole / "adapter_model.safetensors").write_bytes(b"weights")
        publish_directory(world.lake, "adapters", ADAPTER, whole)
    world.publish_adapter(weights)
    write_receipt(world.lake, evaluate.run(world.context("evaluate"), world.candidate()))
    stage.run(world.context("release"))
    live = live_release(world.lake)
    assert live is not None
    return live


@pytest.fixture
def two(world: World) -> tuple[Release, Release]:
    return released(world), released(world, b"better weights")


def test_a_rolled_back_release_comes_back_only_by_promotion(
    world: World, two: tuple[Release, Release]
) -> None:
    first, second = two
    assert roll_back(world.lake, "ann", "wrong ports").id == first.id
    assert live_release(world.lake) == first
    with pytest.raises(AlchemyError) as caught:
        stage.run(world.context("release"))  # the same run comes to the same release
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert "ann rolled it back: wrong ports" in caught.value.message
    assert live_release(world.lake) == first
    promote_release(world.lake, second.id, "bob", "it was the proxy")
    assert live_release(world.lake) == second and withdrawal(world.lake, second.id) is None
    pointers = sorted(world.lake.list("releases/pointer/"), key=lambda item: item.key)
    reasons = [json.loads(world.lake.read(item.key))["reason"] for item in pointers]
    assert reasons[2] == f"rolled back from {second.id} by ann: wrong ports"
    assert reasons[3] == "promoted by bob: it was the proxy"


def test_there_is_nothing_to_go_back_to_after_the_first(world: World) -> None:
    only = released(world)
    with pytest.raises(AlchemyError) as caught:
        roll_back(world.lake, "ann", "")
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert live_release(world.lake) == only and withdrawal(world.lake, only.id) is None


def test_a_release_whose_parts_are_gone_is_not_promoted(
    world: World, two: tuple[Release, Release]
) -> None:
    first, second = two
    world.lake.delete(f"adapters/{first.adapter}/manifest.json")
    with pytest.raises(AlchemyError) as caught:
        promote_release(world.lake, first.id, "ann")
    assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(AlchemyError):
        roll_back(world.lake, "ann", "")
    assert live_release(world.lake) == second


def test_promoting_the_live_release_moves_nothing(
    world: World, two: tuple[Release, Release]
) -> None:
    before = len(list(world.lake.list("releases/pointer/")))
    promote_release(world.lake, two[1].id, "ann")
    assert len(list(world.lake.list("releases/pointer/"))) == before


def test_two_releases_differ_in_their_adapter(two: tuple[Release, Release]) -> None:
    found = differences(*two)
    assert found["adapter_digest"] == [two[0].adapter_digest, two[1].adapter_digest]
    assert "index" not in found and differences(two[0], two[0]) == {}
