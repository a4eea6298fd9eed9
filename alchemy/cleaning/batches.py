"""Steps of a wash on Arrow record batches: parts or batches in, batches out, no Spark in sight.

Each function is one step that `spark` ships to the executors and `local` runs in place. What a step
produces does not depend on how its input was divided: records carry their `place` (position in the
raw data), and every choice between records is made by their content or their place, never by
arrival.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from alchemy.cleaning.parts import Job, read_table
from alchemy.cleaning.plan import Part
from alchemy.cleaning.reading import PLACE_BITS, short_digest

Batches: TypeAlias = Iterator[pa.RecordBatch]

KEY = pa.schema([("key", pa.int64()), ("place", pa.int64())])
DOCUMENT_ROWS = 256
"""Rows of a batch that carries whole texts: a text may be as long as a record may be."""

_SAMPLED_PARTS = 64
_KINDS = np.uint64(4)
_ID, _EXACT, _FILTERED = range(3)


def identity_keys(job: Job, parts: Iterable[Part]) -> Batches:
    """Parts → KEY: rows of each record's id, of its exact digest, and of a filter that takes it.

    A key is 62 bits of a digest and its kind. Records of two ids with one key are looked at
    together, and found to be different. A filter's row comes twice: it counts as shared.
    """
    for table in tables(job, "signed", ["id", "exact", "filter"], parts):
        places = table["place"].to_numpy()
        filtered = table["filter"].is_valid().to_numpy()
        ids = _of_kind(
            _ID, (int.from_bytes(short_digest(i)[:8], "big") for i in table["id"].to_pylist())
        )
        exact = _of_kind(_EXACT, (int(digest[:16], 16) for digest in table["exact"].to_pylist()))
        again = np.repeat(places[filtered], 2)
        yield _keys(ids, places)
        yield _keys(exact, places)
        yield _keys(_of_kind(_FILTERED, again.tolist()), again)


def _of_kind(kind: int, digests: Iterable[int]) -> np.ndarray:
    whole = np.array(list(digests), np.uint64)
    return (whole // _KINDS * _KINDS + np.uint64(kind)).view(np.int64)


def band_keys(job: Job, removed: np.ndarray, which: slice, parts: Iterable[Part]) -> Batches:
    """Parts → KEY: a row for each of these bands of each record not yet removed.

    Args:
        removed: places, int64, sorted.
        which: of the bands of a record, which are all of one number or none.
    """
    for table in tables(job, "signed", ["bands"], parts):
        kept = without(table, removed)
        bands = kept["bands"].combine_chunks()
        having = bands.value_lengths().to_numpy() > 0
        places = kept["place"].to_numpy()[having]
        flat = bands.flatten().to_numpy()
        keys = flat.reshape(len(places), len(flat) // max(1, len(places)))[:, which]
        yield _keys(keys.ravel(), np.repeat(places, keys.shape[1]))


def shared_keys(batches: Batches) -> Batches:
    """Schema KEY, all rows of a key together → KEY: the rows of keys that stand in several.

    Nearly all keys are one record's alone, so that little of the input comes out.
    """
    keys, places = np.empty(0, np.int64), np.empty(0, np.int64)
    if incoming := list(batches):
        table = pa.Table.from_batches(incoming)
        keys, places = (table[name].to_numpy() for name in KEY.names)
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    same = keys[1:] == keys[:-1]
    shared = np.zeros(len(keys), bool)
    shared[1:] |= same
    shared[:-1] |= same
    yield _keys(keys[shared], places[shared])


def tables(
    job: Job, kind: str, columns: Sequence[str], parts: Iterable[Part]
) -> Iterator[pa.Table]:
    """The parts' columns, with the place of each record before them.

    Args:
        kind: `read` or `signed`.
    """
    lake = job.parts.open()
    for unit, key in parts:
        table = read_table(lake, f"{key}.{kind}.parquet", ["ordinal", *columns])
        places = table["ordinal"].to_numpy() + (unit << PLACE_BITS)
        yield table.set_column(0, "place", pa.array(places))


def range_starts(job: Job, parts: Sequence[Part], count: int) -> list[str]:
    """The first ids of ranges of about equal size, but the first: at most `count` - 1, ascending."""
    sample = parts[:: math.ceil(len(parts) / _SAMPLED_PARTS)] if parts and count > 1 else []
    ids = sorted(
        i for table in tables(job, "signed", ["id"], sample) for i in table["id"].to_pylist()
    )
    return sorted({ids[len(ids) * n // count] for n in range(1, count)}) if ids else []


def without(table: pa.Table, removed: np.ndarray) -> pa.Table:
    """The rows whose place is not among the removed ones."""
    return table.filter(pa.array(~among(table["place"].to_numpy(), removed)))


def among(places: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """bool[n]: whether each place is in an ascending array.

    `numpy.isin` sorts the array again for each batch: quadratic, as both grow with the corpus.
    """
    if len(ordered) == 0:
        return np.zeros(len(places), bool)
    at = np.minimum(np.searchsorted(ordered, places), len(ordered) - 1)
    return ordered[at] == places


def _keys(keys: np.ndarray, places: np.ndarray) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(keys), pa.array(places)], schema=KEY)
