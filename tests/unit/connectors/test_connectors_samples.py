"""The committed sample company is complete, and the script that makes it is deterministic."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from alchemy.config import Settings
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Document, Quarantined

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "samples"


@pytest.fixture(scope="module")
def sample_outcomes() -> list[Document | Quarantined]:
    lake, settings = LocalLake(SAMPLES), Settings()
    units = plan_units(lake, settings)
    return [found for unit in units for found in read_unit(lake, unit, settings)]


@pytest.fixture(scope="module")
def sample_documents(sample_outcomes) -> dict[str, Document]:
    return {x.id: x for x in sample_outcomes if isinstance(x, Document)}


def test_every_issue_commit_and_document_is_accounted_for_exactly(sample_outcomes):
    documents = [x for x in sample_outcomes if isinstance(x, Document)]
    quarantined = [x for x in sample_outcomes if isinstance(x, Quarantined)]
    assert len({d.id for d in documents}) == len(documents)
    read = Counter(x.source for x in sample_outcomes)
    assert read["jira"] == 3526
    assert read["git_pr"] == 2770
    assert read["confluence"] + read["documents"] == 61
    assert quarantined == []
    untitled = [d.id for d in documents if d.extra.get("untitled")]
    assert len(untitled) == 4, "commits of the project with an empty message"


def test_sample_text_is_readable_and_carries_its_origin(sample_documents):
    tap = sample_documents["confluence:XD/Taps"]
    assert tap.title == "Taps"
    assert 'A Tap allows you to "listen" to data' in tap.text
    assert "```\nxd:> stream create --name foo1" in tap.text
    assert tap.uri.endswith("/src/docs/asciidoc/Taps.asciidoc")
    issue = sample_documents["jira:XD-1170"]
    assert issue.metrics["story_points"] == 2.0
    assert "VerifyError" in issue.text
    last = sample_documents["jira:XD-3759"]
    assert last.metrics["story_points"] is not None
    commit = sample_documents["git_pr:cb7a628edc1e"]
    assert commit.extra["jira_keys"] == ["XD-1170"]
    assert commit.created_at == "2014-03-27T13:31:20Z"


def test_sample_database_holds_the_documented_module_options(sample_documents):
    port = sample_documents["database:springxd/module_options/source.http,port"]
    assert port.title == "module options: port, HTTP (source.http)"
    assert "default value: 9000" in port.text
    connection = sqlite3.connect(f"file:{SAMPLES}/raw/database/springxd.sqlite?mode=ro", uri=True)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    rows = sum(
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("modules", "module_options")
    )
    connection.close()
    assert rows == sum(1 for id in sample_documents if id.startswith("database:"))


def test_sample_questions_name_documents_that_exist(sample_documents):
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    assert len(questions) >= 8
    for question in questions:
        assert question["question"].endswith("?")
        assert question["document_ids"]
        assert set(question["document_ids"]) <= set(sample_documents)


def test_samples_stay_small():
    assert sum(p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file()) < 5_000_000


@pytest.fixture
def tiny_source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    (source / "SOURCE.txt").write_text(
        f"git log of https://x/spring-xd commit {'a' * 40}, Apache\n"
    )
    with (source / "jira_issues.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["issuekey", "title", "description", "storypoint", "split_mark"])
        rows.writerows(
            [f"XD-{n}", f"Issue {n}", "text" * (n % 2), n, "train"] for n in range(600, 0, -1)
        )
    commit = {"sha": "b" * 40, "date": "2014-01-01T00:00:00Z", "subject": "S", "body": "B"}
    (source / "commits.jsonl").write_text(
        json.dumps({**commit, "jira_keys": ["XD-1"], "known_keys": []}) + "\n"
    )
    chapters = {
        "index": "= Reference Guide\ninclude::Sources.asciidoc[]\n"
        "= Developing Modules and Extensions\ninclude::Mods.asciidoc[]\n",
        "Sources": "== Sources\n\n=== HTTP (`http`)\n\n//^source.http\n$$port$$:: $$the port$$ "
        "*($$int$$, default: `9000`)*\n$$dir$$:: $$where$$ *($$String$$, no default)*\n//$source.http\n",
        "Mods": "== Mods\n\ntext\n",
    }
    for slug, text in chapters.items():
        (source / "docs" / f"src__docs__asciidoc__{slug}.asciidoc").write_text(text)
    (source / "docs" / "a__README.md").write_bytes(b"# A\r\n")
    return source


def _build(source: Path, out: Path) -> dict[str, bytes]:
    script = ROOT / "scripts" / "build_samples.py"
    command = [sys.executable, str(script), "--source", str(source), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    files = (path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_script_gives_the_same_bytes_and_every_record_once(tiny_source, tmp_path):
    first = _build(tiny_source, tmp_path / "one")
    assert first == _build(tiny_source, tmp_path / "two")
    assert first["raw/documents/a/README.md"] == b"# A\r\n"
    lake, settings = LocalLake(tmp_path / "one"), Settings()
    units = plan_units(lake, settings)
    found = [x for unit in units for x in read_unit(lake, unit, settings)]
    assert Counter(x.source for x in found) == {
        "jira": 600, "git_pr": 1, "confluence": 2, "documents": 2, "database": 3,
    }  # fmt: skip
    assert all(isinstance(x, Document) for x in found)
    assert "the format needs it" in first["NOTICE"].decode()


def test_script_says_what_its_source_lacks(tmp_path):
    script = ROOT / "scripts" / "build_samples.py"
    command = [sys.executable, str(script), "--source", str(tmp_path), "--out", str(tmp_path / "o")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "lacks jira_issues.csv, commits.jsonl, docs, SOURCE.txt" in ended.stderr
