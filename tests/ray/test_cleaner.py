"""A real wash: the Cleaner actor, a RayDP session, the connectors, a slice of the samples."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import ray

from actors import cleaner
from actors.spark_session import wait_until_gone
from alchemy.cleaning import java
from alchemy.config import LakeSettings, Settings, SparkSettings
from alchemy.errors import AlchemyError, ErrorCode
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


@pytest.fixture(scope="module")
def washed(
    ray_cluster: None, raw: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[Path, Receipt, list]]:
    """Two washes, one after the other in one cluster, of the same raw data."""
    java.put_on_path()
    done = {}
    for partitions in (1, 4):
        root = tmp_path_factory.mktemp(f"lake-{partitions}")
        shutil.copytree(raw, root / "raw")
        sink = Sink.remote()
        receipt = cleaner.start(settings(root, partitions), "run1", sink)
        done[partitions] = (root / receipt.uri, receipt, ray.get(sink.all.remote()))
    return done


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_raw_record_is_kept_duplicate_or_in_quarantine(washed) -> None:
    folder, receipt, _ = washed[1]
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


def test_bytes_do_not_depend_on_the_partitions(washed) -> None:
    (_, first, _), (_, second, _) = washed[1], washed[4]
    assert first.files == second.files
    assert set(first.files) == {
        f"processed/run1/{name}"
        for name in (
            *("cleaned_corpus.jsonl", "rag_chunks.jsonl", "metrics.parquet"),
            *("quarantine.jsonl", "removed.jsonl", "redactions.json"),
        )
    }


def test_newer_version_replaces_and_no_secret_is_left(washed) -> None:
    folder, _, _ = washed[4]
    corpus = {row["id"]: Document.from_dict(row) for row in lines(folder / "cleaned_corpus.jsonl")}
    text = corpus["jira:XD-2"].text
    assert "[EMAIL_1]" in text
    everything = "".join(p.read_text(errors="replace") for p in folder.glob("*.json*"))
    assert not any(secret in everything for secret in ("ada@", "hunter22", "10.20.30.40"))
    superseded = next(r for r in lines(folder / "removed.jsonl") if r["id"] == "jira:XD-2")
    assert superseded["reason"] == "superseded"
    for chunk in map(Chunk.from_dict, lines(folder / "rag_chunks.jsonl")):
        assert chunk.text == corpus[chunk.document_id].text[chunk.start : chunk.end]


def test_progress_names_each_step(washed) -> None:
    events = [event for stage, event, _ in washed[1][2] if stage == "wash"]
    assert [event for event in dict.fromkeys(events)] == ["wash.read", "wash.dedup", "wash.chunk"]


def test_nothing_is_left_behind(washed) -> None:
    wait_until_gone(20)
    for folder, _, _ in washed.values():
        assert not [path for path in (folder / "parts").rglob("*") if path.is_file()]


def test_a_typed_error_of_an_executor_reaches_the_caller(
    ray_cluster: None, raw: Path, tmp_path: Path
) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    (tmp_path / "processed").write_text("a file where the lake needs a folder")
    with pytest.raises(AlchemyError) as caught:
        cleaner.start(settings(tmp_path, 2), "run1", None)
    assert caught.value.code is ErrorCode.LAKE_NOT_WRITABLE
