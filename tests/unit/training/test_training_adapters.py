"""Adapter versions: named by their weights, carrying where they came from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from training_world import MODEL, TRAINING, Alone, pair

from alchemy.config import LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.causal import CausalGenerator
from alchemy.models.huggingface import load_causal
from alchemy.models.prompts import instruction_prompt
from alchemy.models.weights import weights_digest
from alchemy.protocols import GenerationRequest
from alchemy.stage import StageContext, no_progress, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import file_digest, publish_directory
from alchemy.training import stage
from alchemy.training.adapters import fetch_adapter, publish_adapter
from alchemy.training.lora import Job, read_outcome, train
from alchemy.training.registry import adapter_versions, difference, export_adapter
from alchemy.types import Receipt


@pytest.fixture(scope="module")
def checkpoint(
    base_dir: Path, pairs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    scratch = tmp_path_factory.mktemp("checkpoint")
    around = Alone(scratch / "kept")
    train(Job(base_dir, *pairs, MODEL, TRAINING), around, scratch, no_progress)
    return around.directory


def published(lake: LocalLake, checkpoint: Path, scratch: Path, base_digest: str):
    return publish_adapter(
        lake,
        checkpoint,
        scratch,
        base_digest=base_digest,
        pairs=[pair(1), pair(2, acl=("staff", "admin")), pair(3, acl=("admin", "staff"))],
        lora=MODEL.lora,
        training=TRAINING,
        outcome=read_outcome(checkpoint),
    )


def test_an_adapter_is_named_by_its_weights_and_says_where_it_comes_from(
    lake: LocalLake, checkpoint: Path, base_dir: Path, tmp_path: Path
) -> None:
    digest = weights_digest(base_dir)
    manifest = published(lake, checkpoint, tmp_path, digest)
    weights = file_digest(checkpoint / "adapter_model.safetensors")
    assert manifest.version == f"ad-{weights[:12]}"
    assert manifest.meta["weights"] == weights == manifest.files["adapter_model.safetensors"]
    assert manifest.meta["base"] == digest
    assert manifest.meta["acl"] == [["admin", "staff"], ["everyone"]]
    assert manifest.meta["evaluation"]["eval_loss"] > 0
    lineage = json.loads(lake.read(f"adapters/{manifest.version}/lineage.json"))
    assert lineage["documents"] == ["jira:XD-1", "jira:XD-2", "jira:XD-3"]


def test_a_fetched_adapter_answers_on_its_base(
    lake: LocalLake, checkpoint: Path, base_dir: Path, tmp_path: Path
) -> None:
    digest = weights_digest(base_dir)
    version = published(lake, checkpoint, tmp_path, digest).version
    directory, manifest = fetch_adapter(lake, version, tmp_path / "cache", digest)
    generator = CausalGenerator(MODEL, base_dir)
    assert generator.load_adapter(version, directory) == manifest.meta["weights"]
    draft = generator.generate([GenerationRequest("What fails", 4, adapter=version)])[0]
    assert (draft.adapter, draft.digest) == (version, manifest.meta["weights"])


def test_no_path_of_the_training_machine_is_published(
    lake: LocalLake, checkpoint: Path, base_dir: Path, tmp_path: Path
) -> None:
    version = published(lake, checkpoint, tmp_path, weights_digest(base_dir)).version
    config = lake.read(f"adapters/{version}/adapter_config.json").decode()
    assert str(base_dir) not in config
    names = {item.key.rpartition("/")[2] for item in lake.list(f"adapters/{version}/")}
    assert names == {
        "adapter_model.safetensors", "adapter_config.json", "lineage.json", "manifest.json",
    }  # fmt: skip


def test_an_adapter_is_not_fetched_for_another_base(
    lake: LocalLake, checkpoint: Path, tmp_path: Path
) -> None:
    version = published(lake, checkpoint, tmp_path, "base-a").version
    with pytest.raises(AlchemyError) as caught:
        fetch_adapter(lake, version, tmp_path / "cache", "base-b")
    assert caught.value.code is ErrorCode.CONFLICT


def test_damaged_weights_are_refused(lake: LocalLake, checkpoint: Path, tmp_path: Path) -> None:
    version = published(lake, checkpoint, tmp_path, "base-a").version
    lake.write(f"adapters/{version}/adapter_model.safetensors", b"damaged")
    with pytest.raises(AlchemyError) as caught:
        fetch_adapter(lake, version, tmp_path / "cache")
    assert caught.value.code is ErrorCode.CORRUPT


@pytest.fixture
def context(
    lake: LocalLake, pairs: tuple[Path, Path], base_dir: Path, tmp_path: Path
) -> StageContext:
    """A run whose refine and base stages are done, the base being a local model."""
    model = MODEL.model_copy(update={"provider": "huggingface", "model_path": str(base_dir)})
    settings = Settings(model_c=model, training=TRAINING, lake=LakeSettings(root=str(lake.root)))
    for path in pairs:
        lake.upload(f"sft/run-1/{path.name}", path)
    for name, uri in (("refine", "sft/run-1"), ("base", "runs/run-1/base")):
        write_receipt(lake, Receipt("run-1", name, uri, 1, 1, name * 8, (), {}, 0.0))
    return StageContext("run-1", "train", settings, lake, tmp_path / "scratch")


def test_the_stage_describes_what_was_trained(
    context: StageContext, checkpoint: Path, lake: LocalLake
) -> None:
    plan = stage.plan(context)
    receipt = stage.publish(context, plan, checkpoint)
    assert receipt.uri.startswith("adapters/ad-")
    assert receipt.rows == receipt.counts["train_pairs"] == 28
    counts = receipt.counts
    share = 1 - counts["eval_loss"] / counts["base_eval_loss"]
    assert counts["improvement"] == pytest.approx(share, abs=1e-4)
    assert receipt.inputs == {"refine": "refine" * 8, "base": "base" * 8}
    _, manifest = fetch_adapter(lake, receipt.uri.rpartition("/")[2], context.scratch / "cache")
    assert manifest.meta["pairs"] == 28


def test_checkpoints_are_shared_by_attempts_at_the_same_training_only(
    context: StageContext, lake: LocalLake, tmp_path: Path
) -> None:
    name = stage.plan(context).name
    assert stage.plan(replace(context, scratch=tmp_path / "2")).name == name
    more = tmp_path / "more.jsonl"
    write_jsonl(more, [pair(number) for number in range(5)])
    lake.upload("sft/run-1/sft_train.jsonl", more)
    assert stage.plan(replace(context, scratch=tmp_path / "3")).name != name


def test_a_worker_whose_base_differs_is_stopped(
    context: StageContext, base_dir: Path, tmp_path: Path
) -> None:
    plan = replace(stage.plan(context), base_digest="another")
    with pytest.raises(AlchemyError, match="this machine") as caught:
        stage.job_of(plan, context.lake, context.settings, tmp_path, "cpu")
    assert caught.value.code is ErrorCode.CONFLICT


def test_publishing_the_same_adapter_twice_changes_nothing(
    lake: LocalLake, checkpoint: Path, tmp_path: Path
) -> None:
    first = published(lake, checkpoint, tmp_path / "1", "base-a")
    assert published(lake, checkpoint, tmp_path / "2", "base-a").sha256 == first.sha256
    assert publish_directory(lake, "adapters", first.version, tmp_path) == first


_ELSEWHERE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
assert "alchemy" not in sys.modules
where, merged = sys.argv[1], sys.argv[2] == "merged"
base = where if merged else where + "/base"
model = AutoModelForCausalLM.from_pretrained(base)
if not merged:
    model = PeftModel.from_pretrained(model, where)
model.eval()
tokenizer = AutoTokenizer.from_pretrained(base)
ids = tokenizer(sys.argv[3], return_tensors="pt", add_special_tokens=False).input_ids
with torch.no_grad():
    logits = model(ids).logits[0, -1].tolist()
    told = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
print(json.dumps({"logits": logits, "text": tokenizer.decode(told, skip_special_tokens=True)}))
"""


@pytest.mark.parametrize("merge", [False, True])
def test_an_exported_adapter_gives_the_same_logits_without_this_package(
    lake: LocalLake,
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    merge: bool,
) -> None:
    from alchemy.training.base import build_base, fetch_base

    build_base(lake, MODEL, corpus, tmp_path / "build")
    base, digest = fetch_base(lake, MODEL, tmp_path / "cache")
    version = published(lake, checkpoint, tmp_path, digest).version
    output = tmp_path / "export"
    files = export_adapter(lake, version, MODEL, tmp_path / "cache", output, merge=merge)
    assert {path.name for path in files} >= {"config.json"}
    kind = "merged" if merge else "adapter"
    prompt = instruction_prompt("What fails in XD-3?")
    told = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(output), kind, prompt],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    theirs = json.loads(told.stdout.splitlines()[-1])
    directory, _ = fetch_adapter(lake, version, tmp_path / "cache")
    model, tokenizer = load_causal(base, "cpu", torch.float32, "model_c")
    mine = PeftModel.from_pretrained(model, directory).eval()
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        np.testing.assert_allclose(theirs["logits"], mine(ids).logits[0, -1], atol=2e-4)
    generator = CausalGenerator(MODEL, base)
    generator.load_adapter(version, directory)
    (served,) = generator.generate([GenerationRequest(prompt, 8, adapter=version)])
    assert theirs["text"].strip() == served.text.strip()
    with pytest.raises(AlchemyError) as caught:
        export_adapter(lake, version, MODEL, tmp_path / "cache", output)
    assert caught.value.code is ErrorCode.CONFLICT


def test_two_adapters_differ_in_what_they_learned_from(
    lake: LocalLake, checkpoint: Path, base_dir: Path, tmp_path: Path
) -> None:
    digest = weights_digest(base_dir)
    first = published(lake, checkpoint, tmp_path / "1", digest).version
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    tensors = load_file(other / "adapter_model.safetensors")
    save_file({n: t * 2 for n, t in tensors.items()}, other / "adapter_model.safetensors")
    second = publish_adapter(
        lake,
        other,
        tmp_path / "2",
        base_digest=digest,
        pairs=[pair(1), pair(4)],
        lora=MODEL.lora.model_copy(update={"r": 4}),
        training=TRAINING,
        outcome=read_outcome(checkpoint),
    ).version
    assert [a.version for a in adapter_versions(lake)] == sorted([first, second])
    found = difference(lake, first, second)
    assert found["hyperparameters"] == {"hyperparameters.lora.r": [8, 4]} and found["base"] == {}
    assert found["documents"]["added"] == ["jira:XD-4"]
    assert found["documents"]["removed"] == ["jira:XD-2", "jira:XD-3"]
