"""The engines that `bench_clean.py` compares; each runs in a process of its own."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench_clean_peers import run_datatrove, run_polars, run_ray_data
from bench_clean_report import report

# --- this project's plan --------------------------------------------------------------------------


def _stage(raw: Path, engine: str, opener: Callable[[Any], Any]) -> dict[str, Any]:
    from actors import cleaner
    from alchemy.cleaning import stage
    from alchemy.config import LakeSettings, Settings, SyncSettings
    from alchemy.stage import StageContext
    from alchemy.stores import open_lake

    with tempfile.TemporaryDirectory(prefix="alchemy-bench-") as place:
        folder = Path(place, "raw", "jira")
        folder.mkdir(parents=True)
        for path in raw.iterdir():
            os.link(path, folder / path.name)
        settings = Settings(
            lake=LakeSettings(root=place),
            sync=SyncSettings.model_validate({"engine": engine}),
        )
        lake = open_lake(settings.lake)
        context = StageContext("run", "wash", settings, lake, Path(place) / "scratch")
        receipt = stage.run(context, cleaner.raw_data(context.settings), opener)
        return {"kept": receipt.rows, "chunks": int(receipt.counts["chunks"])}


def run_spark(engine: str, raw: Path) -> None:
    """The Spark plan, on RayDP or on Spark local mode."""
    from contextlib import contextmanager

    from alchemy.cleaning.spark import SparkEngine
    from alchemy.config import SparkSettings
    from alchemy.stage import no_progress

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alchemy-spark-") as scratch:
        settings = SparkSettings()
        with _session(engine, settings, Path(scratch)) as session:

            @contextmanager
            def opener(order: Any) -> Iterator[Any]:
                yield SparkEngine(session, order.job, no_progress)

            report(engine, time.monotonic() - began, lambda: _stage(raw, "spark", opener))


def _session(engine: str, settings: Any, scratch: Path) -> Any:
    from contextlib import contextmanager

    from actors.spark_session import configuration, spark_session
    from alchemy.cleaning.java import put_on_path

    put_on_path()
    if engine == "raydp":
        import ray

        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        return spark_session(settings, scratch)

    @contextmanager
    def local() -> Iterator[Any]:
        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable
        builder: Any = SparkSession.builder
        builder = builder.master(f"local[{settings.executor_cores}]")
        for key, value in configuration(settings, scratch).items():
            if "raydp" not in key and ".ray." not in key:
                builder = builder.config(key, value)
        session = builder.config("spark.driver.memory", "2g").getOrCreate()
        session.range(1).count()
        try:
            yield session
        finally:
            session.stop()

    return local()


def run_ray(engine: str, raw: Path) -> None:
    """The engine for increments, on everything."""
    from contextlib import contextmanager

    import ray

    from actors.cleaner import read_on_ray
    from alchemy.cleaning.local import LocalEngine

    began = time.monotonic()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)

    @contextmanager
    def opener(order: Any) -> Iterator[Any]:
        yield LocalEngine(order.job, read_on_ray, order.previous)

    report(engine, time.monotonic() - began, lambda: _stage(raw, "ray", opener))


RUNNERS: dict[str, Callable[[str, Path], None]] = {
    "raydp": run_spark,
    "spark-local": run_spark,
    "ray": run_ray,
    "ray-data": run_ray_data,
    "datatrove": run_datatrove,
    "polars": run_polars,
}


if __name__ == "__main__":
    RUNNERS[sys.argv[1]](sys.argv[1], Path(sys.argv[2]))
