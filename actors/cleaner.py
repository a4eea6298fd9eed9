"""Cleaner: washes the raw data, with a RayDP Spark session for as long as there is work for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.base import call, run_stage, typed_error
from actors.spark_session import spark_session
from alchemy import logs
from alchemy.config import Settings
from alchemy.stage import StageContext
from alchemy.types import Receipt

if TYPE_CHECKING:
    from alchemy.cleaning.parts import Job
    from alchemy.cleaning.plan import Engine, RawData, ReadUnit, UnitDone, UnitTask
    from alchemy.cleaning.stage import Order

_SESSIONS = 3
"""Spark sessions in a wash: what was read before one died is not read again."""
_INLINE_TASKS = 2
"""So few units are read here sooner than in workers that must start first."""
_LEAST_READERS = 2


@ray.remote
class Cleaner:
    """Reads, cleans, deduplicates and cuts what changed in the raw data."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Wash the raw lake as one run."""
        return run_stage("wash", wash, self._settings, run_id, sink)


def wash(context: StageContext) -> Receipt:
    """Run the stage; when Spark dies, begin another session where the last one stopped."""
    from alchemy.cleaning import stage
    from alchemy.cleaning.spark import SparkFailed

    for session in range(1, _SESSIONS + 1):
        try:
            return stage.run(context, raw_data(context.settings), partial(open_engine, context))
        except SparkFailed as error:
            if session == _SESSIONS:
                raise
            logs.get_logger().warning("wash.spark_failed", session=session, reason=str(error))
            context.progress("wash.spark_failed", {"session": session})
    raise AssertionError("unreachable")


def raw_data(settings: Settings) -> RawData:
    """The raw data as the connectors read it."""
    from alchemy.cleaning.plan import RawData
    from alchemy.cleaning.stage import UNIT_BYTES
    from alchemy.connectors.registry import object_units, raw_objects, read_unit

    units = partial(object_units, settings=settings, max_bytes=UNIT_BYTES)
    return RawData(raw_objects, units, read_unit)


@contextmanager
def open_engine(context: StageContext, order: Order) -> Iterator[Engine]:
    """The engine that was asked for, for the time of the `with` block."""
    from alchemy.cleaning.local import LocalEngine
    from alchemy.cleaning.spark import SparkEngine

    if order.name == "ray":
        yield LocalEngine(order.job, read_on_ray, order.previous)
        return
    with spark_session(context.settings.spark, context.scratch) as spark:
        yield SparkEngine(spark, order.job, context.progress)


def read_on_ray(job: Job, read_unit: ReadUnit, tasks: Sequence[UnitTask]) -> Iterable[UnitDone]:
    """Read units here when they are few, else spread over Ray tasks, half as many as CPUs."""
    from alchemy.cleaning.reading import read_task

    if len(tasks) <= _INLINE_TASKS:
        return [read_task(job, read_unit, task) for task in tasks]
    readers = max(_LEAST_READERS, int(ray.cluster_resources().get("CPU", 0)) // 2)
    shares = [tasks[reader::readers] for reader in range(min(readers, len(tasks)))]
    try:
        done = ray.get([_read_share.remote(job, read_unit, share) for share in shares])
    except RayError as error:
        raise typed_error(
            error,
            "a reading task failed",
            "Run the same command again; units that were read are not read again.",
        ) from error
    return [one for share in done for one in share]


@ray.remote(num_cpus=0.5, max_retries=2)
def _read_share(job: Job, read_unit: ReadUnit, tasks: Sequence[UnitTask]) -> list[UnitDone]:
    from alchemy.cleaning.reading import read_task

    logs.configure()
    return [read_task(job, read_unit, task) for task in tasks]


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run stage "wash" in its own actor."""
    return call(Cleaner, "cleaner", settings, run_id, sink)
