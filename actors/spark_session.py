"""A RayDP Spark session on this Ray cluster: Java, module options, names, sizes, and its end.

RayDP allows one session per Ray namespace, and its actors linger for a moment after the end of one.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from alchemy import cleaning, logs
from alchemy.cleaning import java
from alchemy.config import SparkSettings
from alchemy.errors import AlchemyError, ErrorCode

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

APP_NAME = "alchemy-wash"
_GONE_SECONDS = 60.0
_EXECUTOR_SECONDS = 120.0
_ALONE_SECONDS = 45.0
"""A lost executor is back after about ten seconds on a quiet machine."""

_OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.math", "java.text"),
    *("java.time", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
JAVA_OPTIONS = " ".join(
    (
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
        "--add-opens=java.sql/java.sql=ALL-UNNAMED",
        "-Djdk.reflect.useDirectMethodHandle=false",
        "-Dio.netty.tryReflectionSetAccessible=true",
        # four small, short-lived Java processes whose heavy work is done in Python: no pools of
        # collector threads, and no optimising compiler that would pay back after minutes
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
    )
)
log = logs.get_logger()


@contextmanager
def spark_session(settings: SparkSettings, scratch: Path) -> Iterator[SparkSession]:
    """A session for the time of the `with` block; only in a process connected to Ray.

    Raises:
        AlchemyError: JAVA_MISSING; CONFLICT when another session does not end; NOT_READY when the
            cluster has no room for an executor.
    """
    java.check_on_path(os.environ)
    java.put_on_path()
    # the executors' Python must be this environment's; spark.pyspark.python alone is not honoured
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    wait_until_gone(_GONE_SECONDS)
    import raydp

    started = time.monotonic()
    try:
        session = raydp.init_spark(
            APP_NAME,
            settings.executors,
            settings.executor_cores,
            f"{settings.executor_memory_mb}m",
            # only the conversion to Ray Data needs it, and stages hand over through the lake
            fault_tolerant_mode=False,
            configs=configuration(settings, scratch),
        )
        session.sparkContext.setLogLevel("WARN")
        _wait_for_executor(session, settings)
        log.info("spark.started", seconds=round(time.monotonic() - started, 1))
        with _watched(session):
            yield session
    finally:
        raydp.stop_spark()
        log.info("spark.stopped")


def configuration(settings: SparkSettings, scratch: Path) -> dict[str, str]:
    """Spark and RayDP options."""
    log4j = str(Path(cleaning.__file__).with_name("spark-log4j2.properties"))
    return {
        "spark.driver.memory": "768m",
        "spark.driver.extraJavaOptions": JAVA_OPTIONS,
        "spark.executor.extraJavaOptions": f"{JAVA_OPTIONS} -Dlog4j2.configurationFile={log4j}",
        "spark.ray.raydp_app_master.extraJavaOptions": f"{JAVA_OPTIONS} -Xmx256m",
        "spark.ray.raydp_spark_master.actor.resource.CPU": "0.05",
        "spark.ray.raydp_spark_executor.actor.resource.cpu": str(settings.executor_cpus),
        "spark.log4j.config.file.name": log4j,
        "spark.local.dir": str(scratch / "spark"),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        # the plan is fixed and its partitions are chosen: nothing to adapt
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",  # compiling the plans takes longer than they do
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.python.daemon.module": "actors.spark_daemon",
        # one thread per Python worker: the executors' cores are what runs side by side
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.TOKENIZERS_PARALLELISM": "false",
    }


def wait_until_gone(timeout_s: float) -> None:
    """Wait for the actors of an earlier session in this namespace to disappear.

    Raises:
        AlchemyError: CONFLICT when they do not.
    """
    deadline = time.monotonic() + timeout_s
    while lingering := [name for name in ray.util.list_named_actors() if _is_session_actor(name)]:
        if time.monotonic() > deadline:
            raise AlchemyError(
                ErrorCode.CONFLICT,
                f"another Spark session runs in this Ray namespace: {', '.join(lingering)}",
                "Wait for the other run to end, or stop it.",
            )
        time.sleep(0.2)


def _is_session_actor(name: str) -> bool:
    return (
        name == "RAY_APP_MASTER"
        or name.startswith("raydp-executor")
        or (name.endswith("_SPARK_MASTER"))
    )


@contextmanager
def _watched(session: SparkSession) -> Iterator[None]:
    """Cancel the running job when no executor is left and none comes back.

    RayDP starts a lost executor again, but not when its application master died as well: Spark
    would then wait for ever.
    """
    stop = threading.Event()

    def watch() -> None:
        alone_since: float | None = None
        while not stop.wait(2.0):
            try:
                alone = _executors(session) == 0
            except Py4JError:
                return  # the gateway is gone, and every call on the session fails by itself
            now = time.monotonic()
            alone_since = (alone_since or now) if alone else None
            if alone_since is not None and now - alone_since > _ALONE_SECONDS:
                log.warning("spark.executors_lost", seconds=_ALONE_SECONDS)
                session.sparkContext.cancelAllJobs()
                alone_since = None

    from py4j.protocol import Py4JError

    thread = threading.Thread(target=watch, name="spark-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _executors(session: SparkSession) -> int:
    status = session.sparkContext._jsc.sc()  # type: ignore[attr-defined]
    return status.getExecutorMemoryStatus().size() - 1  # the driver counts as one


def _wait_for_executor(session: SparkSession, settings: SparkSettings) -> None:
    """Spark itself would wait forever, and log it every 15 seconds."""
    deadline = time.monotonic() + _EXECUTOR_SECONDS
    while _executors(session) < 1:
        if time.monotonic() > deadline:
            raise AlchemyError(
                ErrorCode.NOT_READY,
                f"no Spark executor started in {_EXECUTOR_SECONDS:.0f} s: each needs "
                f"{settings.executor_cpus} CPU and {settings.executor_memory_mb} MB of the Ray "
                f"cluster, which has {_free()} free",
                "Stop other work, or lower spark.executor_cpus and spark.executor_memory_mb.",
            )
        time.sleep(0.1)


def _free() -> str:
    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPU and {free.get('memory', 0) / 2**20:.0f} MB"
