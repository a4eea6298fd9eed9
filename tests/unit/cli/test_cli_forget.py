"""`alchemy forget` on this machine's lake and Redis."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alchemy.cli import main
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.tombstones import read_forgotten


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> LocalLake:
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REDIS_URL", redis_url)
    made = LocalLake(tmp_path / "data")
    removed = {"id": "jira:A", "reason": "exact_duplicate", "survivor": "jira:B"}
    made.write("processed/run-1/removed.jsonl", json.dumps(removed).encode() + b"\n")
    made.write("ledger/1.json", b'{"run_id": "run-1"}')
    return made


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv, prog="alchemy")
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_forget_list_and_undo(lake: LocalLake, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "forget", "jira:A", "--reason", "asked", "--json")
    assert code == 0
    done = json.loads(out)
    assert done["forgotten"] and done["documents"] == ["jira:A"]
    assert done["lineage"]["originals"] == ["jira:B"]
    assert read_forgotten(lake).documents == {("default", "jira:A")}

    code, out, _ = run(capsys, "forget", "--list")
    assert code == 0 and "jira:A" in out and out.rstrip().endswith("asked")

    code, out, _ = run(capsys, "forget", "jira:A", "--undo")
    assert code == 0 and "taken up again" in out
    assert run(capsys, "forget", "--list")[1] == ""


def test_an_unknown_id_is_refused_in_one_line_unless_it_is_meant(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "forget", "jira:TYPO")
    assert code == 1 and out == "" and err.count("\n") == 1 and "jira:TYPO" in err
    assert read_forgotten(lake).documents == frozenset()
    code, out, _ = run(capsys, "forget", "jira:TYPO", "--unknown", "--tenant", "acme")
    assert code == 0 and "left out when it arrives" in out
    assert read_forgotten(lake).documents == {("acme", "jira:TYPO")}


def test_no_document_or_no_token_says_what_is_missing(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "forget")
    assert code == 2 and "--list" in err
    code, _, err = run(capsys, "forget", "jira:A", "--url", "http://127.0.0.1:1")
    assert code == 1 and "ALCHEMY_TOKEN" in err
