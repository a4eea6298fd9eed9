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
    assert [x.id for x in found if isinstance(x, Document)] == ["database:shop/t/good"]
    assert {(x.position, x.reason) for x in found if isinstance(x, Quarantined)} == {
        ("table log", "the table has no primary key, so its rows have no stable id"),
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
