from __future__ import annotations

import pytest

from alchemy.connectors.jira import priority_rank


def test_flat_issue_becomes_a_document_with_its_metrics(company):
    company.put_lines(
        "raw/jira/issues.jsonl",
        {
            "key": "XD-1",
            "summary": "  HDFS\u00a0ItemWriter ",
            "description": "h2. Goal\n* write {{files}}\n* read",
            "status": "Done",
            "priority": "Blocker",
            "comments": ["first", {"body": "second", "created": "2014-02-03T04:05:06.000+0200"}],
            "story_points": 3,
            "created_at": "2014-01-02",
            "labels": ["hdfs"],
            "links": ["XD-2"],
        },
    )
    document = company.document()
    assert document.id == "jira:XD-1"
    assert document.title == "HDFS ItemWriter"
    assert document.text == (
        "## Goal\n\n- write `files`\n- read\n\n## Comments\n\n### Comment 1\n\nfirst\n\n"
        "### Comment 2 (2014-02-03)\n\nsecond"
    )
    assert document.uri == "raw/jira/issues.jsonl#XD-1"
    assert document.created_at == "2014-01-02T00:00:00Z"
    assert document.metrics["story_points"] == 3.0
    assert document.metrics["comment_count"] == 2.0
    assert document.metrics["priority_rank"] == 5.0
    assert document.extra == {
        "status": "Done",
        "priority": "Blocker",
        "labels": ["hdfs"],
        "links": [{"type": "relates to", "key": "XD-2"}],
    }


def test_what_an_issue_lacks_is_none_and_never_zero(company):
    company.put_lines("raw/jira/a.jsonl", {"key": "XD-6", "summary": "Channel Registry"})
    document = company.document()
    assert set(document.metrics.values()) == {None}
    assert document.created_at is None
    assert document.extra == {}
    assert document.text == "Channel Registry"


def test_rest_bulk_issue_with_adf_description_comments_and_links(company):
    adf = {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": "Use the new bus."}]},
            {
                "type": "codeBlock",
                "attrs": {"language": "java"},
                "content": [{"type": "text", "text": "int a = 1;\n  a++;"}],
            },
        ],
    }
    company.put_json(
        "raw/jira/bulk.json",
        {
            "names": {"customfield_77": "Story Points"},
            "issues": [
                {
                    "key": "XD-9",
                    "self": "https://jira.example.org/rest/api/2/issue/1009",
                    "fields": {
                        "summary": "Bus",
                        "description": adf,
                        "status": {"name": "In Progress"},
                        "priority": {"name": "High"},
                        "issuetype": {"name": "Story"},
                        "components": [{"name": "DIRT"}],
                        "labels": [],
                        "customfield_77": 5,
                        "created": "2015-10-07T20:46:44.000+0000",
                        "updated": "2015-10-08T01:00:00.000+0200",
                        "comment": {"total": 4, "comments": [{"body": "see *docs*"}]},
                        "issuelinks": [
                            {
                                "type": {"inward": "is blocked by", "outward": "blocks"},
                                "inwardIssue": {"key": "XD-8"},
                            }
                        ],
                    },
                }
            ],
        },
    )
    document = company.document()
    assert document.uri == "https://jira.example.org/browse/XD-9"
    assert "Use the new bus.\n\n```java\nint a = 1;\n  a++;\n```" in document.text
    assert "see docs" in document.text
    assert document.created_at == "2015-10-07T20:46:44Z"
    assert document.updated_at == "2015-10-07T23:00:00Z"
    assert document.metrics["story_points"] == 5.0
    assert document.metrics["comment_count"] == 4.0
    assert document.metrics["priority_rank"] == 4.0
    assert document.extra["links"] == [{"type": "is blocked by", "key": "XD-8"}]
    assert document.extra["components"] == ["DIRT"]


def test_jira_csv_export_with_repeated_columns_and_line_breaks(company):
    company.put(
        "raw/jira/export.csv",
        "Issue key,Summary,Description,Priority,Labels,Labels,Comment,Created,"
        "Custom field (Story Points),Outward issue link (Blocks)\r\n"
        'XD-1,Tap,"first line\nsecond, line",Minor,a,b,07/Oct/15 8:46 PM;joe;works,'
        "07/Oct/15 8:00 PM,2.0,XD-3\r\n"
        "XD-2,Short row\r\n"
        "XD-3,Last,,,,,,,,\r\n",
    )
    first, bad, last = company.outcomes()
    assert first.id == "jira:XD-1"
    assert first.text.startswith("first line\nsecond, line\n\n## Comments")
    assert first.created_at == "2015-10-07T20:00:00Z"
    assert first.extra["labels"] == ["a", "b"]
    assert first.extra["links"] == [{"type": "Blocks", "key": "XD-3"}]
    assert first.metrics["story_points"] == 2.0
    assert (bad.position, bad.reason) == ("line 4", "row has 2 fields, the header has 10")
    assert last.id == "jira:XD-3"


def test_csv_with_the_flat_column_names_of_a_data_set(company):
    company.put("raw/jira/x.csv", "issuekey,title,description,storypoint\nXD-1,Tap,,8\n")
    document = company.document()
    assert (document.title, document.metrics["story_points"]) == ("Tap", 8.0)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"key": "XD-1", "summary": 12}, "summary is a number, not a string"),
        ({"summary": "no key"}, "the issue has no key"),
        ({"key": "X D", "summary": "a"}, "key is not usable as an id"),
        ({"key": "XD-1", "summary": " ", "description": None}, "title and text are empty"),
        (
            {"key": "XD-1", "summary": "a", "story_points": [1]},
            "story_points is a list, not a number",
        ),
        ({"key": "XD-1", "summary": "a", "created_at": "soon"}, "created_at is not a time"),
        ({"key": "XD-1", "summary": "a", "acl": []}, "acl is not a list of group names"),
        ({"key": "XD-1", "summary": "a", "tenant": 3}, "tenant is a number, not a string"),
        (
            {"key": "XD-1", "fields": {"summary": "a", "description": 4}},
            "description is a number, not text",
        ),
        ([], "record is a list, not an object"),
    ],
)
def test_unusable_issue_is_quarantined_with_a_reason(company, record, reason):
    company.put_lines("raw/jira/a.jsonl", record)
    assert company.quarantined() == [("line 1", reason)]


def test_record_brings_its_own_tenant_and_groups(company):
    company.put_lines(
        "raw/jira/a.jsonl", {"key": "XD-1", "summary": "a", "tenant": "acme", "acl": ["hr", "hr"]}
    )
    document = company.document()
    assert (document.tenant, document.acl) == ("acme", ("hr",))


@pytest.mark.parametrize(
    ("name", "rank"),
    [("Blocker", 5), ("highest", 5), ("Critical", 4), ("Major", 3), ("Minor", 2), ("Trivial", 1),
     ("Lowest", 1), ("1", 5), ("P3", 3), ("Someday", None)],
)  # fmt: skip
def test_priority_names_are_ordered(name, rank):
    assert priority_rank(name) == rank


def test_envelope_without_a_list_is_quarantined(company):
    company.put_json("raw/jira/a.json", {"issues": {"XD-1": {}}})
    assert company.quarantined() == [("issues", "issues is an object, not a list")]
