"""Step 2 of a wash: which records are forgotten, superseded, filtered, copies or near copies.

Whoever does the work brings two things: a way to find the records that share a key (`Shared`), and a
way to compare pairs (`Compare`). Both are spread over executors by `spark` and done in place by
`local`. Only records that share something come back here, where the rules of `dedup` decide.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import polars as pl
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
Compare: TypeAlias = Callable[[np.ndarray, np.ndarray], pa.Table]
"""Pairs of positions, int64[n, 2], and the places of the records in order → those pairs that are
similar enough: schema SIMILAR, in any order."""

_compute: Any = pc
"""The same module, untyped: its functions are made when it is imported."""
_RECORD = ("id", "source", "created", "updated", "exact", "filter")
_FRAME = pl.Schema({"place": pl.Int64, **dict.fromkeys(_RECORD, pl.String)})
_SKETCHED = pl.Schema(
    {
        "place": pl.Int64,
        **dict.fromkeys(("id", "source", "created"), pl.String),
        "sketch": pl.Binary,
    }
)
"""No more than near duplicates are decided by: it is held for half the records of a corpus."""
_GONE = pl.Schema(
    {"place": pl.Int64, **dict.fromkeys(("id", "source", "reason", "survivor"), pl.String)}
)


_BLOCK = 1 << 20
"""Pairs looked at together."""
_HELD = 1 << 24
"""Pairs found, some of them more than once, before they are made unique."""


def find_duplicates(job: Job, reading: Reading, shared: Shared, compare: Compare) -> Duplicates:
    """Apply the rules of `dedup` to everything that was read."""
    parts = reading.parts()
    if not parts:
        return _duplicates(pl.DataFrame(schema=_GONE), [], pl.DataFrame(schema=_SKETCHED), 0)
    forgotten = _forgotten(job, parts)
    suspects = shared(partial(batches.identity_keys, job))["place"].to_numpy()
    records = _records(job, parts, np.setdiff1d(suspects, forgotten["place"].to_numpy()))
    gone = pl.concat([forgotten, _judged(records)])
    out = np.sort(gone["place"].to_numpy())
    members = shared(partial(batches.band_keys, job, out))
    near = _records(job, parts, members["place"].to_numpy(), _SKETCHED).sort("created", "id")
    threshold = job.settings.cleaning.near_duplicate_jaccard
    pairs = _candidates(members, near, threshold)
    similar = compare(pairs, near["place"].to_numpy()) if len(pairs) else None
    removed = _verified(near, similar) if similar else []
    return _duplicates(gone, removed, near, len(pairs))


def _records(
    job: Job, parts: Sequence[Part], places: np.ndarray, schema: pl.Schema = _FRAME
) -> pl.DataFrame:
    """What decides about the records at these places, in any order."""
    wanted = np.unique(places)
    units = set((wanted >> PLACE_BITS).tolist())
    those = (part for part in parts if part[0] in units)
    found = [
        table.filter(pa.array(batches.among(table["place"].to_numpy(), wanted)))
        for table in batches.tables(job, "signed", list(schema)[1:], those)
    ]
    if not found:
        return pl.DataFrame(schema=schema)
    frame = pl.from_arrow(pa.concat_tables(found))
    assert isinstance(frame, pl.DataFrame)
    return frame.cast(schema)


def _forgotten(job: Job, parts: Sequence[Part]) -> pl.DataFrame:
    """What a tombstone of its own tenant names, in all its versions: schema _GONE."""
    found: list[dict[str, Any]] = []
    if not job.forgotten:
        return pl.DataFrame(schema=_GONE)
    ids = pa.array(sorted({document_id for _, document_id in job.forgotten}), pa.string())
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
                    found.append({**row, "reason": dedup.FORGOTTEN, "survivor": None})
    return pl.DataFrame(found, schema=_GONE) if found else pl.DataFrame(schema=_GONE)


def _judged(records: pl.DataFrame) -> pl.DataFrame:
    """Those that go by rules 1 and 2 or by a filter: schema _GONE."""
    versions = records.sort("id", "updated", "place").with_columns(
        newest=pl.col("id").ne(pl.col("id").shift(-1)).fill_null(value=True),
        final=pl.col("exact").last().over("id"),
    )
    newest = versions.filter("newest")
    copies = (
        newest.filter(pl.col("filter").is_null())
        .sort("exact", "created", "id")
        .with_columns(survivor=pl.col("id").first().over("exact"))
        .filter(pl.col("exact").eq(pl.col("exact").shift(1)).fill_null(value=False))
    )
    same = pl.when(pl.col("exact") == pl.col("final"))
    every = [
        versions.filter(~pl.col("newest")).with_columns(
            reason=same.then(pl.lit(dedup.EXACT)).otherwise(pl.lit(dedup.SUPERSEDED)),
            survivor=pl.col("id"),
        ),
        newest.filter(pl.col("filter").is_not_null()).with_columns(
            reason=pl.col("filter"), survivor=pl.lit(None, pl.String)
        ),
        copies.with_columns(reason=pl.lit(dedup.EXACT)),
    ]
    return pl.concat([part.select(list(_GONE)) for part in every])


def _candidates(members: pa.Table, near: pl.DataFrame, threshold: float) -> np.ndarray:
    """Pairs that share a band and whose sketches are alike: int64[n, 2], sorted, unique.

    A corpus of many similar records has quadratically many pairs in its buckets, nearly all of them
    well below the threshold: the sketches sort those out before anyone reads their texts.

    Args:
        members: schema KEY.
        near: all their records, schema _SKETCHED, in record order.

    Returns:
        Positions in `near`, (earlier, later).
    """
    if near.height == 0:
        return np.empty((0, 2), np.int64)
    sketches = np.frombuffer(b"".join(near["sketch"]), np.uint64).reshape(near.height, -1)
    enough = dedup.least_matches(threshold)
    found, held = [np.empty(0, np.int64)], 0
    for earlier, later in _bucketed(members, near["place"].to_numpy()):
        alike = dedup.sketch_matches(sketches[earlier], sketches[later]) >= enough
        # one number for a pair, so that a plain sort puts them in order
        found.append(np.unique(earlier[alike] * near.height + later[alike]))
        held += len(found[-1])
        if held > _HELD:  # a pair comes once for each band that it shares
            found, held = [np.unique(np.concatenate(found))], 0
    first, second = np.divmod(np.unique(np.concatenate(found)), near.height)
    return np.stack([first, second], axis=1)


def _bucketed(members: pa.Table, in_order: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of all buckets, a block at a time: positions in `in_order`, earlier and later."""
    by_place = np.argsort(in_order)
    keys, places = (members[name].to_numpy() for name in batches.KEY.names)
    ranks = by_place[np.searchsorted(in_order[by_place], places)]
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    sizes = np.diff(np.append(starts, len(keys)))
    tall = _BLOCK // (2 * dedup.BUCKET_PAIRS)  # later records of one bucket in a block
    for size in np.unique(sizes[sizes > 1]).tolist():
        own = starts[sizes == size]
        for begin in range(1, size, tall):
            earlier, later = dedup.bucket_pairs(size, begin, min(begin + tall, size))
            step = max(1, _BLOCK // len(earlier))
            for start in range(0, len(own), step):
                first = own[start : start + step, None]
                yield ranks[first + earlier].ravel(), ranks[first + later].ravel()


def _verified(near: pl.DataFrame, similar: pa.Table) -> list[Removed]:
    """The near duplicates among `near`, in record order, by pairs of schema SIMILAR."""
    places = near["place"].to_numpy()
    by_place = np.argsort(places)
    first, second = (
        by_place[np.searchsorted(places, similar[side].to_numpy(), sorter=by_place)]
        for side in ("first", "second")
    )
    found = dedup.near_duplicates(
        np.stack([first, second], axis=1), similar["similarity"].to_numpy()
    )
    ids = near["id"]
    return [
        Removed(ids[record], dedup.NEAR, ids[survivor], round(similarity, 4))
        for record, survivor, similarity in found
    ]


def _duplicates(
    gone: pl.DataFrame, near: Sequence[Removed], records: pl.DataFrame, candidates: int
) -> Duplicates:
    """Everything that is removed; `records` are those that the near duplicates are of."""
    removed = [
        Removed(identity, reason, survivor, 1.0 if reason == dedup.EXACT else None)
        for identity, reason, survivor in gone.select("id", "reason", "survivor").iter_rows()
    ]
    also = records.filter(pl.col("id").is_in([record.id for record in near]))
    filtered = gone.filter(pl.col("reason").str.starts_with(dedup.FILTERED))
    forgotten = gone.filter(pl.col("reason") == dedup.FORGOTTEN)
    every = _by_source(gone) + _by_source(also)
    by_filter, by_tombstone = _by_source(filtered), _by_source(forgotten)
    return Duplicates(
        np.sort(np.concatenate([gone["place"].to_numpy(), also["place"].to_numpy()])),
        sorted(
            [*removed, *near],
            key=lambda record: (record.id, record.reason, record.survivor or ""),
        ),
        every - by_filter - by_tombstone,
        by_filter,
        by_tombstone,
        candidates,
    )


def _by_source(records: pl.DataFrame) -> Counter[str]:
    return Counter(dict(records["source"].value_counts().iter_rows()))
