from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alchemy.config import CleaningSettings, Settings
from alchemy.connectors.registry import plan_units, raw_digest, read_unit
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document, Quarantined

_LINES = st.lists(
    st.one_of(
        st.integers(0, 10**6).map(lambda n: json.dumps({"sha": f"{n:07x}", "title": f"Größe {n}"})),
        st.sampled_from(["", "  ", "{", "null", '{"sha": 1}', '{"title":"x"}', "é\u2028"]),
    ),
    max_size=30,
    unique=True,
)


@given(
    lines=_LINES,
    end=st.sampled_from(["\n", "\r\n"]),
    closed=st.booleans(),
    max_bytes=st.integers(1, 400),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_splitting_json_lines_anywhere_changes_nothing(make_company, lines, end, closed, max_bytes):
    company = make_company()
    company.put("raw/git_pr/c.jsonl", end.join(lines) + (end if closed else ""))
    assert company.outcomes(max_bytes) == company.outcomes(1 << 20)


def test_units_of_a_large_object_are_whole_lines_that_cover_it(company):
    company.put_lines("raw/git_pr/c.jsonl", *({"sha": f"{n:07x}", "title": "t"} for n in range(99)))
    units = plan_units(company.lake, company.settings, max_bytes=500)
    raw = company.lake.read("raw/git_pr/c.jsonl")
    assert len(units) > 3
    assert units[0].start == 0
    assert units[-1].end == len(raw)
    for before, after in itertools.pairwise(units):
        assert before.end == after.start
        assert raw[after.start - 1 : after.start] == b"\n"
        assert raw[: after.start].count(b"\n") == after.line - 1


def test_bad_lines_are_quarantined_with_their_position_and_the_rest_goes_on(company):
    good = '{"key":"XD-1","summary":"a"}'
    company.put(
        "raw/jira/a.jsonl",
        b"\n".join(
            [
                good.encode(),
                b'{"key":"XD-2", secret}',
                b'{"key":"XD-3","summary":"\xff"}',
                good.encode(),
                b'{"key":"XD-4","summary":NaN}',
                b"[" * 100_000,
                b'{"key":"XD-5","summary":"last"}',
            ]
        ),
    )
    found = company.outcomes()
    assert [x.id for x in found if isinstance(x, Document)] == ["jira:XD-1", "jira:XD-5"]
    quarantined = [x for x in found if isinstance(x, Quarantined)]
    assert {x.uri for x in quarantined} == {"raw/jira/a.jsonl"}
    assert [(x.position, x.reason) for x in quarantined] == [
        (
            "line 2",
            "not valid JSON: Expecting property name enclosed in double quotes at column 16",
        ),
        ("line 3", "not valid UTF-8 at byte 25"),
        ("line 4", "same id as line 1"),
        ("line 5", "not valid JSON: NaN"),
        ("line 6", "nested too deeply"),
    ]


def test_oversized_record_is_quarantined_without_being_held_in_memory(company):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=100_000))
    company.put(
        "raw/jira/a.jsonl",
        b'{"key":"XD-1","summary":"a"}\n{"key":"XD-2","summary":"'
        + b"x" * 30_000_000
        + b'"}\n{"key":"XD-3","summary":"c"}\n',
    )
    tracemalloc.start()
    found = company.outcomes(1 << 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [getattr(x, "id", None) for x in found] == ["jira:XD-1", None, "jira:XD-3"]
    assert found[1].position == "line 2"
    assert found[1].reason == "record is larger than cleaning.max_record_bytes (100000 bytes)"
    assert peak < 10_000_000


@pytest.mark.parametrize("name", ["jira/a.json", "documents/a.md", "jira/a.csv"])
def test_oversized_object_is_quarantined_in_every_form(company, name):
    company.settings = Settings(cleaning=CleaningSettings(max_record_bytes=2000))
    company.put(f"raw/{name}", "key,summary\nXD-1," + "x" * 5000)
    ((_, reason),) = company.quarantined()
    assert reason.startswith("record is larger than cleaning.max_record_bytes (2000 bytes)")


def test_every_object_is_accounted_for(company):
    company.put("raw/readme.txt", "x")
    company.put("raw/crm/contacts.json", "[]")
    company.put("raw/jira/issues.xlsx", b"PK")
    company.put("raw/jira/empty.json", "")
    company.put("raw/jira/empty.jsonl", "")
    found = company.outcomes()
    assert [(x.source, x.uri, x.reason) for x in found] == [
        ("crm", "raw/crm/contacts.json", "no connector for source 'crm'"),
        ("jira", "raw/jira/empty.json", "not valid JSON: Expecting value at column 1"),
        ("jira", "raw/jira/issues.xlsx", "no reader for .xlsx"),
        ("unknown", "raw/readme.txt", "no connector for source 'unknown'"),
    ]


def test_object_that_cannot_be_read_stops_instead_of_vanishing(company):
    company.put("raw/documents/a.md", "# A")
    (unit,) = plan_units(company.lake, company.settings)
    company.lake.delete("raw/documents/a.md")
    with pytest.raises(AlchemyError) as caught:
        list(read_unit(company.lake, unit, company.settings))
    assert caught.value.code is ErrorCode.NOT_FOUND


def rating(status):
    return json.dumps(
        {
            **{"id": "x", "answer_id": "a", "question": "q", "answer_text": "t", "rating": "up"},
            **{"correction": None, "user": "u", "tenant": "t", "acl": ["everyone"]},
            **{"citations": [], "status": status, "created_at": "2024-01-02T00:00:00Z"},
        }
    )


def test_digest_changes_with_content_name_and_approved_feedback_only(company):
    digests = {raw_digest(company.lake)}
    company.put("raw/documents/a.md", "# A")
    first = raw_digest(company.lake)
    assert raw_digest(company.lake) == first
    digests.add(first)
    company.put("raw/documents/a.md", "# B")
    digests.add(raw_digest(company.lake))
    company.put("raw/documents/b.md", "# B")
    digests.add(raw_digest(company.lake))
    company.put("feedback/2024/01/02/x.json", rating("pending"))
    digests.add(raw_digest(company.lake))
    company.put("feedback/2024/01/02/x.json", rating("approved"))
    digests.add(raw_digest(company.lake))
    company.put("index/v1/a", "not raw")
    digests.add(raw_digest(company.lake))
    assert len(digests) == 5


def test_text_is_normalised(company):
    company.put_lines(
        "raw/jira/a.jsonl",
        '{"key":"XD-1","summary":"Cafe\\u0301\\u200b\\u202e","description":"a\\r\\nb\\u2028c\\ud800\\u0007"}',
    )
    document = company.document()
    assert (document.title, document.text) == ("Café", "a\nb\nc\ufffd")
