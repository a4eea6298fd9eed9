from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.cleaning.batches import KEY
from alchemy.cleaning.packed import pack, unpack

MARKS = (17, 4, 99)
keys = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5), max_size=40)


def batches(rows: list[list[int]]) -> list[pa.RecordBatch]:
    places = iter(range(10_000))
    return [
        pa.RecordBatch.from_arrays(
            [
                pa.array(np.array(part, np.int64)),
                pa.array([next(places) for _ in part], pa.int64()),
            ],
            schema=KEY,
        )
        for part in rows
    ]


def pairs(found: list[pa.RecordBatch]) -> list[tuple[int, int]]:
    return sorted((row["key"], row["place"]) for batch in found for row in batch.to_pylist())


@settings(deadline=None)
@given(st.lists(keys, max_size=5))
def test_every_row_comes_out_and_equal_keys_come_out_together(rows: list[list[int]]) -> None:
    incoming = batches(rows)
    packed = list(pack(MARKS, iter(incoming)))
    assert pairs(list(unpack(packed))) == pairs(incoming)
    seen: dict[int, int] = {}
    for batch in packed:
        for row in range(batch.num_rows):
            bucket = batch.column("bucket")[row].as_py()
            assert bucket in MARKS
            for key, _ in pairs(list(unpack([batch.slice(row, 1)]))):
                assert seen.setdefault(key, bucket) == bucket


def test_counted_keys_are_spread_over_the_buckets() -> None:
    packed = pack(MARKS, iter(batches([list(range(3000))])))
    sizes = {
        batch.column("bucket")[row].as_py(): len(pairs(list(unpack([batch.slice(row, 1)]))))
        for batch in packed
        for row in range(batch.num_rows)
    }
    assert set(sizes) == set(MARKS)
    assert max(sizes.values()) < 1500
