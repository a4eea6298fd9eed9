from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.knowledge.terms import (
    compounds,
    document_keys,
    full_text_query,
    mentioned_keys,
    searchable,
)


@pytest.fixture(scope="module")
def words() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5(body, compounds,"
        " tokenize='porter unicode61 remove_diacritics 2')"
    )
    return connection


def matches(words: sqlite3.Connection, text: str, question: str) -> bool:
    words.execute("DELETE FROM words")
    words.execute("INSERT INTO words VALUES (?, ?)", (searchable(text), compounds(text)))
    found = words.execute("SELECT 1 FROM words WHERE words MATCH ?", (full_text_query(question),))
    return found.fetchone() is not None


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Fixed by XD-123.", "xd123"),
        ("Fixed by XD-123.", "What is XD-123?"),
        ("Set --refreshDelay to 60", "refresh delay"),
        ("Set --refreshDelay to 60", "--refreshDelay"),
        ("Set --refreshDelay to 60", "refresh_delay"),
        ("the HTTPServerSink class", "http server"),
        ("edit spring.xd.home first", "springxdhome"),
        ("deployed modules", "How is a module deployed?"),
        ("café au lait", "CAFE"),
        ("使用消息总线连接模块", "消息总线是什么"),
        ("流", "流"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
    ],
)
def test_a_question_finds_a_text_in_another_spelling(
    words: sqlite3.Connection, text: str, question: str
) -> None:
    assert matches(words, text, question)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Fixed by XD-1234.", "xd123"),
        ("what is the use of it", "What is the sink?"),
        ("使用消息总线", "数据库"),
    ],
)
def test_a_question_does_not_find_a_text_about_something_else(
    words: sqlite3.Connection, text: str, question: str
) -> None:
    assert not matches(words, text, question)


hostile = st.text(max_size=200) | st.text(
    alphabet=st.sampled_from("\"'*^:()-+{}[]\\ \0\x1fANDORNOTEAR\udc80😀é中_xX1,.;NEAR"),
    max_size=80,
)


@given(hostile)
def test_no_user_text_is_a_syntax_error(words: sqlite3.Connection, text: str) -> None:
    query = full_text_query(text)
    if query is not None:
        words.execute("SELECT rowid FROM words WHERE words MATCH ? LIMIT 1", (query,)).fetchall()


@given(hostile)
def test_every_text_can_be_indexed(words: sqlite3.Connection, text: str) -> None:
    values = (searchable(text), compounds(text))
    words.execute("INSERT INTO words VALUES (?, ?)", values)
    words.execute("DELETE FROM words")


@given(st.text(min_size=1, max_size=60))
def test_a_text_is_found_by_itself(words: sqlite3.Connection, text: str) -> None:
    words.execute("DELETE FROM words")
    words.execute("INSERT INTO words VALUES (?, ?)", (searchable(text), compounds(text)))
    if text.isascii() and any(c.isalnum() for c in text):
        assert matches(words, text, text)


@pytest.mark.parametrize("text", ["", "   ", "?!", "\0", "😀😀", '"" - *'])
def test_a_text_without_words_makes_no_query(text: str) -> None:
    assert full_text_query(text) is None


def test_a_question_of_stopwords_alone_still_searches() -> None:
    assert full_text_query("who is it") == '"who" OR "is" OR "it"'


def test_a_very_long_question_is_cut() -> None:
    query = full_text_query(" ".join(f"word{i}" for i in range(5000)))
    assert query is not None
    assert query.count(" OR ") == 63


def test_documents_are_known_under_their_key_and_file_name() -> None:
    assert document_keys("jira:XD-123") == ["xd-123"]
    assert document_keys("documents:guide/Sinks.asciidoc") == [
        "guide/sinks.asciidoc",
        "sinks.asciidoc",
    ]


def test_keys_in_a_question_are_compounds_paths_and_commit_hashes() -> None:
    question = "Does c759eb6 or XD-123 change guide/Sinks.asciidoc, or the defaced facade?"
    assert mentioned_keys(question) == ["c759eb6", "xd-123", "guide/sinks.asciidoc"]
