from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from alchemy.cleaning.quality import SIGNALS, assess, measure, refused
from alchemy.config import FilterSettings, QualitySignal
from alchemy.types import Document, Removed

patient = settings(deadline=None)  # a busy machine is no failure

ENGLISH = (
    "When the server is restarted while a stream is deployed, the module does not come back. "
    "We should check that the container has joined the cluster before it is used again."
)
CHINESE = "服务器重启之后，已经部署的数据流没有恢复。请检查容器是否已经加入集群，然后再使用它。"


def document(text: str) -> Document:
    return Document("jira:X-1", "jira", "T", text, "u", "t", ("everyone",), metrics={"votes": 3.0})


def signal(text: str, name: str) -> float | None:
    return measure(text)[1][name]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        (CHINESE, "zh"),
        ("Der Server wird neu gestartet, aber das Modul kommt nicht zurück und bleibt aus.", "de"),
        ("Le serveur est redémarré, mais le module ne revient pas et reste arrêté.", "fr"),
        ("short text here", "und"),
        ("", "und"),
        ("12345 67890 !!! ???", "und"),
        ("```java\nprivate static final String NAME = service.find(id).name();\n```", "und"),
        ("https://example.org/a/very/long/address/with/many/letters/inside", "und"),
        (f"```\nprivate static void main\n```\n{ENGLISH}", "en"),
    ],
)
def test_the_language_is_that_of_the_prose(text: str, language: str) -> None:
    found = assess(document(text))
    assert found.extra["language"] == language
    confidence = found.metrics["language_confidence"]
    assert confidence is None if language == "und" else 0.5 < (confidence or 0) <= 1


def test_assessing_adds_to_a_document_and_changes_nothing_else() -> None:
    before = document(ENGLISH)
    after = assess(before)
    assert set(after.metrics) == {"votes", *SIGNALS}
    assert (after.text, after.title, after.metrics["votes"]) == (before.text, before.title, 3.0)
    assert assess(after) == after


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("ab 12 !!", "letter_share", 2 / 6),
        ("ab 12 !!", "digit_share", 2 / 6),
        ("ab 12 !!", "symbol_share", 2 / 6),
        ("数据 12", "letter_share", 0.5),
        ("ab\ufffd\ufffd\n\ue000\ue000", "broken_share", 4 / 6),
        ("word words 数据流", "mean_word_chars", 4.5),
        ("数据流", "mean_word_chars", None),
        ("same line\nother\n\nSame line\nsame line", "duplicate_line_share", 1 / 4),
        ("one...\ntwo…\nthree\n\nfour 。。。", "ellipsis_line_share", 3 / 4),
        ("a b c d e f g h i", "top_ngram_share", 0),
        ("buy now here buy now here buy now here x", "top_ngram_share", 0.9),
        ("哈哈哈哈哈哈哈哈", "top_ngram_share", 1),
        ("", "letter_share", 0),
        ("", "duplicate_line_share", 0),
    ],
)
def test_a_signal_is_what_its_description_says(text: str, name: str, value: float | None) -> None:
    assert signal(text, name) == (None if value is None else pytest.approx(value, abs=1e-5))


def test_stop_words_are_counted_in_the_texts_language() -> None:
    assert signal(ENGLISH, "stop_word_share") == pytest.approx(0.44, abs=0.15)
    assert 0.05 < (signal(CHINESE, "stop_word_share") or 0) < 0.5
    assert signal("one two", "stop_word_share") is None, "no language, no list"


@patient
@given(st.text(max_size=300))
def test_every_share_is_between_0_and_1(text: str) -> None:
    _, signals = measure(text)
    assert set(signals) == set(SIGNALS) == set(get_args(QualitySignal))
    for name, value in signals.items():
        assert value is None or name == "mean_word_chars" or 0 <= value <= 1


def test_by_default_only_broken_text_is_refused() -> None:
    filters = FilterSettings()
    broken = assess(document("\ufffd\ufffd\ufffd\ufffd ab"))
    assert refused(broken, filters) == Removed("jira:X-1", "quality:broken_share")
    for text in (ENGLISH, CHINESE, "", "ok", "!!!", "a\n" * 50, "\ufffd caf\ufffd and more text"):
        assert refused(assess(document(text)), filters) is None


def test_a_filter_names_the_signal_that_removed_a_document() -> None:
    filters = FilterSettings.model_validate(
        {"signals": {"mean_word_chars": {"min": 2, "max": 12}, "top_ngram_share": {"max": 0.5}}}
    )
    assert refused(assess(document(ENGLISH)), filters) is None
    reasons = [
        refused(assess(document(text)), filters)
        for text in ("a b c d", "abcdefghijklmnopqrst", "go on now " * 20, "\ufffd" * 9)
    ]
    assert [removed and removed.reason for removed in reasons] == [
        "quality:mean_word_chars",
        "quality:mean_word_chars",
        "quality:top_ngram_share",
        "quality:broken_share",
    ]


def test_only_allowed_languages_and_texts_too_short_to_tell_are_kept() -> None:
    filters = FilterSettings(languages=("en",))
    assert refused(assess(document(ENGLISH)), filters) is None
    assert refused(assess(document("短文")), filters) is None
    assert refused(assess(document(CHINESE)), filters) == Removed("jira:X-1", "quality:language")


def test_a_signal_that_does_not_exist_is_an_error_of_the_settings() -> None:
    with pytest.raises(ValidationError):
        FilterSettings.model_validate({"signals": {"beauty": {"min": 0.5}}})


def test_long_and_hostile_text_takes_linear_time() -> None:
    for piece in ("a", " ", "\n", "a b ", "...", "```\n", "数", "a/", "\ufffd", "1,"):
        started = time.process_time()
        measure(piece * (100_000 // len(piece)))
        assert time.process_time() - started < 2, repr(piece)
