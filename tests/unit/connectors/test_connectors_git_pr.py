from __future__ import annotations

import pytest


def test_flat_commit(company):
    company.put_lines(
        "raw/git_pr/c.jsonl",
        {
            "sha": "CB7A628EDC1EE91A3D73464F2CE1B32F28FBBB99",
            "title": "XD-1170 Updated the splunk adapter",
            "description": "Encoded as UTF-8.\nSee XD-1171, xXD-9.",
            "created_at": "2014-03-27T09:31:20-04:00",
        },
    )
    document = company.document()
    assert document.id == "git_pr:cb7a628edc1e"
    assert document.created_at == "2014-03-27T13:31:20Z"
    assert document.extra["jira_keys"] == ["XD-1170", "XD-1171"]
    assert document.metrics == {"additions": None, "deletions": None, "files": None}


def test_flat_pull_request_with_diff_summary_and_its_own_keys(company):
    company.put_lines(
        "raw/git_pr/p.jsonl",
        {
            "number": 7,
            "repo": "org/app",
            "title": "Fix it",
            "description": "Body",
            "diff_summary": "2 files changed",
            "additions": 3,
            "deletions": 0,
            "files": ["a.py", "b.py"],
            "jira_keys": [],
            "merged_at": "2014-03-27T09:31:20Z",
        },
    )
    document = company.document()
    assert document.id == "git_pr:org/app#7"
    assert document.text == "Body\n\n## Changes\n\n2 files changed"
    assert document.metrics == {"additions": 3.0, "deletions": 0.0, "files": 2.0}
    assert document.updated_at == "2014-03-27T09:31:20Z"
    assert "jira_keys" not in document.extra


def test_github_rest_pull_requests_and_commits(company):
    company.put_json(
        "raw/git_pr/github.json",
        [
            {
                "number": 12,
                "html_url": "https://github.com/org/app/pull/12",
                "url": "https://api.github.com/repos/org/app/pulls/12",
                "title": "Add tap",
                "body": None,
                "state": "closed",
                "base": {"repo": {"full_name": "org/app"}},
                "labels": [{"name": "feature"}],
                "changed_files": 4,
                "created_at": "2020-01-01T00:00:00Z",
            },
            {
                "sha": "0123456789abcdef",
                "html_url": "https://github.com/org/app/commit/0123456789abcdef",
                "commit": {
                    "message": "Subject\n\nThe body.",
                    "author": {"date": "2020-01-02T00:00:00Z"},
                },
                "stats": {"additions": 9, "deletions": 1},
            },
        ],
    )
    pull, commit = company.documents()
    assert pull.id == "git_pr:org/app#12"
    assert pull.uri == "https://github.com/org/app/pull/12"
    assert pull.metrics["files"] == 4.0
    assert pull.extra == {"state": "closed", "labels": ["feature"]}
    assert (commit.title, commit.text) == ("Subject", "The body.")
    assert commit.metrics["additions"] == 9.0
    assert commit.created_at == "2020-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"title": "a"}, "the record has no sha, number or id"),
        ({"sha": "not a hash", "title": "a"}, "sha is not a commit hash"),
        ({"number": 1.5, "title": "a"}, "number is not a whole number"),
        ({"sha": "0123456", "title": "", "description": ""}, "title and text are empty"),
        ({"sha": "0123456", "title": ["a"]}, "title is a list, not a string"),
    ],
)
def test_unusable_change_is_quarantined(company, record, reason):
    company.put_lines("raw/git_pr/c.jsonl", record)
    assert company.quarantined() == [("line 1", reason)]


def test_address_with_another_scheme_is_not_offered_as_a_link(company):
    company.put_lines(
        "raw/git_pr/c.jsonl", {"sha": "0123456", "title": "a", "url": "javascript:alert(1)"}
    )
    assert company.document().uri == "raw/git_pr/c.jsonl#0123456"
