"""One training on Ray Train workers, its checkpoints in the lake until it is published."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ray.train
import ray.train.torch
from ray.actor import ActorHandle

from alchemy.config import LakeSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import StageContext


class Plan(Protocol):
    """What is trained: `name` finds the checkpoints of an attempt that was killed."""

    @property
    def name(self) -> str:
        """Of the run in Ray Train."""
        ...

    @property
    def checkpoints(self) -> str:
        """Lake key prefix."""
        ...


@contextmanager
def fitted(
    loop: Callable[[dict[str, Any]], AlchemyError | None],
    context: StageContext,
    plan: Plan,
    sink: ActorHandle | None,
    workers: int,
) -> Iterator[Path]:
    """Train, and give the final checkpoint's directory; after it no checkpoint is left.

    Args:
        loop: run by each worker with `settings`, `plan`, `run_id` and `sink`; returns an error that
            trying again cannot mend.

    Raises:
        AlchemyError: what a worker raised or returned; STAGE_FAILED after too many failures.
    """
    settings = context.settings.training
    storage = _checkpoint_storage(context.settings.lake, plan.checkpoints)
    trainer = ray.train.torch.TorchTrainer(
        loop,
        train_loop_config={
            "settings": context.settings,
            "plan": plan,
            "run_id": context.run_id,
            "sink": sink,
        },
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=settings.use_gpu,
            resources_per_worker=settings.resources_per_worker,
        ),
        run_config=ray.train.RunConfig(
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
        raise _failure_of(error) from error
    if isinstance(result.return_value, AlchemyError):
        raise result.return_value
    if result.checkpoint is None:
        raise AlchemyError(ErrorCode.STAGE_FAILED, f"training {plan.name} left no checkpoint")
    with result.checkpoint.as_directory() as directory:
        yield Path(directory)
    # by the file system that made them: on S3 it keeps directory markers, which are no lake objects
    storage["storage_filesystem"].delete_dir(storage["storage_path"])


def _failure_of(error: ray.train.WorkerGroupError) -> AlchemyError:
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


def _checkpoint_storage(lake: LakeSettings, prefix: str) -> dict[str, Any]:
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
