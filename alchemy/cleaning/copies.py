"""Records that were left out as duplicates, without their texts: what counts records counts them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from alchemy.cleaning import dedup
from alchemy.cleaning.metrics import document_metrics
from alchemy.cleaning.plan import Copies
from alchemy.types import Document

COPIES = "copies.jsonl"


def copies_of(removed: pl.DataFrame) -> Copies:
    """Each record that says what another one says, in its newest version.

    Args:
        removed: schema LEFT_OUT; an older version of a record is removed for that record itself.
    """
    said = removed.filter(
        pl.col("reason").is_in([dedup.EXACT, dedup.NEAR]) & (pl.col("survivor") != pl.col("id"))
    ).select("place", "id", "survivor")
    # past copies of copies: each original is earlier in record order, so this ends
    above = said.select(pl.col("id").alias("survivor"), pl.col("survivor").alias("further"))
    while said.join(above, on="survivor", how="semi").height:
        joined = said.join(above, on="survivor", how="left", maintain_order="left")
        said = joined.select("place", "id", pl.coalesce("further", "survivor").alias("survivor"))
    said = said.sort("place")
    return Copies(said["place"].to_numpy(), said["survivor"].to_arrow())


def light(line: str, original: str) -> str:
    """A cleaned document as a copy: without its text, since search has the other one's.

    `extra.same_as` names the original; the numbers measure the text that it had.
    """
    document = Document.from_dict(json.loads(line))
    numbers = {**document_metrics(document, 0), "chunks": None}
    extra = {**document.extra, "same_as": original}
    return replace(document, text="", metrics=numbers, extra=extra).to_json()


def originals_at(copies: Copies, places: np.ndarray) -> list[str | None]:
    """Of each place the original of the copy there; None where there is none."""
    if len(copies.places) == 0:
        return [None] * len(places)
    at = np.minimum(np.searchsorted(copies.places, places), len(copies.places) - 1)
    there = copies.places[at] == places
    found = zip(copies.originals.take(pa.array(at)).to_pylist(), there, strict=True)
    return [original if known else None for original, known in found]
