"""The Spark plan of a wash: which batch function runs where, and what is shuffled between them.

1. read: units → cleaned documents and signatures, in parts (no shuffle)
2. duplicates: shuffle of identities → records that share one; shuffle of bands, a slice of them at a
   time in a large corpus → records that share one; shuffle of shingles to groups of candidate pairs
   → similarities: whole numbers all.
3. finish: shuffle of the documents that stay, and of the copies without their texts, by range of ids,
   sorted → chunks, metrics, copies, parts

Every step reads the parts of the one before from the lake, so a lost executor costs its own step's
tasks and never a second reading of the raw data. Only duplicates and counts reach the driver.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from alchemy.cleaning import batches, pairing
from alchemy.cleaning.batches import Batches, Part
from alchemy.cleaning.duplicates import find_duplicates
from alchemy.cleaning.finishing import (
    DOCUMENT,
    SUMMARY,
    Ranges,
    chunk_batches,
    document_batches,
)
from alchemy.cleaning.parts import PART_BYTES, Job, clear, read_table, write_table
from alchemy.cleaning.plan import (
    Boilerplate,
    Duplicates,
    Finished,
    Reading,
    ReadUnit,
    UnitDone,
    UnitTask,
    total,
)
from alchemy.cleaning.reading import read_task
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import Progress

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_T = TypeVar("_T")
_MARK = "alchemy-error:"
_REPORT_SECONDS = 2.0
_UNITS_PER_TASK = 4
_KEY_BYTES = 256
"""Of a record's keys in a shuffle."""
_BATCH_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"


class SparkFailed(AlchemyError):
    """Spark itself failed, not a step on it: another session may succeed."""


@dataclass
class SparkEngine:
    """See `plan.Engine`: the steps of one wash on one session."""

    spark: SparkSession
    job: Job
    progress: Progress
    _numbers: Iterator[int] = field(default_factory=itertools.count, init=False)

    @property
    def _cores(self) -> int:
        spark = self.job.settings.spark
        return spark.executors * spark.executor_cores

    def _partitions(self, num_bytes: int) -> int:
        """Partitions of a shuffle: as many as are set, else one per core, or small ones."""
        return self.job.settings.spark.partitions or self._tasks(num_bytes)

    def _tasks(self, num_bytes: int) -> int:
        return max(self._cores, math.ceil(num_bytes / PART_BYTES))

    def _rows_per_batch(self, reading: Reading) -> int:
        """Rows that carry whole texts, at most a part's worth of average ones at a time."""
        average = max(1, reading.text_bytes // max(1, reading.read.total()))
        return max(1, min(batches.DOCUMENT_ROWS, PART_BYTES // average))

    def read(self, tasks: Sequence[UnitTask], read_unit: ReadUnit) -> Iterable[UnitDone]:
        """See `plan.Engine`. A few units a task: little is lost with it, and none waits for long."""
        if not tasks:
            return []
        step = functools.partial(_read_tasks, self.job, read_unit)
        with self._reporting("wash.read"):
            count = max(4 * self._cores, math.ceil(len(tasks) / _UNITS_PER_TASK))
            done = self._summaries(self._over(tasks, step, SUMMARY, count))
        return [UnitDone.from_dict(one) for one in done]

    def duplicates(self, reading: Reading) -> Duplicates:
        """See `plan.Engine`."""

        def shared(step: Callable[[Iterable[Part]], Batches]) -> pa.Table:
            size = reading.read.total() * _KEY_BYTES
            keys = self._over(reading.parts(), step, batches.KEY, self._tasks(size))
            together = keys.repartition(self._partitions(size), "key")
            return self._collected(together, batches.shared_keys, batches.KEY)

        def compare(pairs: np.ndarray, in_order: np.ndarray) -> pa.Table:
            groups = pairing.StoredGroups.of(self.job, pairs, in_order)
            those = groups.having(reading.parts())
            step = functools.partial(pairing.sides, self.job, groups)
            sides = self._over(those, step, pairing.SIDE, self._tasks(reading.text_bytes))
            # a shingle is eight bytes, and a word of a text hardly more
            size = groups.members * reading.text_bytes // max(1, reading.read.total())
            together = sides.repartition(self._partitions(size), "group")
            similar = functools.partial(pairing.similar, self.job)
            with self._session_option(_BATCH_ROWS, self._rows_per_batch(reading)):
                sorted_sides = together.sortWithinPartitions("group")
                return self._collected(sorted_sides, similar, pairing.SIMILAR)

        return find_duplicates(self.job, reading, shared, compare)

    def finish(
        self, reading: Reading, duplicates: Duplicates, boilerplate: Boilerplate
    ) -> Finished:
        """See `plan.Engine`."""
        parts = reading.parts()
        if not parts:
            return Finished([], Counter(), 0, [])
        ranges = self._ranges(parts, self._partitions(reading.text_bytes))
        left_out = (duplicates.places, duplicates.copies)
        step = functools.partial(document_batches, self.job, *left_out, ranges)
        with self._session_option(_BATCH_ROWS, self._rows_per_batch(reading)):
            frame = (
                self._over(parts, step, DOCUMENT, self._tasks(reading.text_bytes))
                .repartition(len(ranges.marks), "range")
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

    def _ranges(self, parts: Sequence[Part], count: int) -> Ranges:
        """Ranges of about equal size, each marked by a number that Spark puts in its partition.

        Spark's own ranges would run the step before them twice, to sample it.
        """
        starts = batches.range_starts(self.job, parts, count)
        marks: dict[int, int] = {}
        count = len(starts) + 1
        numbers = itertools.count(0, 64 * count)
        while len(marks) < count:
            first = next(numbers)
            hashed = self.spark.range(first, first + 64 * count, 1, 1)
            with _typed_errors():
                rows = hashed.selectExpr("id", f"pmod(hash(id), {count}) AS partition").collect()
            marks = {row["partition"]: row["id"] for row in rows} | marks
        return Ranges(starts, [marks[partition] for partition in range(count)])

    def _over(
        self,
        items: Sequence[_T],
        step: Callable[[Iterable[_T]], Batches],
        schema: pa.Schema,
        tasks: int,
    ) -> DataFrame:
        """A step over independent items."""
        numbers = self.spark.range(0, len(items), 1, max(1, min(len(items), tasks)))
        return self._map(numbers, functools.partial(_step_over, items, step), schema)

    def _map(
        self, frame: DataFrame, step: Callable[[Batches], Batches], schema: pa.Schema
    ) -> DataFrame:
        return frame.mapInArrow(functools.partial(_reported, step), self._spark_schema(schema))

    def _spark_schema(self, schema: pa.Schema) -> Any:
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(schema)

    def _collected(
        self, frame: DataFrame, step: Callable[[Batches], Batches], schema: pa.Schema
    ) -> pa.Table:
        """What a step makes of every partition, through the lake: Spark would hold all of it."""
        folder = self.job.parts.key(f"collected/{next(self._numbers):04d}")
        stored = functools.partial(_stored, self.job, folder, step, schema)
        done = self._summaries(self._map(frame, stored, SUMMARY))
        lake = self.job.parts.open()
        tables = [read_table(lake, one["key"]) for one in done if one["key"]]
        clear(lake, folder)
        return pa.concat_tables([schema.empty_table(), *tables])

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


def _step_over(
    items: Sequence[_T], step: Callable[[Iterable[_T]], Batches], numbers: Batches
) -> Batches:
    """Run a step over the items with these numbers, in an executor."""
    yield from step(items[number] for batch in numbers for number in batch.column(0).to_pylist())


def _read_tasks(job: Job, read_unit: ReadUnit, tasks: Iterable[UnitTask]) -> Batches:
    for task in tasks:
        done = read_task(job, read_unit, task)
        yield pa.RecordBatch.from_arrays([pa.array([done.to_json()])], schema=SUMMARY)


def _stored(
    job: Job,
    folder: str,
    step: Callable[[Batches], Batches],
    schema: pa.Schema,
    incoming: Batches,
) -> Batches:
    """Store what a step makes of a partition, when that is anything, and say where it lies."""
    table = pa.Table.from_batches(step(incoming), schema)
    key = f"{folder}/{_partition():06d}.parquet" if table.num_rows else ""
    if key:
        write_table(job.parts.open(), key, table)
    yield pa.RecordBatch.from_arrays([pa.array([json.dumps({"key": key})])], schema=SUMMARY)


def _chunk_partition(job: Job, boilerplate: Boilerplate, incoming: Batches) -> Batches:
    return chunk_batches(job, boilerplate, _partition(), incoming)


def _partition() -> int:
    """Number of the partition that this executor is at."""
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    return context.partitionId()


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
