"""Stages "base" and "train" on a real Ray cluster, with workers that die."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from training_world import MODEL, TINY, Alone, document, pair

from actors import base_model, trainer
from alchemy.config import LakeSettings, LoraSettings, Settings, TrainingSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import no_progress, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.training.adapters import fetch_adapter
from alchemy.training.base import fetch_base
from alchemy.training.lora import Job, train
from alchemy.types import Receipt

pytestmark = pytest.mark.usefixtures("ray_cluster")

TRAINING = TrainingSettings(
    workers=2,
    max_steps=240,
    max_epochs=1000,
    batch_size=4,
    learning_rate=5e-3,
    checkpoint_every=40,
    max_length=64,
)


@ray.remote(num_cpus=0)
class Sink:
    """Collects progress as the Pipeline actor does."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []

    def emit(self, stage: str, event: str, fields: dict[str, Any]) -> None:
        self._events.append({"stage": stage, "event": event, **fields})

    def events(self) -> list[dict[str, Any]]:
        return self._events


def settings_for(lake: LocalLake, **model: Any) -> Settings:
    return Settings(
        model_c=MODEL.model_copy(update={"lora": LoraSettings(r=8, alpha=16, dropout=0), **model}),
        training=TRAINING,
        lake=LakeSettings(root=str(lake.root)),
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LocalLake:
    """A lake whose runs are washed and refined."""
    directory = tmp_path_factory.mktemp("train")
    lake = LocalLake(directory / "lake")
    for run_id in ("run-quiet", "run-killed", "run-wrong"):
        files = {
            f"processed/{run_id}/cleaned_corpus.jsonl": [document(n) for n in range(40)],
            f"sft/{run_id}/sft_train.jsonl": [pair(n) for n in range(30)],
            f"sft/{run_id}/sft_eval.jsonl": [pair(n) for n in range(30, 40)],
        }
        for key, records in files.items():
            write_jsonl(directory / "file", records)
            lake.upload(key, directory / "file")
        for stage, uri in (("wash", f"processed/{run_id}"), ("refine", f"sft/{run_id}")):
            write_receipt(lake, Receipt(run_id, stage, uri, 1, 1, "0" * 64, (), {}, 0.0))
    return lake


def trained(lake: LocalLake, run_id: str, sink: Any) -> Receipt:
    settings = settings_for(lake)
    write_receipt(lake, base_model.start(settings, run_id, sink))
    return trainer.start(settings, run_id, sink)


@pytest.fixture(scope="module")
def quiet(ray_cluster: None, lake: LocalLake) -> tuple[Receipt, list[dict[str, Any]]]:
    """Receipt and progress of a training in which nothing went wrong."""
    sink = Sink.remote()
    receipt = trained(lake, "run-quiet", sink)
    return receipt, ray.get(sink.events.remote())  # pyright: ignore[reportAttributeAccessIssue]


def test_a_run_trains_and_publishes_an_adapter_that_is_better_than_its_base(
    quiet: tuple[Receipt, list[dict[str, Any]]], lake: LocalLake, tmp_path: Path
) -> None:
    receipt, _ = quiet
    assert receipt.counts["improvement"] > 0.15
    assert receipt.counts["steps"] == TRAINING.max_steps
    version = receipt.uri.removeprefix("adapters/")
    _, base_digest = fetch_base(lake, settings_for(lake).model_c, tmp_path / "base")
    _, manifest = fetch_adapter(lake, version, tmp_path / "adapters", base_digest)
    assert manifest.meta["documents"] == 30
    assert not list(lake.list("runs/run-quiet/train/checkpoints/"))


def test_progress_of_base_and_training_reaches_the_run(
    quiet: tuple[Receipt, list[dict[str, Any]]],
) -> None:
    _, events = quiet
    base = [e for e in events if e["event"] == "base.step"]
    steps = [e for e in events if e["event"] == "train.step"]
    assert base[-1]["step"] == TINY.steps
    assert steps[-1]["step"] == TRAINING.max_steps
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_two_workers_learn_what_one_process_learns(
    quiet: tuple[Receipt, list[dict[str, Any]]], lake: LocalLake, tmp_path: Path
) -> None:
    receipt, _ = quiet
    settings = settings_for(lake)
    base_dir, _ = fetch_base(lake, settings.model_c, tmp_path / "base")
    files = [tmp_path / name for name in ("sft_train.jsonl", "sft_eval.jsonl")]
    for path in files:
        lake.download(f"sft/run-quiet/{path.name}", path)
    job = Job(base_dir, files[0], files[1], settings.model_c, TRAINING)
    outcome = train(job, Alone(tmp_path / "kept"), tmp_path / "scratch", no_progress)
    assert receipt.counts["base_eval_loss"] == pytest.approx(outcome.base_eval_loss, rel=1e-5)
    assert receipt.counts["eval_loss"] == pytest.approx(outcome.eval_loss, rel=0.02)


def test_a_killed_worker_resumes_and_ends_with_the_same_adapter(
    quiet: tuple[Receipt, list[dict[str, Any]]], lake: LocalLake
) -> None:
    sink = Sink.remote()
    result: list[Receipt | BaseException] = []

    def work() -> None:
        try:
            result.append(trained(lake, "run-killed", sink))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    _wait_for_checkpoint(lake, "run-killed")
    os.kill(_train_workers()[0].pid, signal.SIGKILL)
    thread.join(180)
    receipt = result[0]
    assert isinstance(receipt, Receipt), receipt
    events = ray.get(sink.events.remote())  # pyright: ignore[reportAttributeAccessIssue]
    resumed_at = [e["step"] for e in events if e["event"] == "train.eval"]
    assert resumed_at[0] == 0
    assert 0 not in resumed_at[1:]  # the second attempt began at a checkpoint, not at the start
    assert len(resumed_at) > len(set(resumed_at))  # and there was a second attempt
    assert receipt.uri == quiet[0].uri


def test_a_wrong_target_module_fails_at_once_with_its_reason(
    quiet: tuple[Receipt, list[dict[str, Any]]], lake: LocalLake
) -> None:
    settings = settings_for(lake, lora=LoraSettings(target_modules=("c_attn",)))
    write_receipt(lake, base_model.start(settings, "run-wrong", None))
    with pytest.raises(AlchemyError, match="c_attn") as caught:
        trainer.start(settings, "run-wrong", None)
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def _wait_for_checkpoint(lake: LocalLake, run_id: str) -> None:
    """Until Ray Train has recorded a checkpoint; it looks for new ones every two seconds."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        kept = lake.list(f"runs/{run_id}/train/checkpoints/")
        if any(item.key.endswith("checkpoint_manager_snapshot.json") for item in kept):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{run_id} kept no checkpoint")


def _train_workers() -> list[psutil.Process]:
    """Training workers of this test's own cluster (its raylet is our child)."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end while it is looked at
            if "".join(process.cmdline()[:1]).startswith("ray::RayTrainWorker"):
                found.append(process)
    return found
