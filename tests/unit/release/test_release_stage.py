from __future__ import annotations

import json
from typing import Any

import pytest
from release_world import RUN, World, chunks

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release import evaluate, stage
from alchemy.release.gate import judge
from alchemy.release.model import live_release
from alchemy.stage import write_receipt
from alchemy.types import Receipt


def evaluated(world: World) -> Receipt:
    receipt = evaluate.run(world.context("evaluate"), world.candidate())
    write_receipt(world.lake, receipt)
    return receipt


def measured(recall: float, f1: float, exact: float | None = 1.0) -> dict[str, Any]:
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 50}

    return {
        "retrieval": {"recall@10": interval(recall)},
        "modes": {"rag+lora": interval(f1)},
        "answers": {"quotes_exact": exact},
    }


def test_the_first_release_goes_live_with_everything_an_answer_depends_on(world: World) -> None:
    evaluated(world)
    receipt = stage.run(world.context("release"))
    release = live_release(world.lake)
    assert release is not None
    assert receipt.uri == f"releases/{release.id}.json"
    assert release.adapter_digest == world.adapter_digest
    assert release.thresholds["abstain"] >= 0
    assert release.prompts.keys() == {"finalist", "instruction"}
    assert release.models["model_b"] == "words-embedder"
    assert release.parent is None


def test_releasing_again_changes_nothing(world: World) -> None:
    evaluated(world)
    first = stage.run(world.context("release"))
    again = stage.run(world.context("release"))
    assert (again.uri, again.sha256, again.counts) == (first.uri, first.sha256, first.counts)
    assert len(list(world.lake.list("releases/pointer/"))) == 1


def test_other_weights_are_another_release_with_the_old_one_as_parent(world: World) -> None:
    evaluated(world)
    stage.run(world.context("release"))
    old = live_release(world.lake)
    world.publish_adapter(b"better weights")
    evaluated(world)
    stage.run(world.context("release"))
    new = live_release(world.lake)
    assert old is not None and new is not None
    assert new.id != old.id
    assert new.parent == old.id
    assert "not worse" in new.reason


def test_a_worse_candidate_is_refused_and_the_live_release_stays(world: World) -> None:
    evaluated(world)
    stage.run(world.context("release"))
    old = live_release(world.lake)
    world.publish_index(chunks()[:3])
    evaluated(world)
    with pytest.raises(AlchemyError) as caught:
        stage.run(world.context("release"))
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert live_release(world.lake) == old
    verdict = json.loads(world.lake.read(f"runs/{RUN}/release/verdict.json"))
    assert verdict["passed"] is False
    assert any("recall@10" in reason for reason in verdict["reasons"])


def test_an_old_release_goes_live_again_as_it_was(world: World) -> None:
    evaluated(world)
    stage.run(world.context("release"))
    old = live_release(world.lake)
    world.publish_adapter(b"other weights")
    evaluated(world)
    stage.run(world.context("release"))
    world.publish_adapter(b"weights")
    evaluated(world)
    stage.run(world.context("release"))
    assert live_release(world.lake) == old


@pytest.mark.parametrize(
    ("candidate", "live", "passed"),
    [
        (measured(0.5, 0.5), None, True),
        (measured(0.9, 0.5, exact=0.99), None, False),
        (measured(0.9, 0.5, exact=None), None, True),
        (measured(0.86, 0.46), measured(0.9, 0.5), True),
        (measured(0.84, 0.5), measured(0.9, 0.5), False),
        (measured(0.99, 0.44), measured(0.9, 0.5), False),
        (measured(0.95, 0.6, exact=0.9), measured(0.9, 0.5), False),
    ],
)
def test_the_gate(candidate: dict[str, Any], live: dict[str, Any] | None, passed: bool) -> None:
    verdict = judge(candidate, live, "rl-live")
    assert verdict.passed is passed
    assert verdict.reasons


def test_a_candidate_that_could_not_be_measured_does_not_replace_a_measured_one() -> None:
    blind = measured(0.9, 0.5)
    blind["modes"]["rag+lora"] = {"value": None, "low": None, "high": None, "n": 0}
    assert not judge(blind, measured(0.9, 0.5), "rl-live").passed
    assert judge(measured(0.9, 0.5), blind, "rl-live").passed
