"""`alchemy pairs`: a sample of what an adapter learns from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alchemy.cli import main
from alchemy.stores.lake_local import LocalLake
from alchemy.types import SftPair


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLake:
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "data"))
    lake = LocalLake(tmp_path / "data")
    pairs = [
        SftPair(f"p{n}", f"What is {n}?", f"It is {n}.", (f"jira:X-{n}#0",), (f"jira:X-{n}",),
                "default", ("everyone",), "title" if n % 2 else "summary")
        for n in range(10)
    ]  # fmt: skip
    lake.write("sft/run-1/sft_train.jsonl", "".join(f"{p.to_json()}\n" for p in pairs).encode())
    lake.write("sft/run-1/README.md", b"# Pairs of run-1\n")
    return lake


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("pairs", *argv), prog="alchemy")
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_a_sample_is_the_same_for_the_same_seed(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, other = (
        run(capsys, "--run", "run-1", "--count", "4", "--seed", seed, "--json")[1]
        for seed in ("1", "1", "2")
    )
    assert first == again != other
    assert len([json.loads(line) for line in first.splitlines()]) == 4


def test_it_is_limited_to_a_kind_or_a_document(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "--run", "run-1", "--kind", "title", "--count", "99")
    assert code == 0 and out.startswith("5 of 5 pairs of run-1") and "summary" not in out
    _, out, _ = run(capsys, "--run", "run-1", "--document", "jira:X-4")
    assert "? What is 4?\nIt is 4." in out and out.startswith("1 of 1")


def test_the_card_and_a_run_that_is_not_there(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "--run", "run-1", "--card")[1] == "# Pairs of run-1\n\n"
    code, _, err = run(capsys)
    assert code == 1 and "no live release" in err
    code, _, err = run(capsys, "--run", "run-2")
    assert code == 1 and "run-2" in err
