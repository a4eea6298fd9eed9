"""The command line as a person meets it: exit codes, one clear line, help with an example."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from alchemy.cli import build_parser, main
from alchemy.cli.lake import pull_databases, upload_tree
from alchemy.cli.output import Output
from alchemy.cli.processes import State, require_port
from alchemy.config import load_settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stores.lake_local import LocalLake


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv, prog="alchemy")
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def leaves(parser: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for action in parser._subparsers._group_actions if parser._subparsers else []:  # type: ignore[attr-defined]
        for name, child in action.choices.items():
            found += leaves(child, (*path, name)) or [(*path, name)]
    return found


@pytest.mark.parametrize("command", leaves(build_parser("alchemy")), ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "example: " in out


def test_an_unknown_key_in_models_yaml_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("model_b: {provder: embedded}\n")
    code, out, err = run(capsys, "lake", "check", "--config", str(file))
    assert code == 2 and out == ""
    assert err.count("\n") == 1
    assert str(file) in err and "'model_b.provder'" in err and "'provider'" in err


def test_a_lake_that_is_not_writable_is_one_line_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "file" / "data"))
    code, _, err = run(capsys, "ingest", "--stage", "wash")
    assert code == 1
    assert err.count("\n") == 1 and "[lake_not_writable]" in err and "ALCHEMY_DATA" in err


def test_errors_are_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "releases", "show", "rl-none", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "not_found"


def test_a_wrong_option_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "ingest", "--stage", "polish")
    assert code == 2 and err.count("\n") == 1 and "polish" in err


def test_a_missing_table_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "quant", "--input", "no/such.csv")
    assert code == 1 and "no/such.csv" in err


def test_an_unreadable_path_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "lake", "upload", "no-such-dir")
    assert code == 1 and "no-such-dir" in err


def test_upload_sends_only_what_changed(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    (source / "jira").mkdir(parents=True)
    (source / "jira" / "a.jsonl").write_text("1")
    (source / "jira" / "b.jsonl").write_text("2")
    lake = LocalLake(tmp_path / "lake")
    assert upload_tree(lake, source, "raw") == 2
    assert upload_tree(lake, source, "raw") == 0
    (source / "jira" / "b.jsonl").write_text("3")
    assert upload_tree(lake, source, "raw") == 1
    assert lake.read("raw/jira/b.jsonl") == b"3"


def test_a_taken_port_names_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AlchemyError) as caught:
            require_port("127.0.0.1", taken.getsockname()[1], "the chat service", "ALCHEMY_PORT")
    assert caught.value.code is ErrorCode.PORT_TAKEN
    assert "ALCHEMY_PORT" in str(caught.value)


def test_down_stops_only_the_recorded_process(own_data: Path) -> None:
    state = State(load_settings("models.yaml", {"ALCHEMY_DATA": str(own_data)}))
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    state.record("redis", process, port=1)
    assert State(load_settings("models.yaml", {"ALCHEMY_DATA": str(own_data)})).alive("redis")
    # the same pid with another start time is somebody else's process
    state.data["redis"]["started"] -= 1
    assert not state.alive("redis") and not state.stop("redis")
    assert process.poll() is None
    state.record("redis", process, port=1)
    assert state.stop("redis")
    assert process.wait(5) != 0


def test_generated_secrets_are_kept_and_private(own_data: Path) -> None:
    settings = load_settings("models.yaml", {"ALCHEMY_DATA": str(own_data)})
    first = State(settings).secret("jwt")
    state = State(settings)
    assert state.secret("jwt") == first
    assert os.stat(state.file).st_mode & 0o077 == 0


def test_a_sqlite_database_is_uploaded_by_url(
    tmp_path: Path, own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE u (id INTEGER PRIMARY KEY);"
            "INSERT INTO t VALUES (2, 'b' || char(0) || 'c'), (1, x'00ff'), (3, 1e999)"
        )
    connection.close()
    for said in ("1 new or changed", "0 new or changed"):
        code, out, _ = run(capsys, "lake", "upload", f"sqlite:///{path}", "--tables", "t")
        assert code == 0 and said in out
    with sqlite3.connect(own_data / "raw" / "database" / "shop.sqlite") as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
        rows = connection.execute("SELECT * FROM t").fetchall()
    connection.close()
    assert names == [("t",)]
    assert rows == [(1, b"\0\xff"), (2, "b\0c"), (3, "Infinity")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sqlite:///nowhere.db"], "nowhere.db"),
        (["nodb://u:hunter2@h/d"], "does not know"),
        (["sqlite:///{file}", "--tables", "x"], "'x'"),
        (["{file}", "--tables", "x"], "--tables needs the URL"),
        (["sqlite:///{text}"], "not a database"),
    ],
)
def test_a_database_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    file, text = tmp_path / "a.sqlite", tmp_path / "b.txt"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.close()
    text.write_text("no database " * 100)
    filled = [argument.format(file=file, text=text) for argument in arguments]
    code, out, err = run(capsys, "lake", "upload", *filled)
    assert code in (1, 2) and out == ""
    assert err.count("\n") == 1 and says in err
    assert "hunter2" not in err


def test_configured_databases_are_in_the_lake_before_a_run(tmp_path: Path, own_data: Path) -> None:
    file = tmp_path / "a.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.close()
    config = tmp_path / "models.yaml"
    config.write_text(
        f"lake: {{root: {own_data}}}\n"
        f"sources: {{databases: [{{name: one, url: 'sqlite:///{file}'}}]}}\n"
    )
    pull_databases(load_settings(config), Output())
    assert (own_data / "raw" / "database" / "one.sqlite").is_file()
