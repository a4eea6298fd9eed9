"""Batches packed for a shuffle: what goes to one partition travels as a few large rows.

Spark moves rows one by one, some microseconds each, and a wash shuffles about forty small ones per
record. Packed, it moves one row per task and partition, whose content it never looks into.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from alchemy.cleaning.batches import Batches

PACKED = pa.schema([("bucket", pa.int64()), ("rows", pa.binary())])
"""Number that marks a partition; record batches as an Arrow stream."""
_HELD_BYTES = 16 << 20
"""Of rows packed together; in memory once on each side."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Knuth's multiplicative hash: keys may be counted numbers."""


def pack(marks: Sequence[int], batches: Batches) -> Batches:
    """Batches whose first column is an int64 key → PACKED; equal keys get the same bucket.

    Args:
        marks: the number of each bucket.
    """
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= _HELD_BYTES:
            yield _packed(marks, held)
            held, size = [], 0
    if held:
        yield _packed(marks, held)


def unpack(batches: Iterable[pa.RecordBatch]) -> Batches:
    """What `pack` packed."""
    for batch in batches:
        for packed in batch.column("rows"):
            yield from pa.ipc.open_stream(packed.as_buffer())


def _packed(marks: Sequence[int], batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches)
    keys = table.column(0).to_numpy().view(np.uint64)
    buckets = ((keys * _SPREAD) >> np.uint64(32)) % np.uint64(len(marks))
    order = np.argsort(buckets, kind="stable")
    ends = np.searchsorted(buckets[order], np.arange(len(marks) + 1))
    together = table.take(pa.array(order))
    found = list(_streams(together, ends.tolist()))
    return pa.RecordBatch.from_arrays(
        [pa.array([marks[n] for n, _ in found], pa.int64()), pa.array([raw for _, raw in found])],
        schema=PACKED,
    )


def _streams(table: pa.Table, ends: list[int]) -> Iterator[tuple[int, bytes]]:
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        if start < end:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                # a take has one chunk, or of lists too large for one, several
                writer.write_table(table.slice(start, end - start))
            yield number, sink.getvalue().to_pybytes()
