"""Step 2 of a wash: which records are forgotten, superseded, filtered, copies or near copies.

Whoever does the work brings two things: a way to find the records that share a key (`Shared`), and a
way to compare pairs (`Compare`). Both are spread over executors by `spark` and done in place by
`local`. Only records that share something come back here, where the rules of `dedup` decide: of each
its place, its position and its sketch stay in memory (80 bytes), and the bands a slice at a time.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from alchemy.cleaning import batches, dedup
from alchemy.cleaning.batches import Batches, Part
from alchemy.cleaning.copies import copies_of
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import LEFT_OUT, Duplicates, Reading
from alchemy.cleaning.reading import PLACE_BITS

Shared: TypeAlias = Callable[[Callable[[Iterable[Part]], Batches]], pa.Table]
"""A step parts → KEY → the rows of schema KEY whose key several records have, in any order."""
Compare: TypeAlias = Callable[[np.ndarray, np.ndarray], pa.Table]
"""Pairs of positions, integers [n, 2], and the places of the records in order → those pairs that are
similar enough: schema SIMILAR, in any order."""

_compute: Any = pc
"""The same module, untyped: its functions are made when it is imported."""
_RECORD = ("id", "source", "created", "updated", "exact", "filter")
_FRAME = pl.Schema({"place": pl.Int64, **dict.fromkeys(_RECORD, pl.String)})
_NAMED = pl.Schema({"place": pl.Int64, "id": pl.String, "source": pl.String})


_BLOCK = 1 << 20
"""Pairs looked at together."""
_HELD = 1 << 24
"""Pairs found, some of them more than once, before they are made unique."""


@dataclass(frozen=True)
class _InOrder:
    """Records that may have near duplicates, in record order.

    Attributes:
        places: int64[n], of each position.
        by_place: int64[n], positions in the order of places.
    """

    places: np.ndarray
    by_place: np.ndarray

    def positions(self, places: np.ndarray) -> np.ndarray:
        """Of records that are among them: int64[m]."""
        return self.by_place[np.searchsorted(self.places, places, sorter=self.by_place)]


def find_duplicates(
    job: Job, reading: Reading, shared: Shared, compare: Compare, at_once: int = 1 << 23
) -> Duplicates:
    """Apply the rules of `dedup` to everything that was read.

    Args:
        at_once: rows of bands that are looked at together, about.
    """
    parts = reading.parts()
    if not parts:
        nothing = pl.DataFrame(schema=LEFT_OUT)
        return Duplicates(nothing, copies_of(nothing), 0)
    forgotten = _forgotten(job, parts)
    suspects = shared(partial(batches.identity_keys, job))["place"].to_numpy()
    records = _records(job, parts, np.setdiff1d(suspects, forgotten["place"].to_numpy()), _FRAME)
    gone = pl.concat([forgotten, _judged(records)])
    out = np.sort(gone["place"].to_numpy())
    order = _in_order(job, parts, out)
    threshold = job.settings.cleaning.near_duplicate_jaccard
    bands, _ = dedup.band_shape(threshold)
    slices = min(bands, math.ceil(len(order.places) * bands / at_once))
    steps = [
        partial(batches.band_keys, job, out, slice(first, None, slices)) for first in range(slices)
    ]
    pairs = _candidates(map(shared, steps), _sketches(job, parts, order), order, threshold)
    candidates = len(pairs)
    similar = compare(pairs, order.places) if candidates else None
    del pairs
    near = _verified(job, parts, order, similar) if similar else pl.DataFrame(schema=LEFT_OUT)
    removed = pl.concat([gone, near]).sort(
        "id", "reason", pl.col("survivor").fill_null(""), "place"
    )
    return Duplicates(removed, copies_of(removed), candidates)


def _records(
    job: Job, parts: Sequence[Part], places: np.ndarray, schema: pl.Schema
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
    """What a tombstone of its own tenant names, in all its versions: schema LEFT_OUT."""
    found: list[dict[str, Any]] = []
    if not job.forgotten:
        return pl.DataFrame(schema=LEFT_OUT)
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
                    found.append({**row, "reason": dedup.FORGOTTEN})
    return pl.DataFrame(
        [{name: row.get(name) for name in LEFT_OUT} for row in found], schema=LEFT_OUT
    )


def _judged(records: pl.DataFrame) -> pl.DataFrame:
    """Those that go by rules 1 and 2 or by a filter: schema LEFT_OUT."""
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
    exact = pl.when(pl.col("reason") == dedup.EXACT).then(1.0)
    return pl.concat([p.with_columns(similarity=exact).select(list(LEFT_OUT)) for p in every])


def _in_order(job: Job, parts: Sequence[Part], removed: np.ndarray) -> _InOrder:
    """Those that are not yet removed and have bands."""
    frames: list[pl.DataFrame] = []
    for table in batches.tables(job, "signed", ["created", "id", "bands"], parts):
        kept = batches.without(table, removed)
        kept = kept.filter(_compute.greater(_compute.list_value_length(kept["bands"]), 0))
        frames.append(pl.DataFrame(kept.drop_columns("bands")))
    every = pl.concat(frames)
    places = every["place"].to_numpy()
    order = every.select(pl.arg_sort_by("created", "id")).to_series().to_numpy().astype(np.int64)
    places = places[order]
    return _InOrder(places, np.argsort(places))


def _sketches(job: Job, parts: Sequence[Part], order: _InOrder) -> np.ndarray:
    """Of each position: uint64[n, SKETCH_BYTES / 8]."""
    known = order.places[order.by_place]
    found = np.empty((len(known), dedup.SKETCH_BYTES // 8), np.uint64)
    for table in batches.tables(job, "signed", ["sketch"], parts):
        mine = table.filter(pa.array(batches.among(table["place"].to_numpy(), known)))
        joined = b"".join(mine["sketch"].to_pylist())
        positions = order.positions(mine["place"].to_numpy())
        found[positions] = np.frombuffer(joined, np.uint64).reshape(-1, found.shape[1])
    return found


def _candidates(
    members: Iterable[pa.Table], sketches: np.ndarray, order: _InOrder, threshold: float
) -> np.ndarray:
    """Pairs that share a band and whose sketches are alike: unsigned [n, 2], sorted, unique.

    A corpus of many similar records has quadratically many pairs in its buckets, nearly all of them
    well below the threshold: the sketches sort those out before anyone reads their texts.

    Args:
        members: schema KEY, all rows of a band in one of them.
        sketches: of each position in `order`.

    Returns:
        Positions in `order`, (earlier, later).
    """
    number = max(1, len(order.places))
    enough = dedup.least_matches(threshold)
    found, held = [np.empty(0, np.int64)], 0
    for earlier, later in itertools.chain.from_iterable(_bucketed(m, order) for m in members):
        alike = dedup.sketch_matches(sketches[earlier], sketches[later]) >= enough
        # one number for a pair, so that a plain sort puts them in order
        found.append(np.unique(earlier[alike] * number + later[alike]))
        held += len(found[-1])
        if held > _HELD:  # a pair comes once for each band that it shares
            found, held = [np.unique(np.concatenate(found))], 0
    every = np.unique(np.concatenate(found))
    del found
    pairs = np.empty((len(every), 2), np.min_scalar_type(number))
    for start in range(0, len(every), _BLOCK):
        block = slice(start, start + _BLOCK)
        pairs[block, 0], pairs[block, 1] = np.divmod(every[block], number)
    return pairs


def _bucketed(members: pa.Table, order: _InOrder) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of all buckets, a block at a time: positions, earlier and later."""
    keys, places = (members[name].to_numpy() for name in batches.KEY.names)
    ranks = order.positions(places)
    by_key = np.lexsort((ranks, keys))
    keys, ranks = keys[by_key], ranks[by_key]
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


def _verified(job: Job, parts: Sequence[Part], order: _InOrder, similar: pa.Table) -> pl.DataFrame:
    """The near duplicates, by pairs of schema SIMILAR: schema LEFT_OUT, in record order."""
    first, second = (order.positions(similar[side].to_numpy()) for side in ("first", "second"))
    similarity = similar["similarity"].to_numpy()
    deciding = dedup.near_duplicates(np.stack([first, second], axis=1), similarity)
    stays, goes = (order.places[side[deciding]] for side in (first, second))
    named = _records(job, parts, np.concatenate([stays, goes]), _NAMED)
    frame = pl.DataFrame({"place": goes, "stays": stays, "similarity": similarity[deciding]})
    survivors = named.select(pl.col("place").alias("stays"), pl.col("id").alias("survivor"))
    return (
        frame.join(named, on="place")
        .join(survivors, on="stays")
        .with_columns(reason=pl.lit(dedup.NEAR))
        .select(list(LEFT_OUT))
    )
