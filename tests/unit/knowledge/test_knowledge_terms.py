from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.knowledge.terms import (
    document_keys,
    index_terms,
    mentioned_keys,
    query_terms,
)
from alchemy.types import project_of


def matches(text: str, question: str) -> bool:
    words, forms = index_terms(text)
    return not set(query_terms(question)).isdisjoint({*words, *forms})


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
def test_a_question_finds_a_text_in_another_spelling(text: str, question: str) -> None:
    assert matches(text, question)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Fixed by XD-1234.", "xd123"),
        ("what is the use of it", "What is the sink?"),
        ("使用消息总线", "数据库"),
    ],
)
def test_a_question_does_not_find_a_text_about_something_else(text: str, question: str) -> None:
    assert not matches(text, question)


hostile = st.text(max_size=200) | st.text(
    alphabet=st.sampled_from("\"'*^:()-+{}[]\\ \0\x1fANDORNOTEAR\udc80😀é中_xX1,.;NEAR"),
    max_size=80,
)


@given(hostile)
def test_every_text_can_be_indexed_and_asked(text: str) -> None:
    words, forms = index_terms(text)
    for term in (*words, *forms, *query_terms(text)):
        assert term == term.lower()
        term.encode("utf-8")


@given(st.text(min_size=1, max_size=60))
def test_a_text_is_found_by_itself(text: str) -> None:
    if query_terms(text):
        assert matches(text, text)


@pytest.mark.parametrize("text", ["", "   ", "?!", "\0", "😀😀", '"" - *'])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    assert query_terms(text) == []


def test_a_question_of_stopwords_alone_still_searches() -> None:
    assert matches("who it is, nobody knows", "who is it")
    assert not matches("beings and doe", "be does")
    assert query_terms("who is the admin") == ["admin"]


def test_a_very_long_question_is_cut() -> None:
    assert len(query_terms(" ".join(f"word{i}" for i in range(5000)))) == 64


@pytest.mark.parametrize(
    ("document", "project"),
    [
        ("jira:XD-123", "XD"),
        ("confluence:OPS/Runbook", "OPS"),
        ("documents:guide/Sinks.asciidoc", "guide"),
        ("documents:readme.md", ""),
        ("git_pr:c759eb68d0c1", ""),
    ],
)
def test_the_project_of_a_document_is_in_its_id(document: str, project: str) -> None:
    assert project_of(document) == project


def test_documents_are_known_under_their_key_and_file_name() -> None:
    assert document_keys("jira:XD-123") == ["xd-123"]
    assert document_keys("documents:guide/Sinks.asciidoc") == [
        "guide/sinks.asciidoc",
        "sinks.asciidoc",
    ]


def test_keys_in_a_question_are_compounds_paths_and_commit_hashes() -> None:
    question = "Does c759eb6 or XD-123 change guide/Sinks.asciidoc, or the defaced facade?"
    assert mentioned_keys(question) == ["c759eb6", "xd-123", "guide/sinks.asciidoc"]
