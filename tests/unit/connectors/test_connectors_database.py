from __future__ import annotations

import sqlite3

import pytest

from alchemy.config import CleaningSettings, Settings
from alchemy.types import Document, Quarantined


@pytest.fixture
def put_database(company, tmp_path):
    def put(script: str, *statements: tuple[str, tuple], name: str = "shop.sqlite") -> None:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript(script)
        for sql, values in statements:
            connection.execute(sql, values)
        connection.commit()
        connection.close()
        company.put(f"raw/database/{name}", path.read_bytes())

    return put


def test_rows_become_documents_with_readable_foreign_keys(company, put_database):
    put_database(
        """
        CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, created_at TEXT);
        CREATE TABLE invoice (
          id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id),
          total REAL, note TEXT, paid_on DATETIME);
        CREATE VIEW rich AS SELECT * FROM invoice WHERE total > 5;
        INSERT INTO customer VALUES (7, 'Ada Lovelace', '2020-01-02 03:04:05');
        INSERT INTO invoice VALUES (1, 7, 9.5, NULL, 'not a date'), (2, 99, NULL, 'x', NULL);
        """
    )
    customer, first, second = company.documents()
    assert customer.id == "database:shop/customer/7"
    assert customer.title == "customer: Ada Lovelace"
    assert customer.created_at == "2020-01-02T03:04:05Z"
    assert first.id == "database:shop/invoice/1"
    assert first.uri == "raw/database/shop.sqlite#invoice/1"
    assert first.title == "invoice: 1, Ada Lovelace (7)"
    assert first.text == "id: 1\ncustomer: Ada Lovelace (7)\ntotal: 9.5\npaid on: not a date"
    assert first.metrics == {"invoice.total": 9.5}
    assert first.extra == {"table": "invoice", "columns": ["id", "customer_id", "total", "paid_on"]}
    assert second.text == "id: 2\ncustomer: 99\nnote: x"
    assert second.metrics == {"invoice.total": None}


def test_composite_and_odd_keys_give_distinct_ids(company, put_database):
    put_database(
        "CREATE TABLE t (a TEXT, b TEXT, v TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
        ("INSERT INTO t VALUES ('x,y', 'z', '1')", ()),
        ("INSERT INTO t VALUES ('x', 'y,z', '2')", ()),
        ("INSERT INTO t VALUES ('a/b', 'c%', '3')", ()),
    )
    assert [d.id for d in company.documents()] == [
        "database:shop/t/a%2Fb,c%25",
        "database:shop/t/x,y%2Cz",
        "database:shop/t/x%2Cy,z",
    ]


def test_unusable_tables_and_rows_are_quarantined_and_the_rest_goes_on(company, put_database):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=2000))
    put_database(
        "CREATE TABLE log (line TEXT); INSERT INTO log VALUES ('a');"
        "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)",
        ("INSERT INTO t VALUES ('big', ?)", ("x" * 5000,)),
        ("INSERT INTO t VALUES ('bad', CAST(x'41ff42' AS TEXT))", ()),
        ("INSERT INTO t VALUES (NULL, 'no key')", ()),
        ("INSERT INTO t VALUES ('good', 'fine')", ()),
    )
    found = company.outcomes()
    log, good = (x for x in found if isinstance(x, Document))
    assert log.id.startswith("database:shop/log/row-")
    assert good.id == "database:shop/t/good"
    assert {(x.position, x.reason) for x in found if isinstance(x, Quarantined)} == {
        (
            "table t, primary key big",
            "record is larger than cleaning.max_record_bytes (2000 bytes)",
        ),
        ("table t, primary key bad", "v is not valid UTF-8"),
        ("table t, row 1", "primary key is NULL"),
    }


def test_file_that_is_no_database_is_quarantined(company):
    company.put("raw/database/broken.db", b"not a database at all" * 100)
    assert company.quarantined() == [("file", "not readable as a SQLite database (DatabaseError)")]


def test_damaged_database_loses_nothing_silently(company, put_database, tmp_path):
    put_database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        *[("INSERT INTO t VALUES (?, ?)", (n, "word " * 200)) for n in range(200)],
    )
    raw = bytearray((tmp_path / "shop.sqlite").read_bytes())
    raw[40_000:60_000] = b"\xff" * 20_000
    company.put("raw/database/shop.sqlite", bytes(raw))
    assert any(isinstance(x, Quarantined) for x in company.outcomes())


def test_blob_is_described_and_self_reference_is_named(company, put_database):
    put_database(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, title TEXT, parent_id INTEGER REFERENCES n, pic BLOB)",
        ("INSERT INTO n VALUES (1, 'Root', NULL, ?)", (b"\x00\x01",)),
        ("INSERT INTO n VALUES (2, 'Leaf', 1, NULL)", ()),
    )
    root, leaf = company.documents()
    assert "pic: (2 bytes)" in root.text
    assert "parent: Root (1)" in leaf.text


def test_row_groups_come_from_an_acl_column(company, put_database):
    put_database(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, acl TEXT); INSERT INTO n VALUES (1, 'hr, finance')"
    )
    assert company.document().acl == ("finance", "hr")


def test_rows_without_a_key_are_named_by_what_they_say(company, put_database):
    put_database(
        "CREATE TABLE log (line TEXT, at DATETIME);"
        "INSERT INTO log VALUES ('a', NULL), ('b', NULL), ('a', NULL)"
    )
    first = [(d.id, d.text) for d in company.documents()]
    assert len({id for id, _ in first}) == 3
    put_database(
        "CREATE TABLE log (line TEXT, at DATETIME);"
        "INSERT INTO log VALUES ('b', NULL), ('a', NULL), ('a', NULL), ('c', NULL)"
    )
    assert set(first) < {(d.id, d.text) for d in company.documents()}


def test_a_unique_key_without_nulls_serves_as_the_id(company, put_database):
    put_database(
        """
        CREATE TABLE setting (value TEXT, scope TEXT NOT NULL, name TEXT NOT NULL, old TEXT UNIQUE);
        CREATE UNIQUE INDEX some ON setting (value) WHERE value > '';
        CREATE UNIQUE INDEX by_name ON setting (scope, name);
        INSERT INTO setting VALUES ('red', 'ui', 'colour', NULL);
        """
    )
    assert company.document().id == "database:shop/setting/ui,colour"


def test_a_pure_link_row_names_both_sides(company, put_database):
    put_database(
        """
        CREATE TABLE Person (Id INTEGER PRIMARY KEY, FirstName TEXT, LastName TEXT, Title TEXT);
        CREATE TABLE Team (Id INTEGER PRIMARY KEY, TeamName TEXT);
        CREATE TABLE TeamMember (
          TeamId INTEGER REFERENCES Team, PersonId INTEGER REFERENCES Person,
          PRIMARY KEY (TeamId, PersonId));
        INSERT INTO Person VALUES (7, 'Ada', 'Lovelace', 'Analyst');
        INSERT INTO Team VALUES (1, 'Engines');
        INSERT INTO TeamMember VALUES (1, 7);
        """
    )
    link = next(d for d in company.documents() if "/TeamMember/" in d.id)
    assert link.title == "team member: Engines (1), Ada Lovelace (7)"
    assert link.text == "team: Engines (1)\nperson: Ada Lovelace (7)"
    assert link.metrics == {}


def test_a_composite_reference_is_named_where_it_is_particular(company, put_database):
    put_database(
        """
        CREATE TABLE tenant (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE account (tenant_id INTEGER REFERENCES tenant, id INTEGER, name TEXT,
          PRIMARY KEY (tenant_id, id));
        CREATE TABLE bill (id INTEGER PRIMARY KEY, tenant_id INTEGER REFERENCES tenant,
          account_id INTEGER, FOREIGN KEY (tenant_id, account_id) REFERENCES account (tenant_id, id));
        INSERT INTO tenant VALUES (1, 'Acme');
        INSERT INTO account VALUES (1, 5, 'Main');
        INSERT INTO bill VALUES (9, 1, 5);
        """
    )
    bill = next(d for d in company.documents() if "/bill/" in d.id)
    assert bill.text == "id: 9\ntenant: Acme (1)\naccount: Main (5)"


def test_values_are_shown_by_their_declared_type(company, put_database):
    put_database(
        """
        CREATE TABLE t (id INTEGER PRIMARY KEY, ok BOOLEAN, n INTEGER, at TIMESTAMP, price DECIMAL_TEXT);
        INSERT INTO t VALUES (1, 1, 1, '2020-01-02 03:04:05+02', '12345678901234567.10');
        INSERT INTO t VALUES (2, 'maybe', 0, 17, 'NaN');
        """
    )
    first, second = company.documents()
    assert first.text == (
        "id: 1\nok: true\nn: 1\nat: 2020-01-02T01:04:05Z\nprice: 12345678901234567.10"
    )
    assert first.metrics == {"t.n": 1.0, "t.price": 12345678901234567.10}
    assert second.text == "id: 2\nok: maybe\nn: 0\nat: 17\nprice: NaN"
    assert second.metrics == {"t.n": 0.0, "t.price": None}


def test_full_text_shadow_tables_are_no_records(company, put_database):
    put_database(
        "CREATE VIRTUAL TABLE note USING fts5(body); INSERT INTO note VALUES ('hello there')"
    )
    assert [d.text for d in company.documents()] == ["body: hello there"]


def test_an_unusable_access_table_shows_rows_to_nobody(company, put_database):
    put_database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);"
        "CREATE TABLE _alchemy_access (tenant TEXT, acl TEXT);"
        "INSERT INTO _alchemy_access VALUES ('acme', 'not json')"
    )
    assert company.quarantined() == [("table t", "_alchemy_access.acl is not a JSON list")]
