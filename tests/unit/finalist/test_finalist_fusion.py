from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from finalist_world import ask, collect, draft, passage, release
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.finalist import citations
from alchemy.types import Answer, Passage

TAPS = passage(
    "A tap listens to a stream without changing it. Taps are removed with the stream destroy "
    "command. The weather was fine.",
    "documents:Taps",
    title="Taps",
)
PORTS = passage(
    "The admin server listens on port 9393 by default. Another port is set with --httpPort.",
    "documents:Admin",
    title="Admin server",
    ordinal=1,
)
WORDS = st.sampled_from(
    "the tap port 9393 [1] [2] listens **bold** [link](http://x) | cell - # `code` "
    "Stream. Admin! server? 中文。 \n \n\n ``` e.g. XD-123 not".split(" ")
)
TEXTS = st.lists(WORDS, max_size=60).map(" ".join)


def check(pieces: list[str], answer: Answer, passages: list[Passage]) -> None:
    chunks = {p.chunk.id: p.chunk for p in passages}
    assert "".join(pieces) == answer.text
    assert citations.consistent(answer.text, answer.citations)
    assert 0.0 <= answer.confidence <= 1.0
    for citation in answer.citations:
        assert citation.quote
        assert citation.quote in chunks[citation.chunk_id].text


def test_the_answer_quotes_the_sentence_that_answers() -> None:
    pieces, answer = ask("Which port does the admin server listen on?", [TAPS, PORTS])
    assert not answer.abstained
    assert answer.text.startswith("The admin server listens on port 9393 by default. [1]")
    assert answer.citations[0].document_id == "documents:Admin"
    assert len(pieces) > 3
    check(pieces, answer, [TAPS, PORTS])


def test_the_answer_carries_release_and_adapter_digest() -> None:
    _, answer = ask("Which port does the admin server listen on?", [PORTS])
    assert (answer.release, answer.adapter, answer.adapter_digest) == ("rl-test", "ad-1", "a" * 64)


def test_a_foreign_question_is_refused_with_the_closest_source() -> None:
    pieces, answer = ask("Who won the football cup of 1998?", [TAPS, PORTS])
    assert answer.abstained
    assert "2 documents: documents (2)" in answer.text
    assert answer.citations[0].title in answer.text
    check(pieces, answer, [TAPS, PORTS])


def test_an_unknown_identifier_lowers_the_confidence() -> None:
    text = "XD-123 adds a tap to the http stream."
    issue = passage(text, "jira:XD-123", title="XD-123 Add tap")
    _, known = ask("What does XD-123 add to the http stream?", [issue])
    _, unknown = ask("What does XD-999 add to the http stream?", [issue])
    assert known.confidence > unknown.confidence


def test_no_passages_is_a_refusal_without_citation() -> None:
    pieces, answer = ask("Anything?", [])
    assert answer.abstained
    assert answer.citations == ()
    assert answer.confidence == 0.0
    check(pieces, answer, [])


def test_the_draft_decides_between_equal_facts() -> None:
    both = passage("Use mode alpha for the sink. Use mode omega for the sink.")
    for word in ("alpha", "omega"):
        _, answer = ask(
            "Which mode for the sink?",
            [both],
            guess=draft(f"mode {word}"),
            of=release(abstain=0.0, keep=0.99, draft_weight=0.5),
        )
        assert word in answer.text
        assert len(answer.citations) == 1


def test_the_draft_never_brings_in_what_no_source_says() -> None:
    lie = draft("The admin server listens on port 6666 with the password hunter2.")
    _, answer = ask(
        "Which port does the admin server listen on?",
        [TAPS, PORTS],
        guess=lie,
        of=release(draft_weight=5.0),
    )
    assert "6666" not in answer.text
    assert "hunter2" not in answer.text
    assert "9393" in answer.text


def test_a_draft_of_another_adapter_is_not_used() -> None:
    question, of = "Which mode for the sink?", release(abstain=0.0, keep=0.5, draft_weight=5.0)
    both = passage("Use mode alpha for the sink. Use mode omega for the sink.")
    foreign = draft("mode omega", digest="b" * 64)
    assert (
        ask(question, [both], guess=foreign, of=of)[1].text == ask(question, [both], of=of)[1].text
    )


def test_a_question_for_a_record_is_answered_with_its_name() -> None:
    issue = passage(
        "The first chunk is sent twice when the stream restarts.",
        "jira:XD-77",
        title="Duplicate chunk after restart",
    )
    commit = passage("Send chunk once. Closes XD-77.", "git_pr:0a1b2c3", title="Send chunk once")
    _, about = ask("What is XD-77 about?", [issue])
    assert about.text == (
        "XD-77: Duplicate chunk after restart. "
        "The first chunk is sent twice when the stream restarts. [1]"
    )
    _, which = ask("Which commit mentions XD-77?", [commit])
    assert which.text.startswith("Send chunk once (commit 0a1b2c3).")


def test_repeated_sentences_are_said_once() -> None:
    copies = [
        passage("The admin server listens on port 9393 by default.", f"documents:{n}", ordinal=n)
        for n in range(4)
    ]
    _, answer = ask("Which port does the admin server listen on?", copies)
    assert answer.text.count("9393") == 1


def test_markers_of_the_source_are_not_taken_for_ours() -> None:
    cited = passage("The admin server listens on port 9393 as stated in [7] and [1].")
    pieces, answer = ask("Which port does the admin server listen on?", [cited])
    assert "(7)" in answer.text
    check(pieces, answer, [cited])


def test_a_release_without_thresholds_is_corrupt() -> None:
    bare = release()
    bare.thresholds.clear()
    with pytest.raises(AlchemyError) as caught:
        ask("Which port?", [PORTS], of=bare)
    assert caught.value.code is ErrorCode.CORRUPT


def test_two_answers_stream_interleaved() -> None:
    from finalist_world import embed

    from alchemy.finalist.fusion import Fusion

    order: list[int] = []

    async def reader(number: int, fusion: Fusion) -> None:
        async for _ in fusion.answer("Which port does the admin use?", [PORTS], None, release()):
            order.append(number)
            await asyncio.sleep(0)

    async def both() -> None:
        fusion = Fusion(embed)
        await asyncio.gather(reader(1, fusion), reader(2, fusion))

    asyncio.run(both())
    assert sum(a != b for a, b in pairwise(order)) > 2


async def test_a_reader_decides_between_sentences_and_reads_them_where_they_stand() -> None:
    from finalist_world import embed

    from alchemy.finalist.fusion import Fusion

    texts = ["The shell has a port. Both are closed at night.", "A shell is a port of a kind."]
    passages = [passage(t, f"documents:{n}", ordinal=n) for n, t in enumerate(texts)]

    async def read(
        question: str, given: list[str], spans: list[list[tuple[int, int]]]
    ) -> list[np.ndarray]:
        assert given == texts
        parts = [[text[a:b] for a, b in own] for text, own in zip(given, spans, strict=True)]
        return [np.array([1.0 if "night" in p else -1.0 for p in own]) for own in parts]

    numbers = {"reader.slope": 9.0, "reader.bias": 0.0, "abstain": 0.0, "keep": 1.0}
    for weight, expected in ((9.0, "closed at night"), (0.0, "port")):
        of = release(**numbers, **{"sentence.reader": weight})
        async for part in Fusion(embed, None, read).answer("Which port?", passages, None, of):
            if isinstance(part, Answer):
                assert expected in part.text
                assert ("night" in part.text) == (weight > 0)


@settings(max_examples=150, deadline=None)
@given(
    question=TEXTS.filter(str.strip),
    sources=st.lists(TEXTS, max_size=5),
    guess=st.one_of(st.none(), TEXTS),
    abstain=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_every_answer_is_grounded_whatever_the_input(
    question: str, sources: list[str], guess: str | None, abstain: float
) -> None:
    passages = [passage(t, f"documents:{n % 2}", ordinal=n) for n, t in enumerate(sources)]
    pieces, answer = ask(
        question,
        passages,
        guess=None if guess is None else draft(guess),
        of=release(abstain=abstain),
    )
    check(pieces, answer, passages)
    if not answer.abstained:
        names = [citations.named(p.chunk) for p in passages]
        known = {w for t in (*sources, *names) for w in citations._WORD.findall(t)}
        said = set(citations._WORD.findall(citations.MARKER.sub("", answer.text)))
        assert said <= known


async def test_long_passages_do_not_make_unbounded_work() -> None:
    from finalist_world import embed

    from alchemy.finalist.evidence import MAX_CANDIDATES
    from alchemy.finalist.fusion import Fusion

    sizes: list[int] = []

    async def counting(texts: list[str]):
        sizes.append(len(texts))
        return await embed(texts)

    many = [passage("The port is open. " * 300, f"documents:{n}", ordinal=n) for n in range(8)]
    async for _ in Fusion(counting).answer("Which port?", many, None, release()):
        pass
    assert sizes == [MAX_CANDIDATES + 1]
    assert (await collect("Which port?", many))[1].citations
