from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.cleaning.text import normalise, one_line
from alchemy.markdown import fenced_spans

patient = settings(deadline=None)  # a busy machine is no failure

PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "\r\n",
                "\n\n\n",
                "\f",
                " \f\n",
                "```\n",
                "~~~\n",
                " \t",
                "\x00",
                "\u200b",
                "e\u0301",
                "- ",
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=20,
).map("".join)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("cafe\u0301", "café"),
        ("zero\u200bwidth\ufeff \u202eevil", "zerowidth evil"),
        ("a\xa0b\u3000c", "a b c"),
        ("bell\x07 \x1b[31mred\x1b[0m", "bell red"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("trailing  \n\n\n\nnext", "trailing\n\nnext"),
        ("- item\n    nested\n", "- item\n    nested"),
        ("👩\u200d💻", "👩\u200d💻"),
        (
            "page one \f\n\n  page two\f\fpage four\f",
            "page one\n\f\n  page two\n\f\n\n\f\npage four",
        ),
        ("\fpage two", "\f\npage two"),
    ],
)
def test_text_has_one_spelling(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_blank_lines_and_indentation_inside_code_stay() -> None:
    code = "```python\ndef f():\n\n\n\n    return 1\n```"
    assert normalise(f"before\n\n\n\n{code}\n\n\n\nafter") == f"before\n\n{code}\n\nafter"


@patient
@given(PIECES)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode("utf-8")


def test_title_is_one_line() -> None:
    assert one_line(" Two\r\n lines\t here ") == "Two lines here"


def test_fence_ends_with_its_own_mark_or_with_the_text() -> None:
    text = "a\n````\n```\n````\nb\n~~~\nopen"
    assert [text[start:end] for start, end in fenced_spans(text)] == [
        "````\n```\n````\n",
        "~~~\nopen",
    ]
