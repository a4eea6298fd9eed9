"""A small raw lake and the engines that wash it in this process."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from alchemy.cleaning import batches, finishing, pairing, stage
from alchemy.cleaning.batches import Batches, Part
from alchemy.cleaning.duplicates import find_duplicates
from alchemy.cleaning.local import LocalEngine
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import (
    Boilerplate,
    Duplicates,
    Engine,
    Finished,
    RawData,
    Reading,
    ReadUnit,
    UnitDone,
    UnitTask,
    total,
)
from alchemy.cleaning.reading import read_task
from alchemy.cleaning.stage import Order
from alchemy.config import CleaningSettings, LakeSettings, Settings, SyncSettings
from alchemy.protocols import Lake, RawObject
from alchemy.stage import StageContext, write_receipt
from alchemy.stores import open_lake
from alchemy.types import Document, JsonRecord, Quarantined, Receipt


@dataclass(frozen=True)
class Unit(JsonRecord):
    source: str
    key: str


def read_unit(lake: Lake, unit: Unit, settings: Settings) -> Iterator[Document | Quarantined]:
    for number, line in enumerate(lake.read(unit.key).decode().splitlines(), 1):
        try:
            yield Document.from_dict(json.loads(line))
        except (ValueError, TypeError):
            yield Quarantined(unit.source, unit.key, f"line {number}", "not valid JSON")


def raw_objects(lake: Lake) -> Iterator[RawObject]:
    for item in lake.list("raw/"):
        digest = hashlib.sha256(lake.read(item.key)).hexdigest()
        yield RawObject(item.key, item.size, digest)


def units_of(lake: Lake, item: RawObject) -> list[Unit]:
    return [Unit("jira", item.key)]


def document(key: str, text: str, **changes: Any) -> Document:
    fields: dict[str, Any] = {
        "source": "jira",
        "title": f"Title of {key}",
        "uri": f"https://x.internal/{key}",
        "tenant": "default",
        "acl": ("everyone",),
    }
    return Document(id=f"jira:{key}", text=text, **{**fields, **changes})


def read_here(
    job: Job, read: ReadUnit, tasks: Sequence[UnitTask], seen: list[UnitTask] | None = None
) -> Iterable[UnitDone]:
    for task in tasks:
        if seen is not None:
            seen.append(task)
        yield read_task(job, read, task)


class DividedEngine:
    """The plan of `alchemy.cleaning.spark`, with `partitions` of rows that arrive in any order."""

    def __init__(self, job: Job, partitions: int, seed: int) -> None:
        self.job = job
        self.partitions = partitions
        self.random = random.Random(seed)

    def rows(self, step: Callable[[Batches], Batches], rows: list[dict], schema: pa.Schema) -> list:
        table = pa.Table.from_pylist(rows, schema)
        size = self.random.choice([1, 3, 1000])
        return [row for batch in step(iter(table.to_batches(size))) for row in batch.to_pylist()]

    def over(self, parts: Sequence[Part], step: Callable[[Iterable[Part]], Batches]) -> list[dict]:
        """Run a step over parts divided at random."""
        divided: list[list[Part]] = [[] for _ in range(self.partitions)]
        for part in parts:
            self.random.choice(divided).append(part)
        batched = (batch for some in divided for batch in step(iter(some)))
        return [row for batch in batched for row in batch.to_pylist()]

    def together(
        self, step: Any, rows: list[dict], schema: pa.Schema, key: str, *, in_order: bool = False
    ) -> list[dict]:
        """Run a step over partitions by hash of `key`, in which rows lie in any order, or in its."""
        divided: list[list[dict]] = [[] for _ in range(self.partitions)]
        for row in self.random.sample(rows, len(rows)):
            divided[hash(row[key]) % self.partitions].append(row)
        if in_order:
            divided = [sorted(part, key=lambda row: row[key]) for part in divided]
        return [row for part in divided for row in self.rows(step, part, schema)]

    def read(self, tasks: Sequence[UnitTask], read_unit: ReadUnit) -> Iterable[UnitDone]:
        return read_here(self.job, read_unit, self.random.sample(list(tasks), len(tasks)))

    def duplicates(self, reading: Reading) -> Duplicates:
        def shared(step: Callable[[Iterable[Part]], Batches]) -> pa.Table:
            keys = self.over(reading.parts(), step)
            rows = self.together(batches.shared_keys, keys, batches.KEY, "key")
            return pa.Table.from_pylist(rows, batches.KEY)

        def compare(pairs: np.ndarray, in_order: np.ndarray) -> pa.Table:
            groups = pairing.StoredGroups.of(self.job, pairs, in_order)
            step = functools.partial(pairing.sides, self.job, groups)
            sides = self.over(groups.having(reading.parts()), step)
            similar = functools.partial(pairing.similar, self.job)
            rows = self.together(similar, sides, pairing.SIDE, "group", in_order=True)
            return pa.Table.from_pylist(rows, pairing.SIMILAR)

        return find_duplicates(self.job, reading, shared, compare, at_once=40)

    def finish(
        self, reading: Reading, duplicates: Duplicates, boilerplate: Boilerplate
    ) -> Finished:
        left_out = (duplicates.places, duplicates.copies)
        everything = finishing.Ranges([], [7])
        step = functools.partial(finishing.document_batches, self.job, *left_out, everything)
        rows = sorted(self.over(reading.parts(), step), key=lambda row: row["id"])
        cuts = sorted(self.random.choices(range(len(rows) + 1), k=self.partitions - 1))
        done = []
        for number, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(rows)], strict=True)):
            chunk = functools.partial(finishing.chunk_batches, self.job, boilerplate, number)
            done += [
                json.loads(r["summary"]) for r in self.rows(chunk, rows[a:b], finishing.DOCUMENT)
            ]
        return Finished(
            sorted(n for d in done for n in d["parts"]),
            total(d["kept"] for d in done),
            sum(d["chunks"] for d in done),
            sorted({n for d in done for n in d["metrics"]}),
        )


@dataclass
class Washed:
    """What a wash gave, and what it read to give it."""

    receipt: Receipt
    folder: Path
    tasks: list[UnitTask]
    events: dict[str, dict[str, Any]]

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def bytes_by_name(self) -> dict[str, bytes]:
        files = (path for path in sorted(self.folder.iterdir()) if path.is_file())
        return {path.name: path.read_bytes() for path in files}


class Company:
    """Raw objects in a lake of their own."""

    def __init__(self, root: Path, sync: dict[str, Any] | None = None, **cleaning: Any) -> None:
        self.root = root
        self.settings = Settings(
            lake=LakeSettings(root=str(root)),
            cleaning=CleaningSettings(**cleaning),
            sync=SyncSettings(**(sync or {})),
        )
        self.lake = open_lake(self.settings.lake)
        self.runs = 0

    def put(self, name: str, lines: Sequence[Document | str]) -> None:
        text = "".join((x if isinstance(x, str) else x.to_json()) + "\n" for x in lines)
        self.lake.write(f"raw/jira/{name}.jsonl", text.encode())

    def remove(self, name: str) -> None:
        self.lake.delete(f"raw/jira/{name}.jsonl")

    def wash(
        self,
        divided: tuple[int, int] | None = None,
        read: ReadUnit = read_unit,
        **sync: Any,
    ) -> Washed:
        """Run the stage with the local engine, or as Spark would divide it: (partitions, seed)."""
        self.runs += 1
        settings = self.settings.model_copy(
            update={"sync": self.settings.sync.model_copy(update=sync)}
        )
        tasks: list[UnitTask] = []
        events: dict[str, dict[str, Any]] = {}
        run_id = f"run-{self.runs}"
        context = StageContext(
            run_id, "wash", settings, self.lake, self.root / "scratch" / run_id, events.__setitem__
        )

        @contextmanager
        def open_engine(order: Order) -> Iterator[Engine]:
            if divided:
                yield DividedEngine(order.job, *divided)
            else:
                readers = functools.partial(read_here, seen=tasks)
                yield LocalEngine(order.job, readers, order.previous)

        receipt = stage.run(context, RawData(raw_objects, units_of, read), open_engine)
        write_receipt(self.lake, receipt)
        return Washed(receipt, self.root / receipt.uri, tasks, events)
