"""Which lines are boilerplate, from what reading has counted: whole columns at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np

from alchemy.cleaning.batches import among
from alchemy.cleaning.boilerplate import BoilerplateLine, Counts, common, limit, sample
from alchemy.cleaning.parts import read_table
from alchemy.cleaning.plan import Boilerplate, Reading
from alchemy.cleaning.reading import PLACE_BITS
from alchemy.config import CleaningSettings
from alchemy.protocols import Lake
from alchemy.types import Document

BOILERPLATE = "boilerplate.jsonl"
_SLOTS = 1 << 20
"""Counters of one source, 8 MB: with the usual limit of 5 % they tell lines apart up to some
hundred million of them; beyond, more lines are counted exactly than need to be."""


def boilerplate_of(
    lake: Lake, reading: Reading, removed: np.ndarray, settings: CleaningSettings
) -> tuple[Boilerplate, list[BoilerplateLine]]:
    """Lines to leave out of the documents that stay, and the report about them.

    Lines are counted in slots that several share, then exactly where a slot reached the limits: the
    memory does not grow with the corpus.

    Args:
        removed: places that do not stay, int64, sorted.
    """
    if not settings.boilerplate.enabled:
        return {}, []
    counts = Counts(Counter())
    slots: dict[str, np.ndarray] = {}
    for source, documents, lines in _kept(lake, reading, removed):
        counts.documents[source] += documents
        own = slots.setdefault(source, np.zeros(_SLOTS, np.int64))
        np.add.at(own, lines % _SLOTS, 1)
    reached = {
        source: own >= limit(counts.documents[source], settings.boilerplate)
        for source, own in slots.items()
    }
    if any(slot.any() for slot in reached.values()):
        for source, _, lines in _kept(lake, reading, removed):
            often = lines[reached[source][lines % _SLOTS]].tolist()
            counts.lines.setdefault(source, Counter()).update(often)
    found = common(counts, settings.boilerplate)
    return found, _report(lake, reading, removed, found, counts, settings)


def _kept(
    lake: Lake, reading: Reading, removed: np.ndarray
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Source, documents that stay, and digests of their candidate lines (uint64), by part."""
    for unit, key in reading.parts():
        table = read_table(lake, f"{key}.signed.parquet", ["ordinal", "source", "lines"])
        places = table["ordinal"].to_numpy() + (unit << PLACE_BITS)
        kept = ~among(places, removed)
        sources = np.array(table["source"].to_pylist(), dtype=object)
        column = table["lines"].combine_chunks()
        lengths = column.value_lengths().to_numpy()
        owners, values = np.repeat(np.arange(len(lengths)), lengths), column.flatten().to_numpy()
        for source in dict.fromkeys(sources):
            rows = kept & (sources == source)
            yield source, int(rows.sum()), values[rows[owners]].view(np.uint64)


def _report(
    lake: Lake,
    reading: Reading,
    removed: np.ndarray,
    found: Boilerplate,
    counts: Counts,
    settings: CleaningSettings,
) -> list[BoilerplateLine]:
    """One line each, by source and frequency, with a sample of the first document that has it."""
    wanted = {source: set(lines) for source, lines in found.items()}
    report: list[BoilerplateLine] = []
    for unit, key in reading.parts():
        if not any(wanted.values()):
            break
        signed = read_table(lake, f"{key}.signed.parquet", ["ordinal", "source", "lines"])
        places = signed["ordinal"].to_numpy() + (unit << PLACE_BITS)
        kept = ~among(places, removed)
        read: list[str] = []
        for row, (source, digests) in enumerate(
            zip(signed["source"].to_pylist(), signed["lines"].to_pylist(), strict=True)
        ):
            new = wanted.get(source, set()) & {digest % 2**64 for digest in digests}
            if not new or not kept[row]:
                continue
            if not read:
                table = read_table(lake, f"{key}.read.parquet", ["document"])
                read = table["document"].to_pylist()
            document = Document.from_dict(json.loads(read[row]))
            for digest in sorted(new):
                text = sample(document, digest, settings.boilerplate)
                documents = counts.lines[source][digest]
                report.append(BoilerplateLine(source, f"{digest:016x}", documents, text))
            wanted[source] -= new
    return sorted(report, key=lambda line: (line.source, -line.documents, line.line))
