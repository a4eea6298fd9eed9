"""A real wash: the Cleaner actor, a RayDP session, the connectors, a slice of the samples."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from actors import cleaner
from actors.base import run_stage
from actors.spark_session import spark_session, wait_until_gone
from alchemy.cleaning import stage
from alchemy.config import LakeSettings, Settings, SparkSettings
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import StageContext
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


def settings(root: Path, partitions: int) -> Settings:
    return Settings(
        lake=LakeSettings(root=str(root)),
        spark=SparkSettings(partitions=partitions, executor_memory_mb=512),
    )


@ray.remote(num_cpus=0.1)
def wash_in_one_session(good: Settings, bad: Settings, scratch: Path) -> tuple[Receipt, str]:
    """One session that works for two runs: the receipt of the first, the second's error code."""
    receipt, code = None, ""
    with spark_session(good.spark, scratch) as spark:

        def wash(context: StageContext) -> Receipt:
            units = plan_units(context.lake, context.settings, cleaner.UNIT_BYTES)
            return stage.run(context, spark, units, read_unit)

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
    error_code: str


@pytest.fixture(scope="module")
def washed(ray_cluster: None, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Washed:
    four, one, bad = (tmp_path_factory.mktemp(name) for name in ("four", "one", "bad"))
    for root in (four, one, bad):
        shutil.copytree(raw, root / "raw")
    (bad / "processed").write_text("a file where the lake needs a folder")
    sink = Sink.remote()
    receipt = cleaner.start(settings(four, 4), "run1", sink)
    scratch = tmp_path_factory.mktemp("scratch")
    other, code = ray.get(wash_in_one_session.remote(settings(one, 1), settings(bad, 1), scratch))
    return Washed(receipt, four / receipt.uri, ray.get(sink.all.remote()), other, code)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_raw_record_is_kept_duplicate_or_in_quarantine(washed: Washed) -> None:
    folder, receipt = washed.folder, washed.receipt
    counts = receipt.counts
    assert counts["read.jira"] == ISSUES + 2
    assert counts["read.git_pr"] == COMMITS
    assert (counts["quarantined.jira"], counts["duplicate.documents"]) == (1, 1)
    for source in ("jira", "git_pr", "documents"):
        parts = [counts[f"{part}.{source}"] for part in ("kept", "duplicate", "quarantined")]
        assert counts[f"read.{source}"] == sum(parts)
    assert receipt.rows == len(lines(folder / "cleaned_corpus.jsonl"))
    assert counts["chunks"] == len(lines(folder / "rag_chunks.jsonl"))
    removed = sum(value for name, value in counts.items() if name.startswith("duplicate."))
    assert removed == len(lines(folder / "removed.jsonl"))
    assert [row["position"] for row in lines(folder / "quarantine.jsonl")] == ["line 2"]


def test_bytes_do_not_depend_on_the_partitions(washed: Washed) -> None:
    assert washed.receipt.files == washed.other_receipt.files
    assert set(washed.receipt.files) == {
        f"processed/run1/{name}"
        for name in (
            *("cleaned_corpus.jsonl", "rag_chunks.jsonl", "metrics.parquet"),
            *("quarantine.jsonl", "removed.jsonl", "redactions.json"),
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
    assert list(dict.fromkeys(events)) == ["wash.read", "wash.dedup", "wash.chunk"]


def test_nothing_is_left_behind(washed: Washed) -> None:
    wait_until_gone(20)
    assert not [path for path in (washed.folder / "parts").rglob("*") if path.is_file()]


def test_a_typed_error_of_an_executor_reaches_the_caller(washed: Washed) -> None:
    assert washed.error_code == ErrorCode.LAKE_NOT_WRITABLE.code
