"""`alchemy adapters`: what people see of the adapters in the lake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alchemy.cli import main
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.versions import publish_directory


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLake:
    """Two adapters: the second has another rank and one document more."""
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "data"))
    lake = LocalLake(tmp_path / "data")
    for name, rank, documents in (("ad-1", 8, ["jira:A"]), ("ad-2", 16, ["jira:A", "jira:B"])):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "lineage.json").write_text(json.dumps({"documents": documents, "pairs": []}))
        meta = {
            "base": "b" * 64,
            "pairs": 3,
            "documents": len(documents),
            "hyperparameters": {"lora": {"r": rank, "alpha": 32}},
        }
        publish_directory(lake, "adapters", name, directory, meta)
    return lake


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("adapters", *argv), prog="alchemy")
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_adapters_are_listed_with_what_they_learned(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.write("adapters/ad-3/adapter_config.json", b"{}")  # being written: no manifest yet
    code, out, _ = run(capsys, "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(r["version"], r["kind"], r["documents"], r["releases"]) for r in rows] == [
        ("ad-1", "generation", 1, []),
        ("ad-2", "generation", 2, []),
    ]


def test_a_difference_names_settings_and_counts_documents(
    lake: LocalLake, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "diff", "ad-1", "ad-2")
    assert code == 0
    assert out.splitlines() == [
        "hyperparameters.lora.r: 8 → 16",
        "documents: 1 added, 0 removed",
        "pairs: 0 added, 0 removed",
    ]


def test_an_unknown_adapter_and_a_full_directory_are_one_line(
    lake: LocalLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "show", "ad-9")
    assert code == 1 and "ad-9" in err and err.count("\n") == 1
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    code, _, err = run(capsys, "export", "ad-1", "--output", str(tmp_path / "full"))
    assert code == 1 and "not empty" in err
    code, _, err = run(capsys, "export", "rt-1", "--output", str(tmp_path / "new"))
    assert code != 0 and "embedding model" in err
    assert not (tmp_path / "new").exists()
