"""Comparing candidate pairs of records: each record's shingles travel to its pairs once.

Pairs of one corpus form clusters: many versions of one text. Sending both sides of every pair would
send a record once for each of its neighbours, so records of one cluster are kept together, and a
pair is compared where its two records meet.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from alchemy.cleaning import dedup
from alchemy.cleaning.batches import DOCUMENT_ROWS, Batches, Part, among, tables
from alchemy.cleaning.parts import Job, lists, read_table, sliced, write_table
from alchemy.cleaning.reading import PLACE_BITS
from alchemy.types import Document

SIDE = pa.schema(
    [
        ("group", pa.int64()),
        ("place", pa.int64()),
        ("partners", pa.list_(pa.int64())),
        ("shingles", pa.list_(pa.int64())),
    ]
)
"""A record in a group of pairs: where it lies, the earlier records of its pairs, its shingles."""
MEMBER = pa.schema(
    [("place", pa.int64()), ("group", pa.int64()), ("partners", pa.large_list(pa.int64()))]
)
"""A record in a group of pairs, by place: the earlier records of its pairs."""
SIMILAR = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("similarity", pa.float64())])
"""A pair that is similar enough: the places of its records."""

GROUP_RECORDS = 256
"""About so many records, at most four times as many are compared at a time."""
_VALUES = 1 << 22
"""Shingles of the pairs that are compared in one step."""
_LINKED = 1 << 22
"""Pairs whose clusters are joined in one step."""
_SLICE, _MOST_SLICES = 1 << 18, 64
"""Sides of pairs that are put in order together, about; and how often all pairs are gone through."""


@dataclass(frozen=True)
class Groups:
    """Memberships of records in groups of pairs.

    Attributes:
        places: int64[m], ascending: the record of each membership.
        numbers: int64[m]: the group it is a member of.
        starts: int64[m + 1]: where its partners begin.
        partners: int64[n], of n pairs: places of the earlier records.
    """

    places: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray
    partners: np.ndarray

    def to_table(self) -> pa.Table:
        """Schema MEMBER."""
        partners = pa.LargeListArray.from_arrays(pa.array(self.starts), pa.array(self.partners))
        return pa.Table.from_arrays(
            [pa.array(self.places), pa.array(self.numbers), partners], schema=MEMBER
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Of one table of schema MEMBER."""
        places, numbers, partners = (column.combine_chunks() for column in table.columns)
        starts = np.append(0, np.cumsum(partners.value_lengths().to_numpy()))
        return cls(places.to_numpy(), numbers.to_numpy(), starts, partners.flatten().to_numpy())


@dataclass(frozen=True)
class StoredGroups:
    """Where memberships lie in the lake, some units to a table; travels to the executors.

    Attributes:
        keys: of each table.
        units: the last unit of each table, ascending.
        with_pairs: units that have any, ascending.
        members: how many memberships there are.
    """

    keys: Sequence[str]
    units: Sequence[int]
    with_pairs: np.ndarray
    members: int

    @classmethod
    def of(cls, job: Job, pairs: np.ndarray, in_order: np.ndarray) -> Self:
        """Divide the pairs (see `grouped`) and store what comes."""
        lake = job.parts.open()
        keys: list[str] = []
        last: list[int] = []
        units: list[np.ndarray] = [np.empty(0, np.int64)]
        members = 0
        for groups in grouped(pairs, in_order):
            units.append(np.unique(groups.places >> PLACE_BITS))
            last.append(int(units[-1][-1]))
            keys.append(job.parts.key(f"pairs/{len(keys):04d}.parquet"))
            members += len(groups.places)
            write_table(lake, keys[-1], groups.to_table())
        return cls(keys, last, np.concatenate(units), members)

    def having(self, parts: Iterable[Part]) -> list[Part]:
        """Those parts whose units have pairs."""
        units = set(self.with_pairs.tolist())
        return [part for part in parts if part[0] in units]

    def key(self, unit: int) -> str:
        """Of the table with the memberships of a unit that has pairs."""
        return self.keys[bisect_left(self.units, unit)]


def grouped(pairs: np.ndarray, in_order: np.ndarray) -> Iterator[Groups]:
    """Divide pairs so that a record is in few groups, and a group has few records.

    Records are put in the order of their clusters (connected components of the pairs) and cut into
    blocks, between clusters where those are small. A group has the pairs of one block with itself
    or with another one. Inside a cluster they stay in record order, in which large buckets pair
    neighbours.

    Args:
        pairs: integers [n, 2], unique; positions of the earlier and of the later record in
            `in_order`.
        in_order: places of the records, in record order.

    Yields:
        The memberships of all records of some units; units ascend.
    """
    block = _blocks(pairs, len(in_order))
    among_blocks = int(block.max(initial=0)) + 1
    # only the sides of some units are put in order together: a pair has many numbers
    units, unit = np.unique(in_order >> PLACE_BITS, return_inverse=True)
    unit = unit.astype(np.int32)
    sides = sum(np.bincount(unit[side], minlength=len(units)) for side in pairs.T)
    count = min(_MOST_SLICES, -(-2 * len(pairs) // _SLICE))
    slices = (np.cumsum(sides) - 1) * count // max(1, 2 * len(pairs))
    of_side = [slices.astype(np.int16)[unit][side] for side in pairs.T]

    def number(rows: np.ndarray) -> np.ndarray:
        both = np.sort(block[pairs[rows]], axis=1).astype(np.int64)
        return both[:, 0] * among_blocks + both[:, 1]

    for one in np.unique(slices).tolist():
        earlier, later = (np.flatnonzero(side == one) for side in of_side)
        if not len(earlier) + len(later):
            continue
        # the later record has the earlier one as a partner; the earlier one only has to be there
        owners = in_order[np.concatenate([pairs[later, 1], pairs[earlier, 0]])]
        numbers = np.concatenate([number(later), number(earlier)])
        partners = np.concatenate([in_order[pairs[later, 0]], np.full(len(earlier), -1)])
        by_owner = np.lexsort((partners, numbers, owners))
        owners, numbers, partners = owners[by_owner], numbers[by_owner], partners[by_owner]
        new = np.ones(len(owners), bool)
        new[1:] = (owners[1:] != owners[:-1]) | (numbers[1:] != numbers[:-1])
        real = partners >= 0
        before = np.cumsum(real) - real
        starts = np.append(before[new], len(later))
        yield Groups(owners[new], numbers[new], starts, partners[real])


def _blocks(pairs: np.ndarray, count: int) -> np.ndarray:
    """int32[count]: of each position that is in a pair the block that it lies in."""
    cluster = np.arange(count)
    for start in range(0, len(pairs), _LINKED):
        first, second = cluster[pairs[start : start + _LINKED]].T
        links = sparse.coo_matrix((np.ones(len(first), bool), (first, second)), (count, count))
        cluster = connected_components(links, directed=False)[1][cluster]
    paired = np.zeros(count, bool)
    paired[pairs[:, 0]] = paired[pairs[:, 1]] = True
    cluster = cluster[paired]
    order = np.argsort(cluster, kind="stable")
    position = np.empty(len(cluster), np.int64)
    position[order] = np.arange(len(cluster))
    sizes = np.bincount(cluster)
    begins = (np.cumsum(sizes) - sizes)[cluster]
    block = np.zeros(count, np.int32)
    block[paired] = np.where(sizes[cluster] <= GROUP_RECORDS, begins, position) // GROUP_RECORDS
    return block


def sides(job: Job, stored: StoredGroups, parts: Iterable[Part]) -> Batches:
    """Parts that have pairs → SIDE: the shingles of each record of a pair, made from the documents.

    Few records have a near neighbour: keeping everyone's shingles would double what is stored.
    """
    lake, key, groups = job.parts.open(), "", Groups(*[np.empty(0, np.int64)] * 4)
    for part in parts:
        if stored.key(part[0]) != key:
            key = stored.key(part[0])
            groups = Groups.from_table(read_table(lake, key))
        for table in tables(job, "read", ["document"], [part]):
            yield from _sides(groups, table)


def _sides(groups: Groups, table: pa.Table) -> Batches:
    table = table.filter(pa.array(among(table["place"].to_numpy(), groups.places)))
    for batch in sliced(table, DOCUMENT_ROWS):
        members: list[np.ndarray] = [np.empty(0, np.int64)]
        shingles: list[np.ndarray] = []
        for place, line in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            first, last = np.searchsorted(groups.places, [place, place + 1])
            found = dedup.shingles_of(Document.from_dict(json.loads(line))).view(np.int64)
            members.append(np.arange(first, last))
            shingles += [found] * int(last - first)
        those = np.concatenate(members)
        partners = [groups.partners[groups.starts[m] : groups.starts[m + 1]] for m in those]
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(groups.numbers[those]),
                pa.array(groups.places[those]),
                lists(partners),
                lists(shingles),
            ],
            schema=SIDE,
        )


def similar(job: Job, batches: Batches) -> Batches:
    """Schema SIDE, the rows of a group one after another → SIMILAR."""
    threshold = job.settings.cleaning.near_duplicate_jaccard
    held: list[pa.RecordBatch] = []
    for batch in batches:
        numbers = batch.column("group").to_numpy()
        cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for start, stop in pairwise([0, *cuts.tolist(), len(numbers)]):
            if start == stop:
                continue
            if held and held[-1].column("group")[-1].as_py() != numbers[start]:
                yield _similar(threshold, held)
                held = []
            held.append(batch.slice(start, stop - start))
    if held:
        yield _similar(threshold, held)


def _similar(threshold: float, members: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(members).sort_by("place").combine_chunks()
    places = table["place"].to_numpy()
    partners, shingles = (table[name].combine_chunks() for name in ("partners", "shingles"))
    # the order of signed and unsigned values differs, and rows of the matrix must ascend
    _, columns = np.unique(shingles.flatten().to_numpy(), return_inverse=True)
    sizes = shingles.value_lengths().to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    sets = sparse.csr_matrix((np.ones(len(columns), np.int32), columns, starts))
    sets.sort_indices()
    second = np.repeat(np.arange(len(places)), partners.value_lengths().to_numpy())
    first = np.searchsorted(places, partners.flatten().to_numpy())
    parts = np.cumsum(sizes[first] + sizes[second]) // _VALUES
    cuts = np.flatnonzero(parts[1:] != parts[:-1]) + 1
    shared = [
        np.asarray(sets[first[a:b]].multiply(sets[second[a:b]]).sum(axis=1)).ravel()
        for a, b in pairwise([0, *cuts.tolist(), len(first)])
    ]
    common = np.concatenate(shared)
    similarity = common / (sizes[first] + sizes[second] - common)
    enough = similarity >= threshold
    return pa.RecordBatch.from_arrays(
        [
            pa.array(places[first[enough]]),
            pa.array(places[second[enough]]),
            pa.array(similarity[enough]),
        ],
        schema=SIMILAR,
    )
