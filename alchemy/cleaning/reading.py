"""Step 1 of a wash: a unit of raw data → cleaned documents and signatures, in parts.

What is stored is a function of the unit's content, its key and the cleaning settings, under a name
made of those: a task that is tried again writes the same objects, and the next wash finds them.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from alchemy.cleaning import boilerplate, dedup, quality
from alchemy.cleaning.ner import redact_people
from alchemy.cleaning.parts import Job, lists, read_table, write_table
from alchemy.cleaning.pii import redact_document, redact_quarantined
from alchemy.cleaning.plan import ReadUnit, UnitDone, UnitTask, part_key
from alchemy.cleaning.text import normalise, one_line
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import Document, Quarantined, text_digest

PLACE_BITS = 32
"""A place is `unit << PLACE_BITS | ordinal`: the order of places is the order of the raw data."""

_DIGEST = pa.binary(16)
READ = pa.schema([("ordinal", pa.int64()), ("id", pa.string()), ("document", pa.string())])
SIGNED = pa.schema(
    [
        ("ordinal", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("created", pa.string()),
        ("updated", pa.string()),
        ("exact", pa.string()),
        ("filter", pa.string()),  # why a quality filter removes it; null for most
        ("raw", _DIGEST),  # of the record as the connector gave it
        ("line", _DIGEST),  # of the cleaned document
        ("redactions", pa.string()),  # JSON of counts by kind, null for none
        ("bands", pa.list_(pa.int64())),
        ("sketch", pa.binary(dedup.SKETCH_BYTES)),
        ("lines", pa.list_(pa.int64())),  # digests of lines that may be boilerplate
    ]
)
_BATCH = 64
DONE = "done.json"
QUARANTINE = "quarantine.jsonl"


def clean(document: Document) -> tuple[Document, Counter[str]]:
    """The document normalised and redacted, its hash renewed; what was redacted by kind."""
    title = one_line(document.title)
    # a record that has only a title is found by it, so the title is its text
    text = normalise(document.text) or title
    document, found = redact_document(replace(document, title=title, text=text))
    return replace(document, content_hash=text_digest(document.title, document.text)), found


def short_digest(text: str) -> bytes:
    """16 bytes that tell texts apart."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_task(job: Job, read_unit: ReadUnit, task: UnitTask) -> UnitDone:
    """Read, clean and sign one unit, and store it in parts; the record of that is stored last."""
    lake = job.parts.open()
    read: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    bad: list[str] = []
    writer = _Writer(job, lake, task)
    outcomes = _guarded(read_unit(lake, task.unit, job.settings), task.unit)
    for ordinal, outcome in enumerate(outcomes):
        read[outcome.source] += 1
        if isinstance(outcome, Quarantined):
            quarantined[outcome.source] += 1
            bad.append(redact_quarantined(outcome).to_json() + "\n")
        else:
            writer.add(ordinal, outcome)
    writer.flush()
    if bad:
        lake.write(f"{task.root}/{QUARANTINE}", "".join(bad).encode())
    done = UnitDone(
        root=task.root,
        label=getattr(task.unit, "part", ""),
        parts=writer.parts,
        text_bytes=writer.text_bytes,
        read=dict(read),
        quarantined=dict(quarantined),
        redactions=dict(writer.redactions),
        bad=bool(bad),
    )
    lake.write(f"{task.root}/{DONE}", done.to_json().encode())
    return done


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


class _Writer:
    """Stores cleaned documents, and apart from them what finding duplicates needs."""

    def __init__(self, job: Job, lake: Lake, task: UnitTask) -> None:
        self.parts = 0
        self.text_bytes = 0
        self.redactions: Counter[str] = Counter()
        self._job = job
        self._lake = lake
        self._root = task.root
        self._earlier = _Earlier(lake, task.earlier)
        self._waiting: list[tuple[int, bytes, Document]] = []
        self._waiting_chars = 0
        self._documents: list[dict[str, Any]] = []
        self._signed: list[dict[str, Any]] = []
        self._chars = 0

    def add(self, ordinal: int, document: Document) -> None:
        raw = short_digest(document.to_json())
        self._waiting.append((ordinal, raw, document))
        self._waiting_chars += len(document.text)
        if len(self._waiting) >= _BATCH or self._waiting_chars >= self._job.parts.part_bytes:
            self._clean_waiting()

    def _clean_waiting(self) -> None:
        """A batch at a time, since a named-entity engine reads several texts at once."""
        known = [self._earlier.find(raw) for _, raw, _ in self._waiting]
        new = [d for (_, _, d), found in zip(self._waiting, known, strict=True) if found is None]
        fresh = iter(self._cleaned(new))
        for (ordinal, raw, _), found in zip(self._waiting, known, strict=True):
            line, signed = found or next(fresh)
            self._documents.append({"ordinal": ordinal, "id": signed["id"], "document": line})
            self._signed.append({**signed, "ordinal": ordinal, "raw": raw})
            if signed["redactions"] is not None:
                self.redactions.update(json.loads(signed["redactions"]))
            self._chars += len(line)
            if self._chars >= self._job.parts.part_bytes:
                self._store()
        self._waiting, self._waiting_chars = [], 0

    def _cleaned(self, documents: Sequence[Document]) -> Iterator[tuple[str, dict[str, Any]]]:
        settings = self._job.settings.cleaning
        cleaned = [clean(document) for document in documents]
        named = redact_people([quality.assess(document) for document, _ in cleaned], settings.ner)
        for (_, found), (document, people) in zip(cleaned, named, strict=True):
            signature = dedup.sign(document, settings.near_duplicate_jaccard)
            refused = quality.refused(document, settings.filters)
            lines = boilerplate.count([document], settings.boilerplate).lines[document.source]
            counts = found + people
            line = document.to_json()
            yield (
                line,
                {
                    "id": document.id,
                    "source": document.source,
                    "created": document.created_at or "",
                    # without the Z, 20:46:44 sorts before 20:46:44.5
                    "updated": (document.updated_at or "").removesuffix("Z"),
                    "exact": signature.exact,
                    "filter": refused.reason if refused else None,
                    "line": short_digest(line),
                    "redactions": json.dumps(counts, sort_keys=True) if counts else None,
                    "bands": signature.bands,
                    "sketch": signature.sketch,
                    "lines": np.array(sorted(lines), np.uint64).view(np.int64),
                },
            )

    def flush(self) -> None:
        """Store what is left."""
        self._clean_waiting()
        self._store()

    def _store(self) -> None:
        if not self._documents:
            return
        key = part_key(self._root, self.parts)
        read = pa.Table.from_pylist(self._documents, READ)
        write_table(self._lake, f"{key}.read.parquet", read)
        columns = {name: [row[name] for row in self._signed] for name in SIGNED.names}
        signed = pa.table(
            {n: lists(c) if n in ("bands", "lines") else c for n, c in columns.items()}, SIGNED
        )
        write_table(self._lake, f"{key}.signed.parquet", signed)
        self.parts += 1
        self.text_bytes += self._chars
        self._documents, self._signed, self._chars = [], [], 0


class _Earlier:
    """Cleaned records of the last wash by the digest of their raw form; loaded when first asked."""

    def __init__(self, lake: Lake, keys: Iterable[str]) -> None:
        self._lake = lake
        self._keys = tuple(keys)
        self._found: dict[bytes, tuple[str, dict[str, Any]]] | None = None

    def find(self, raw: bytes) -> tuple[str, dict[str, Any]] | None:
        if self._found is None:
            self._found = {}
            for key in self._keys:
                lines = read_table(self._lake, f"{key}.read.parquet", ["document"])
                signed = read_table(self._lake, f"{key}.signed.parquet")
                for line, row in zip(
                    lines.column("document").to_pylist(), signed.to_pylist(), strict=True
                ):
                    for name in ("bands", "lines"):
                        row[name] = np.array(row[name], np.int64)
                    self._found[row["raw"]] = (line, row)
        return self._found.get(raw)
