"""The steps of a wash without Spark, for increments: the same batch functions, the same bytes.

Starting a Spark session costs more than washing a few thousand records. What was unchanged since
the last wash is not cleaned, cut or measured again: it is copied from that wash's files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from alchemy.cleaning import batches
from alchemy.cleaning.batches import Batches
from alchemy.cleaning.finishing import FinalWriter, Finish, Finisher
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import (
    Boilerplate,
    Duplicates,
    Finished,
    Reading,
    ReadUnit,
    UnitDone,
    UnitTask,
    collect_duplicates,
)
from alchemy.cleaning.previous import Previous
from alchemy.cleaning.reading import PLACE_BITS

ReadTasks = Callable[[Job, ReadUnit, Sequence[UnitTask]], Iterable[UnitDone]]
"""`reading.read_task` over all tasks, in whatever processes there are."""


class LocalEngine:
    """See `plan.Engine`. Holds the signatures of all records in memory (about 300 bytes each).

    Args:
        read_tasks: does the reading; the Cleaner actor passes one that spreads it over Ray.
        previous: files of the last wash, None to make everything anew.
    """

    def __init__(self, job: Job, read_tasks: ReadTasks, previous: Previous | None) -> None:
        self._job = job
        self._read_tasks = read_tasks
        self._previous = previous

    def read(self, tasks: Sequence[UnitTask], read_unit: ReadUnit) -> Iterable[UnitDone]:
        """See `plan.Engine`."""
        return self._read_tasks(self._job, read_unit, tasks)

    def duplicates(self, reading: Reading) -> Duplicates:
        """See `plan.Engine`."""
        parts = _part_batches(reading)
        records = _table(batches.record_batches(self._job, parts()), batches.RECORD)
        versions = _sorted(batches.version_batches, records, "id", "updated", "place")
        gone = _sorted(
            batches.copy_batches, _table(versions, batches.VERSION), "exact", "created", "id"
        )
        rows = _table(gone, batches.GONE).to_pylist()
        removed = np.sort(np.array([row["place"] for row in rows], np.int64))
        bands = _table(batches.band_batches(self._job, removed, parts()), batches.BAND)
        bands = _shared(bands)
        found = _table(
            _sorted(batches.candidate_batches, bands, "band", "created", "id"), batches.CANDIDATE
        )
        candidates = np.unique(np.stack([c.to_numpy() for c in found.columns], axis=1), axis=0)
        pairs = self._verified(candidates, parts()) if len(candidates) else []
        return collect_duplicates(rows, pairs, len(candidates))

    def _verified(self, candidates: np.ndarray, parts: Batches) -> list[Any]:
        shingles = _table(
            batches.shingle_batches(self._job, np.unique(candidates), parts), batches.SHINGLES
        ).sort_by("place")
        places = shingles["place"].to_numpy()
        left, right = (
            shingles.take(pa.array(np.searchsorted(places, side))) for side in candidates.T
        )
        columns = {f"left_{name}": left[name] for name in left.column_names}
        columns |= {f"right_{name}": right[name] for name in right.column_names}
        threshold = self._job.settings.cleaning.near_duplicate_jaccard
        rows = pa.table(columns).to_batches(batches.DOCUMENT_ROWS)
        return _table(batches.verified_batches(threshold, iter(rows)), batches.PAIR).to_pylist()

    def finish(self, reading: Reading, removed: np.ndarray, boilerplate: Boilerplate) -> Finished:
        """See `plan.Engine`."""
        parts = _part_batches(reading)
        index = _table(
            itertools.chain.from_iterable(
                batches.without(table, removed).to_batches()
                for table in batches.tables(self._job, "signed", ["id", "line"], parts())
            ),
            pa.schema([("place", pa.int64()), ("id", pa.string()), ("line", pa.binary(16))]),
        ).sort_by("id")
        known = self._previous.lines(boilerplate) if self._previous else {}
        ids, digests = index["id"].to_pylist(), index["line"].to_pylist()
        same = [known.get(i) == digest for i, digest in zip(ids, digests, strict=True)]
        changed = index["place"].to_numpy()[~np.array(same, bool)] if ids else np.empty(0)
        lines = self._lines(reading, changed)
        writer, finisher = FinalWriter(self._job, 0), Finisher(self._job, boilerplate)
        copied = self._previous.finished() if self._previous else iter(())
        for identifier, place, unchanged in zip(ids, index["place"].to_pylist(), same, strict=True):
            if unchanged:
                writer.add(_advance(copied, identifier))
            else:
                writer.add(finisher.finish(lines[place]))
        done = writer.close()
        return Finished(
            done["parts"], done["kept"], done["chunks"], done["metrics"], reused=sum(same)
        )

    def _lines(self, reading: Reading, places: np.ndarray) -> Mapping[int, str]:
        """Cleaned documents by place."""
        units = set((places >> PLACE_BITS).tolist()) if len(places) else set()
        wanted = (part for part in reading.parts() if part[0] in units)
        found: dict[int, str] = {}
        rows = ({"unit": unit, "part": key} for unit, key in wanted)
        incoming = (pa.RecordBatch.from_pylist([row], schema=batches.PART) for row in rows)
        for table in batches.tables(self._job, "read", ["document"], incoming):
            table = table.filter(pa.array(np.isin(table["place"].to_numpy(), places)))
            found.update(
                zip(table["place"].to_pylist(), table["document"].to_pylist(), strict=True)
            )
        return found


def _advance(finished: Iterator[tuple[str, Finish]], identifier: str) -> Finish:
    """The next document with this id; both sequences ascend."""
    return next(finish for found, finish in finished if found == identifier)


def _part_batches(reading: Reading) -> Callable[[], Batches]:
    rows = [{"unit": unit, "part": key} for unit, key in reading.parts()]
    table = pa.Table.from_pylist(rows, batches.PART)
    return lambda: iter(table.to_batches(batches.ROWS))


def _table(incoming: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([batch.cast(schema) for batch in incoming], schema)


def _sorted(step: Callable[[Batches], Batches], table: pa.Table, *keys: str) -> Batches:
    ordered = table.sort_by([(key, "ascending") for key in keys])
    return step(iter(ordered.to_batches(batches.ROWS)))


def _shared(bands: pa.Table) -> pa.Table:
    """Only bands with several members: the others make no pair."""
    _, where, counts = np.unique(bands["band"].to_numpy(), return_inverse=True, return_counts=True)
    return bands.filter(pa.array(counts[where] > 1))
