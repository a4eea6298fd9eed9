"""`alchemy gc` and pinning on this machine's lake."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from alchemy.cli import main
from alchemy.release.model import publish_release
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import publish_directory
from alchemy.types import Release

OLD_S = 7200.0


def publish(lake: LocalLake, root: Path, n: int) -> None:
    directory = root / f"built-{n}"
    directory.mkdir()
    (directory / "vectors.faiss").write_bytes(b"x" * 1000 * n)
    manifest = publish_directory(lake, "index", f"ix-{n}", directory)
    release = Release(
        id=f"rl-{n}",
        created_at="2024-01-01T00:00:00Z",
        run_id=f"run-{n}",
        index=f"ix-{n}",
        index_sha256=manifest.sha256,
        adapter="base",
        adapter_digest="",
        thresholds={},
        models={},
        prompts={},
        evaluation={},
    )
    publish_release(lake, release)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLake:
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "data"))
    made = LocalLake(tmp_path / "data")
    for n in (1, 2, 3):
        publish(made, tmp_path, n)
    moment = time.time() - OLD_S
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (moment, moment))
    return made


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv, prog="alchemy")
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_a_dry_run_lists_with_sizes_and_removes_nothing(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [item.key for item in lake.list("")]
    code, out, _ = run(capsys, "gc", "--keep", "2", "--dry-run")
    assert code == 0 and "would remove index" in out and "ix-1" in out and "1.2 kB" in out
    assert [item.key for item in lake.list("")] == before


def test_gc_removes_and_says_so_and_a_pin_protects(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "releases", "pin", "rl-1")[0] == 0
    assert "rl-1" in run(capsys, "releases", "list")[1]
    code, out, _ = run(capsys, "gc", "--keep", "1", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [line["name"] for line in lines[:-1]] == ["ix-2"]
    assert lines[-1]["removed"] is True and lines[-1]["things"] == 1
    assert lake.exists("index/ix-1/manifest.json") and not lake.exists("index/ix-2/manifest.json")
    run(capsys, "releases", "unpin", "rl-1")
    assert "ix-1" in run(capsys, "gc", "--keep", "1")[1]


def test_young_things_stay(lake: LocalLake, capsys: pytest.CaptureFixture[str]) -> None:
    assert "removed 0 things" in run(capsys, "gc", "--keep", "1", "--min-age", "1d")[1]


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--keep", "0"], "--keep"), (["--min-age", "soon"], "90m")]
)
def test_what_makes_no_sense_is_one_line(
    lake: LocalLake, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    code, out, err = run(capsys, "gc", *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and says in err


def test_a_release_that_is_not_there_cannot_be_pinned(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "releases", "pin", "rl-none")
    assert code == 1 and "rl-none" in err
