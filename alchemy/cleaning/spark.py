"""The Spark plan of a wash: which batch function runs where, and what is shuffled between them.

1. read: units → cleaned documents and signatures, in parts (no shuffle)
2. duplicates: shuffle by id, then by exact digest → versions and copies; shuffle by band →
   candidate pairs → join with shingles → verified pairs
3. finish: the documents that stay, range-partitioned and sorted by id → chunks, metrics, parts

Every step reads the parts of the one before from the lake, so a lost executor costs its own step's
tasks and never a second reading of the raw data. Only duplicates and counts reach the driver.
"""

from __future__ import annotations

import functools
import json
import math
import pickle
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from alchemy.cleaning import batches
from alchemy.cleaning.batches import Batches
from alchemy.cleaning.finishing import DOCUMENT, SUMMARY, chunk_batches, document_batches
from alchemy.cleaning.parts import PART_BYTES, Job
from alchemy.cleaning.plan import (
    Boilerplate,
    Duplicates,
    Finished,
    Reading,
    ReadUnit,
    UnitDone,
    UnitTask,
    collect_duplicates,
    total,
)
from alchemy.cleaning.reading import read_task
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import Progress

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TASK = pa.schema([("task", pa.binary())])
"""Pickled, since only the connectors know the units' class."""
_MARK = "alchemy-error:"
_REPORT_SECONDS = 2.0
_ITEMS_PER_TASK = 8
_SHUFFLE = "spark.sql.shuffle.partitions"
_BATCH_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"


class SparkFailed(AlchemyError):
    """Spark itself failed, not a step on it: another session may succeed."""


@dataclass
class SparkEngine:
    """See `plan.Engine`: the steps of one wash on one session."""

    spark: SparkSession
    job: Job
    progress: Progress

    @property
    def _cores(self) -> int:
        spark = self.job.settings.spark
        return spark.executors * spark.executor_cores

    def _partitions(self, text_bytes: int) -> int:
        """Partitions of a shuffle: a task per core, more for more data, up to the setting."""
        wanted = max(self._cores, math.ceil(text_bytes / PART_BYTES))
        return min(self.job.settings.spark.partitions, wanted)

    def _tasks(self, items: int) -> int:
        """Tasks over independent items: a few per core to even out, each of at most a few items."""
        return min(items, max(4 * self._cores, math.ceil(items / _ITEMS_PER_TASK)))

    def _rows_per_batch(self, reading: Reading) -> int:
        """Rows that carry whole texts, at most a part's worth of average ones at a time."""
        average = max(1, reading.text_bytes // max(1, reading.read.total()))
        return max(1, min(batches.DOCUMENT_ROWS, PART_BYTES // average))

    def read(self, tasks: Sequence[UnitTask], read_unit: ReadUnit) -> Iterable[UnitDone]:
        """See `plan.Engine`. One task reads few units, so that a large one holds up no other."""
        if not tasks:
            return []
        rows = [(pickle.dumps(task),) for task in tasks]
        frame = self._frame(rows, _TASK).repartition(self._tasks(len(rows)))
        step = functools.partial(_read_tasks, self.job, read_unit)
        with self._reporting("wash.read"):
            done = self._summaries(self._map(frame, step, SUMMARY))
        return [UnitDone.from_dict(one) for one in done]

    def duplicates(self, reading: Reading) -> Duplicates:
        """See `plan.Engine`."""
        parts = reading.parts()
        if not parts:
            return collect_duplicates([], [], 0)
        with self._session_option(_SHUFFLE, self._partitions(reading.text_bytes)):
            rows = self._versions_and_copies(parts)
            gone = np.sort(np.array([row["place"] for row in rows], np.int64))
            pairs, candidates = self._near_pairs(reading, gone)
        return collect_duplicates(rows, pairs, candidates)

    def finish(self, reading: Reading, removed: np.ndarray, boilerplate: Boilerplate) -> Finished:
        """See `plan.Engine`."""
        parts, partitions = reading.parts(), self._partitions(reading.text_bytes)
        if not parts:
            return Finished([], Counter(), 0, [])
        step = functools.partial(document_batches, self.job, removed)
        with self._session_option(_BATCH_ROWS, self._rows_per_batch(reading)):
            frame = (
                self._map(self._part_frame(parts), step, DOCUMENT)
                .repartitionByRange(partitions, "id")
                .sortWithinPartitions("id")
            )
            chunk = functools.partial(_chunk_partition, self.job, boilerplate)
            with self._reporting("wash.chunk"):
                done = self._summaries(self._map(frame, chunk, SUMMARY))
        return Finished(
            sorted(name for one in done for name in one["parts"]),
            total(one["kept"] for one in done),
            sum(one["chunks"] for one in done),
            sorted({name for one in done for name in one["metrics"]}),
        )

    def _versions_and_copies(self, parts: Sequence[tuple[int, str]]) -> list[Any]:
        records = self._map(
            self._part_frame(parts),
            functools.partial(batches.record_batches, self.job),
            batches.RECORD,
        )
        versions = self._map(
            records.repartition("id").sortWithinPartitions("id", "updated", "place"),
            batches.version_batches,
            batches.VERSION,
        )
        gone = self._map(
            versions.repartition("exact").sortWithinPartitions("exact", "created", "id"),
            batches.copy_batches,
            batches.GONE,
        )
        with _typed_errors():
            return gone.collect()

    def _near_pairs(self, reading: Reading, removed: np.ndarray) -> tuple[list[Any], int]:
        parts = reading.parts()
        bands = self._map(
            self._part_frame(parts),
            functools.partial(batches.band_batches, self.job, removed),
            batches.BAND,
        )
        candidates = self._map(
            bands.repartition("band").sortWithinPartitions("band", "created", "id"),
            batches.candidate_batches,
            batches.CANDIDATE,
        ).distinct()
        with _typed_errors():
            found = candidates.toPandas()
        if found.empty:
            return [], 0
        wanted = np.unique(found.to_numpy())
        shingles = self._map(
            self._part_frame(parts),
            functools.partial(batches.shingle_batches, self.job, wanted),
            batches.SHINGLES,
        )
        left = shingles.toDF(*(f"left_{name}" for name in shingles.columns))
        right = shingles.toDF(*(f"right_{name}" for name in shingles.columns))
        pairs = self.spark.createDataFrame(found)
        joined = pairs.join(left, pairs["left"] == left["left_place"]).join(
            right, pairs["right"] == right["right_place"]
        )
        threshold = self.job.settings.cleaning.near_duplicate_jaccard
        verified = functools.partial(batches.verified_batches, threshold)
        with (
            self._session_option(_BATCH_ROWS, self._rows_per_batch(reading)),
            _typed_errors(),
        ):
            return self._map(joined, verified, batches.PAIR).collect(), len(found)

    def _part_frame(self, parts: Sequence[tuple[int, str]]) -> DataFrame:
        frame = self._frame(parts, batches.PART)
        return frame.repartition(self._tasks(len(parts)))

    def _frame(self, rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> DataFrame:
        return self.spark.createDataFrame(list(rows), self._spark_schema(schema))

    def _map(
        self, frame: DataFrame, step: Callable[[Batches], Batches], schema: pa.Schema
    ) -> DataFrame:
        return frame.mapInArrow(functools.partial(_reported, step), self._spark_schema(schema))

    def _spark_schema(self, schema: pa.Schema) -> Any:
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(schema)

    def _summaries(self, frame: DataFrame) -> list[dict[str, Any]]:
        with _typed_errors():
            return [json.loads(row["summary"]) for row in frame.collect()]

    @contextmanager
    def _session_option(self, name: str, value: int) -> Iterator[None]:
        before = self.spark.conf.get(name)
        self.spark.conf.set(name, str(value))
        try:
            yield
        finally:
            self.spark.conf.set(name, before or str(value))

    @contextmanager
    def _reporting(self, event: str) -> Iterator[None]:
        """Emit how many tasks of the running job are done, every few seconds."""
        stop = threading.Event()
        tracker = self.spark.sparkContext.statusTracker()

        def watch() -> None:
            last = -1
            while not stop.wait(_REPORT_SECONDS):
                stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
                done = sum(stage.numCompletedTasks for stage in stages if stage)
                total = sum(stage.numTasks for stage in stages if stage)
                if done != last and total:
                    self.progress(event, {"tasks_done": done, "tasks": total})
                    last = done

        thread = threading.Thread(target=watch, name=event, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _read_tasks(job: Job, read_unit: ReadUnit, incoming: Batches) -> Batches:
    for batch in incoming:
        for raw in batch.column("task").to_pylist():
            done = read_task(job, read_unit, pickle.loads(raw))
            yield pa.RecordBatch.from_arrays([pa.array([done.to_json()])], schema=SUMMARY)


def _chunk_partition(job: Job, boilerplate: Boilerplate, incoming: Batches) -> Batches:
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    return chunk_batches(job, boilerplate, context.partitionId(), incoming)


def _reported(step: Callable[[Batches], Batches], incoming: Iterable[pa.RecordBatch]) -> Batches:
    """Run a step in an executor; a typed error travels to the driver as text, as all errors do."""
    try:
        yield from step(iter(incoming))
    except AlchemyError as error:
        raise RuntimeError(
            _MARK + json.dumps([error.code.code, error.message, error.remedy])
        ) from None


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Turn a failed Spark job into the typed error its task raised, or into STAGE_FAILED."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        text = str(error)
        if (found := re.search(re.escape(_MARK) + r"(\[.*\])", text)) is not None:
            code, message, remedy = json.loads(found.group(1))
            raise AlchemyError(ErrorCode.from_code(code), message, remedy) from None
        reason = next((line.strip() for line in text.splitlines() if line.strip()), "")
        raise SparkFailed(
            ErrorCode.STAGE_FAILED,
            f"the Spark job failed: {reason[:500]}",
            "Run the same command again; look at the executors' logs in the Ray dashboard.",
        ) from error
