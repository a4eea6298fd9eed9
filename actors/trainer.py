"""Agent B's write side: Ray Train workers that fine-tune, and the actor that drives them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.actor import ActorHandle

from actors.base import call, run_stage
from actors.ray_training import fitted
from alchemy import logs
from alchemy.config import Settings
from alchemy.errors import AlchemyError
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
    plan = stage.plan(context)
    with fitted(train_loop, context, plan, sink, context.settings.training.workers) as directory:
        return stage.publish(context, plan, directory)


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
