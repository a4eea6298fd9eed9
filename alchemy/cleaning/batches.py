"""Step 2 of a wash on Arrow record batches: batches in, batches out, no Spark in sight.

Each function is one step that `spark` ships to the executors and `local` runs in place. What a step
produces does not depend on how its input was divided: records carry their `place` (position in the
raw data), and every choice between records is made by their content or their place, never by
arrival.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from alchemy.cleaning import dedup
from alchemy.cleaning.parts import Job, read_table, sliced
from alchemy.cleaning.reading import PLACE_BITS
from alchemy.types import Document

Batches: TypeAlias = Iterator[pa.RecordBatch]

PART = pa.schema([("unit", pa.int64()), ("part", pa.string())])
RECORD = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("created", pa.string()),
        ("updated", pa.string()),
        ("exact", pa.string()),
        ("filter", pa.string()),
    ]
)
GONE = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("survivor", pa.string()),
    ]
)
VERSION = pa.schema([*GONE, pa.field("created", pa.string()), pa.field("exact", pa.string())])
BAND = pa.schema(
    [("band", pa.int64()), ("created", pa.string()), ("id", pa.string()), ("place", pa.int64())]
)
CANDIDATE = pa.schema([("left", pa.int64()), ("right", pa.int64())])
SHINGLES = pa.schema(
    [
        ("place", pa.int64()),
        ("created", pa.string()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("shingles", pa.list_(pa.int64())),
    ]
)
PAIR = pa.schema(
    [
        ("left_created", pa.string()),
        ("left_id", pa.string()),
        ("right_created", pa.string()),
        ("right_id", pa.string()),
        ("right_place", pa.int64()),
        ("right_source", pa.string()),
        ("similarity", pa.float64()),
    ]
)
ROWS = 4096
DOCUMENT_ROWS = 256
"""Rows of a batch that carries whole texts: a text may be as long as a record may be."""


def record_batches(job: Job, batches: Batches) -> Batches:
    """Schema PART → RECORD: identity and exact digest of every record."""
    for table in tables(job, "signed", RECORD.names[1:], batches):
        yield from sliced(table, ROWS)


def version_batches(batches: Batches) -> Batches:
    """Schema RECORD, sorted by (id, updated, place), ids together → VERSION.

    The last of an id stays (reason null), unless a filter removes it.
    """

    def judged() -> Iterator[dict[str, Any]]:
        for versions in _groups(batches, "id"):
            newest = versions[-1]
            newest["reason"], newest["survivor"] = newest.pop("filter"), None
            for row in versions[:-1]:
                same = row["exact"] == newest["exact"]
                row["reason"] = dedup.EXACT if same else dedup.SUPERSEDED
                row["survivor"] = row["id"]
            yield from versions

    yield from _batched(judged(), VERSION)


def copy_batches(batches: Batches) -> Batches:
    """Schema VERSION, sorted by (exact, created, id), equal digests together → GONE.

    Of the newest versions with one digest the first stays; what is gone already is passed on.
    """

    def gone() -> Iterator[dict[str, Any]]:
        for rows in _groups(batches, "exact"):
            current = [row for row in rows if row["reason"] is None]
            for row in current[1:]:
                row["reason"], row["survivor"] = dedup.EXACT, current[0]["id"]
            yield from (row for row in rows if row["reason"] is not None)

    yield from _batched(gone(), GONE)


def band_batches(job: Job, removed: np.ndarray, batches: Batches) -> Batches:
    """Schema PART → BAND: one row for each band of each record not yet removed."""
    for table in tables(job, "signed", [*BAND.names[1:-1], "bands"], batches):
        for batch in sliced(without(table, removed), ROWS):
            bands = batch.column("bands")
            parents = pa.array(np.repeat(np.arange(len(bands)), bands.value_lengths().to_numpy()))
            columns = [bands.flatten()]
            columns += [batch.column(name).take(parents) for name in BAND.names[1:]]
            yield pa.RecordBatch.from_arrays(columns, schema=BAND)


def candidate_batches(batches: Batches) -> Batches:
    """Schema BAND, sorted by (band, created, id) and whole bands together → CANDIDATE.

    Nearly all bands have one member: runs of equal keys are found with numpy, and only those of
    several members are looked at one by one.
    """
    open_band, open_places = None, np.empty(0, np.int64)
    for batch in batches:
        if not batch.num_rows:
            continue
        keys = batch.column("band").to_numpy()
        places = batch.column("place").to_numpy()
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        ends = np.append(starts[1:], len(keys))
        pairs: list[tuple[int, int]] = []
        if open_band is not None and keys[0] == open_band:
            open_places = np.concatenate((open_places, places[: ends[0]]))
            starts, ends = starts[1:], ends[1:]
        if len(starts):
            pairs += dedup.bucket_pairs(open_places.tolist())
            for run in np.flatnonzero(ends[:-1] - starts[:-1] > 1):
                pairs += dedup.bucket_pairs(places[starts[run] : ends[run]].tolist())
            open_band, open_places = keys[-1], places[starts[-1] :]
        yield _pairs(pairs)
    yield _pairs(list(dedup.bucket_pairs(open_places.tolist())))


def _pairs(pairs: list[tuple[int, int]]) -> pa.RecordBatch:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[:, 0]), pa.array(columns[:, 1])], schema=CANDIDATE
    )


def shingle_batches(job: Job, wanted: np.ndarray, batches: Batches) -> Batches:
    """Schema PART → SHINGLES of the wanted places, made from their documents again.

    Few records have a near neighbour: keeping everyone's shingles would double what is stored.

    Args:
        wanted: int64, sorted.
    """
    for table in tables(job, "read", ["document"], batches):
        table = table.filter(pa.array(np.isin(table["place"].to_numpy(), wanted)))
        for batch in sliced(table, DOCUMENT_ROWS):
            rows: list[dict[str, Any]] = []
            for place, line in zip(
                batch.column("place").to_pylist(), batch.column("document").to_pylist(), strict=True
            ):
                document = Document.from_dict(json.loads(line))
                rows.append(
                    {
                        "place": place,
                        "created": document.created_at or "",
                        "id": document.id,
                        "source": document.source,
                        "shingles": dedup.shingles_of(document).view(np.int64),
                    }
                )
            yield pa.RecordBatch.from_pylist(rows, schema=SHINGLES)


def verified_batches(threshold: float, batches: Batches) -> Batches:
    """Candidate pairs with both sides' shingles → PAIR where the similarity is reached."""
    for batch in batches:
        left, right = batch.column("left_shingles"), batch.column("right_shingles")
        similar = np.array(
            [
                # the order of signed and unsigned values differs, but only within each set
                dedup.jaccard(a.values.to_numpy(), b.values.to_numpy())
                for a, b in zip(left, right, strict=True)
            ],
            np.float64,
        )
        reached = np.flatnonzero(similar >= threshold)
        columns = [batch.column(name).take(pa.array(reached)) for name in PAIR.names[:-1]]
        yield pa.RecordBatch.from_arrays([*columns, pa.array(similar[reached])], schema=PAIR)


def tables(job: Job, kind: str, columns: Sequence[str], batches: Batches) -> Iterator[pa.Table]:
    """Schema PART → the parts' columns, with the place of each record before them."""
    lake = job.parts.open()
    for batch in batches:
        for row in batch.to_pylist():
            names = ["ordinal", *(name for name in columns if name != "place")]
            table = read_table(lake, f"{row['part']}.{kind}.parquet", names)
            places = table["ordinal"].to_numpy() + (row["unit"] << PLACE_BITS)
            yield table.set_column(0, "place", pa.array(places))


def without(table: pa.Table, removed: np.ndarray) -> pa.Table:
    """The rows whose place is not among the removed ones."""
    return table.filter(pa.array(~np.isin(table["place"].to_numpy(), removed)))


def _groups(batches: Batches, key: str) -> Iterator[list[dict[str, Any]]]:
    """Consecutive rows with one value of `key`, across the borders of batches."""
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, group in itertools.groupby(rows, key=operator.itemgetter(key)):
        yield list(group)


def _batched(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Batches:
    iterator = iter(rows)
    while block := list(itertools.islice(iterator, ROWS)):
        yield pa.RecordBatch.from_pylist(block, schema=schema)
