"""Records that were left out as duplicates, without their texts: what counts records counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alchemy.cleaning import batches, dedup
from alchemy.cleaning.metrics import document_metrics
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import Duplicates, Reading
from alchemy.cleaning.reading import PLACE_BITS
from alchemy.types import Document

COPIES = "copies.jsonl"


def copies(job: Job, reading: Reading, duplicates: Duplicates) -> list[Document]:
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
        return []
    newest: dict[str, tuple[tuple[str, int], Document]] = {}
    for place, document in _left_out(job, reading, duplicates.places, sorted(others)):
        version = ((document.updated_at or "").removesuffix("Z"), place)
        known = newest.get(document.id)
        if known is None or version > known[0]:
            numbers = {**document_metrics(document, 0), "chunks": None}
            extra = {**document.extra, "same_as": _survivor(others, document.id)}
            light = replace(document, text="", metrics=numbers, extra=extra)
            newest[document.id] = (version, light)
    return [newest[identity][1] for identity in sorted(newest)]


def _survivor(others: Mapping[str, str], identity: str) -> str:
    """The one that stays, past copies of copies; each of them is earlier in record order."""
    while identity in others:
        identity = others[identity]
    return identity


def _left_out(
    job: Job, reading: Reading, places: np.ndarray, ids: list[str]
) -> Iterator[tuple[int, Document]]:
    units = set((places >> PLACE_BITS).tolist())
    wanted = pa.array(ids, pa.string())
    those = (part for part in reading.parts() if part[0] in units)
    for table in batches.tables(job, "read", ["id", "document"], those):
        removed = table.filter(pa.array(batches.among(table["place"].to_numpy(), places)))
        mine = removed.filter(pc.is_in(removed["id"], wanted))  # pyright: ignore[reportAttributeAccessIssue]
        for row in mine.to_pylist():
            yield row["place"], Document.from_dict(json.loads(row["document"]))
