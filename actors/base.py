"""What every agent actor shares: its options, and running one stage in a scratch directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import structlog
from ray.actor import ActorHandle
from ray.exceptions import RayError

from alchemy import logs
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import Progress, StageContext, no_progress
from alchemy.stores import open_lake
from alchemy.types import Receipt

NAMESPACE = "alchemy"
_DELIVERY_S = 30.0

OPTIONS: dict[str, dict[str, Any]] = {
    # agent → Ray options. CPUs are shares of a small machine: stages run one after another, and
    # serving keeps running beside them. Restarts are for the stage actors' own process death.
    "pipeline": {"num_cpus": 0.05, "max_restarts": 0, "max_concurrency": 16},
    "cleaner": {"num_cpus": 0.2, "max_restarts": 1, "max_task_retries": 1},
    "scout": {"num_cpus": 0.2, "max_restarts": 2, "max_task_retries": 2},
    "validator": {"num_cpus": 0.2, "max_restarts": 2, "max_task_retries": 2},
    "quant": {"num_cpus": 0.2, "max_restarts": 2, "max_task_retries": 2},
    "curator": {"num_cpus": 0.2, "max_restarts": 2, "max_task_retries": 2},
    "refiner": {"num_cpus": 0.2, "max_restarts": 2, "max_task_retries": 2},
    "indexer": {"num_cpus": 0.5, "max_restarts": 2, "max_task_retries": 2},
    "base_model": {"num_cpus": 0.2, "max_restarts": 2, "max_task_retries": 2},
    "trainer": {"num_cpus": 0.1, "max_restarts": 1, "max_task_retries": 1},
    "tuner": {"num_cpus": 0.1, "max_restarts": 1, "max_task_retries": 1},
    "evaluator": {"num_cpus": 0.5, "max_restarts": 2, "max_task_retries": 2},
    "releaser": {"num_cpus": 0.1, "max_restarts": 2, "max_task_retries": 2},
    "refresher": {"num_cpus": 0.1, "max_restarts": 2, "max_task_retries": 2},
}


def options(agent: str, run_id: str) -> dict[str, Any]:
    """Ray options of one agent of one run; the name is what the dashboard shows."""
    return {"name": f"{agent}-{run_id}", "namespace": NAMESPACE, **OPTIONS[agent]}


def run_stage(
    stage: str,
    function: Callable[[StageContext], Receipt],
    settings: Settings,
    run_id: str,
    sink: ActorHandle | None,
) -> Receipt:
    """Run one stage function inside an actor.

    Args:
        sink: the run's Pipeline actor; gets `emit(stage, event, fields)` calls. None: no progress.

    Raises:
        AlchemyError: as the stage raised it; anything untyped becomes STAGE_FAILED.
    """
    logs.configure()
    with (
        structlog.contextvars.bound_contextvars(run_id=run_id, stage=stage),
        _progress(sink, stage) as progress,
        tempfile.TemporaryDirectory(
            prefix=f"alchemy-{stage}-", ignore_cleanup_errors=True
        ) as scratch,
    ):
        context = StageContext(
            run_id=run_id,
            stage=stage,
            settings=settings,
            lake=open_lake(settings.lake),
            scratch=Path(scratch),
            progress=progress,
        )
        try:
            return function(context)
        except AlchemyError:
            raise
        except Exception as error:
            raise AlchemyError(
                ErrorCode.STAGE_FAILED, f"stage {stage!r} of run {run_id} failed: {error!r}"
            ) from error


@contextmanager
def _progress(sink: ActorHandle | None, stage: str) -> Iterator[Progress]:
    """Events for the log and the run's sink, all of them there when the `with` block is over.

    Whoever called the stage kills its actor after the receipt: an event still on its way would be
    lost, and a reader of the run would miss the end of a stage that it sees finished.
    """
    if sink is None:
        yield no_progress
        return
    log = logs.get_logger()
    under_way: list[ray.ObjectRef] = []

    def emit(event: str, fields: dict[str, Any]) -> None:
        log.info(event, **fields)
        under_way.append(sink.emit.remote(stage, event, fields))

    try:
        yield emit
    finally:
        if under_way:
            _, late = ray.wait(under_way, num_returns=len(under_way), timeout=_DELIVERY_S)
            if late:
                log.warning("stage.events_late", events=len(late))


def first_line(error: BaseException) -> str:
    """What went wrong in one line; Ray's own text is a page of remote traceback."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0][:300] if lines else ''}"


def typed_error(error: BaseException, what: str, remedy: str) -> AlchemyError:
    """The typed error that a Ray error carries, else STAGE_FAILED saying what failed."""
    return AlchemyError.unwrap(error) or AlchemyError(
        ErrorCode.STAGE_FAILED, f"{what}: {first_line(error)}", remedy
    )


def call(actor_class: Any, agent: str, settings: Settings, run_id: str, sink: Any) -> Receipt:
    """Create one agent's actor, let it do its stage, and remove it again.

    `actor_class` is `@ray.remote` with `__init__(settings)` and `run(run_id, sink) -> Receipt`.
    """
    actor = actor_class.options(**options(agent, run_id)).remote(settings)
    try:
        return ray.get(actor.run.remote(run_id, sink))
    except RayError as error:
        raise typed_error(
            error,
            f"the {agent} actor of run {run_id} failed",
            "Run the same command again; it resumes after the last receipt.",
        ) from error
    finally:
        ray.kill(actor)
