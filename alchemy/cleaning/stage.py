"""Stage "wash": raw data → cleaned corpus, chunks, metrics, and an account of every record."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

import polars as pl
import pyarrow.parquet as pq

from alchemy.cleaning import dedup, ledger, ner, pii, quality
from alchemy.cleaning.copies import COPIES
from alchemy.cleaning.ledger import LEDGER, Ledger
from alchemy.cleaning.metrics import aligned, metrics_schema
from alchemy.cleaning.parts import Job, Parts, clear, read_table, regrouped
from alchemy.cleaning.plan import Duplicates, Engine, Finished, RawData, Reading
from alchemy.cleaning.previous import (
    CHUNKS,
    CORPUS,
    METRICS,
    RECORDS,
    Previous,
    boilerplate_digests,
)
from alchemy.cleaning.reading import QUARANTINE
from alchemy.cleaning.records import Records
from alchemy.cleaning.repeated import BOILERPLATE, boilerplate_of
from alchemy.cleaning.tokens import ruler
from alchemy.config import LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake
from alchemy.stage import StageContext, write_jsonl
from alchemy.stores.tombstones import FORGOTTEN_INPUT, read_forgotten
from alchemy.types import Document, Receipt, Removed, digest_of

REMOVED = "removed.jsonl"
REDACTIONS = "redactions.json"

UNIT_BYTES = 1 << 20
"""Raw bytes of one task's reading: small enough to keep all cores busy to the end."""
ROW_GROUP = 8192

EngineName = Literal["spark", "ray"]
log = get_logger()


@dataclass(frozen=True)
class Order:
    """What an engine is opened for."""

    name: EngineName
    job: Job
    previous: Previous | None


OpenEngine: TypeAlias = Callable[[Order], AbstractContextManager[Engine]]


def run(context: StageContext, raw: RawData, open_engine: OpenEngine) -> Receipt:
    """Wash what changed since the last wash, and publish `processed/<run_id>/`.

    The files do not depend on what was known before, nor on the engine.

    Raises:
        AlchemyError: REDACTION_FAILED (nothing is published), VANISHED when too much of a source
            is gone, STAGE_FAILED when the counts do not add up or Spark fails, or what the lake or
            a connector raised.
    """
    pii.check()
    quality.check()
    ner.check(context.settings.cleaning.ner)
    ruler(context.settings.model_b)  # what is missing should not wait for the last step to be seen
    prefix = f"processed/{context.run_id}"
    settings = context.settings.model_copy(update={"lake": _reachable(context)})
    lake, sync = context.lake, settings.sync
    reading_digest = ledger.reading_digest(settings, UNIT_BYTES)
    last = ledger.last_ledger(lake)
    planned = ledger.plan(lake, raw, reading_digest, last, sync.full)
    done = {} if sync.full else ledger.finished_tasks(lake, planned.tasks, reading_digest)
    tasks = [task for task in planned.tasks if task.root not in done]
    previous = _previous(context, last)
    name = choose_engine(settings, planned.pending_bytes, previous is not None)
    context.progress(
        "wash.planned",
        {"objects": len(planned.objects), "units_to_read": len(tasks), "engine": name},
    )
    parts = Parts(settings.lake, f"{prefix}/parts/{secrets.token_hex(6)}")
    forgotten = read_forgotten(lake)
    job = Job(parts, settings, forgotten.documents)
    clear(lake, f"{prefix}/parts")
    try:
        with open_engine(Order(name, job, previous)) as engine:
            done |= {one.root: one for one in engine.read(tasks, raw.read_unit)}
            entries = planned.entries(done)
            reading = Reading.of([unit for entry in entries.values() for unit in entry.units])
            records = Records.of(job, reading, context.scratch / "records")
            changed = _changes(context, last, records)
            context.progress(
                "wash.read",
                {"records": reading.read.total(), "quarantined": reading.quarantined.total()},
            )
            duplicates = engine.duplicates(reading)
            context.progress(
                "wash.dedup",
                {"duplicates": duplicates.removed.height, "candidate_pairs": duplicates.candidates},
            )
            left_out, report = boilerplate_of(lake, reading, duplicates.places, settings.cleaning)
            finished = engine.finish(reading, duplicates, left_out)
        counts = account(reading, duplicates, finished)
        context.progress(
            "wash.chunk",
            {
                "documents": finished.kept.total(),
                "chunks": finished.chunks,
                "reused": finished.reused,
            },
        )
        files = assemble(context, parts, reading, duplicates, finished)
        files |= {name: context.out(name) for name in (RECORDS, LEDGER, BOILERPLATE)}
        write_jsonl(files[BOILERPLATE], report)
        records.write(duplicates.places, files[RECORDS])
        digests = boilerplate_digests(left_out)
        now = Ledger("", reading_digest, _finishing(context), entries, digests)
        now.write(files[LEDGER])
        receipt = context.finish(
            prefix,
            files,
            rows=finished.kept.total(),
            schema=[field.name for field in fields(Document)],
            inputs={
                "raw": digest_of({key: entry.sha256 for key, entry in now.entries.items()}),
                "settings": now.finishing,
                FORGOTTEN_INPUT: forgotten.digest,
            },
            counts=counts | changed,
        )
        ledger.publish_ledger(lake, context.run_id)
        ledger.drop_replaced(lake, last, now)
        return receipt
    finally:
        _clear_quietly(lake, f"{prefix}/parts")


def choose_engine(settings: Settings, pending_bytes: int, increment: bool) -> EngineName:
    """Spark for a first wash and for much that is new, plain Ray tasks for small increments."""
    if settings.sync.engine != "auto":
        return settings.sync.engine
    small = pending_bytes <= settings.sync.spark_above_mb << 20
    return "ray" if increment and small else "spark"


def _finishing(context: StageContext) -> str:
    return ledger.finishing_digest(context.settings, UNIT_BYTES)


def _previous(context: StageContext, last: Ledger | None) -> Previous | None:
    """The last wash's files, when this one would make the same of the same records."""
    if last is None or last.finishing != _finishing(context) or context.settings.sync.full:
        return None
    return ledger.fetch_previous(context.lake, last, context.scratch / "previous")


def _changes(context: StageContext, last: Ledger | None, records: Records) -> dict[str, float]:
    """Receipt counts of what is different from the last wash; VANISHED for too much."""
    key = f"processed/{last.run_id}/{RECORDS}" if last else ""
    if not key or not context.lake.exists(key):
        return {}
    before = context.scratch / "before" / RECORDS
    context.lake.download(key, before)
    changed = records.changes(before)
    ledger.check_vanished(changed, context.settings.sync)
    counts = {f"{kind}.{source}": n for kind, by in changed.items() for source, n in by.items()}
    context.progress("wash.changes", {kind: by.total() for kind, by in changed.items()})
    return {name: float(counts[name]) for name in sorted(counts)}


def account(reading: Reading, duplicates: Duplicates, finished: Finished) -> dict[str, float]:
    """Receipt counts; every record read is kept, a duplicate, filtered, forgotten or quarantined.

    Raises:
        AlchemyError: STAGE_FAILED naming the source whose records do not add up.
    """
    counts: dict[str, float] = {}
    is_filtered = pl.col("reason").str.starts_with(dedup.FILTERED)
    is_forgotten = pl.col("reason") == dedup.FORGOTTEN
    by_filter, by_tombstone, by_rule = map(
        duplicates.by_source, (is_filtered, is_forgotten, ~is_filtered & ~is_forgotten)
    )
    for source in sorted(reading.read):
        read, kept = reading.read[source], finished.kept[source]
        duplicate, quarantined = by_rule[source], reading.quarantined[source]
        filtered, forgotten = by_filter[source], by_tombstone[source]
        if read != kept + duplicate + filtered + forgotten + quarantined:
            raise AlchemyError(
                ErrorCode.STAGE_FAILED,
                f"records of {source!r} do not add up: {read} read, {kept} kept, "
                f"{duplicate} duplicate, {filtered} filtered, {forgotten} forgotten, "
                f"{quarantined} quarantined",
                "Run the wash again; if it happens again this is a defect, please report it.",
            )
        counts |= {
            f"read.{source}": read,
            f"kept.{source}": kept,
            f"duplicate.{source}": duplicate,
            f"filtered.{source}": filtered,
            f"quarantined.{source}": quarantined,
        }
        if forgotten:
            counts[f"forgotten.{source}"] = forgotten
    gone = duplicates.removed.height
    if finished.kept.total() + gone + reading.quarantined.total() != reading.read.total():
        raise AlchemyError(ErrorCode.STAGE_FAILED, "records of a source that was not read appeared")
    return counts | {"chunks": finished.chunks}


def _reachable(context: StageContext) -> LakeSettings:
    """Lake settings that mean the same directory in every process."""
    lake = context.settings.lake
    return (
        lake
        if lake.s3_bucket
        else lake.model_copy(update={"root": str(Path(lake.root).absolute())})
    )


def assemble(
    context: StageContext,
    parts: Parts,
    reading: Reading,
    duplicates: Duplicates,
    finished: Finished,
) -> dict[str, Path]:
    """The final files in scratch, streamed from the parts in order."""
    files = {
        name: context.out(name)
        for name in (CORPUS, CHUNKS, COPIES, METRICS, QUARANTINE, REMOVED, REDACTIONS)
    }
    lake = context.lake
    for name, folder in ((CORPUS, "corpus"), (CHUNKS, "chunks"), (COPIES, "copies")):
        keys = (parts.key(f"{folder}/{part}.jsonl") for part in finished.parts)
        _join(lake, keys, files[name])
    bad = (f"{unit.root}/{QUARANTINE}" for unit in reading.units if unit.bad)
    _join(lake, bad, files[QUARANTINE])
    write_jsonl(files[REMOVED], _removed(duplicates.removed))
    redactions = dict.fromkeys(pii.KINDS, 0) | dict(sorted(reading.redactions.items()))
    files[REDACTIONS].write_text(json.dumps(redactions, indent=1) + "\n", encoding="utf-8")
    keys = (parts.key(f"metrics/{part}.parquet") for part in finished.parts)
    _write_metrics(lake, keys, finished.metrics, files[METRICS])
    return files


def _removed(frame: pl.DataFrame) -> Iterator[Removed]:
    rows = frame.select("id", "reason", "survivor", "similarity").iter_rows()
    for identity, reason, survivor, similarity in rows:
        yield Removed(identity, reason, survivor, similarity and round(similarity, 4))


def _join(lake: Lake, keys: Iterable[str], target: Path) -> None:
    with target.open("wb") as file:
        for key in keys:
            for piece in lake.stream(key):
                file.write(piece)


def _write_metrics(lake: Lake, keys: Iterable[str], names: Sequence[str], target: Path) -> None:
    """One file in row groups of equal size, however the rows were divided into parts."""
    schema = metrics_schema(names)
    tables = (aligned(read_table(lake, key), schema) for key in keys)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for group in regrouped(tables, schema, ROW_GROUP):
            writer.write_table(group, row_group_size=ROW_GROUP)


def _clear_quietly(lake: Lake, prefix: str) -> None:
    """Delete the hand-off files; what cannot be deleted is garbage and must not hide an error."""
    try:
        clear(lake, prefix)
    except AlchemyError as error:
        log.warning("wash.parts_left", prefix=prefix, reason=str(error))
