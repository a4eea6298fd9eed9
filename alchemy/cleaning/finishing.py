"""Step 3 of a wash: documents in the order of ids → corpus, chunks, metrics, copies, in parts."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from alchemy.cleaning.batches import DOCUMENT_ROWS, Batches, Part, among, tables
from alchemy.cleaning.boilerplate import strip
from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.copies import light, originals_at
from alchemy.cleaning.metrics import GENERIC, IDENTITY, document_metrics, metrics_schema
from alchemy.cleaning.parts import Job, sliced, write_table
from alchemy.cleaning.plan import Boilerplate, Copies
from alchemy.cleaning.tokens import chunk_budget, ruler
from alchemy.types import Document

DOCUMENT = pa.schema(
    [("range", pa.int64()), ("id", pa.string()), ("document", pa.string()), ("copy", pa.bool_())]
)
SUMMARY = pa.schema([("summary", pa.string())])


@dataclass(frozen=True)
class Finish:
    """A document's part of the final files.

    Attributes:
        chunks: lines of `rag_chunks.jsonl`.
        metrics: row of `metrics.parquet`.
    """

    line: str
    source: str
    chunks: Sequence[str]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Ranges:
    """Ranges of ids, so that what is stored range by range is stored in the order of ids.

    Attributes:
        starts: the first id of each range but the first, ascending.
        marks: what stands for each range, one more than there are starts.
    """

    starts: Sequence[str]
    marks: Sequence[int]


def document_batches(
    job: Job, removed: np.ndarray, copies: Copies, ranges: Ranges, parts: Iterable[Part]
) -> Batches:
    """Parts → DOCUMENT: the documents that stay, and the copies without their texts."""
    for table in tables(job, "read", ["id", "document"], parts):
        places = table["place"].to_numpy()
        originals = originals_at(copies, places)
        wanted = ~among(places, removed) | np.array([o is not None for o in originals], bool)
        rows = table.filter(pa.array(wanted))
        originals = [original for original, keep in zip(originals, wanted, strict=True) if keep]
        marks = [ranges.marks[bisect_right(ranges.starts, i)] for i in rows["id"].to_pylist()]
        rows = rows.set_column(0, "range", pa.array(marks, pa.int64()))
        rows = rows.append_column("original", pa.array(originals, pa.string()))
        for batch in sliced(rows, DOCUMENT_ROWS):
            yield _lightened(batch)


def _lightened(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Copies lose their texts before they travel."""
    if batch["original"].null_count < len(batch):
        pairs = zip(batch["document"].to_pylist(), batch["original"].to_pylist(), strict=True)
        lines = [line if original is None else light(line, original) for line, original in pairs]
        batch = batch.set_column(2, "document", pa.array(lines, pa.string()))
    copy = pa.array(batch["original"].is_valid())
    return pa.RecordBatch.from_arrays([*batch.columns[:3], copy], schema=DOCUMENT)


def chunk_batches(job: Job, boilerplate: Boilerplate, partition: int, batches: Batches) -> Batches:
    """Schema DOCUMENT, by id → SUMMARY: chunk, measure, and store the final lines in parts.

    Parts are named so that the order of names, over all partitions, is the order of ids.
    """
    finisher, writer = Finisher(job, boilerplate), FinalWriter(job, partition)
    for batch in batches:
        for line, copy in zip(batch["document"], batch["copy"], strict=True):
            if copy.as_py():
                writer.add_copy(line.as_py())
            else:
                writer.add(finisher.finish(line.as_py()))
    yield pa.RecordBatch.from_arrays([pa.array([json.dumps(writer.close())])], schema=SUMMARY)


class Finisher:
    """Takes out boilerplate, cuts and measures."""

    def __init__(self, job: Job, boilerplate: Boilerplate) -> None:
        self._model = job.settings.model_b
        self._cleaning = job.settings.cleaning
        self._starts = ruler(self._model)
        self._boilerplate = boilerplate

    def finish(self, line: str) -> Finish:
        """The final form of a cleaned document, with its chunks and metrics."""
        document = Document.from_dict(json.loads(line))
        stripped = strip(document, self._boilerplate, self._cleaning.boilerplate)
        if stripped.removed:
            document = stripped.document
            line = document.to_json()
        budget = chunk_budget(document, self._model, self._cleaning.chunk_tokens)
        chunks = chunk_document(document, self._starts, budget)
        row = {
            "document_id": document.id,
            "source": document.source,
            "created_at": document.created_at,
            "updated_at": document.updated_at,
            **document_metrics(document, len(chunks)),
        }
        return Finish(line, document.source, [chunk.to_json() for chunk in chunks], row)


class FinalWriter:
    """Stores finished documents in parts as they come."""

    def __init__(self, job: Job, partition: int) -> None:
        self._names: list[str] = []
        self._kept: Counter[str] = Counter()
        self._chunks = 0
        self._metrics: set[str] = set()
        self._job = job
        self._lake = job.parts.open()
        self._partition = partition
        self._held: list[Finish] = []
        self._copies: list[str] = []
        self._chars = 0

    def add_copy(self, line: str) -> None:
        """Take the next copy, a line of `copies.jsonl`; ids ascend."""
        self._copies.append(line)
        self._grown(len(line))

    def add(self, finish: Finish) -> None:
        """Take the next document; ids ascend."""
        self._held.append(finish)
        self._kept[finish.source] += 1
        self._chunks += len(finish.chunks)
        self._metrics.update(_measured(finish.metrics))
        self._grown(len(finish.line))

    def _grown(self, chars: int) -> None:
        self._chars += chars
        if self._chars >= self._job.parts.part_bytes:
            self._flush()

    def close(self) -> dict[str, Any]:
        """Store the rest; names of the parts, counts, and metrics that any document has."""
        self._flush()
        return {
            "parts": self._names,
            "kept": self._kept,
            "chunks": self._chunks,
            "metrics": sorted(self._metrics),
        }

    def _flush(self) -> None:
        if not self._held and not self._copies:
            return
        name = f"{self._partition:06d}-{len(self._names):04d}"
        key = self._job.parts.key
        corpus = "".join(f"{finish.line}\n" for finish in self._held)
        self._lake.write(key(f"corpus/{name}.jsonl"), corpus.encode())
        chunks = "".join(f"{line}\n" for finish in self._held for line in finish.chunks)
        self._lake.write(key(f"chunks/{name}.jsonl"), chunks.encode())
        copies = "".join(f"{line}\n" for line in self._copies)
        self._lake.write(key(f"copies/{name}.jsonl"), copies.encode())
        rows = [finish.metrics for finish in self._held]
        schema = metrics_schema({name for row in rows for name in _measured(row)})
        write_table(self._lake, key(f"metrics/{name}.parquet"), pa.Table.from_pylist(rows, schema))
        self._names.append(name)
        self._held, self._copies, self._chars = [], [], 0


def _measured(row: Mapping[str, Any]) -> Iterator[str]:
    """Metrics of a row that have a value: a column exists when any document has one."""
    return (n for n, v in row.items() if n not in IDENTITY and (v is not None or n in GENERIC))
