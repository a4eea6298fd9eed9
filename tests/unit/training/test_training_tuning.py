"""Stage `tune`: which pairs a run has, when there is nothing to train, and what is published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alchemy.config import LakeSettings, ModelSettings, Settings, TuningSettings
from alchemy.models.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import publish_directory
from alchemy.training import tuning
from alchemy.types import Document, Receipt, SftPair

ISSUES = 120


def _record(identity: str, title: str, keys: tuple[str, ...] = ()) -> Document:
    return Document(
        id=identity,
        source=identity.partition(":")[0],
        title=title,
        text=title,
        uri=identity,
        tenant="default",
        acl=("everyone",),
        extra={"jira_keys": list(keys)} if keys else {},
    )


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A run whose stages before `tune` are done: linked commits, and an index of another length."""
    lake = LocalLake(tmp_path / "lake")
    directory = tmp_path / "made"
    directory.mkdir()
    documents = [_record(f"jira:AB-{n}", f"Part {n} fails at night") for n in range(1, ISSUES + 1)]
    documents += [
        _record(f"git_pr:{n:07x}", f"AB-{n} repair part {n}", (f"AB-{n}",))
        for n in range(1, ISSUES + 1)
    ]
    asked = SftPair(
        "sft-1", "What fails?", "Part 1.", ("jira:AB-1#0",), ("jira:AB-1",), "default",
        ("everyone",), "summary", verified=True,
    )  # fmt: skip
    for root, name, records in (
        ("processed/run-1", tuning.CORPUS, documents),
        ("processed/run-1", tuning.CHUNKS, []),
        ("sft/run-1", tuning.QUESTIONS, []),
        ("sft/run-1", tuning.EVALUATION, [asked]),
    ):
        write_jsonl(directory / name, records)
        lake.upload(f"{root}/{name}", directory / name)
    index = tmp_path / "index"
    index.mkdir()
    (index / "vectors.faiss").write_bytes(b"vectors")
    publish_directory(lake, "index", "ix-1", index, {"embedder": "e" * 64, "dim": 384})
    for stage, uri in (
        ("wash", "processed/run-1"),
        ("refine", "sft/run-1"),
        ("index", "index/ix-1"),
    ):
        write_receipt(lake, Receipt("run-1", stage, uri, 1, 1, stage * 8, (), {}, 0.0))
    settings = Settings(
        lake=LakeSettings(root=str(lake.root)),
        tuning=TuningSettings(enabled=True, held_out_share=0.2),
    )
    return StageContext("run-1", "tune", settings, lake, tmp_path / "scratch")


def _with(context: StageContext, **changes: object) -> StageContext:
    settings = context.settings.model_copy(update=changes)
    return StageContext("run-1", "tune", settings, context.lake, context.scratch)


def _trained(directory: Path, best_epoch: int) -> Path:
    directory.mkdir()
    save_file({"a": torch.ones(2)}, directory / ADAPTER_WEIGHTS)
    (directory / ADAPTER_CONFIG).write_text(json.dumps({"r": 2}), encoding="utf-8")
    numbers = {"epochs": 3, "best_epoch": best_epoch, "train_pairs": 70, "held_out_pairs": 20}
    outcome = {**numbers, "base_ndcg": 0.4, "ndcg": 0.5, "seconds": 1.0}
    (directory / "tuned.json").write_text(json.dumps(outcome), encoding="utf-8")
    return directory


def test_what_is_learned_stopped_at_and_measured_by_share_no_document(
    context: StageContext,
) -> None:
    pairs = tuning.gather(context)
    parts = [
        {document for pair in part for document in pair.documents}
        for part in (pairs.train, pairs.stopping, pairs.held_out)
    ]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == ISSUES - 1
    assert "jira:AB-1" not in set().union(*parts)  # the evaluation asks about it


def test_the_plan_stores_the_pairs_that_a_worker_reads(
    context: StageContext, tmp_path: Path
) -> None:
    plan = tuning.plan(context)
    assert isinstance(plan, tuning.TunePlan)
    assert (plan.embedder, plan.dim) == ("e" * 64, 384)
    found = tuning.fetch_pairs(context.lake, plan, tuning.TRAIN, tmp_path / "worker")
    assert found == tuning.gather(context).train
    assert tuning.held_out_pairs(context) == tuning.gather(context).held_out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tuning": TuningSettings(enabled=False)}, "enabled"),
        (
            {"model_b": ModelSettings(provider="huggingface", model_path="/models/b")},
            "huggingface",
        ),
        ({"tuning": TuningSettings(enabled=True, held_out_share=0.9)}, "fewer than 50"),
    ],
)
def test_a_run_that_cannot_train_says_why_and_names_no_adapter(
    context: StageContext, changes: dict[str, object], reason: str
) -> None:
    context = _with(context, **changes)
    plan = tuning.plan(context)
    assert isinstance(plan, str)
    assert reason in plan
    receipt = tuning.nothing(context, plan)
    assert tuning.adapter_of(receipt) == ""
    assert not receipt.files


def test_the_receipt_names_the_adapter_that_was_published(
    context: StageContext, tmp_path: Path
) -> None:
    plan = tuning.plan(context)
    assert isinstance(plan, tuning.TunePlan)
    receipt = tuning.publish(context, plan, _trained(tmp_path / "rt", best_epoch=2))
    version = tuning.adapter_of(receipt)
    assert version.startswith("rt-")
    assert f"adapters/{version}/{ADAPTER_WEIGHTS}" in receipt.files
    lineage = json.loads(context.lake.read(f"adapters/{version}/lineage.json"))
    learned = {d for pair in tuning.gather(context).train for d in pair.documents}
    assert set(lineage["documents"]) == learned


def test_training_that_gained_nothing_publishes_nothing(
    context: StageContext, tmp_path: Path
) -> None:
    plan = tuning.plan(context)
    assert isinstance(plan, tuning.TunePlan)
    receipt = tuning.publish(context, plan, _trained(tmp_path / "rt", best_epoch=0))
    assert tuning.adapter_of(receipt) == ""
    assert not list(context.lake.list("adapters/"))
