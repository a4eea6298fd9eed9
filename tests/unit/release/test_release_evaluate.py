from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from release_world import Parrot, World, pairs

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.finalist.abstention import PRIOR
from alchemy.release.evaluate import run


def evaluation(world: World) -> dict[str, Any]:
    receipt = run(world.context("evaluate"), world.candidate())
    return json.loads(world.lake.read(f"{receipt.uri}/evaluation.json"))


def test_a_clear_company_is_answered_with_its_sources_and_foreign_questions_are_not(
    world: World,
) -> None:
    report = evaluation(world)
    assert report["retrieval"]["recall@10"]["value"] >= 0.95
    assert report["answers"]["quotes_exact"] == 1.0
    assert report["answers"]["citation_precision"]["value"] >= 0.8
    assert report["abstention"]["refused_share"]["foreign"] >= 0.8
    assert report["abstention"]["refused_share"]["answerable"] <= 0.3
    assert report["calibration"]["reached"] is True


def test_evidence_beats_intuition_in_the_four_modes(world: World) -> None:
    modes = evaluation(world)["modes"]
    assert modes["base"]["value"] < modes["lora"]["value"] < modes["rag"]["value"]
    for mode in modes.values():
        assert mode["low"] <= mode["value"] <= mode["high"]


def test_the_thresholds_are_complete_for_the_finalist(world: World) -> None:
    report = evaluation(world)
    assert report["thresholds"].keys() == {*PRIOR, "quant_weight"}
    assert report["models"] == {
        "model_b": "words-embedder",
        "model_c": "b" * 64,
        "model_d": "extractive",
    }


def test_a_draft_that_helps_nothing_gets_no_weight(world: World) -> None:
    assert evaluation(world)["thresholds"]["draft_weight"] == 0.0


def test_the_receipt_shows_the_headline_and_the_loss(world: World) -> None:
    counts = run(world.context("evaluate"), world.candidate()).counts
    assert counts["quotes_exact"] == 1.0
    assert (counts["loss_base"], counts["loss_adapter"]) == (4.0, 3.0)


def test_the_same_run_evaluates_to_the_same_bytes(world: World) -> None:
    first = run(world.context("evaluate"), world.candidate())
    assert run(world.context("evaluate"), world.candidate()).sha256 == first.sha256


def test_drafts_come_from_the_adapter_and_from_the_base(world: World) -> None:
    candidate = world.candidate()
    run(world.context("evaluate"), candidate)
    assert isinstance(candidate.generator, Parrot)
    assert {request.adapter for request in candidate.generator.asked} == {"ad-test", "base"}


def test_without_held_out_pairs_the_stage_fails(world: World) -> None:
    world.publish_pairs([])
    with pytest.raises(AlchemyError) as caught:
        run(world.context("evaluate"), world.candidate())
    assert caught.value.code is ErrorCode.STAGE_FAILED


def test_a_handful_of_pairs_is_evaluated_without_pretending(world: World) -> None:
    world.publish_pairs(pairs()[:2])
    report = evaluation(world)
    assert report["questions"]["answerable"] == 2
    assert 0 in (report["modes"]["rag"]["n"], report["calibration"]["correct"])


def test_an_unreachable_target_is_said(world: World) -> None:
    wrong = [
        dataclasses.replace(p, document_ids=("documents:none",), response="zzz") for p in pairs()
    ]
    world.publish_pairs(wrong)
    report = evaluation(world)
    assert report["calibration"]["reached"] is False
    assert "no threshold reaches" in report["calibration"]["note"]
