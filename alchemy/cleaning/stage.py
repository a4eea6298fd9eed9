"""Stage "wash": raw units → cleaned corpus, chunks, metrics, and an account of every record."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from alchemy.cleaning import pii
from alchemy.cleaning.batches import Job, ReadUnit
from alchemy.cleaning.metrics import aligned, metrics_schema
from alchemy.cleaning.parts import Parts, clear, read_table
from alchemy.cleaning.spark import Duplicates, Finished, Reading, SparkWash
from alchemy.cleaning.tokens import wordpiece
from alchemy.config import LakeSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.protocols import Lake
from alchemy.stage import StageContext, write_jsonl
from alchemy.types import Document, JsonRecord, Receipt, text_digest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CORPUS = "cleaned_corpus.jsonl"
CHUNKS = "rag_chunks.jsonl"
METRICS = "metrics.parquet"
QUARANTINE = "quarantine.jsonl"
REMOVED = "removed.jsonl"
REDACTIONS = "redactions.json"

ROW_GROUP = 8192
log = get_logger()


def run(
    context: StageContext,
    spark: SparkSession,
    units: Sequence[JsonRecord],
    read_unit: ReadUnit,
) -> Receipt:
    """Wash all units and publish `processed/<run_id>/`.

    Redaction counts are of everything read, removed duplicates included.

    Args:
        units: what to read, in raw order; the position of a unit is part of its records' place.
        read_unit: `(lake, unit, settings) → documents and quarantined records`, importable in the
            executors by its module and name.

    Raises:
        AlchemyError: REDACTION_FAILED (nothing is published), STAGE_FAILED when the counts do not
            add up or Spark fails, or what the lake or a connector raised.
    """
    pii.check()
    wordpiece()  # a missing vocabulary should not wait for the last step to be noticed
    prefix = f"processed/{context.run_id}"
    settings = context.settings.model_copy(update={"lake": _reachable(context)})
    parts = Parts(settings.lake, f"{prefix}/parts/{secrets.token_hex(6)}")
    clear(context.lake, f"{prefix}/parts")
    try:
        wash = SparkWash(spark, Job(parts, settings), context.progress)
        reading = wash.read(units, read_unit)
        context.progress(
            "wash.read",
            {
                "units": len(units),
                "records": reading.read.total(),
                "quarantined": reading.quarantined.total(),
            },
        )
        duplicates = wash.duplicates(reading)
        context.progress(
            "wash.dedup",
            {"duplicates": len(duplicates.removed), "candidate_pairs": duplicates.candidates},
        )
        finished = wash.finish(reading, duplicates.places)
        counts = account(reading, duplicates, finished)
        context.progress(
            "wash.chunk", {"documents": finished.kept.total(), "chunks": finished.chunks}
        )
        files = assemble(context, parts, reading, duplicates, finished)
        return context.finish(
            prefix,
            files,
            rows=finished.kept.total(),
            schema=[field.name for field in fields(Document)],
            inputs={
                "units": text_digest(*(unit.to_json() for unit in units)),
                "settings": text_digest(context.settings.cleaning.model_dump_json()),
            },
            counts=counts,
        )
    finally:
        _clear_quietly(context.lake, f"{prefix}/parts")


def account(reading: Reading, duplicates: Duplicates, finished: Finished) -> dict[str, float]:
    """Receipt counts; every record that was read is kept, a duplicate or in quarantine.

    Raises:
        AlchemyError: STAGE_FAILED naming the source whose records do not add up.
    """
    counts: dict[str, float] = {}
    for source in sorted(reading.read):
        read, kept = reading.read[source], finished.kept[source]
        duplicate, quarantined = duplicates.by_source[source], reading.quarantined[source]
        if read != kept + duplicate + quarantined:
            raise AlchemyError(
                ErrorCode.STAGE_FAILED,
                f"records of {source!r} do not add up: {read} read, {kept} kept, "
                f"{duplicate} duplicate, {quarantined} quarantined",
                "Run the wash again; if it happens again this is a defect, please report it.",
            )
        counts |= {
            f"read.{source}": read,
            f"kept.{source}": kept,
            f"duplicate.{source}": duplicate,
            f"quarantined.{source}": quarantined,
        }
    if finished.kept.total() + duplicates.by_source.total() + reading.quarantined.total() != (
        reading.read.total()
    ):
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
        for name in (CORPUS, CHUNKS, METRICS, QUARANTINE, REMOVED, REDACTIONS)
    }
    lake = context.lake
    for name, folder in ((CORPUS, "corpus"), (CHUNKS, "chunks")):
        keys = (parts.key(f"{folder}/{part}.jsonl") for part in finished.parts)
        _join(lake, keys, files[name])
    _join(lake, (item.key for item in lake.list(parts.key("quarantine/"))), files[QUARANTINE])
    write_jsonl(files[REMOVED], duplicates.removed)
    redactions = {kind: reading.redactions.get(kind, 0) for kind in pii.KINDS}
    files[REDACTIONS].write_text(json.dumps(redactions, indent=1) + "\n", encoding="utf-8")
    keys = (parts.key(f"metrics/{part}.parquet") for part in finished.parts)
    _write_metrics(lake, keys, finished.metrics, files[METRICS])
    return files


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


def regrouped(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows of all tables in tables of `rows` rows; the last may be shorter."""
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        while held.num_rows >= rows:
            yield held.slice(0, rows).combine_chunks()
            held = held.slice(rows)
    if held.num_rows:
        yield held.combine_chunks()


def _clear_quietly(lake: Lake, prefix: str) -> None:
    """Delete the hand-off files; what cannot be deleted is garbage and must not hide an error."""
    try:
        clear(lake, prefix)
    except AlchemyError as error:
        log.warning("wash.parts_left", prefix=prefix, reason=str(error))
