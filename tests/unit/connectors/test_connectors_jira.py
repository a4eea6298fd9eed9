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
        "state": "closed",
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


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_csv_may_be_divided_by_what_jira_offers(company, mark):
    rows = [["Issue key", "Summary", '"Custom field (A, B; C)"', "Labels", "Labels"],
            ["XD-1", f'"one{mark} two"', "x", "a", "b"]]  # fmt: skip
    company.put("raw/jira/x.csv", "".join(f"{mark.join(row)}\n" for row in rows))
    document = company.document()
    assert document.title == " ".join(f"one{mark} two".split())
    assert document.extra["labels"] == ["a", "b"]


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


def _moved(at: str, before: str, after: str, field: str = "status", **more: object) -> dict:
    item = {"field": field, "fromString": before, "toString": after}
    return {"created": at, "author": {"displayName": "Ann Lee"}, "items": [item], **more}


HISTORY = [  # as Jira Cloud gives it: newest first
    _moved("2020-01-09T00:00:00.000+0000", "In Progress", "Done", id="9"),
    _moved("2020-01-07T00:00:00.000+0000", "Done", "In Progress", id="8"),
    _moved("2020-01-06T00:00:00.000+0000", "Bob", "Cy", "assignee", id="7"),
    _moved("2020-01-05T12:00:00.000+0000", "Open", "Done", id="6"),
    _moved("2020-01-05T12:00:00.000+0000", None, "Fixed", "resolution", id="5"),  # type: ignore[arg-type]
    _moved("2020-01-03T00:00:00.000+0000", "Low", "High", "priority", id="4"),
    _moved("2020-01-02T00:00:00.000+0000", None, "1.1", "Fix Version", id="3"),  # type: ignore[arg-type]
]


def _rest(**record: object) -> dict:
    fields = {
        "summary": "Tap",
        "description": "Body",
        "created": "2020-01-01T00:00:00.000+0000",
        "status": {"name": "Done", "statusCategory": {"key": "done"}},
    }
    return {"key": "XD-1", **record, "fields": {**fields, **record.get("fields", {})}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "changelog",
    [
        {"histories": HISTORY, "total": 7},
        {"values": HISTORY, "isLast": True},
        HISTORY,
        [
            {"date": h["created"], "id": h["id"], "field": i["field"], "from": i["fromString"],
             "to": i["toString"]}
            for h in HISTORY for i in h["items"]
        ],
    ],
)  # fmt: skip
def test_changelog_becomes_metrics_and_a_history_without_names(company, changelog):
    company.put_lines("raw/jira/a.jsonl", _rest(changelog=changelog))
    document = company.document()
    assert document.text == (
        "Body\n\n## History\n\n- 2020-01-02: Fix version 1.1 added\n"
        "- 2020-01-03: Priority Low → High\n- 2020-01-05: Resolution none → Fixed; "
        "Status Open → Done\n- 2020-01-07: Status Done → In Progress\n"
        "- 2020-01-09: Status In Progress → Done"
    )
    metrics = document.metrics
    assert (metrics["reopened"], metrics["assignee_changes"]) == (1.0, 1.0)
    assert metrics["days_in_open"] == 4.5
    assert metrics["days_in_done"] == 1.5
    assert metrics["days_in_in_progress"] == 2.0
    assert metrics["days_open"] == 8.0


def test_page_of_a_longer_changelog_gives_no_counts(company):
    company.put_lines("raw/jira/a.jsonl", _rest(changelog={"histories": HISTORY, "total": 300}))
    document = company.document()
    assert "reopened" not in document.metrics
    assert "## History" in document.text


def test_status_that_jira_counts_as_done_is_done_whatever_its_name(company):
    status = {"name": "Shipped", "statusCategory": {"key": "done"}}
    changelog = [
        _moved("2020-01-03", "Open", "Shipped"), _moved("2020-01-04", "Shipped", "Open"),
        _moved("2020-01-06", "Open", "Shipped"),
    ]  # fmt: skip
    company.put_lines("raw/jira/a.jsonl", _rest(changelog=changelog, fields={"status": status}))
    assert company.document().metrics["reopened"] == 1.0
    assert company.document().metrics["days_open"] == 5.0


def test_open_issue_has_no_days_open(company):
    changelog = [_moved("2020-01-03", "Open", "Done"), _moved("2020-01-04", "Done", "Open")]
    company.put_lines("raw/jira/a.jsonl", _rest(changelog=changelog))
    assert "days_open" not in company.document().metrics


def test_comment_for_a_role_is_counted_and_never_shown(company):
    comments = [
        {"body": "open to all"},
        {"body": "secret one", "visibility": {"type": "role", "value": "Administrators"}},
        {"body": "secret two", "visibility": {"type": "group", "value": "hr"}},
    ]
    company.put_lines(
        "raw/jira/a.jsonl",
        _rest(fields={"comment": {"comments": comments, "total": 3}}),
        {"key": "XD-2", "summary": "flat", "comments": comments},
    )
    for document in company.documents():
        assert "open to all" in document.text
        assert "secret" not in document.to_json()
        assert document.metrics["restricted_comments"] == 2.0
        assert document.metrics["comment_count"] == 3.0


@pytest.mark.parametrize(
    "record",
    [
        _rest(fields={"security": {"name": "Board only", "id": "10"}}),
        {"key": "XD-1", "summary": "a", "security": "Board only"},
    ],
)
def test_security_level_keeps_an_issue_from_everyone_else(company, record):
    company.put_lines("raw/jira/a.jsonl", record)
    assert company.document().acl == ("jira-security:Board only",)
    company.put_lines("raw/jira/a.jsonl", {**record, "acl": ["board"]})
    assert company.document().acl == ("board",)


def test_rest_issue_tells_its_versions_relatives_files_and_own_fields(company):
    company.put_json(
        "raw/jira/a.json",
        {
            "names": {
                "customfield_1": "Acceptance criteria", "customfield_2": "Team",
                "customfield_3": "Tester", "customfield_4": "Rank", "customfield_5": "Sprint",
                "customfield_6": "Epic Link", "customfield_7": "Severity",
            },
            "issues": [_rest(fields={
                "resolution": {"name": "Fixed"}, "fixVersions": [{"name": "1.1"}],
                "versions": [{"name": "1.0"}, {"name": "0.9"}], "environment": "JDK *8*",
                "duedate": "2020-02-03", "resolutiondate": "2020-01-03T00:00:00.000+0000",
                "parent": {"key": "XD-7", "fields": {"summary": "Taps"}},
                "subtasks": [{"key": "XD-8", "fields": {"summary": "Test it"}}],
                "attachment": [{"filename": "trace.log", "author": {"displayName": "Ann Lee"}}],
                "votes": {"votes": 4}, "watches": {"watchCount": 2}, "worklog": {"total": 3},
                "issuelinks": [{"type": {"outward": "blocks"},
                                "outwardIssue": {"key": "XD-9", "fields": {"summary": "Bus"}}}],
                "customfield_1": "* works\n* fast", "customfield_2": {"value": "Core"},
                "customfield_3": {"displayName": "Ann Lee"}, "customfield_4": "0|i0:",
                "customfield_5": ["com.x.Sprint@1f[id=1,name=Sprint 5,goal=]"],
                "customfield_6": "XD-7", "customfield_7": [{"value": "S1"}, {"value": "S2"}],
            })],
        },
    )  # fmt: skip
    document = company.document()
    assert document.text == (
        "Body\n\n## Environment\n\nJDK 8\n\n## Acceptance criteria\n\n- works\n- fast\n\n"
        "## Details\n\n- Resolution: Fixed\n- Fix versions: 1.1\n- Affects versions: 1.0, 0.9\n"
        "- Due: 2020-02-03\n- Epic: XD-7\n- Sprints: Sprint 5\n- Attachments: trace.log\n"
        "- Team: Core\n- Severity: S1, S2\n\n"
        "## Related issues\n\n- part of XD-7: Taps\n- has subtask XD-8: Test it\n- blocks XD-9: Bus"
    )
    assert "Ann Lee" not in document.to_json()
    numbers = ("votes", "watches", "worklogs", "attachments", "days_open")
    assert [document.metrics[name] for name in numbers] == [4.0, 2.0, 3.0, 1.0, 2.0]
    assert document.extra["links"] == [{"type": "blocks", "key": "XD-9", "summary": "Bus"}]
    assert document.extra["parent"] == "XD-7"
    assert document.extra["subtasks"] == ["XD-8"]
    assert document.extra["custom"] == {"Team": "Core", "Severity": "S1, S2"}


def test_csv_export_tells_what_rest_tells(company):
    company.put(
        "raw/jira/export.csv",
        "Issue key,Summary,Fix Version/s,Fix Version/s,Attachment,Security Level,Watchers,Watchers,"
        "Log Work,Custom field (Team),Custom field (Tester),Custom field (Rank),Parent,Parent key,"
        "Parent summary,Inward issue link (Blocks),Resolved,Created,Votes,Sprint\r\n"
        "XD-1,Tap,1.1,1.2,07/Oct/15 8:46 PM;joe;trace.log;https://x.org/1,Board,joe,ann,"
        "a;b;1,Core,Ann Lee,0|i,10001,XD-7,Taps,XD-3,2020/01/03,2020/01/01,4,Sprint 5\r\n",
    )
    document = company.document()
    assert document.extra["fix_versions"] == ["1.1", "1.2"]
    assert document.extra["attachments"] == ["trace.log"]
    assert document.extra["sprints"] == ["Sprint 5"]
    assert document.extra["custom"] == {"Team": "Core"}
    assert document.extra["links"] == [{"type": "Blocks (inward)", "key": "XD-3"}]
    assert "- part of XD-7: Taps" in document.text
    assert document.acl == ("jira-security:Board",)
    assert (document.metrics["watches"], document.metrics["worklogs"]) == (2.0, 1.0)
    assert (document.metrics["votes"], document.metrics["days_open"]) == (4.0, 2.0)
    assert "joe" not in document.to_json()


@pytest.mark.parametrize(
    ("changelog", "reason"),
    [
        ("x", "changelog is a string, not an object or a list"),
        ({"histories": {}}, "histories is an object, not a list"),
        ([{"items": []}], "a changelog entry has no created"),
        ([{"created": "2020-01-01", "items": [{}]}], "a changelog item has no field"),
        ([{"created": "2020-01-01", "field": "status", "from": 3}], "from is a number, not a string"),
    ],
)  # fmt: skip
def test_unusable_changelog_is_quarantined(company, changelog, reason):
    company.put_lines("raw/jira/a.jsonl", _rest(changelog=changelog))
    assert company.quarantined() == [("line 1", reason)]
