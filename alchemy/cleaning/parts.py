"""Hand-offs between the steps of a wash: Parquet and JSON Lines objects in the lake.

What was read stays under `washed/`, named by its content; what is finished lies under
`processed/<run>/parts/` until the final files are joined. A task that is tried again writes the
same name with the same content. Through the lake, and not through Spark's own storage, because an
executor that dies takes that with it, and because the lake is the one place that every executor and
the Cleaner can reach, on disk and on S3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alchemy.config import LakeSettings, Settings
from alchemy.protocols import Lake
from alchemy.stores import open_lake

PART_BYTES = 8 << 20
"""A task writes a part when it holds this much text: its memory does not grow with its input."""


@dataclass(frozen=True)
class Parts:
    """The hand-off files of one attempt at one run; travels to the executors.

    Attributes:
        root: lake key prefix of the attempt.
        part_bytes: how much text a task collects before it writes a part.
    """

    settings: LakeSettings
    root: str
    part_bytes: int = PART_BYTES

    def open(self) -> Lake:
        """The lake, in this process."""
        return open_lake(self.settings)

    def key(self, name: str) -> str:
        """Lake key of a part."""
        return f"{self.root}/{name}"


@dataclass(frozen=True)
class Job:
    """What every step needs to know; travels to the executors.

    Attributes:
        forgotten: (tenant, document id) of what must not come out of this wash.
    """

    parts: Parts
    settings: Settings
    forgotten: frozenset[tuple[str, str]] = frozenset()


def write_table(lake: Lake, key: str, table: pa.Table) -> None:
    """Store a table as one Parquet object."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    lake.write(key, sink.getvalue().to_pybytes())


def read_table(lake: Lake, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a part."""
    return pq.read_table(
        pa.BufferReader(lake.read(key)), columns=list(columns) if columns else None
    )


def lists(arrays: Sequence[np.ndarray]) -> pa.ListArray:
    """One list for each int64 array."""
    offsets = np.cumsum([0, *map(len, arrays)])
    values = np.concatenate([np.empty(0, np.int64), *arrays])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def clear(lake: Lake, prefix: str) -> int:
    """Delete everything under a prefix; how many objects."""
    keys = [item.key for item in lake.list(f"{prefix}/")]
    for key in keys:
        lake.delete(key)
    return len(keys)


def sliced(table: pa.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """The table in batches of at most `rows` rows."""
    yield from table.to_batches(max_chunksize=rows)


def regrouped(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows of all tables in tables of `rows` rows; the last may be shorter."""
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        while held.num_rows >= rows:
            yield held.slice(0, rows).combine_chunks()
            held = held.slice(rows)
    if held.num_rows:
        yield held.combine_chunks()
