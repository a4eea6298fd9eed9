"""The work of a wash on Arrow record batches: batches in, batches out, no Spark in sight.

Each function is one step that `spark` ships to the executors. What a step produces does not depend
on how its input was divided: records carry their `place` (position in the raw data), and every
choice between records is made by their content or their place, never by arrival.
"""

from __future__ import annotations

import itertools
import json
import operator
import pickle
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from alchemy.cleaning import dedup
from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.metrics import document_metrics, metrics_schema
from alchemy.cleaning.parts import Parts, read_table, sliced, write_table
from alchemy.cleaning.pii import redact_document, redact_quarantined
from alchemy.cleaning.text import normalise, one_line
from alchemy.cleaning.tokens import wordpiece
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import Document, JsonRecord, Quarantined, text_digest

Batches: TypeAlias = Iterator[pa.RecordBatch]
ReadUnit: TypeAlias = Callable[[Lake, Any, Settings], Iterator[Document | Quarantined]]

PLACE_BITS = 32
"""A place is `unit << PLACE_BITS | record`: the order of places is the order of the raw data."""

UNIT = pa.schema([("unit", pa.int64()), ("payload", pa.binary())])
PART = pa.schema([("part", pa.string())])
SUMMARY = pa.schema([("summary", pa.string())])
RECORD = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("created", pa.string()),
        ("updated", pa.string()),
        ("exact", pa.string()),
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
DOCUMENT = pa.schema([("id", pa.string()), ("document", pa.string())])

_SIGNED = RECORD.append(pa.field("bands", pa.list_(pa.int64()))).append(
    pa.field("shingles", pa.list_(pa.int64()))
)
_STORED = pa.schema([("place", pa.int64()), *DOCUMENT])
_ROWS = 4096
DOCUMENT_ROWS = 256
"""Rows of a batch that carries whole texts: a text may be as long as a record may be."""


@dataclass(frozen=True)
class Job:
    """What every step needs to know; travels to the executors."""

    parts: Parts
    settings: Settings


def encode_units(units: Iterable[JsonRecord]) -> list[tuple[int, bytes]]:
    """Rows of schema `UNIT`. Pickled, since only the connectors know the units' class."""
    return [(number, pickle.dumps(unit)) for number, unit in enumerate(units)]


def clean(document: Document) -> tuple[Document, Counter[str]]:
    """The document normalised and redacted, its hash renewed; what was redacted by kind."""
    title = one_line(document.title)
    # a record that has only a title is found by it, so the title is its text
    text = normalise(document.text) or title
    document, found = redact_document(replace(document, title=title, text=text))
    return replace(document, content_hash=text_digest(document.title, document.text)), found


def read_batches(job: Job, read_unit: ReadUnit, batches: Batches) -> Batches:
    """Schema UNIT → SUMMARY: read, clean and sign each unit, and store it in parts."""
    lake = job.parts.open()
    for batch in batches:
        for row in batch.to_pylist():
            unit = pickle.loads(row["payload"])
            yield _summary(_read_one(job, lake, read_unit, unit, row["unit"]))


def _read_one(job: Job, lake: Lake, read_unit: ReadUnit, unit: Any, number: int) -> dict[str, Any]:
    read: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    redactions: Counter[str] = Counter()
    bad: list[str] = []
    writer = _ReadWriter(job, lake, number)
    for ordinal, outcome in enumerate(_guarded(read_unit(lake, unit, job.settings), unit)):
        read[outcome.source] += 1
        if isinstance(outcome, Quarantined):
            quarantined[outcome.source] += 1
            bad.append(redact_quarantined(outcome).to_json() + "\n")
            continue
        document, found = clean(outcome)
        redactions += found
        writer.add(number << PLACE_BITS | ordinal, document)
    writer.flush()
    if bad:
        lake.write(job.parts.key(f"quarantine/{number:08d}.jsonl"), "".join(bad).encode())
    return {
        "parts": writer.names,
        "text_bytes": writer.text_bytes,
        "read": read,
        "quarantined": quarantined,
        "redactions": redactions,
    }


def _guarded(
    outcomes: Iterator[Document | Quarantined], unit: Any
) -> Iterator[Document | Quarantined]:
    """What a connector yields; what it raises becomes an error that holds no record's content."""
    try:
        yield from outcomes
    except AlchemyError:
        raise
    except Exception as error:  # noqa: BLE001 (its text could hold what a record says)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise AlchemyError(
            ErrorCode.STAGE_FAILED,
            f"reading {getattr(unit, 'key', 'a unit')!r} failed: {type(error).__name__} in "
            f"{Path(frame.filename).name}:{frame.lineno}",
            "This is a defect of the connector: it should quarantine what it cannot read.",
        ) from None


class _ReadWriter:
    """Stores cleaned documents, and apart from them what finding duplicates needs."""

    def __init__(self, job: Job, lake: Lake, unit: int) -> None:
        self.names: list[str] = []
        self.text_bytes = 0
        self._job = job
        self._lake = lake
        self._unit = unit
        self._documents: list[dict[str, Any]] = []
        self._signed: list[dict[str, Any]] = []
        self._chars = 0

    def add(self, place: int, document: Document) -> None:
        signature = dedup.sign(document, self._job.settings.cleaning.near_duplicate_jaccard)
        line = document.to_json()
        self._documents.append({"place": place, "id": document.id, "document": line})
        self._signed.append(
            {
                "place": place,
                "id": document.id,
                "source": document.source,
                "created": document.created_at or "",
                # without the Z, 20:46:44 sorts before 20:46:44.5
                "updated": (document.updated_at or "").removesuffix("Z"),
                "exact": signature.exact,
                "bands": signature.bands,
                "shingles": signature.shingles.view(np.int64),
            }
        )
        self._chars += len(line)
        if self._chars >= self._job.parts.part_bytes:
            self.flush()

    def flush(self) -> None:
        if not self._documents:
            return
        name = f"{self._unit:08d}-{len(self.names):04d}.parquet"
        key = self._job.parts.key
        write_table(self._lake, key(f"read/{name}"), pa.Table.from_pylist(self._documents, _STORED))
        write_table(self._lake, key(f"signed/{name}"), pa.Table.from_pylist(self._signed, _SIGNED))
        self.names.append(name)
        self.text_bytes += self._chars
        self._documents, self._signed, self._chars = [], [], 0


def record_batches(job: Job, batches: Batches) -> Batches:
    """Schema PART → RECORD: identity and exact digest of every record."""
    for table in _tables(job, "signed", RECORD.names, batches):
        yield from sliced(table, _ROWS)


def version_batches(batches: Batches) -> Batches:
    """Schema RECORD, sorted by (id, updated, place), ids together → VERSION.

    The last of an id stays (reason null).
    """

    def judged() -> Iterator[dict[str, Any]]:
        for versions in _groups(batches, "id"):
            newest = versions[-1]
            for row in versions[:-1]:
                same = row["exact"] == newest["exact"]
                row["reason"] = dedup.EXACT if same else dedup.SUPERSEDED
                row["survivor"] = row["id"]
            yield from versions

    yield from _batched(judged(), VERSION)


def copy_batches(batches: Batches) -> Batches:
    """Schema VERSION, sorted by (exact, created, id), equal digests together → GONE.

    Of the newest versions with one digest the first stays; older versions are passed on.
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
    for table in _tables(job, "signed", [*BAND.names[1:], "bands"], batches):
        table = _without(table, removed)
        for batch in sliced(table, _ROWS):
            bands = batch.column("bands")
            parents = pa.array(np.repeat(np.arange(len(bands)), bands.value_lengths().to_numpy()))
            columns = [bands.flatten()]
            columns += [batch.column(name).take(parents) for name in BAND.names[1:]]
            yield pa.RecordBatch.from_arrays(columns, schema=BAND)


def candidate_batches(batches: Batches) -> Batches:
    """Schema BAND, sorted by (band, created, id) and whole bands together → CANDIDATE."""
    pairs: list[tuple[int, int]] = []
    for members in _groups(batches, "band"):
        pairs += dedup.bucket_pairs([row["place"] for row in members])
        if len(pairs) >= _ROWS:
            yield _pairs(pairs)
            pairs = []
    yield _pairs(pairs)


def _pairs(pairs: list[tuple[int, int]]) -> pa.RecordBatch:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[:, 0]), pa.array(columns[:, 1])], schema=CANDIDATE
    )


def shingle_batches(job: Job, wanted: np.ndarray, batches: Batches) -> Batches:
    """Schema PART → SHINGLES of the wanted places."""
    for table in _tables(job, "signed", SHINGLES.names, batches):
        table = table.filter(pa.array(np.isin(table["place"].to_numpy(), wanted)))
        yield from sliced(table.select(SHINGLES.names), DOCUMENT_ROWS)


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


def document_batches(job: Job, removed: np.ndarray, batches: Batches) -> Batches:
    """Schema PART → DOCUMENT: the documents that stay."""
    for table in _tables(job, "read", _STORED.names, batches):
        yield from sliced(_without(table, removed).select(DOCUMENT.names), DOCUMENT_ROWS)


def chunk_batches(job: Job, partition: int, batches: Batches) -> Batches:
    """Schema DOCUMENT, sorted by id → SUMMARY: chunk, measure, and store the final lines in parts.

    Parts are named so that the order of names, over all partitions, is the order of ids.
    """
    writer = _FinalWriter(job, partition)
    for batch in batches:
        for line in batch.column("document"):
            writer.add(line.as_py())
    writer.flush()
    yield _summary(
        {
            "parts": writer.names,
            "kept": writer.kept,
            "chunks": writer.chunks,
            "metrics": sorted(writer.metrics),
        }
    )


class _FinalWriter:
    def __init__(self, job: Job, partition: int) -> None:
        self.names: list[str] = []
        self.kept: Counter[str] = Counter()
        self.chunks = 0
        self.metrics: set[str] = set()
        self._job = job
        self._lake = job.parts.open()
        self._partition = partition
        self._tokens = wordpiece()
        self._documents: list[str] = []
        self._chunk_lines: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._chars = 0

    def add(self, line: str) -> None:
        document = Document.from_dict(json.loads(line))
        chunks = chunk_document(document, self._tokens, self._job.settings.cleaning.chunk_tokens)
        numbers = document_metrics(document, len(chunks))
        self._documents.append(line + "\n")
        self._chunk_lines += [chunk.to_json() + "\n" for chunk in chunks]
        self._rows.append(
            {
                "document_id": document.id,
                "source": document.source,
                "created_at": document.created_at,
                "updated_at": document.updated_at,
                **numbers,
            }
        )
        self.kept[document.source] += 1
        self.chunks += len(chunks)
        self.metrics.update(numbers)
        self._chars += len(line)
        if self._chars >= self._job.parts.part_bytes:
            self.flush()

    def flush(self) -> None:
        if not self._documents:
            return
        name = f"{self._partition:06d}-{len(self.names):04d}"
        key = self._job.parts.key
        self._lake.write(key(f"corpus/{name}.jsonl"), "".join(self._documents).encode())
        self._lake.write(key(f"chunks/{name}.jsonl"), "".join(self._chunk_lines).encode())
        schema = metrics_schema(name for row in self._rows for name in row if name in self.metrics)
        table = pa.Table.from_pylist(self._rows, schema)
        write_table(self._lake, key(f"metrics/{name}.parquet"), table)
        self.names.append(name)
        self._documents, self._chunk_lines, self._rows, self._chars = [], [], [], 0


def _tables(job: Job, folder: str, columns: Iterable[str], batches: Batches) -> Iterator[pa.Table]:
    lake = job.parts.open()
    names = list(columns)
    for batch in batches:
        for name in batch.column("part").to_pylist():
            yield read_table(lake, job.parts.key(f"{folder}/{name}"), names)


def _groups(batches: Batches, key: str) -> Iterator[list[dict[str, Any]]]:
    """Consecutive rows with one value of `key`, across the borders of batches."""
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, group in itertools.groupby(rows, key=operator.itemgetter(key)):
        yield list(group)


def _batched(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Batches:
    while block := list(itertools.islice(rows, _ROWS)):
        yield pa.RecordBatch.from_pylist(block, schema=schema)


def _without(table: pa.Table, removed: np.ndarray) -> pa.Table:
    return table.filter(pa.array(~np.isin(table["place"].to_numpy(), removed)))


def _summary(content: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([json.dumps(content)])], schema=SUMMARY)
