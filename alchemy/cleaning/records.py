"""Which records a wash read: `records.parquet`, and what is different from the last one's.

A range of ids at a time, so that the memory does not grow with the corpus: one pass over the parts
divides the records between files in scratch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from alchemy.cleaning.batches import among, range_starts, tables
from alchemy.cleaning.parts import Job, regrouped
from alchemy.cleaning.plan import Reading

_RANGE = 500_000
"""Records of a range, about."""
_ROW_GROUP = 1 << 17
_TYPES = pa.schema(
    [("place", pa.int64()), ("id", pa.string()), ("source", pa.string()), ("line", pa.binary())]
)
_OUT = pa.schema(
    [("id", pa.string()), ("source", pa.string()), ("line", pa.binary(16)), ("kept", pa.bool_())]
)


@dataclass(frozen=True)
class Records:
    """Every record that was read: place, id, source, line (digest of its cleaned form).

    Attributes:
        files: one for each range of ids, ascending.
        starts: the first id of each range but the first.
    """

    files: Sequence[Path]
    starts: Sequence[str]

    @classmethod
    def of(cls, job: Job, reading: Reading, scratch: Path, size: int = _RANGE) -> Self:
        """Divide the records of all parts between files in `scratch`."""
        parts = reading.parts()
        starts = range_starts(job, parts, math.ceil(reading.read.total() / size))
        scratch.mkdir(parents=True, exist_ok=True)
        files = [scratch / f"{number:04d}.parquet" for number in range(len(starts) + 1)]
        writers = [pq.ParquetWriter(file, _TYPES, compression="lz4") for file in files]
        try:
            for table in tables(job, "signed", ["id", "source", "line"], parts):
                table = table.cast(_TYPES)
                of_row = np.array([bisect_right(starts, i) for i in table["id"].to_pylist()])
                for number in np.unique(of_row).tolist():
                    writers[number].write_table(table.filter(pa.array(of_row == number)))
        finally:
            for writer in writers:
                writer.close()
        return cls(files, starts)

    def write(self, removed: np.ndarray, path: Path) -> None:
        """`records.parquet`: one row per id, sorted: id, source, line (null unless kept), kept.

        Args:
            removed: places, int64, ascending.
        """
        with pq.ParquetWriter(path, _OUT, compression="zstd") as writer:
            for group in regrouped(self._out(removed), _OUT, _ROW_GROUP):
                writer.write_table(group, row_group_size=_ROW_GROUP)

    def _out(self, removed: np.ndarray) -> Iterator[pa.Table]:
        for frame in self._frames():
            kept = pl.Series("kept", ~among(frame["place"].to_numpy(), removed))
            yield (
                frame.with_columns(kept)
                .with_columns(line=pl.when(pl.col("kept")).then(pl.col("line")))
                .sort("id", "kept", descending=[False, True])
                .unique("id", keep="first", maintain_order=True)
                .select(_OUT.names)
                .to_arrow()
                .cast(_OUT)
            )

    def changes(self, previous: Path) -> dict[str, Counter[str]]:
        """What is different from the last wash's `records.parquet`: kind → source → records.

        Kinds: `added`, `changed`, `vanished`, `unchanged`. A record that was removed as a duplicate
        then counts by its id alone.
        """
        found: dict[str, Counter[str]] = {}
        for records, (first, after) in zip(
            self._frames(), pairwise([None, *self.starts, None]), strict=True
        ):
            limits = [("id", ">=", first)] if first is not None else []
            limits += [("id", "<", after)] if after is not None else []
            columns = ["id", "source", "line"]
            before = pl.DataFrame(pq.read_table(previous, columns=columns, filters=limits or None))
            for kind, counted in _changes(records, before).items():
                found.setdefault(kind, Counter()).update(counted)
        return found

    def _frames(self) -> Iterator[pl.DataFrame]:
        return (pl.DataFrame(pq.read_table(file)) for file in self.files)


def _changes(records: pl.DataFrame, before: pl.DataFrame) -> dict[str, dict[str, int]]:
    now = records.group_by("source", "id").agg("line")
    both = now.join(before, on=["source", "id"], how="left", suffix="_before", coalesce=True)
    known = both.join(before.select("source", "id"), on=["source", "id"], how="semi")
    same = pl.col("line_before").is_null() | pl.col("line_before").is_in(pl.col("line"))
    found = {
        "added": now.join(before, on=["source", "id"], how="anti"),
        "changed": known.filter(~same),
        "unchanged": known.filter(same),
        "vanished": before.join(now, on=["source", "id"], how="anti"),
    }
    return {kind: dict(frame.group_by("source").len().iter_rows()) for kind, frame in found.items()}
