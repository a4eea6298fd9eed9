"""The steps of a wash without Spark, for increments: the same batch functions, the same bytes.

Starting a Spark session costs more than washing a few thousand records. What was unchanged since
the last wash is not cleaned, cut or measured again: it is copied from that wash's files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from alchemy.cleaning import batches, pairing
from alchemy.cleaning.batches import Batches, Part
from alchemy.cleaning.copies import light, originals_at
from alchemy.cleaning.duplicates import find_duplicates
from alchemy.cleaning.finishing import FinalWriter, Finish, Finisher
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import (
    Boilerplate,
    Copies,
    Duplicates,
    Finished,
    Reading,
    ReadUnit,
    UnitDone,
    UnitTask,
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
        parts = reading.parts()

        def shared(step: Callable[[Iterable[Part]], Batches]) -> pa.Table:
            return _table(batches.shared_keys(step(parts)), batches.KEY)

        def compare(pairs: np.ndarray, in_order: np.ndarray) -> pa.Table:
            groups = pairing.StoredGroups.of(self._job, pairs, in_order)
            rows = pairing.sides(self._job, groups, groups.having(parts))
            sides = _table(rows, pairing.SIDE).sort_by("group")
            return _table(pairing.similar(self._job, iter(sides.to_batches())), pairing.SIMILAR)

        return find_duplicates(self._job, reading, shared, compare)

    def finish(
        self, reading: Reading, duplicates: Duplicates, boilerplate: Boilerplate
    ) -> Finished:
        """See `plan.Engine`."""
        index = _table(
            itertools.chain.from_iterable(
                batches.without(table, duplicates.places).to_batches()
                for table in batches.tables(self._job, "signed", ["id", "line"], reading.parts())
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
        for line in self._copies(reading, duplicates.copies):
            writer.add_copy(line)
        done = writer.close()
        return Finished(
            done["parts"], done["kept"], done["chunks"], done["metrics"], reused=sum(same)
        )

    def _copies(self, reading: Reading, copies: Copies) -> Iterator[str]:
        """Lines of the copies, by id; only without their texts are they held together."""
        units = set((copies.places >> PLACE_BITS).tolist())
        wanted = (part for part in reading.parts() if part[0] in units)
        found: list[tuple[str, str]] = []
        for table in batches.tables(self._job, "read", ["id", "document"], wanted):
            originals = originals_at(copies, table["place"].to_numpy())
            rows = zip(
                table["id"].to_pylist(), table["document"].to_pylist(), originals, strict=True
            )
            found += [
                (i, light(line, original)) for i, line, original in rows if original is not None
            ]
        return (line for _, line in sorted(found))

    def _lines(self, reading: Reading, places: np.ndarray) -> Mapping[int, str]:
        """Cleaned documents by place."""
        units = set((places >> PLACE_BITS).tolist()) if len(places) else set()
        wanted = (part for part in reading.parts() if part[0] in units)
        found: dict[int, str] = {}
        ordered = np.sort(places)
        for table in batches.tables(self._job, "read", ["document"], wanted):
            table = table.filter(pa.array(batches.among(table["place"].to_numpy(), ordered)))
            found.update(
                zip(table["place"].to_pylist(), table["document"].to_pylist(), strict=True)
            )
        return found


def _advance(finished: Iterator[tuple[str, Finish]], identifier: str) -> Finish:
    """The next document with this id; both sequences ascend."""
    return next(finish for found, finish in finished if found == identifier)


def _table(incoming: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([batch.cast(schema) for batch in incoming], schema)
