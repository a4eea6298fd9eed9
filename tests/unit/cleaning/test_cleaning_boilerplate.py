from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.cleaning.boilerplate import Counts, common, count, sample, strip
from alchemy.cleaning.text import normalise
from alchemy.config import BoilerplateSettings
from alchemy.types import Document, text_digest

patient = settings(deadline=None)  # a busy machine is no failure

LIMITS = BoilerplateSettings(min_documents=5, min_share=0.5, min_chars=30)
FOOTER = "This message was sent by Atlassian JIRA (v6.3.{}#63{})"
LICENCE = (
    "Licensed under the Apache License, Version 2.0\nyou may not use this file\n"
    "except in compliance with the License."
)


def document(number: int, text: str, source: str = "jira") -> Document:
    text = normalise(text)
    return Document(
        f"{source}:X-{number}", source, "T", text, "u", "t", ("everyone",),
        content_hash=text_digest("T", text),
    )  # fmt: skip


def own_text(number: int) -> str:
    rng = random.Random(number)
    return " ".join(
        rng.choices("the server stream module fails when user deploys again".split(), k=20)
    )


def stripped(documents: list[Document], limits: BoilerplateSettings = LIMITS) -> list[str]:
    found = common(count(documents, limits), limits)
    return [strip(one, found, limits).document.text for one in documents]


def test_a_footer_goes_whatever_its_numbers_and_markup() -> None:
    documents = [
        document(n, f"{own_text(n)}\n\n{'> ' * (n % 2)}{FOOTER.format(n, 30 + n)}")
        for n in range(8)
    ]
    assert stripped(documents) == [own_text(n) for n in range(8)]


def test_a_block_goes_with_its_short_lines() -> None:
    documents = [document(n, f"{LICENCE}\n\n{own_text(n)}") for n in range(8)]
    assert stripped(documents) == [own_text(n) for n in range(8)]


def test_a_stripped_document_is_renewed_and_says_what_went() -> None:
    documents = [document(n, f"{LICENCE}\n\n{own_text(n)}") for n in range(8)]
    counts = count(documents, LIMITS)
    results = [strip(one, common(counts, LIMITS), LIMITS) for one in documents]
    after = results[0].document
    assert after.content_hash == text_digest("T", after.text) != documents[0].content_hash
    assert results[0].lines == 3
    digest = results[0].removed[0][0]
    shown = sample(documents[0], digest, LIMITS)
    assert shown.startswith("Licensed under the Apache License")


@pytest.mark.parametrize(
    "line",
    [
        "# A heading that every page of the source has",
        "| a table row | that all the documents share |",
        "```\nsome code that every document of it shares\n```",
        "Steps to reproduce: start the server and the client",
        "**Environment:** the test machine of the whole team",
        "    at org.springframework.xd.Server.run(Server.java:42)",
        "2014-08-06 01:18:53 INFO the server has been started now",
        "I0806 01:18:57.949972 1745 master.cpp:382] the master has started",
        "---------------------------------------------",
        "key=value other=value third=value fourth=value",
        "too short a line",
    ],
)
def test_structure_labels_code_and_logs_never_count(line: str) -> None:
    documents = [document(n, f"{own_text(n)}\n\n{line}") for n in range(8)]
    assert stripped(documents) == [one.text for one in documents]


def test_a_document_that_would_be_empty_keeps_its_text() -> None:
    footer = FOOTER.format(1, 1)
    documents = [
        document(0, footer),
        *(document(n, f"{own_text(n)}\n{footer}") for n in range(1, 8)),
    ]
    assert stripped(documents) == [footer, *(own_text(n) for n in range(1, 8))]


def test_both_limits_must_be_reached() -> None:
    footer = "A sentence that some of the documents of it share."

    def documents(those: int) -> list[Document]:
        return [
            document(n, own_text(n) + ("\n\n" + footer if n < those else "")) for n in range(20)
        ]

    assert any(footer in text for text in stripped(documents(4)))
    assert any(footer in text for text in stripped(documents(9)))
    assert not any(footer in text for text in stripped(documents(10)))


def test_sources_are_counted_apart() -> None:
    footer = "A sentence that all the pages of the wiki share."
    pages = [document(n, f"{own_text(n)}\n\n{footer}", "confluence") for n in range(8)]
    issue = document(99, f"{own_text(99)}\n\n{footer}")
    assert stripped([*pages, issue])[-1] == issue.text


def test_turned_off_nothing_goes() -> None:
    documents = [document(n, f"{LICENCE}\n\n{own_text(n)}") for n in range(8)]
    off = LIMITS.model_copy(update={"enabled": False})
    assert stripped(documents, off) == [one.text for one in documents]


@patient
@given(st.lists(st.lists(st.sampled_from([*LICENCE.split("\n"), "", own_text(1), own_text(2)])), max_size=12),
       st.integers(0, 12))  # fmt: skip
def test_counts_of_parts_add_up_and_order_does_not_matter(texts: list[list[str]], cut: int) -> None:
    documents = [document(n, "\n".join(lines)) for n, lines in enumerate(texts)]
    whole, parts = count(documents, LIMITS), Counts()
    for part in (documents[cut:], documents[:cut]):
        parts.add(count(reversed(part), LIMITS))
    assert common(whole, LIMITS) == common(parts, LIMITS)
    assert whole.documents == parts.documents


@patient
@given(st.lists(st.text(max_size=200), min_size=1, max_size=6))
def test_what_stays_is_the_text_without_what_went(texts: list[str]) -> None:
    documents = [document(n, f"{text}\n\n{LICENCE}\n\n{text}") for n, text in enumerate(texts)]
    limits = BoilerplateSettings(min_documents=2, min_share=0.01, min_chars=8)
    found = common(count(documents, limits), limits)
    for one in documents:
        result = strip(one, found, limits)
        left = "".join(result.document.text.split())
        gone = "".join("".join(text.split()) for _, text in result.removed)
        assert len(left) + len(gone) == len("".join(one.text.split()))
        assert result.document.text


def test_hostile_lines_take_linear_time() -> None:
    for piece in ("a=b ", "a", "a ", "- ", "a-", "at a", "[", "a\n", "**", "a.b:"):
        started = time.process_time()
        count([document(1, piece * (60_000 // len(piece)))], LIMITS)
        assert time.process_time() - started < 2, repr(piece)
