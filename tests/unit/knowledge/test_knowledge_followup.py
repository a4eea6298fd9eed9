from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.knowledge.followup import standalone
from alchemy.knowledge.terms import query_terms

FIRST = "How do I configure the rollover of the hdfs sink?"


@pytest.mark.parametrize(
    "question",
    [
        "And its default?",
        "What about partitions?",
        "Why?",
        "How large can it get?",
        "它的默认值是什么",
    ],
)
def test_a_question_that_leans_on_the_last_carries_its_words(question: str) -> None:
    asked = standalone(question, [FIRST])
    assert asked.startswith(question)
    assert {"rollov", "hdfs", "sink"} <= set(query_terms(asked))


@pytest.mark.parametrize(
    "question",
    ["Which ports does the admin server listen on?", "List the modules of the release 1.2 train"],
)
def test_a_question_of_its_own_stays_as_it_is(question: str) -> None:
    assert standalone(question, [FIRST]) == question


def test_words_are_carried_through_several_turns_but_not_past_a_new_topic() -> None:
    chain = standalone("And in yarn?", [FIRST, "What is its default?"])
    assert {"rollov", "hdfs", "yarn"} <= set(query_terms(chain))
    fresh = "Which ports does the admin server listen on?"
    turned = set(query_terms(standalone("Why those?", [FIRST, fresh])))
    assert {"port", "admin"} <= turned
    assert "hdfs" not in turned


def test_nothing_is_said_twice() -> None:
    asked = standalone("Does the hdfs sink do it too?", [FIRST])
    assert asked.count("hdfs") == 1


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=5))
def test_the_question_itself_is_never_changed(question: str, before: list[str]) -> None:
    assert standalone(question, before).startswith(question.rstrip())
    assert standalone(question, []) == question
