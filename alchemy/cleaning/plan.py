"""What the steps of a wash hand to each other, and who may carry them out.

A wash has three steps, whoever does the work (`spark`, `local`):

1. read: units → cleaned documents and signatures, in parts that the lake keeps
2. duplicates: which records are superseded, filtered, copies or near copies
3. finish: the documents that stay, in the order of ids → corpus, chunks, metrics; and the copies
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from alchemy.config import Settings
from alchemy.protocols import Lake, RawObject
from alchemy.types import Document, JsonRecord, Quarantined

Boilerplate: TypeAlias = Mapping[str, frozenset[int]]
"""Source → digests of the lines that are left out of its documents."""
ReadUnit: TypeAlias = Callable[[Lake, Any, Settings], Iterator[Document | Quarantined]]
"""Documents and quarantined records of a unit; importable by module and name."""


Part: TypeAlias = tuple[int, str]
"""Position of the unit among all units, lake key of one of its parts."""


@dataclass(frozen=True)
class RawData:
    """How to get at the raw data; the connectors know.

    Attributes:
        objects: everything raw, in key order.
        units: the units of an object, a function of its content.
    """

    objects: Callable[[Lake], Iterable[RawObject]]
    units: Callable[[Lake, RawObject], Iterable[Any]]
    read_unit: ReadUnit


@dataclass(frozen=True)
class UnitTask:
    """A unit to read; travels to the workers.

    Attributes:
        root: lake prefix of its parts, named by its content: reading it again writes the same.
        unit: what the connectors call a unit.
        earlier: parts of what this unit was at the last wash; records that are the same are not
            cleaned again.
    """

    root: str
    unit: Any
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitDone(JsonRecord):
    """What reading a unit gave: parts under `root`, and counts by source or by kind.

    Attributes:
        label: the unit's part inside its object (a table), by which its next version finds it.
        bad: whether there is a `quarantine.jsonl`.
    """

    root: str
    label: str
    parts: int
    text_bytes: int
    read: dict[str, int]
    quarantined: dict[str, int]
    redactions: dict[str, int]
    bad: bool

    def part_keys(self) -> list[str]:
        """Lake keys of its parts without their endings."""
        return [part_key(self.root, number) for number in range(self.parts)]


def part_key(root: str, number: int) -> str:
    """Lake key of part `number` of a unit; `.read.parquet` and `.signed.parquet` complete it."""
    return f"{root}/{number:04d}"


@dataclass(frozen=True)
class Reading:
    """Step 1, complete: every unit of the raw data, in raw order."""

    units: Sequence[UnitDone]
    text_bytes: int
    read: Counter[str]
    quarantined: Counter[str]
    redactions: Counter[str]

    @classmethod
    def of(cls, units: Sequence[UnitDone]) -> Reading:
        """Sums over the units."""
        return cls(
            units,
            sum(unit.text_bytes for unit in units),
            total(unit.read for unit in units),
            total(unit.quarantined for unit in units),
            total(unit.redactions for unit in units),
        )

    def parts(self) -> list[tuple[int, str]]:
        """(position of the unit, part) of every part."""
        return [(n, key) for n, unit in enumerate(self.units) for key in unit.part_keys()]


LEFT_OUT = pl.Schema(
    {
        "place": pl.Int64,
        **dict.fromkeys(("id", "source", "reason", "survivor"), pl.String),
        "similarity": pl.Float64,
    }
)
"""A record to leave out: where it lies, why, for which one, and how similar that is."""


@dataclass(frozen=True)
class Copies:
    """Records that say what another one says, each in its newest version; travels to the executors.

    Attributes:
        places: int64[n], ascending.
        originals: string[n]: id of the document that has the text, itself no copy.
    """

    places: np.ndarray
    originals: pa.Array


@dataclass(frozen=True)
class Duplicates:
    """Step 2: which records to leave out.

    Attributes:
        removed: schema LEFT_OUT, sorted by id, reason, survivor.
        copies: those of them that are counted all the same.
        candidates: pairs that were compared.
    """

    removed: pl.DataFrame
    copies: Copies
    candidates: int

    @cached_property
    def places(self) -> np.ndarray:
        """Of all of them: int64[n], ascending."""
        return np.sort(self.removed["place"].to_numpy())

    def by_source(self, reason: pl.Expr) -> Counter[str]:
        """How many were removed for such a reason."""
        counted = self.removed.filter(reason)["source"].value_counts()
        return Counter(dict(counted.iter_rows()))


@dataclass(frozen=True)
class Finished:
    """Step 3: names of the parts in the order of ids, and counts.

    Attributes:
        reused: documents whose chunks and metrics the last wash had made already.
    """

    parts: list[str]
    kept: Counter[str]
    chunks: int
    metrics: list[str]
    reused: int = 0


class Engine(Protocol):
    """Carries out the steps."""

    def read(self, tasks: Sequence[UnitTask], read_unit: ReadUnit) -> Iterable[UnitDone]:
        """Step 1 of these units; in any order."""
        ...

    def duplicates(self, reading: Reading) -> Duplicates:
        """Step 2."""
        ...

    def finish(
        self, reading: Reading, duplicates: Duplicates, boilerplate: Boilerplate
    ) -> Finished:
        """Step 3."""
        ...


def total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    """The sum of several counts."""
    found: Counter[str] = Counter()
    for one in counts:
        found.update(one)
    return found
