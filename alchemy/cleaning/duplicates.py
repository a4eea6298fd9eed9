"""Step 2 of a wash: which records are forgotten, superseded, filtered, copies or near copies.

Whoever does the work brings two things: a way to find the records that share a key (`Shared`), and a
way to compare pairs (`Compare`). Both are spread over executors by `spark` and done in place by
`local`. Only records that share something come back here, where the rules of `dedup` decide.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alchemy.cleaning import batches, dedup
from alchemy.cleaning.batches import Batches, Part
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import Duplicates, Reading
from alchemy.cleaning.reading import PLACE_BITS
from alchemy.types import Removed

Shared: TypeAlias = Callable[[Callable[[Iterable[Part]], Batches]], pa.Table]
"""A step parts → KEY → the rows of schema KEY whose key several records have, in any order."""
Compare: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Pairs of places, int64[n, 2] → float64[n]: the Jaccard similarities of their shingles."""

_compute: Any = pc
"""The same module, untyped: its functions are made when it is imported."""
_RECORD = ("id", "source", "created", "updated", "exact", "filter")


def find_duplicates(job: Job, reading: Reading, shared: Shared, compare: Compare) -> Duplicates:
    """Apply the rules of `dedup` to everything that was read."""
    parts = reading.parts()
    if not parts:
        return _duplicates([], [], {}, 0)
    forgotten = _forgotten(job, parts)
    suspects = shared(partial(batches.identity_keys, job))["place"].to_numpy()
    records = _records(job, parts, np.setdiff1d(suspects, np.array(list(forgotten), np.int64)))
    gone = [*forgotten.values(), *_judged(records.values())]
    removed = np.sort(np.array([row["place"] for row in gone], np.int64))
    members = shared(partial(batches.band_keys, job, removed))
    near = _records(job, parts, members["place"].to_numpy())
    pairs = _candidates(members, near)
    threshold = job.settings.cleaning.near_duplicate_jaccard
    similar = compare(pairs) if len(pairs) else np.empty(0)
    reached = similar >= threshold
    found = [
        dedup.Pair(_position(near[earlier]), _position(near[later]), similarity)
        for (earlier, later), similarity in zip(
            pairs[reached].tolist(), similar[reached].tolist(), strict=True
        )
    ]
    return _duplicates(gone, found, {row["id"]: row for row in near.values()}, len(pairs))


def _records(job: Job, parts: Sequence[Part], places: np.ndarray) -> dict[int, dict[str, Any]]:
    """Place → what decides about the record, for these places."""
    wanted = np.unique(places)
    units = set((wanted >> PLACE_BITS).tolist())
    those = (part for part in parts if part[0] in units)
    return {
        row["place"]: row
        for table in batches.tables(job, "signed", _RECORD, those)
        for row in table.filter(pa.array(np.isin(table["place"].to_numpy(), wanted))).to_pylist()
    }


def _forgotten(job: Job, parts: Sequence[Part]) -> dict[int, dict[str, Any]]:
    """Place → record of what a tombstone of its own tenant names, in all its versions."""
    if not job.forgotten:
        return {}
    ids = pa.array(sorted({document_id for _, document_id in job.forgotten}), pa.string())
    found: dict[int, dict[str, Any]] = {}
    for part in parts:
        for table in batches.tables(job, "signed", _RECORD, [part]):
            named = table.filter(_compute.is_in(table["id"], ids)).to_pylist()
            if not named:
                continue
            owners = {
                row["place"]: json.loads(row["document"])["tenant"]
                for whole in batches.tables(job, "read", ["id", "document"], [part])
                for row in whole.filter(_compute.is_in(whole["id"], ids)).to_pylist()
            }
            for row in named:
                if (owners[row["place"]], row["id"]) in job.forgotten:
                    found[row["place"]] = {**row, "reason": dedup.FORGOTTEN, "survivor": None}
    return found


def _judged(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that go by rules 1 and 2 or by a filter, with `reason` and `survivor`."""
    judged: list[dict[str, Any]] = []
    for versions in _grouped(records, "id", "updated", "place"):
        newest = versions[-1]
        newest["reason"], newest["survivor"] = newest["filter"], None
        for row in versions[:-1]:
            same = row["exact"] == newest["exact"]
            row["reason"] = dedup.EXACT if same else dedup.SUPERSEDED
            row["survivor"] = row["id"]
        judged += versions
    staying = (row for row in judged if row["reason"] is None)
    for copies in _grouped(staying, "exact", "created", "id"):
        for row in copies[1:]:
            row["reason"], row["survivor"] = dedup.EXACT, copies[0]["id"]
    return [row for row in judged if row["reason"] is not None]


def _grouped(
    rows: Iterable[dict[str, Any]], key: str, *order: str
) -> Iterable[list[dict[str, Any]]]:
    ordered = sorted(rows, key=operator.itemgetter(key, *order))
    return (list(group) for _, group in itertools.groupby(ordered, key=operator.itemgetter(key)))


def _candidates(members: pa.Table, records: dict[int, dict[str, Any]]) -> np.ndarray:
    """Pairs that share a band, (earlier, later) in record order: int64[n, 2], sorted, unique."""
    ranked = sorted(records, key=lambda place: _position(records[place]))
    in_order = np.array(ranked, np.int64)
    by_place = np.argsort(in_order)
    keys, places = (members[name].to_numpy() for name in batches.KEY.names)
    ranks = by_place[np.searchsorted(in_order[by_place], places)]
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    pairs = {
        pair for run in np.split(ranks, starts[1:]) for pair in dedup.bucket_pairs(run.tolist())
    }
    return in_order[np.array(sorted(pairs), np.int64).reshape(-1, 2)]


def _position(record: dict[str, Any]) -> tuple[str, str]:
    return record["created"], record["id"]


def _duplicates(
    gone: Sequence[dict[str, Any]],
    pairs: Sequence[dedup.Pair],
    records: dict[str, dict[str, Any]],
    candidates: int,
) -> Duplicates:
    """Everything that is removed; `records` by id are those that the pairs are of."""
    removed = [
        Removed(
            row["id"],
            row["reason"],
            row["survivor"],
            1.0 if row["reason"] == dedup.EXACT else None,
        )
        for row in gone
    ]
    near = dedup.near_duplicates(pairs)
    rows = [*gone, *(records[record.id] for record in near)]
    filtered = [row for row in gone if row["reason"].startswith(dedup.FILTERED)]
    forgotten = [row for row in gone if row["reason"] == dedup.FORGOTTEN]
    every = Counter(row["source"] for row in rows)
    by_filter = Counter(row["source"] for row in filtered)
    by_tombstone = Counter(row["source"] for row in forgotten)
    return Duplicates(
        np.sort(np.array([row["place"] for row in rows], np.int64)),
        sorted(
            [*removed, *near],
            key=lambda record: (record.id, record.reason, record.survivor or ""),
        ),
        every - by_filter - by_tombstone,
        by_filter,
        by_tombstone,
        candidates,
    )
