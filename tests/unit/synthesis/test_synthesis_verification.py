from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.synthesis.verification import question_key, verify

TEXT = "# Ports\n\nThe `http` source listens on port **9000** by default. Use --port to change it."


def test_a_sentence_of_the_text_is_fully_supported() -> None:
    verdict = verify("Where does it listen?", "The http source listens on port 9000", TEXT)
    assert (verdict.kept, verdict.score) == (True, 1.0)


def test_the_words_of_the_text_in_another_order_are_supported_less() -> None:
    verdict = verify("Where does it listen?", "By default port 9000 listens.", TEXT)
    assert verdict.kept
    assert verdict.score == 0.9


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Where does it listen?", "The ftp sink polls a remote folder.", "unsupported"),
        ("Where does it listen?", "The http source listens on port 9001", "unsupported"),
        (
            "Where does it listen?",
            "The http source listens on port 9000. Kafka brokers replicate topics.",
            "unsupported",
        ),
        ("Where does it listen?", "", "empty"),
        ("Where does it listen?", "/", "empty"),
        ("Who wrote it?", "[EMAIL_1], [PHONE_2]", "placeholder"),
        ("Who is [EMAIL_1]?", "The http source listens on port 9000", "placeholder"),
        ("What is this about?", "The http source listens on port 9000", "trivial"),
        ("Which port: 9000?", "Port 9000", "trivial"),
    ],
)
def test_what_must_not_train_is_rejected_with_its_reason(
    question: str, answer: str, reason: str
) -> None:
    verdict = verify(question, answer, TEXT)
    assert (verdict.kept, verdict.reason) == (False, reason)


def test_chinese_is_supported_by_its_characters() -> None:
    text = "消息总线连接各个模块。默认端口是 9000。"
    assert verify("它连接什么？", "消息总线连接各个模块。", text).score == 1.0
    assert not verify("它连接什么？", "数据库保存全部记录。", text).kept


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=120))
def test_every_text_gets_a_verdict(question: str, answer: str, evidence: str) -> None:
    verdict = verify(question, answer, evidence)
    assert 0.0 <= verdict.score <= 1.0
    assert verdict.kept == (verdict.reason == "")


def test_questions_are_equal_up_to_case_marks_and_spacing() -> None:
    key = question_key("t", "What is `XD-1` about?")
    assert question_key("t", "what is  XD-1 about ?") == key
    assert question_key("t", "What is XD-2 about?") != key
    assert question_key("other", "What is `XD-1` about?") != key
