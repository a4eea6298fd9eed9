from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.cleaning.chunking import MAX_WORD_CHARS, chunk_document
from alchemy.cleaning.text import normalise
from alchemy.cleaning.tokens import wordpiece
from alchemy.types import Chunk, Document, text_digest

patient = settings(deadline=None)  # a busy machine is no failure

TOKENS = wordpiece()


def document(text: str, title: str = "Guide") -> Document:
    return Document("documents:g", "documents", title, text, "uri", "default", ("everyone",))


def chunks_of(text: str, budget: int = 32) -> list[Chunk]:
    return chunk_document(document(text), TOKENS, budget)


def texts_of(text: str, budget: int = 32) -> list[str]:
    return [chunk.text for chunk in chunks_of(text, budget)]


WORDS = st.sampled_from(
    [
        *"the a server stream module deploys reads writes because however 1.2.3.RELEASE 10.1.2.3".split(),
        *"https://x.io/a/b?c=d,e (see) `code` [EMAIL_1] e.g. naïve 模块 部署。 配置文件！ 数据流，".split(),
        *"Then End. Done! Why? foo::bar key=value, a,b;c:d 𠀀 カタカナ 한국어 👩‍💻".split(),
    ]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)
BLOCKS = st.one_of(
    SENTENCES,
    SENTENCES.map("- {}".format),
    SENTENCES.map("  1. {}\n     continued".format),
    st.tuples(st.integers(1, 6), SENTENCES).map(lambda x: "#" * x[0] + " " + x[1]),
    st.lists(SENTENCES, min_size=1, max_size=12).map(lambda x: "```py\n" + "\n".join(x) + "\n```"),
    st.lists(SENTENCES, min_size=1, max_size=8).map(lambda x: "\n".join(f"| {r} | x |" for r in x)),
    st.text(max_size=60),
    st.just("\f"),
)
TEXTS = st.lists(BLOCKS, max_size=8).map("\n\n".join).map(normalise)


@patient
@given(TEXTS, st.integers(16, 64))
def test_chunks_are_ordered_spans_with_only_white_space_between_them(
    text: str, budget: int
) -> None:
    at = 0
    for ordinal, chunk in enumerate(chunks_of(text, budget)):
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text.strip()
        assert chunk.start >= at
        assert not text[at : chunk.start].strip()
        assert (chunk.ordinal, chunk.id) == (ordinal, f"documents:g#{ordinal}")
        at = chunk.end
    assert not text[at:].strip()


@patient
@given(TEXTS, st.integers(16, 64))
def test_no_chunk_is_over_budget_unless_it_is_one_word(text: str, budget: int) -> None:
    for chunk in chunks_of(text, budget):
        if len(TOKENS(chunk.text)) > budget:
            assert len(chunk.text.split()) == 1, chunk.text


@patient
@given(TEXTS, st.integers(16, 64))
def test_versions_addresses_and_urls_are_never_cut(text: str, budget: int) -> None:
    edges = {edge for chunk in chunks_of(text, budget) for edge in (chunk.start, chunk.end)}
    for word in re.finditer(r"https?://[!-~]+|\b\d+(?:\.\w+)+|\[EMAIL_1\]", text):
        if len(TOKENS(word.group())) <= budget:
            assert not edges & set(range(word.start() + 1, word.end())), word.group()


@patient
@given(st.lists(SENTENCES, min_size=1, max_size=6), st.lists(SENTENCES, min_size=1, max_size=4))
def test_code_that_fits_alone_is_never_cut(lines: list[str], prose: list[str]) -> None:
    code = "```\n" + "\n".join(lines) + "\n```"
    budget = max(16, len(TOKENS(code)))
    text = normalise("# Title\n\n" + " ".join(prose) + "\n\n" + code + "\n\n" + " ".join(prose))
    code = normalise(code)
    assert any(code in chunk for chunk in texts_of(text, budget))


def test_code_over_budget_is_cut_between_lines() -> None:
    lines = [f"call_number_{n}(first, second)" for n in range(12)]
    code = "```python\n" + "\n".join(lines) + "\n```"
    chunks = texts_of(code)
    assert len(chunks) > 1
    assert "\n".join(chunks) == code


@patient
@given(TEXTS, st.integers(16, 64))
def test_a_chunk_has_the_page_of_its_text_and_holds_text_of_no_other(
    text: str, budget: int
) -> None:
    for chunk in chunks_of(text, budget):
        if "\f" not in text:
            assert chunk.page is None
            continue
        *before, last = chunk.text.split("\f")
        assert last.strip()
        assert chunk.page == 1 + text[: chunk.start].count("\f") + len(before)
        for page in before:  # headings that wait for their text
            assert all(re.match(r" {0,3}#", line) for line in page.split("\n") if line.strip())


def test_a_heading_at_the_end_of_a_page_is_cited_with_the_page_of_its_text() -> None:
    text = "Intro.\n\n# Install\n\f\nUse apt.\n\f\nUse brew."
    assert [(chunk.page, chunk.text) for chunk in chunks_of(text, 180)] == [
        (1, "Intro."),
        (2, "# Install\n\f\nUse apt."),
        (3, "Use brew."),
    ]


def test_pages_count_from_the_start_whether_or_not_the_first_has_text() -> None:
    assert [chunk.page for chunk in chunks_of("\f\nOnly here.\n\f\n\n\f\nAnd here.")] == [2, 4]


def test_a_document_of_one_page_is_on_page_one_and_one_without_pages_on_none() -> None:
    one = replace(document("Words."), extra={"pages": 1})
    assert [chunk.page for chunk in chunk_document(one, TOKENS, 32)] == [1]
    assert [chunk.page for chunk in chunks_of("Words.")] == [None]


def test_code_that_goes_over_a_page_is_cut_there() -> None:
    chunks = chunks_of("```\na = 1\n\f\n# b\n```", 180)
    assert [(chunk.page, chunk.text, chunk.heading_path) for chunk in chunks] == [
        (1, "```\na = 1", ()),
        (2, "# b\n```", ()),
    ]


def test_sections_do_not_share_chunks_and_carry_their_path() -> None:
    text = (
        "Intro.\n\n# Install\n\n## Linux\n\nUse apt.\n\n## Mac\n\nUse brew.\n\n# Run\n\nStart it."
    )
    assert [(chunk.heading_path, chunk.text) for chunk in chunks_of(text, 180)] == [
        ((), "Intro."),
        (("Install", "Linux"), "# Install\n\n## Linux\n\nUse apt."),
        (("Install", "Mac"), "## Mac\n\nUse brew."),
        (("Run",), "# Run\n\nStart it."),
    ]


def test_hash_signs_in_code_are_no_headings() -> None:
    chunk = chunks_of("```sh\n# not a title\nls\n```", 180)[0]
    assert chunk.heading_path == ()


def test_a_heading_line_as_long_as_a_paragraph_is_prose() -> None:
    text = "# " + "As a developer I would like to have a heading. " * 8
    chunks = chunks_of(normalise(text))
    assert len(chunks) > 1
    assert {chunk.heading_path for chunk in chunks} == {()}


def test_prose_is_cut_between_sentences_in_both_languages() -> None:
    english = "The first sentence is about Mr. Smith and version 1.2.3 of it. "
    chinese = "第一句话讲的是数据流的部署方法。"
    for sentence in (english, chinese):
        text = (sentence * 6).strip()
        for chunk in texts_of(text, 40):
            assert chunk.replace(sentence.strip(), "").strip() == ""


def test_list_items_and_table_rows_stay_whole() -> None:
    items = [f"- item {n} has some words to say" for n in range(8)]
    rows = [f"| row {n} | some value |" for n in range(8)]
    for lines in (items, rows):
        pieces = [line for chunk in texts_of("\n".join(lines)) for line in chunk.split("\n")]
        assert pieces == lines


def test_class_paths_are_cut_after_colons_and_urls_are_not() -> None:
    paths = ":".join(f"/usr/lib/app/lib/library-{n}.jar" for n in range(12))
    assert all(len(TOKENS(chunk)) <= 32 for chunk in texts_of(paths))
    assert "".join(texts_of(paths)) == paths
    url = "https://example.org/" + "/".join(f"segment,{n};x={n}" for n in range(20))
    assert texts_of(f"Look at {url} now") == ["Look at", url, "now"]


def test_encoded_data_without_blanks_is_cut_at_a_limit() -> None:
    data = "QUJD" * MAX_WORD_CHARS
    assert {len(chunk) for chunk in texts_of(data)} == {MAX_WORD_CHARS}


def test_hash_covers_what_is_embedded_and_rights_travel() -> None:
    source = Document(
        "jira:X-1",
        "jira",
        "Title",
        "Body",
        "u",
        "acme",
        ("ops", "dev"),
        updated_at="2020-01-01T00:00:00Z",
    )
    chunk = chunk_document(source, TOKENS, 180)[0]
    assert chunk.content_hash == text_digest("Title\nBody")
    assert (chunk.tenant, chunk.acl, chunk.updated_at) == (
        "acme",
        ("ops", "dev"),
        source.updated_at,
    )


def test_document_without_text_has_no_chunks() -> None:
    assert chunks_of("") == []


@pytest.mark.parametrize("text", ["word " * 40_000, "一" * 100_000, "x" * 70_000 + " end"])
def test_token_starts_do_not_depend_on_how_long_texts_are_divided(text: str) -> None:
    starts = TOKENS(text)
    assert starts == sorted(set(starts))
    if text.startswith("word"):
        assert len(starts) == 40_000
    if text.startswith("一"):
        assert len(starts) == 100_000
