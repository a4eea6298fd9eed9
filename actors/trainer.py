"""Agent B's write side: Ray Train workers that fine-tune, and the actor that drives them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.actor import ActorHandle

from actors.base import call, run_stage
from alchemy import logs
from alchemy.config import LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import StageContext
from alchemy.stores import open_lake
from alchemy.training import stage
from alchemy.types import Receipt

STAGE = "train"


@ray.remote
class Trainer:
    """Drives one LoRA training through Ray Train."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Stage "train"."""
        return run_stage(STAGE, lambda context: _train(context, sink), self._settings, run_id, sink)


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the train stage in a Trainer actor of this run."""
    return call(Trainer, "trainer", settings, run_id, sink)


def _train(context: StageContext, sink: ActorHandle | None) -> Receipt:
    """Plan, fit, publish. A run that was killed continues from its newest checkpoint."""
    settings = context.settings.training
    plan = stage.plan(context)
    storage = checkpoint_storage(context.settings.lake, plan.checkpoints)
    trainer = ray.train.torch.TorchTrainer(
        train_loop,
        train_loop_config={
            "settings": context.settings,
            "plan": plan,
            "run_id": context.run_id,
            "sink": sink,
        },
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.use_gpu,
            resources_per_worker=settings.resources_per_worker,
        ),
        run_config=ray.train.RunConfig(
            # the same name finds the checkpoints of an attempt that was killed with its driver
            name=plan.name,
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            # Ray Train's own imports load torch before `alchemy.models` could set it
            worker_runtime_env={"env_vars": {"GOMP_SPINCOUNT": os.environ["GOMP_SPINCOUNT"]}},
            **storage,
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.WorkerGroupError as error:
        raise failure_of(error) from error
    if isinstance(result.return_value, AlchemyError):
        raise result.return_value
    if result.checkpoint is None:
        raise AlchemyError(ErrorCode.STAGE_FAILED, f"training {plan.name} left no checkpoint")
    with result.checkpoint.as_directory() as directory:
        receipt = stage.publish(context, plan, Path(directory))
    # by the file system that made them: on S3 it keeps directory markers, which are no lake objects
    storage["storage_filesystem"].delete_dir(storage["storage_path"])
    return receipt


def failure_of(error: ray.train.WorkerGroupError) -> AlchemyError:
    """The typed error of the first worker that raised one, else what Ray says."""
    for _, failure in sorted(error.worker_failures.items()):
        typed = AlchemyError.unwrap(failure)
        if typed is not None:
            return typed
    reasons = "; ".join(f"worker {rank}: {e!r}" for rank, e in error.worker_failures.items())
    return AlchemyError(
        ErrorCode.STAGE_FAILED,
        f"training failed more often than training.max_failures allows: {reasons}",
        "Run the same command again; it resumes from the newest checkpoint.",
    )


def checkpoint_storage(lake: LakeSettings, prefix: str) -> dict[str, Any]:
    """Where Ray Train keeps checkpoints: in the lake itself, so that any machine can resume."""
    import pyarrow.fs

    if not lake.s3_bucket:
        return {
            "storage_path": str(Path(lake.root).absolute() / prefix),
            "storage_filesystem": pyarrow.fs.LocalFileSystem(),
        }
    scheme, _, address = lake.s3_endpoint.rpartition("://")
    filesystem = pyarrow.fs.S3FileSystem(
        access_key=lake.s3_access_key.get_secret_value() or None,
        secret_key=lake.s3_secret_key.get_secret_value() or None,
        region=lake.s3_region,
        scheme=scheme or "https",
        endpoint_override=address or None,
    )
    path = "/".join(part for part in (lake.s3_bucket, lake.s3_prefix.strip("/"), prefix) if part)
    return {"storage_path": path, "storage_filesystem": filesystem}


class RayWorker:
    """The training loop's surroundings inside a Ray Train worker."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world_size = context.get_world_size()
        self.sharing = context.get_local_world_size()

    def distribute(self, model: Any) -> Any:
        """DDP over all workers; the model itself when there is one."""
        return ray.train.torch.prepare_model(model, move_to_device=False)

    def resume_from(self, into: Path) -> bool:
        """Copy the newest checkpoint of this run, of this attempt or an earlier one."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return False
        with checkpoint.as_directory() as directory:
            shutil.copytree(directory, into)
        return True

    def save(self, checkpoint: Path | None, outcome: Any) -> None:
        """Persist through Ray Train; returns when the files are in storage."""
        kept = None if checkpoint is None else ray.train.Checkpoint.from_directory(checkpoint)
        metrics = {
            "step": outcome.steps,
            "loss": outcome.train_loss,
            "eval_loss": outcome.eval_loss,
            "base_eval_loss": outcome.base_eval_loss,
        }
        ray.train.report(metrics, checkpoint=kept)


def train_loop(config: dict[str, Any]) -> AlchemyError | None:
    """One Ray Train worker.

    Returns:
        An error that trying again cannot mend (raised, Ray Train would try `max_failures` times).
    """
    from alchemy.models.devices import use_cores
    from alchemy.training.lora import train

    logs.configure()
    settings: Settings = config["settings"]
    sink: ActorHandle | None = config["sink"]
    around = RayWorker()
    log = logs.get_logger().bind(run_id=config["run_id"], stage=STAGE, rank=around.rank)

    def progress(event: str, fields: dict[str, Any]) -> None:
        log.info(event, **fields)
        if sink is not None:
            sink.emit.remote(STAGE, event, fields)

    use_cores(sharing=around.sharing)
    device = settings.model_c.device
    if settings.training.use_gpu:
        device = str(ray.train.torch.get_device())  # of this worker, among the node's
    with tempfile.TemporaryDirectory(prefix="alchemy-worker-") as directory:
        scratch = Path(directory)
        try:
            lake = open_lake(settings.lake)
            job = stage.job_of(config["plan"], lake, settings, scratch, device)
            train(job, around, scratch, progress)
        except AlchemyError as error:
            if error.code.retryable:
                raise
            return error
    return None
