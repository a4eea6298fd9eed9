"""Records that were left out as duplicates, without their texts: what counts records counts them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from alchemy.cleaning import batches, dedup
from alchemy.cleaning.batches import Batches
from alchemy.cleaning.metrics import document_metrics
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import Duplicates, Engine, Part, Reading
from alchemy.cleaning.reading import PLACE_BITS
from alchemy.types import Document

COPIES = "copies.jsonl"


_COPY = pa.schema(
    [
        ("id", pa.string()),
        ("version", pa.string()),
        ("place", pa.int64()),
        ("document", pa.string()),
    ]
)


def copies(
    job: Job, engine: Engine, reading: Reading, duplicates: Duplicates
) -> Iterator[Document]:
    """Each record that says what another one says, in its newest version, by id.

    The text is empty, since search has the other one's, which `extra.same_as` names; the numbers
    measure it.
    """
    others = {
        record.id: record.survivor
        for record in duplicates.removed
        if record.reason in (dedup.EXACT, dedup.NEAR)
        and record.survivor is not None
        and record.survivor != record.id
    }
    if not others:
        return
    units = set((duplicates.places >> PLACE_BITS).tolist())
    parts = [part for part in reading.parts() if part[0] in units]
    step = partial(_left_out, job, duplicates.places, frozenset(others))
    found = pl.from_arrow(engine.gather(parts, step, _COPY))
    assert isinstance(found, pl.DataFrame)
    newest = found.sort("id", "version", "place").unique("id", keep="last", maintain_order=True)
    for identity, line in newest.select("id", "document").iter_rows():
        light = Document.from_dict(json.loads(line))
        yield replace(light, extra={**light.extra, "same_as": _survivor(others, identity)})


def _survivor(others: Mapping[str, str], identity: str) -> str:
    """The one that stays, past copies of copies; each of them is earlier in record order."""
    while identity in others:
        identity = others[identity]
    return identity


def _left_out(job: Job, places: np.ndarray, ids: Collection[str], parts: Iterable[Part]) -> Batches:
    """Parts → _COPY: the removed records with one of these ids."""
    for table in batches.tables(job, "read", ["id", "document"], parts):
        removed = table.filter(pa.array(batches.among(table["place"].to_numpy(), places)))
        rows: list[tuple[str, str, int, str]] = []
        for row in removed.to_pylist():
            if row["id"] in ids:
                document = Document.from_dict(json.loads(row["document"]))
                numbers = {**document_metrics(document, 0), "chunks": None}
                light = replace(document, text="", metrics=numbers)
                version = (document.updated_at or "").removesuffix("Z")
                rows.append((document.id, version, row["place"], light.to_json()))
        columns = zip(*rows, strict=True) if rows else ([], [], [], [])
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, _COPY, strict=True)], schema=_COPY
        )
