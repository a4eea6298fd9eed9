from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthesis_fixtures import make_chunk

from alchemy.synthesis.pairs import Candidate, StructureWriter, evidence_of
from alchemy.synthesis.prompts import parse_reply
from alchemy.synthesis.structure import lead, parse
from alchemy.synthesis.verification import verify
from alchemy.types import Chunk

ISSUE = make_chunk(
    "jira:XD-123",
    "The sink loses its file handle. It should roll over at midnight.\n\n```\nat org.Foo(Foo.java:1)\n```",
    title="HDFS sink does not roll over",
)
COMMIT = make_chunk(
    "git_pr:c759eb68d0c1",
    "Closes the old file first.",
    title="XD-123: Fix rollover of the sink",
)
PAGE = make_chunk(
    "confluence:XD/Sources",
    "### MQTT\n\nThe mqtt source connects to a broker and receives messages.\n\n#### Options\n\n"
    "- `clientId`: identifies the client (String, default: `xd.mqtt`)\n"
    "- topics: the topics to subscribe to (String, no default)\n",
    title="Sources",
    heading_path=("Sources", "MQTT", "Options"),
)
TABLE = make_chunk(
    "documents:REST.md",
    "## Streams\n\n| Resource | Method | Description |\n| --- | --- | --- |\n"
    "| /streams | GET | list all streams |\n| /streams | POST | create a stream |\n"
    "| /jobs | GET | list all jobs |\n",
    title="REST API",
    heading_path=("REST API", "Streams"),
)
RECORD = make_chunk(
    "database:springxd/module_options/source.http,port",
    "module: HTTP (source.http)\nname: port\ndescription: the port to listen to\ndefault value: 9000",
    title="module options: port, HTTP (source.http)",
)


def written(chunk: Chunk, insight: str | None = None) -> dict[str, str]:
    return {c.question: c.answer for c in StructureWriter().write(chunk, insight)}


def by_kind(chunk: Chunk) -> dict[str, list[Candidate]]:
    found: dict[str, list[Candidate]] = {}
    for candidate in StructureWriter().write(chunk, None):
        found.setdefault(candidate.kind, []).append(candidate)
    return found


def test_an_issue_is_asked_by_key_and_by_title() -> None:
    found = by_kind(ISSUE)
    (summary,) = found["summary"]
    assert "XD-123" in summary.question
    assert summary.answer == (
        "HDFS sink does not roll over. "
        "The sink loses its file handle. It should roll over at midnight."
    )
    (key,) = found["key"]
    assert key.question == 'Which issue is about "HDFS sink does not roll over"?'
    assert key.answer == "XD-123: HDFS sink does not roll over"


def test_a_later_part_of_an_issue_is_not_asked_about_as_the_issue() -> None:
    later = make_chunk("jira:XD-123", "More text of the same issue.", title="T", ordinal=3)
    assert written(later) == {}


def test_a_comment_is_asked_about_as_a_comment() -> None:
    comment = make_chunk(
        "jira:XD-123",
        "### Comment 1\n\nThis was fixed by an upgrade.",
        title="T",
        ordinal=1,
        heading_path=("Comments", "Comment 1"),
    )
    assert written(comment) == {
        "What does a comment on XD-123 say?": "This was fixed by an upgrade."
    }


def test_a_commit_is_linked_to_the_issue_it_names() -> None:
    (link,) = by_kind(COMMIT)["link"]
    assert "XD-123" in link.question
    assert link.answer == "XD-123: Fix rollover of the sink (commit c759eb68d0c1)"


def test_options_are_asked_with_the_section_that_owns_them() -> None:
    found = written(PAGE)
    assert found["What does the option clientId of MQTT Options (Sources) do?"] == (
        "identifies the client"
    )
    assert found["What is the default of the option clientId of MQTT Options (Sources)?"] == (
        "The default of clientId is xd.mqtt."
    )
    assert "What is the default of the option topics of MQTT Options (Sources)?" not in found
    assert "The mqtt source connects to a broker and receives messages." in found.values()


def test_table_rows_are_asked_only_when_they_can_be_told_apart() -> None:
    assert written(TABLE) == {
        "What is the description of /streams GET in Streams (REST API)?": "list all streams",
        "What is the description of /streams POST in Streams (REST API)?": "create a stream",
        "What is the description of /jobs GET in Streams (REST API)?": "list all jobs",
    }
    twins = make_chunk(
        "documents:a.md", "| K | V |\n| --- | --- |\n| a | one |\n| a | two |\n", title="T"
    )
    assert written(twins) == {}


def test_a_record_is_asked_by_its_columns_but_not_by_what_names_it() -> None:
    assert written(RECORD) == {
        "What is the description of port, HTTP (source.http)?": "the port to listen to",
        "What is the default value of port, HTTP (source.http)?": "9000",
    }


def test_the_insight_is_asked_once_per_document() -> None:
    insight = "Story points (13) are higher than 97 % of 3,526 jira documents."
    assert written(ISSUE, insight)["How does XD-123 compare with other issues?"] == insight
    later = make_chunk("jira:XD-123", "More.", title="T", ordinal=1)
    assert written(later, insight) == {}


@pytest.mark.parametrize("chunk", [ISSUE, COMMIT, PAGE, TABLE, RECORD])
def test_everything_written_from_structure_is_found_again(chunk: Chunk) -> None:
    candidates = StructureWriter().write(chunk, None)
    assert candidates
    for candidate in candidates:
        assert verify(candidate.question, candidate.answer, evidence_of(chunk)).kept, candidate


def test_code_is_not_prose() -> None:
    assert parse("```\nkey: value\n- a: b\n```\n").fields == []
    assert lead(["java.lang.NullPointerException", "at org.spring.Foo.bar(Foo.java:12)"]) == ""


def test_a_sentence_that_announces_something_else_is_left_out() -> None:
    assert lead(["It fails at start. The error is:", "boom boom boom"]) == "It fails at start."


@given(st.text(alphabet="ab:.-|`# \n(*1", max_size=200))
def test_any_text_can_be_parsed(text: str) -> None:
    chunk = make_chunk("documents:x", text, title="X")
    assert StructureWriter().write(chunk, None) == StructureWriter().write(chunk, None)


def test_a_models_reply_is_read_through_prose_and_fences() -> None:
    reply = 'Sure!\n```json\n[{"question": "Q?", "answer": "A."}]\n```'
    assert list(parse_reply(reply)) == [Candidate("chat", "Q?", "A.", "either")]


@pytest.mark.parametrize(
    "reply", ["", "no json", "[", '{"question": "Q"}', '[{"question": 1, "answer": "x"}]', '["x"]']
)
def test_a_models_unreadable_reply_is_a_candidate_that_says_so(reply: str) -> None:
    assert [c.kind for c in parse_reply(reply)] == ["unreadable"]


def test_a_models_empty_list_is_no_pair() -> None:
    assert list(parse_reply("[]")) == []
