"""A real wash: the Cleaner actor, a RayDP session, the connectors, a slice of the samples."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray

from actors import cleaner
from actors.base import run_stage
from actors.spark_session import spark_session, wait_until_gone
from alchemy.cleaning import stage
from alchemy.cleaning.plan import Engine
from alchemy.cleaning.spark import SparkEngine
from alchemy.config import LakeSettings, Settings, SparkSettings, SyncSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import StageContext, no_progress, write_receipt
from alchemy.stores import open_lake
from alchemy.stores.tombstones import write_tombstones
from alchemy.types import Chunk, Document, Receipt

SAMPLES = Path(__file__).parents[2] / "samples" / "raw"
ISSUES, COMMITS = 300, 200


@ray.remote(num_cpus=0)
class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict]] = []

    def emit(self, stage: str, event: str, fields: dict) -> None:
        self.events.append((stage, event, fields))

    def all(self) -> list[tuple[str, str, dict]]:
        return self.events


def head(source: Path, target: Path, count: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(encoding="utf-8") as lines:
        target.write_text("".join(itertools.islice(lines, count)), encoding="utf-8")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "raw"
    head(SAMPLES / "jira" / "issues.jsonl", root / "jira" / "issues.jsonl", ISSUES)
    head(SAMPLES / "git_pr" / "commits.jsonl", root / "git_pr" / "commits.jsonl", COMMITS)
    shutil.copy(SAMPLES / "documents" / "README.md", _folder(root / "documents") / "README.md")
    shutil.copy(SAMPLES / "documents" / "README.md", root / "documents" / "COPY.md")
    newer = {
        "key": "XD-2",
        "summary": "HDFS helper classes, rewritten",
        "description": "Ask ada@example.org; password=hunter22xyz on 10.20.30.40.",
        "updated": "2030-01-01T00:00:00Z",
    }
    more = root / "jira" / "later.jsonl"
    more.write_text(json.dumps(newer) + '\n{"key": "XD-9999", broken\n', encoding="utf-8")
    return root


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def settings(root: Path, partitions: int, engine: str = "auto") -> Settings:
    return Settings(
        lake=LakeSettings(root=str(root)),
        spark=SparkSettings(partitions=partitions, executor_memory_mb=512),
        sync=SyncSettings.model_validate({"engine": engine}),
    )


@ray.remote(num_cpus=0.1)
def wash_in_one_session(good: Settings, bad: Settings, scratch: Path) -> tuple[Receipt, str]:
    """One session that works for two runs: the receipt of the first, the second's error code."""
    receipt, code = None, ""
    with spark_session(good.spark, scratch) as spark:

        @contextmanager
        def same_session(order: stage.Order) -> Iterator[Engine]:
            assert order.name == "spark"
            yield SparkEngine(spark, order.job, no_progress)

        def wash(context: StageContext) -> Receipt:
            return stage.run(context, cleaner.raw_data(context.settings), same_session)

        receipt = run_stage("wash", wash, good, "run1", None)
        try:
            run_stage("wash", wash, bad, "run1", None)
        except AlchemyError as error:
            code = error.code.code
    return receipt, code


@dataclass(frozen=True)
class Washed:
    """Two washes of the same raw data in one cluster, one after the other."""

    receipt: Receipt
    folder: Path
    events: list[tuple[str, str, dict]]
    other_receipt: Receipt
    without_spark: Receipt
    error_code: str


@pytest.fixture(scope="module")
def washed(ray_cluster: None, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Washed:
    four, one, ray_only, bad = (
        tmp_path_factory.mktemp(name) for name in ("four", "one", "ray", "bad")
    )
    for root in (four, one, ray_only, bad):
        copy_lake(raw, root)
    (bad / "washed").write_text("a file where the lake needs a folder")
    sink = Sink.remote()
    receipt = cleaner.start(settings(four, 4), "run1", sink)
    scratch = tmp_path_factory.mktemp("scratch")
    other, code = ray.get(wash_in_one_session.remote(settings(one, 1), settings(bad, 1), scratch))
    plain = cleaner.start(settings(ray_only, 1, "ray"), "run1", None)
    return Washed(receipt, four / receipt.uri, ray.get(sink.all.remote()), other, plain, code)


def copy_lake(raw: Path, root: Path) -> None:
    """The raw data, and one document of it that is forgotten."""
    shutil.copytree(raw, root / "raw")
    write_tombstones(open_lake(settings(root, 1).lake), [forgotten(raw)], "forget", "root")


def forgotten(raw: Path) -> tuple[str, str]:
    """An issue in the middle of the export."""
    return "default", f"jira:{lines(raw / 'jira' / 'issues.jsonl')[ISSUES // 2]['key']}"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_raw_record_is_kept_duplicate_or_in_quarantine(washed: Washed) -> None:
    folder, receipt = washed.folder, washed.receipt
    counts = receipt.counts
    assert counts["read.jira"] == ISSUES + 2
    assert counts["read.git_pr"] == COMMITS
    assert (counts["quarantined.jira"], counts["duplicate.documents"]) == (1, 1)
    for source in ("jira", "git_pr", "documents"):
        kinds = ("kept", "duplicate", "quarantined", "forgotten")
        assert counts[f"read.{source}"] == sum(counts.get(f"{k}.{source}", 0) for k in kinds)
    assert counts["forgotten.jira"] == 1
    assert receipt.rows == len(lines(folder / "cleaned_corpus.jsonl"))
    assert counts["chunks"] == len(lines(folder / "rag_chunks.jsonl"))
    removed = sum(n for name, n in counts.items() if name.startswith(("duplicate.", "forgotten.")))
    assert removed == len(lines(folder / "removed.jsonl"))
    assert [row["position"] for row in lines(folder / "quarantine.jsonl")] == ["line 2"]


def test_what_is_forgotten_comes_out_of_no_engine(washed: Washed, raw: Path) -> None:
    _, document_id = forgotten(raw)
    [removed] = [r for r in lines(washed.folder / "removed.jsonl") if r["id"] == document_id]
    assert removed["reason"] == "forgotten"
    for name, field in (("cleaned_corpus.jsonl", "id"), ("rag_chunks.jsonl", "document_id")):
        assert document_id not in {row[field] for row in lines(washed.folder / name)}


def test_bytes_depend_neither_on_the_partitions_nor_on_spark(washed: Washed) -> None:
    assert washed.receipt.files == washed.other_receipt.files
    assert washed.receipt.files == washed.without_spark.files
    assert set(washed.receipt.files) == {
        f"processed/run1/{name}"
        for name in (
            *("cleaned_corpus.jsonl", "rag_chunks.jsonl", "metrics.parquet"),
            *("quarantine.jsonl", "removed.jsonl", "redactions.json"),
            *("records.parquet", "ledger.jsonl", "boilerplate.jsonl", "copies.jsonl"),
        )
    }


def test_newer_version_replaces_and_no_secret_is_left(washed: Washed) -> None:
    folder = washed.folder
    corpus = {row["id"]: Document.from_dict(row) for row in lines(folder / "cleaned_corpus.jsonl")}
    text = corpus["jira:XD-2"].text
    assert "[EMAIL_1]" in text
    everything = "".join(p.read_text(errors="replace") for p in folder.glob("*.json*"))
    assert not any(secret in everything for secret in ("ada@", "hunter22", "10.20.30.40"))
    superseded = next(r for r in lines(folder / "removed.jsonl") if r["id"] == "jira:XD-2")
    assert superseded["reason"] == "superseded"
    for chunk in map(Chunk.from_dict, lines(folder / "rag_chunks.jsonl")):
        assert chunk.text == corpus[chunk.document_id].text[chunk.start : chunk.end]


def test_progress_names_each_step(washed: Washed) -> None:
    events = [event for name, event, _ in washed.events if name == "wash"]
    assert list(dict.fromkeys(events)) == [
        "wash.planned",
        "wash.read",
        "wash.dedup",
        "wash.chunk",
    ]


def test_nothing_is_left_behind(washed: Washed) -> None:
    wait_until_gone(20)
    assert not [path for path in (washed.folder / "parts").rglob("*") if path.is_file()]


def test_a_typed_error_of_an_executor_reaches_the_caller(washed: Washed) -> None:
    assert washed.error_code == ErrorCode.LAKE_NOT_WRITABLE.code


def test_an_increment_starts_no_spark_and_changes_what_changed(washed: Washed, raw: Path) -> None:
    root = washed.folder.parents[1]
    write_receipt(open_lake(settings(root, 4).lake), washed.receipt)  # as the pipeline does
    issue = {"key": "XD-77777", "summary": "A new issue", "description": "Written just now."}
    (root / "raw" / "jira" / "newest.jsonl").write_text(json.dumps(issue) + "\n")
    sink = Sink.remote()
    receipt = cleaner.start(settings(root, 4), "run2", sink)
    events = {event: fields for _, event, fields in ray.get(sink.all.remote())}
    assert events["wash.planned"]["engine"] == "ray"
    assert events["wash.planned"]["units_to_read"] == 1
    assert (receipt.counts["added.jira"], receipt.counts["unchanged.jira"]) == (1, ISSUES)
    assert events["wash.chunk"]["reused"] == receipt.rows - 1


VICTIMS = {
    "executor": "-Xms512M",
    "master": "-Dspark.executor.instances=1",
    "driver": "ray::Cleaner",
}
"""What the command line of each process of a wash holds, and no other's."""
SESSION = (
    *("-Xms512M", "-Dspark.executor.instances=1", "ray::RayDPSparkMaster"),
    *("AppMasterEntryPoint", "pyspark-shell", "pyspark.daemon"),
)
"""The same for everything a Spark session starts, Python workers of executors included."""
_END_S = 30.0


def _processes(*marks: str) -> set[psutil.Process]:
    """Processes of this test's own cluster."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(mark in word for word in words for mark in marks):
            found.add(process)
    return found


def _victims(victim: str) -> set[psutil.Process]:
    # the session's own JVM has the master's options too
    return _processes(VICTIMS[victim]) - _processes("pyspark-shell")


def _alive(processes: set[psutil.Process]) -> list[str]:
    """Command lines of those that still run; an orphan counts, wherever it hangs now."""
    found = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[-200:])
        except psutil.Error:
            continue
    return found


def _wait_for_end(processes: set[psutil.Process]) -> None:
    deadline = time.monotonic() + _END_S
    while left := _alive(processes):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.parametrize("victim", sorted(VICTIMS))
def test_a_killed_process_costs_time_and_no_bytes(
    washed: Washed, raw: Path, tmp_path: Path, victim: str
) -> None:
    copy_lake(raw, tmp_path)
    earlier = _processes(*SESSION)  # a worker keeps the JVM of its last session while it is idle
    result: list[Receipt | BaseException] = []
    sink = Sink.remote()

    def work() -> None:
        try:
            result.append(cleaner.start(settings(tmp_path, 4), "run1", sink))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 240
    while thread.is_alive() and time.monotonic() < deadline:
        # the cheap question first: looking at every process takes a core
        read = list(tmp_path.glob("washed/*/*/*/done.json"))
        if read and (found := _victims(victim)):
            session = _processes(*SESSION) - earlier
            for process in found:
                process.kill()
            break
        time.sleep(0.02)
    else:
        pytest.fail("the wash ended before its process could be killed")
    if victim == "driver":  # whoever started the others is gone: they end by themselves
        assert len(session) >= 4, session
        _wait_for_end(session)
    while thread.is_alive():
        session |= _processes(*SESSION) - earlier
        thread.join(0.5)
    (receipt,) = result
    assert isinstance(receipt, Receipt), receipt
    assert receipt.files == washed.receipt.files
    _wait_for_end(session)
