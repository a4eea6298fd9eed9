"""The peers that `bench_clean.py` compares with: the same steps and kernels in other engines."""

# pyright: reportMissingImports=false
# (datatrove is installed only to be measured)
from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench_clean_report import report


@lru_cache(maxsize=1)
def _settings() -> Any:
    from alchemy.config import Settings

    return Settings()


def cleaned(record: dict[str, Any], number: int) -> dict[str, Any]:
    """One issue parsed, cleaned, judged and signed by this project's kernels."""
    import numpy as np

    from alchemy.cleaning import boilerplate, dedup, quality
    from alchemy.cleaning.reading import clean
    from alchemy.connectors.jira import read_issue
    from alchemy.connectors.records import RawUnit

    unit, settings = RawUnit("jira", "raw/jira/part.jsonl"), _settings()
    document = quality.assess(clean(read_issue(unit, settings, record, {}))[0])
    assert quality.refused(document, settings.cleaning.filters) is None
    exact, bands, sketch = dedup.sign(document, settings.cleaning.near_duplicate_jaccard)
    lines = boilerplate.count([document], settings.cleaning.boilerplate).lines["jira"]
    return {
        "place": number,
        "line": document.to_json(),
        "exact": exact,
        "bands": bands,
        "sketch": sketch,
        "lines": np.fromiter(lines, np.uint64, len(lines)),
    }


def common_lines(lines: list[Any]) -> dict[str, frozenset[int]]:
    """Lines that are boilerplate, from each document's lines."""
    import numpy as np

    settings = _settings().cleaning.boilerplate
    digests, times = np.unique(np.concatenate(lines), return_counts=True)
    least = max(settings.min_documents, settings.min_share * len(lines))
    return {"jira": frozenset(digests[times >= least].tolist())}


def finished(line: str, common: dict[str, frozenset[int]]) -> tuple[list[str], dict[str, Any]]:
    """Chunks and metrics of a cleaned document."""
    from alchemy.cleaning.boilerplate import strip
    from alchemy.cleaning.chunking import chunk_document
    from alchemy.cleaning.metrics import document_metrics
    from alchemy.cleaning.tokens import chunk_budget, ruler
    from alchemy.types import Document

    cleaning, model = _settings().cleaning, _settings().model_b
    document = Document.from_dict(json.loads(line))
    document = strip(document, common, cleaning.boilerplate).document
    budget = chunk_budget(document, model, cleaning.chunk_tokens)
    chunks = [chunk.to_json() for chunk in chunk_document(document, ruler(model), budget)]
    return chunks, document_metrics(document, len(chunks))


def duplicates(frame: Any, line_of: Callable[[list[int]], dict[int, str]]) -> set[int]:
    """Places to drop, from (place, exact, bands, sketch): first of equals stays; near ones verified."""
    import numpy as np
    import polars as pl

    from alchemy.cleaning import dedup
    from alchemy.types import Document

    frame, enough = frame.sort("place"), dedup.least_matches(0.85)
    gone = set(frame.filter(~pl.col("exact").is_first_distinct())["place"].to_list())
    shared = (
        frame.filter(~pl.col("place").is_in(list(gone)))
        .select("place", pl.col("bands").alias("band"))
        .explode("band")
        .group_by("band")
        .agg("place")
        .filter(pl.col("place").list.len() > 1)
    )
    sketches = np.frombuffer(b"".join(frame["sketch"]), np.uint64).reshape(frame.height, -1)
    pairs: set[tuple[int, int]] = set()
    for members in shared["place"].to_list():
        places = np.array(sorted(members))
        earlier, later = (places[side] for side in dedup.bucket_pairs(len(places)))
        alike = dedup.sketch_matches(sketches[earlier], sketches[later]) >= enough
        pairs.update(zip(earlier[alike].tolist(), later[alike].tolist(), strict=True))
    lines = line_of(sorted({place for pair in pairs for place in pair}))
    sets = {p: dedup.shingles_of(Document.from_dict(json.loads(x))) for p, x in lines.items()}
    for left, right in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        if left not in gone and dedup.jaccard(sets[left], sets[right]) >= 0.85:
            gone.add(right)
    return gone


def run_polars(engine: str, raw: Path) -> None:
    """One process."""
    import polars as pl

    def work() -> dict[str, Any]:
        rows = []
        for path in sorted(raw.glob("*.jsonl")):
            for record in pl.read_ndjson(path).iter_rows(named=True):
                rows.append(cleaned(record, len(rows)))
        frame = pl.DataFrame(
            {
                "place": [row["place"] for row in rows],
                "exact": [row["exact"] for row in rows],
                "bands": [row["bands"].tolist() for row in rows],
                "sketch": [row["sketch"] for row in rows],
            }
        )
        gone = duplicates(frame, lambda places: {p: rows[p]["line"] for p in places})
        kept = [row for row in rows if row["place"] not in gone]
        common = common_lines([row["lines"] for row in kept])
        measured = []
        with tempfile.TemporaryDirectory(prefix="alchemy-bench-") as place:
            with Path(place, "corpus").open("w") as corpus, Path(place, "chunks").open("w") as out:
                for row in kept:
                    corpus.write(row["line"] + "\n")
                    chunks, metrics = finished(row["line"], common)
                    out.writelines(f"{chunk}\n" for chunk in chunks)
                    measured.append(metrics)
            table = pl.DataFrame(measured)
            table.write_parquet(Path(place, "metrics"))
        return {"kept": len(kept), "chunks": int(table["chunks"].sum())}

    report(engine, 0.0, work)


def run_ray_data(engine: str, raw: Path) -> None:
    """Ray Data: read, map_batches, duplicates on the driver, map_batches, write."""
    import numpy as np
    import polars as pl
    import ray

    began = time.monotonic()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def clean_batch(batch: Any) -> Any:
        columns = zip(batch["key"], batch["summary"], batch["description"], strict=True)
        rows = [cleaned({"key": k, "summary": s, "description": d}, 0) for k, s, d in columns]
        return {
            "id": np.array(batch["key"], dtype=object),
            "line": np.array([row["line"] for row in rows], dtype=object),
            "exact": np.array([row["exact"] for row in rows], dtype=object),
            "bands": np.array([row["bands"].tobytes() for row in rows], dtype=object),
            "sketch": np.array([row["sketch"] for row in rows], dtype=object),
            "lines": np.array([row["lines"].tobytes() for row in rows], dtype=object),
        }

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="alchemy-bench-") as place:
            data = ray.data.read_json(str(raw), file_extensions=["jsonl"]).map_batches(
                clean_batch, batch_size=512
            )
            data.write_parquet(f"{place}/cleaned")
            stored = ray.data.read_parquet(f"{place}/cleaned")
            table = pl.scan_parquet(f"{place}/cleaned/*.parquet").select(
                "id", "exact", "bands", "sketch", "lines"
            )
            frame = (
                table.collect().with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
            )
            ids = frame["id"].to_list()
            scan = pl.scan_parquet(f"{place}/cleaned/*.parquet").select("id", "line")

            def lines_of(places: list[int]) -> dict[int, str]:
                wanted = {ids[p]: p for p in places}
                found = scan.filter(pl.col("id").is_in(list(wanted))).collect()
                return {wanted[i]: line for i, line in found.iter_rows()}

            keys = [np.frombuffer(raw, np.int64).tolist() for raw in frame["bands"]]
            bands = frame.select("place", "exact", "sketch").with_columns(bands=pl.Series(keys))
            dropped = {ids[p] for p in duplicates(bands, lines_of)}
            lines = zip(ids, frame["lines"], strict=True)
            common = common_lines(
                [np.frombuffer(b, np.uint64) for i, b in lines if i not in dropped]
            )
            gone = ray.put(dropped)

            def chunk_batch(batch: Any) -> Any:
                dropped = ray.get(gone)
                kept = [
                    line
                    for i, line in zip(batch["id"], batch["line"], strict=True)
                    if i not in dropped
                ]
                done = [finished(line, common) for line in kept]
                return {
                    "line": np.array(kept, dtype=object),
                    "chunks": np.array(["\n".join(chunks) for chunks, _ in done], dtype=object),
                    "count": np.array([metrics["chunks"] for _, metrics in done], np.int64),
                    "metrics": np.array([json.dumps(metrics) for _, metrics in done], dtype=object),
                }

            chunked = stored.map_batches(chunk_batch, batch_size=512)
            chunked.write_parquet(f"{place}/chunks")
            count = pl.scan_parquet(f"{place}/chunks/*.parquet").select(pl.col("count").sum())
            return {"kept": len(ids) - len(dropped), "chunks": count.collect().item()}

    report(engine, time.monotonic() - began, work)


def run_datatrove(engine: str, raw: Path) -> None:
    """datatrove's own steps on two local workers, with this project's chunker."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    def adapter(self: Any, data: dict, path: str, id_in_file: int | str) -> dict:
        text = f"{data['summary']}\n\n{data['description']}"
        return {"text": text, "id": data["key"], "media": [], "metadata": {}}

    def chunked(data: Any, rank: int = 0, world_size: int = 1) -> Any:
        from alchemy.cleaning.chunking import chunk_document
        from alchemy.cleaning.tokens import wordpiece
        from alchemy.types import Document

        for doc in data:
            document = Document(doc.id, "jira", doc.id, doc.text, doc.id, "default", ("everyone",))
            pieces = chunk_document(document, wordpiece(), 180)
            doc.metadata["chunks"] = [piece.to_json() for piece in pieces]
            yield doc

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="alchemy-bench-") as place:
            config = MinhashConfig(n_grams=3, num_buckets=14, hashes_per_bucket=8)
            tasks = len(list(raw.glob("*.jsonl")))

            def read() -> list[Any]:
                return [
                    JsonlReader(str(raw), adapter=adapter, glob_pattern="*.jsonl"),
                    PIIFormatter(),
                ]

            def execute(steps: list[Any], count: int) -> None:
                LocalPipelineExecutor(
                    steps,
                    tasks=count,
                    workers=2,
                    skip_completed=False,
                    logging_dir=f"{place}/logs",
                ).run()

            execute([*read(), MinhashDedupSignature(f"{place}/signatures", config=config)], tasks)
            execute(
                [MinhashDedupBuckets(f"{place}/signatures", f"{place}/buckets", config=config)],
                config.num_buckets,
            )
            execute([MinhashDedupCluster(f"{place}/buckets", f"{place}/gone", config=config)], 1)
            execute(
                [
                    *read(),
                    MinhashDedupFilter(f"{place}/gone"),
                    chunked,
                    JsonlWriter(f"{place}/out", compression=None),
                ],
                tasks,
            )
            kept = chunks = 0
            for path in Path(place, "out").glob("*.jsonl"):
                with path.open() as file:
                    for line in file:
                        kept += 1
                        chunks += len(json.loads(line)["metadata"]["chunks"])
            return {"kept": kept, "chunks": chunks}

    report(engine, 0.0, work)
