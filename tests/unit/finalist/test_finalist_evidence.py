from __future__ import annotations

import pytest
from finalist_world import ask, passage, release

from alchemy.finalist.shape import asks_for_document, focus_of
from alchemy.types import Passage

TAP_ISSUE = passage("Rename the tap class", "jira:XD-489", title="Rename the tap class")
TAP_PAGE = passage(
    "A tap lets you listen to a stream. The name of the tap is given when it is created.",
    "confluence:XD/Taps",
    title="Taps",
    ordinal=1,
)
CHANGED = passage(
    "Change the port since it conflicts with the http source.",
    "jira:XD-1073",
    title="Change default container port",
)
CLOSING = passage("XD-1073 use another port", "git_pr:0a1b2c3d", title="XD-1073 use another port")
OPTION = passage(
    "module: Export HDFS to JDBC (job.hdfsjdbc)\nname: validationInterval\n"
    "description: time between validations in milliseconds\ntype: long\ndefault value: 30000",
    "database:springxd/module_options/job.hdfsjdbc,validationInterval",
    title="module options: validationInterval, Export HDFS to JDBC (job.hdfsjdbc)",
)


def first(question: str, *passages: Passage) -> str:
    _, answer = ask(question, list(passages), of=release(abstain=0.0))
    return answer.citations[0].quote


def test_a_definition_is_preferred_to_a_task_about_the_word() -> None:
    assert first("What is a tap?", TAP_ISSUE, TAP_PAGE).startswith("A tap lets you listen")


def test_a_record_named_by_its_key_is_preferred_to_what_mentions_others() -> None:
    other = passage(
        "XD-353, XD-691 and XD-703 clean up the configuration", "git_pr:8d70", title="Clean up"
    )
    assert first("What is XD-1073 about?", other, CHANGED) == CHANGED.chunk.text


def test_the_kind_of_record_asked_for_is_the_kind_that_answers() -> None:
    assert first("Which commit mentions XD-1073?", CHANGED, CLOSING) == CLOSING.chunk.text


def test_a_field_is_answered_by_its_value_and_not_by_its_name() -> None:
    question = "What is the default value of validationInterval of job.hdfsjdbc?"
    assert first(question, OPTION) == "default value: 30000"


def test_instructions_come_with_the_code_they_announce() -> None:
    guide = passage(
        "The shell is old.\n\nTo start the shell, run:\n\n```\nbin/xd-shell\n```", title="Shell"
    )
    assert first("How do I start the shell?", guide).endswith("bin/xd-shell")


def test_a_question_in_the_source_is_no_answer() -> None:
    faq = passage("Which port does the admin use? The admin uses port 9393 unless told otherwise.")
    assert "9393" in first("Which port does the admin use?", faq)


def test_neighbouring_sentences_share_one_citation() -> None:
    text = "The tap port is 9000. The tap host is 10.0.0.1. Unrelated words follow here."
    _, answer = ask("What are the tap port and tap host?", [passage(text)], of=release(abstain=0))
    assert len(answer.citations) == 1
    assert answer.citations[0].quote == "The tap port is 9000. The tap host is 10.0.0.1."


def test_chinese_questions_find_chinese_sentences() -> None:
    text = "管理服务器默认监听端口 9393。容器向注册中心登记。"
    assert first("管理服务器监听哪个端口?", passage(text)) == "管理服务器默认监听端口 9393。"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Explain Change default container port", True),
        ("What is xd-1073?", True),
        ("Which issue is about XD-1073?", True),
        ("Which commit mentions XD-1073?", False),
        ("What is XD-10?", False),
        ("Which port is the default?", False),
    ],
)
def test_which_questions_name_a_document(question: str, expected: bool) -> None:
    assert focus_of(question)(CHANGED.chunk) is expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which commit fixed the port?", True),
        ("What is XD-12 about?", True),
        ("Summarize XD-12.", True),
        ("Which port does the admin use?", False),
        ("How do I change the port?", False),
    ],
)
def test_which_questions_ask_for_a_record(question: str, expected: bool) -> None:
    assert asks_for_document(question) is expected
