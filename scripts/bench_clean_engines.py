"""The engines that `bench_clean.py` compares; each runs in a process of its own."""

# pyright: reportMissingImports=false
# (datatrove is installed only to be measured)
from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MARK = "bench-result:"


def machine_cpu_s() -> float:
    """CPU-seconds all processes of this machine have used."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def report(engine: str, start_s: float, work: Callable[[], dict[str, Any]]) -> None:
    """Time the work and print one line for the parent."""
    cpu, began = machine_cpu_s(), time.monotonic()
    result = work()
    figures = {
        "engine": engine,
        "start_s": round(start_s, 1),
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(machine_cpu_s() - cpu, 1),
        **result,
    }
    print(MARK + json.dumps(figures), flush=True)


# --- this project's plan --------------------------------------------------------------------------


def _stage(raw: Path, engine: str, opener: Callable[[Any], Any]) -> dict[str, Any]:
    from actors import cleaner
    from alchemy.cleaning import stage
    from alchemy.config import LakeSettings, Settings, SyncSettings
    from alchemy.stage import StageContext
    from alchemy.stores import open_lake

    with tempfile.TemporaryDirectory(prefix="alchemy-bench-") as place:
        folder = Path(place, "raw", "jira")
        folder.mkdir(parents=True)
        for path in raw.iterdir():
            os.link(path, folder / path.name)
        settings = Settings(
            lake=LakeSettings(root=place),
            sync=SyncSettings.model_validate({"engine": engine}),
        )
        lake = open_lake(settings.lake)
        context = StageContext("run", "wash", settings, lake, Path(place) / "scratch")
        receipt = stage.run(context, cleaner.raw_data(context.settings), opener)
        return {"kept": receipt.rows, "chunks": int(receipt.counts["chunks"])}


def run_spark(engine: str, raw: Path) -> None:
    """The Spark plan, on RayDP or on Spark local mode."""
    from contextlib import contextmanager

    from alchemy.cleaning.spark import SparkEngine
    from alchemy.config import SparkSettings
    from alchemy.stage import no_progress

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alchemy-spark-") as scratch:
        settings = SparkSettings()
        with _session(engine, settings, Path(scratch)) as session:

            @contextmanager
            def opener(order: Any) -> Iterator[Any]:
                yield SparkEngine(session, order.job, no_progress)

            report(engine, time.monotonic() - began, lambda: _stage(raw, "spark", opener))


def _session(engine: str, settings: Any, scratch: Path) -> Any:
    from contextlib import contextmanager

    from actors.spark_session import configuration, spark_session
    from alchemy.cleaning.java import put_on_path

    put_on_path()
    if engine == "raydp":
        import ray

        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        return spark_session(settings, scratch)

    @contextmanager
    def local() -> Iterator[Any]:
        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable
        builder: Any = SparkSession.builder
        builder = builder.master(f"local[{settings.executor_cores}]")
        for key, value in configuration(settings, scratch).items():
            if "raydp" not in key and ".ray." not in key:
                builder = builder.config(key, value)
        session = builder.config("spark.driver.memory", "2g").getOrCreate()
        session.range(1).count()
        try:
            yield session
        finally:
            session.stop()

    return local()


def run_ray(engine: str, raw: Path) -> None:
    """The engine for increments, on everything."""
    from contextlib import contextmanager

    import ray

    from actors.cleaner import read_on_ray
    from alchemy.cleaning.local import LocalEngine

    began = time.monotonic()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)

    @contextmanager
    def opener(order: Any) -> Iterator[Any]:
        yield LocalEngine(order.job, read_on_ray, order.previous)

    report(engine, time.monotonic() - began, lambda: _stage(raw, "ray", opener))


# --- the same kernels elsewhere -------------------------------------------------------------------


def cleaned(record: dict[str, Any], number: int) -> dict[str, Any]:
    """One issue parsed, cleaned and signed by this project's kernels."""
    from alchemy.cleaning import dedup
    from alchemy.cleaning.reading import clean
    from alchemy.connectors.blocks import to_markdown
    from alchemy.connectors.wiki_markup import parse_wiki
    from alchemy.types import Document

    text = to_markdown(parse_wiki(record["description"]))
    key = record["key"]
    document = Document(
        f"jira:{key}", "jira", record["summary"], text, key, "default", ("everyone",)
    )
    document, _ = clean(document)
    exact, bands = dedup.sign(document, 0.85)
    return {"place": number, "line": document.to_json(), "exact": exact, "bands": bands}


def chunk_lines(line: str) -> list[str]:
    """Chunks of a cleaned document."""
    from alchemy.cleaning.chunking import chunk_document
    from alchemy.cleaning.tokens import wordpiece
    from alchemy.types import Document

    document = Document.from_dict(json.loads(line))
    return [chunk.to_json() for chunk in chunk_document(document, wordpiece(), 180)]


def duplicates(frame: Any, line_of: Callable[[list[int]], dict[int, str]]) -> set[int]:
    """Places to drop, from (place, exact, bands): first of equals stays; near ones verified."""
    import polars as pl

    from alchemy.cleaning import dedup
    from alchemy.types import Document

    frame = frame.sort("place")
    gone = set(frame.filter(~pl.col("exact").is_first_distinct())["place"].to_list())
    shared = (
        frame.filter(~pl.col("place").is_in(list(gone)))
        .select("place", pl.col("bands").alias("band"))
        .explode("band")
        .group_by("band")
        .agg("place")
        .filter(pl.col("place").list.len() > 1)
    )
    pairs = {
        p for members in shared["place"].to_list() for p in dedup.bucket_pairs(sorted(members))
    }
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
            }
        )
        gone = duplicates(frame, lambda places: {p: rows[p]["line"] for p in places})
        kept = [row["line"] for row in rows if row["place"] not in gone]
        with tempfile.TemporaryFile("w") as corpus, tempfile.TemporaryFile("w") as chunks:
            count = 0
            for line in kept:
                corpus.write(line + "\n")
                pieces = chunk_lines(line)
                count += len(pieces)
                chunks.writelines(f"{piece}\n" for piece in pieces)
        return {"kept": len(kept), "chunks": count}

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
        }

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="alchemy-bench-") as place:
            data = ray.data.read_json(str(raw), file_extensions=["jsonl"]).map_batches(
                clean_batch, batch_size=512
            )
            data.write_parquet(f"{place}/cleaned")
            stored = ray.data.read_parquet(f"{place}/cleaned")
            table = pl.scan_parquet(f"{place}/cleaned/*.parquet").select("id", "exact", "bands")
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
            bands = frame.select("place", "exact").with_columns(bands=pl.Series(keys))
            gone = ray.put({ids[p] for p in duplicates(bands, lines_of)})

            def chunk_batch(batch: Any) -> Any:
                dropped = ray.get(gone)
                kept = [
                    line
                    for i, line in zip(batch["id"], batch["line"], strict=True)
                    if i not in dropped
                ]
                pieces = [piece for line in kept for piece in chunk_lines(line)]
                return {"chunk": np.array(pieces, dtype=object)}

            chunked = stored.map_batches(chunk_batch, batch_size=512)
            chunked.write_parquet(f"{place}/chunks")
            count = pl.scan_parquet(f"{place}/chunks/*.parquet").select(pl.len()).collect().item()
            return {"kept": len(ids) - len(ray.get(gone)), "chunks": count}

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
                LocalPipelineExecutor(steps, tasks=count, workers=2, skip_completed=False).run()

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


RUNNERS: dict[str, Callable[[str, Path], None]] = {
    "raydp": run_spark,
    "spark-local": run_spark,
    "ray": run_ray,
    "ray-data": run_ray_data,
    "datatrove": run_datatrove,
    "polars": run_polars,
}


if __name__ == "__main__":
    RUNNERS[sys.argv[1]](sys.argv[1], Path(sys.argv[2]))
