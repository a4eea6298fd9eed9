"""Comparing candidate pairs of records: each record's shingles travel to its pairs once.

Pairs of one corpus form clusters: many versions of one text. Sending both sides of every pair would
send a record once for each of its neighbours, so records of one cluster are kept together, and a
pair is compared where its two records meet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from alchemy.cleaning import dedup
from alchemy.cleaning.batches import DOCUMENT_ROWS, Batches, Part, among, tables
from alchemy.cleaning.parts import Job, lists, sliced
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
SIMILAR = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("similarity", pa.float64())])
"""A pair that is similar enough: the places of its records."""

GROUP_RECORDS = 256
"""About so many records, at most four times as many are compared at a time."""
_VALUES = 1 << 22
"""Shingles of the pairs that are compared in one step."""


@dataclass(frozen=True)
class Groups:
    """Pairs divided into groups; travels to the executors.

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


def grouped(pairs: np.ndarray, in_order: np.ndarray) -> Groups:
    """Divide pairs so that a record is in few groups, and a group has few records.

    Records are put in the order of their clusters (connected components of the pairs) and cut into
    blocks, between clusters where those are small. A group has the pairs of one block with itself
    or with another one. Inside a cluster they stay in record order, in which large buckets pair
    neighbours.

    Args:
        pairs: int64[n, 2], unique; positions of the earlier and of the later record in `in_order`.
        in_order: places of the records, in record order.
    """
    places, ranks = np.unique(pairs, return_inverse=True)
    ranks = ranks.reshape(pairs.shape)
    pairs = in_order[pairs]
    links = sparse.coo_matrix((np.ones(len(pairs), bool), ranks.T), (len(places), len(places)))
    _, cluster = connected_components(links, directed=False)
    order = np.argsort(cluster, kind="stable")
    position = np.empty(len(places), np.int64)
    position[order] = np.arange(len(places))
    sizes = np.bincount(cluster)
    begins = (np.cumsum(sizes) - sizes)[cluster]
    block = np.where(sizes[cluster] <= GROUP_RECORDS, begins, position) // GROUP_RECORDS
    blocks = np.sort(block[ranks], axis=1)
    number = blocks[:, 0] * (len(places) // GROUP_RECORDS + 1) + blocks[:, 1]
    # the later record has the earlier one as a partner; the earlier one only has to be there
    owners = np.concatenate([pairs[:, 1], pairs[:, 0]])
    numbers = np.concatenate([number, number])
    partners = np.concatenate([pairs[:, 0], np.full(len(pairs), -1)])
    by_owner = np.lexsort((partners, numbers, owners))
    owners, numbers, partners = owners[by_owner], numbers[by_owner], partners[by_owner]
    new = np.ones(len(owners), bool)
    new[1:] = (owners[1:] != owners[:-1]) | (numbers[1:] != numbers[:-1])
    real = partners >= 0
    before = np.cumsum(real) - real
    starts = np.append(before[new], len(pairs))
    return Groups(owners[new], numbers[new], starts, partners[real])


def sides(job: Job, groups: Groups, parts: Iterable[Part]) -> Batches:
    """Parts → SIDE: the shingles of each record of a pair, made from the documents again.

    Few records have a near neighbour: keeping everyone's shingles would double what is stored.
    """
    for table in tables(job, "read", ["document"], parts):
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
