from __future__ import annotations

import gzip
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alchemy.config import CleaningSettings, Settings
from alchemy.connectors.sql_text import Splitter
from alchemy.types import Document, Quarantined

POSTGRES = r"""--
-- PostgreSQL database dump
--
\restrict abc
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TYPE public.mood AS ENUM ('fine; thanks', 'bad');
CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $_$
BEGIN INSERT INTO person VALUES (99, 'ghost;'); RETURN NEW; END; $_$;
CREATE TABLE public.person (
    id integer NOT NULL,
    full_name character varying(80), -- who; really
    mood public.mood DEFAULT 'fine; thanks'::public.mood,
    active boolean, tags text[], raw bytea, wide numeric, seen timestamp with time zone,
    CONSTRAINT positive CHECK ((id > 0))
);
ALTER TABLE public.person OWNER TO admin;
CREATE SEQUENCE public.person_id_seq START WITH 1;
CREATE TABLE sales.note (id bigint NOT NULL, person_id integer, body text);
COPY public.person (id, full_name, mood, active, tags, raw, wide, seen) FROM stdin;
1	Ada\tLovelace	fine; thanks	t	{a,"b c",NULL}	\\x0001ff	12345678901234567890.5	2020-01-01 01:00:00+01
2	\N	bad	f	\N	\N	NaN	\N
3	too	few
\.
COPY sales.note (id, person_id, body) FROM stdin;
7	1	line one\nline two; -- no comment
\.
CREATE TRIGGER t BEFORE INSERT ON public.person FOR EACH ROW EXECUTE FUNCTION public.f();
ALTER TABLE ONLY public.person
    ADD CONSTRAINT person_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sales.note ADD CONSTRAINT note_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sales.note
    ADD CONSTRAINT note_fkey FOREIGN KEY (person_id) REFERENCES public.person(id) ON DELETE CASCADE;
GRANT SELECT ON TABLE public.person TO reader;
"""

MYSQL = r"""-- MySQL dump 10.13
/*!40101 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `person`;
CREATE TABLE `person` (
  `id` int unsigned NOT NULL AUTO_INCREMENT,
  `name` varchar(80) COLLATE utf8mb4_bin DEFAULT NULL COMMENT 'who; really',
  `kind` enum('a','b;c') DEFAULT 'a',
  `raw` varbinary(16), `flag` bit(1) DEFAULT b'0', `big` bigint unsigned, `price` decimal(8,2),
  PRIMARY KEY (`id`), UNIQUE KEY `n` (`name`), KEY `k` (`kind`)
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4;
LOCK TABLES `person` WRITE;
INSERT INTO `person` VALUES (1,'O\'Hara; \"x\"\n--y','b;c',_binary 'a\0b',_binary '',18446744073709551615,9.90),(2,'it''s',NULL,0x4142,b'1',NULL,-1.5);
UNLOCK TABLES;
DELIMITER ;;
CREATE TRIGGER `t` BEFORE INSERT ON `person` FOR EACH ROW BEGIN SET NEW.name = 'x;'; END ;;
DELIMITER ;
CREATE TABLE `note` (`id` int NOT NULL, `person_id` int unsigned, PRIMARY KEY (`id`),
  CONSTRAINT `f` FOREIGN KEY (`person_id`) REFERENCES `person` (`id`));
INSERT INTO `note` (`person_id`, `id`) VALUES (1, 5); # the end
"""


@pytest.fixture
def dump(company):
    def put(text: str | bytes, name: str = "app.sql") -> None:
        company.put(f"raw/database/{name}", text)

    return put


def split(company) -> tuple[dict[str, Document], list[tuple[str, str]]]:
    found = company.outcomes()
    return (
        {x.id.removeprefix("database:app/"): x for x in found if isinstance(x, Document)},
        [(x.position, x.reason) for x in found if isinstance(x, Quarantined)],
    )


def test_a_pg_dump_gives_typed_rows_with_keys_and_references(company, dump):
    dump(POSTGRES)
    rows, bad = split(company)
    assert bad == [("line 23", "row has 3 values for 8 columns")]
    assert set(rows) == {"person/1", "person/2", "sales.note/7"}
    assert rows["person/1"].text.splitlines() == [
        *("id: 1", "full name: Ada\tLovelace", "mood: fine; thanks", "active: true"),
        *('tags: ["a", "b c", null]', "raw: (3 bytes)", "wide: 12345678901234567890.5"),
        "seen: 2020-01-01T00:00:00Z",
    ]
    assert rows["person/2"].text == "id: 2\nmood: bad\nactive: false\nwide: NaN"
    assert rows["sales.note/7"].title == "sales.note: 7, Ada Lovelace (1)"
    assert rows["sales.note/7"].text.endswith("body:\nline one\nline two; -- no comment")


def test_a_mysqldump_gives_its_values_exactly(company, dump):
    dump(MYSQL)
    rows, bad = split(company)
    assert bad == []
    assert rows["person/1"].text.splitlines() == [
        *("id: 1", "name:", 'O\'Hara; "x"', "--y", "kind: b;c", "raw: (3 bytes)", "flag: 0"),
        *("big: 18446744073709551615", "price: 9.9"),
    ]
    assert rows["person/2"].text == "id: 2\nname: it's\nraw: (2 bytes)\nflag: 1\nprice: -1.5"
    assert rows["note/5"].text == 'id: 5\nperson: O\'Hara; "x" --y (1)'


def test_a_sqlite_dump_says_what_the_file_says(company, dump, tmp_path):
    path = tmp_path / "app.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE [person] ([id] INTEGER PRIMARY KEY AUTOINCREMENT, [name] TEXT, n, r REAL);
            CREATE TABLE note (id INTEGER PRIMARY KEY, person INTEGER REFERENCES person, body BLOB);
            CREATE TRIGGER t AFTER INSERT ON note BEGIN
              UPDATE person SET n = 1; DELETE FROM note WHERE id = 99; END;
            CREATE INDEX i ON note (person);
            INSERT INTO person VALUES (1, 'it''s; "x" -- [y]', 2.5, 5.0), (2, 'Ü', NULL, 1e300);
            INSERT INTO note VALUES (1, 1, x'00ff'), (2, 2, 'text');
            """
        )
        script = "\n".join(connection.iterdump())
    connection.close()
    company.put("raw/database/app.sqlite", path.read_bytes())
    direct, _ = split(company)
    company.lake.delete("raw/database/app.sqlite")
    dump(script)
    rows, bad = split(company)
    assert bad == []
    assert {id: (d.title, d.text, d.metrics) for id, d in rows.items()} == {
        id: (d.title, d.text, d.metrics) for id, d in direct.items()
    }


def test_the_shells_functions_for_control_characters_are_understood(company, dump):
    dump(
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(id INTEGER PRIMARY KEY, v);\n"
        "INSERT INTO t VALUES(1,replace(replace('a\\nb\\rc','\\n',char(10)),'\\r',char(13)));\n"
        "INSERT INTO t VALUES(2,unistr('x\\u000ay'));\nCOMMIT;"
    )
    rows, bad = split(company)
    assert bad == []
    assert rows["t/1"].text == "id: 1\nv:\na\nb\nc"
    assert rows["t/2"].text == "id: 2\nv:\nx\ny"


def test_what_cannot_be_read_is_quarantined_with_its_line_and_the_rest_is_read(company, dump):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=1024))
    dump(
        "CREATE TABLE t (id int PRIMARY KEY, v text);\n"
        "INSERT INTO t VALUES (1, 'one'),\n (2, now()),\n (3, 'x', 'y'),\n (4, 'four');\n"
        f"INSERT INTO t VALUES (5, '{'x;' * 2000}');\n"
        "UPDATE t SET v = 'secret';\n"
        "INSERT INTO t SELECT 6, 'six';\n"
        "INSERT INTO nowhere VALUES (7);\n"
        "INSERT INTO bare (id, v) VALUES (8, 'eight');\n"
        "CREATE TABLE broken OF something;\n"
        "INSERT INTO t VALUES (4, 'again');\n"
        "INSERT INTO t (id, w) VALUES (9, 'nine');\n"
        "SELECT setval('t', 9); GRANT ALL ON t TO x;\n"
        "INSERT INTO t VALUES (10, 'ends in the str"
    )
    rows, bad = split(company)
    assert {d.text for d in rows.values()} == {
        *("id: 1\nv: one", "id: 4\nv: four", "id: 8\nv: eight"),
    }
    assert bad == [
        ("line 3", "a value is an expression that is not known here"),
        ("line 4", "row has 3 values for 2 columns"),
        ("line 6", "statement is larger than cleaning.max_record_bytes (1024 bytes)"),
        ("line 7", "UPDATE is not applied: only CREATE TABLE, INSERT and COPY are read"),
        ("line 8", "INSERT without a list of values"),
        ("line 9", "rows of a table that is not defined"),
        ("line 11", "CREATE TABLE could not be parsed"),
        ("line 13", "rows with a column that the table does not have"),
        ("line 15", "the dump ends inside this statement"),
        ("table t, primary key 4", "same id as table t, primary key 4"),
    ]


def test_a_cut_off_copy_and_long_rows_are_reported(company, dump):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=1024))
    dump(f"CREATE TABLE t (id int, v text);\nCOPY t FROM stdin;\n1\t{'x' * 5000}\n2\tb\n")
    rows, bad = split(company)
    assert [d.text for d in rows.values()] == ["id: 2\nv: b"]
    assert bad == [
        ("line 3", "record is larger than cleaning.max_record_bytes (1024 bytes)"),
        ("line 5", "COPY ends without its end marker: the dump is cut off"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_names_the_encoding(company, dump, encoding):
    dump(
        "CREATE TABLE t (id int PRIMARY KEY, v text);\r\nINSERT INTO t VALUES (1, 'Größe');\r\n".encode(
            encoding
        )
    )
    assert company.document().text == "id: 1\nv: Größe"


def test_text_that_is_not_utf8_costs_only_its_row(company, dump):
    dump(
        b"CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, '\xff'), (2, 'b');"
    )
    rows, bad = split(company)
    assert list(rows) == ["t/2"]
    assert bad == [("table t, primary key 1", "v is not valid UTF-8")]


def test_a_packed_dump_is_the_same_and_a_damaged_one_keeps_what_came(company, dump):
    packed = gzip.compress(MYSQL.encode())
    dump(packed, "app.sql.gz")
    rows, bad = split(company)
    assert len(rows) == 3 and bad == []
    dump(packed[:-4], "app.sql.gz")
    rows, bad = split(company)
    assert len(rows) == 3
    assert bad[-1][1] == "the gz stream ends early: it is cut off; the rest was not read"


@pytest.mark.parametrize("text", ["", "-- nothing\n", "\0\0\0", "SELECT 1;"])
def test_a_dump_without_tables_says_so(company, dump, text):
    dump(text)
    assert [position for position, _ in company.quarantined()] == ["file"]


@given(script=st.sampled_from([POSTGRES, MYSQL]), sizes=st.lists(st.integers(1, 700), min_size=1))
@settings(max_examples=60, deadline=None)
def test_pieces_do_not_depend_on_how_the_text_arrives(script, sizes):
    # longer than what is looked at before the first statement, so that borders fall inside
    script = script + f"\n-- {'x' * (1 << 18)}\n" + script

    def arriving():
        at = 1 << 18
        yield script[:at]
        while at < len(script):
            for size in sizes:
                yield script[at : at + size]
                at += size

    whole = list(Splitter(iter([script]), 1 << 20).pieces())
    assert list(Splitter(arriving(), 1 << 20).pieces()) == whole


TOKENS = st.sampled_from(
    [
        *(
            "CREATE TABLE t (id int, v text);\n",
            "INSERT INTO t VALUES (",
            "1",
            ", ",
            "'a'",
            "'",
            '"',
        ),
        *(
            ")",
            ";",
            "\n",
            "--",
            "/*",
            "*/",
            "$$",
            "$x$",
            "E'\\'",
            "NULL",
            "COPY t FROM stdin;\n",
            "\\.\n",
        ),
        *(
            "\\N\t",
            "`",
            "[",
            "DELIMITER ;;\n",
            "ALTER TABLE t ADD PRIMARY KEY (id);",
            "\0",
            "é",
            "DROP TABLE t;",
        ),
        *(
            "CREATE TRIGGER x BEGIN ",
            "END;",
            "USE a;",
            "::text",
            "ARRAY[1]",
            "replace('a','b','c')",
            "{1,2}",
        ),
    ]
)


@given(
    tokens=st.lists(TOKENS, max_size=40),
    dialect=st.sampled_from(["", "-- MySQL dump\n", "PRAGMA x;\n"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_raises(make_company, tokens, dialect):
    company = make_company()
    company.put("raw/database/app.sql", dialect + "".join(tokens))
    company.outcomes()
