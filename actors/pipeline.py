"""One run: the Pipeline actor drives the stage graph with the agents' actors.

`python -m actors.pipeline TARGET …` runs stages from a shell or a Ray job.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors import base_model, cleaner, evaluator, indexer, quant, refiner, trainer, tuner
from actors.base import NAMESPACE, options, typed_error
from alchemy import logs, pipeline
from alchemy.config import Settings, load_settings
from alchemy.connectors.registry import raw_digest
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stores import open_lake
from alchemy.stores.tombstones import read_forgotten

RUNNERS: dict[str, Callable[..., Any]] = {
    "wash": cleaner.start,
    "quant": quant.start,
    "refine": refiner.start,
    "index": indexer.start,
    "base": base_model.start,
    "train": trainer.start,
    "tune": tuner.start,
    "evaluate": evaluator.start_evaluate,
    "release": evaluator.start_release,
    "refresh": evaluator.start_refresh,
}
_POLL_S = 0.5
_NAME_WAIT_S = 20.0


@ray.remote
class Pipeline:
    """Owns one run. Its state is only progress events; everything durable is in the lake."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        logs.configure()
        self._settings = settings
        self._run_id = run_id
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def emit(self, stage: str, event: str, fields: dict[str, Any]) -> None:
        """Record a progress event of a stage."""
        with self._lock:
            self._events.append({"stage": stage, "event": event, **fields})

    def events(self, after: int) -> list[dict[str, Any]]:
        """Events from position `after` on."""
        with self._lock:
            return self._events[after:]

    def run(self, targets: tuple[str, ...]) -> dict[str, Any]:
        """Run the targets; the run report. Raises the failing stage's AlchemyError."""
        me = ray.get_runtime_context().current_actor
        runners = {
            name: partial(start, self._settings, self._run_id, me)
            for name, start in RUNNERS.items()
        }
        lake = open_lake(self._settings.lake)
        forgotten = read_forgotten(lake).digest
        anew = self._settings.sync.full or pipeline.washed_otherwise(lake, self._run_id, forgotten)
        again = ("wash",) if anew else ()
        return pipeline.run(lake, self._run_id, targets, runners, self.emit, again).to_dict()


def execute(
    settings: Settings,
    targets: tuple[str, ...],
    show: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run stages on the connected Ray cluster and show events as they come.

    Args:
        targets: stage names; what they need is run or reused as well.
        show: called with each event, in order.

    Returns:
        The run report.

    Raises:
        AlchemyError: of the failing stage; CONFLICT when the same run is already in progress;
            STAGE_FAILED when the Pipeline actor died.
    """
    lake = open_lake(settings.lake)
    lake.check_writable()
    pipeline.closure(targets)
    run_id = pipeline.run_identity(raw_digest(lake), settings, read_forgotten(lake).digest)
    actor = _claim(settings, run_id)
    show({"stage": "run", "event": "run.started", "run_id": run_id})
    seen = 0
    try:
        result = actor.run.remote(targets)
        finished = False
        while not finished:
            finished = bool(ray.wait([result], timeout=_POLL_S)[0])
            try:
                events = ray.get(actor.events.remote(seen))
            except RayActorError:
                break  # `result` says why
            seen += len(events)
            for event in events:
                show(event)
        return ray.get(result)
    except RayError as error:
        raise typed_error(
            error,
            f"the pipeline of {run_id} failed",
            "Run the same command again; it resumes after the last receipt.",
        ) from error
    finally:
        ray.kill(actor)


def _claim(settings: Settings, run_id: str) -> Any:
    """Create the run's actor; wait a little for one that is just being cleaned up."""
    deadline = time.monotonic() + _NAME_WAIT_S
    while True:
        try:
            return Pipeline.options(**options("pipeline", run_id)).remote(settings, run_id)
        except ValueError as error:  # the name is taken
            if time.monotonic() > deadline:
                raise AlchemyError(
                    ErrorCode.CONFLICT,
                    f"{run_id} is already in progress on this cluster",
                    "Wait for it, or stop that job in the Ray dashboard.",
                ) from error
            time.sleep(_POLL_S)


def main() -> None:
    """Run the stages named on the command line (default: all) on the cluster of RAY_ADDRESS."""
    logs.configure()
    settings = load_settings()
    log = logs.get_logger()
    ray.init(address=settings.ray.address or "auto", namespace=NAMESPACE)
    try:
        report = execute(
            settings,
            tuple(sys.argv[1:]) or ("release",),
            lambda event: log.info(
                event["event"], **{k: v for k, v in event.items() if k != "event"}
            ),
        )
    except AlchemyError as error:
        log.error("run.failed", **error.to_dict())
        raise SystemExit(error.code.exit_code) from error
    log.info("run.succeeded", run_id=report["run_id"])


if __name__ == "__main__":
    main()
