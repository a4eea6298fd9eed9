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
    assert document.metrics == {
        "additions": None, "deletions": None, "files": None, "description_chars": 37.0,
    }  # fmt: skip


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
    assert document.text == ("Body\n\n## Changes\n\n2 files changed\n\n- `a.py`\n- `b.py`")
    assert document.metrics == {
        "additions": 3.0, "deletions": 0.0, "files": 2.0, "description_chars": 4.0,
    }  # fmt: skip
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
        ({"number": 7, "title": "", "description": ""}, "title and text are empty"),
        ({"sha": "0123456", "title": ["a"]}, "title is a list, not a string"),
    ],
)
def test_unusable_change_is_quarantined(company, record, reason):
    company.put_lines("raw/git_pr/c.jsonl", record)
    assert company.quarantined() == [("line 1", reason)]


def test_a_commit_without_a_message_is_a_record_all_the_same(company):
    company.put_lines("raw/git_pr/c.jsonl", {"sha": "0123456", "title": "", "description": ""})
    commit = company.document()
    assert (commit.title, commit.metrics["description_chars"]) == ("Commit 0123456", 0.0)


def test_a_flat_message_is_title_and_body(company):
    company.put_lines("raw/git_pr/c.jsonl", {"sha": "0123456", "message": "XD-1 Fix\n\nThe tap."})
    commit = company.document()
    assert (commit.title, commit.text) == ("XD-1 Fix", "The tap.")
    assert commit.extra["jira_keys"] == ["XD-1"]


def test_a_record_that_names_no_message_at_all_is_quarantined(company):
    company.put_lines("raw/git_pr/c.jsonl", {"sha": "0123456", "foo": 1}, {"id": "x", "foo": 1})
    reasons = [reason for _, reason in company.quarantined()]
    assert reasons == ["title and text are empty"] * 2


def test_address_with_another_scheme_is_not_offered_as_a_link(company):
    company.put_lines(
        "raw/git_pr/c.jsonl", {"sha": "0123456", "title": "a", "url": "javascript:alert(1)"}
    )
    assert company.document().uri == "raw/git_pr/c.jsonl#0123456"


REVIEWED = {
    "number": 12,
    "html_url": "https://github.com/org/app/pull/12",
    "title": "XD-5 Add tap",
    "body": "<!-- say why -->Adds a tap.\n\nFixes #7, closes org/lib#8.\n\n```\n<!-- kept -->\n```",
    "state": "closed",
    "user": {"login": "ann"},
    "created_at": "2020-01-01T00:00:00Z",
    "merged_at": "2020-01-03T12:00:00Z",
    "base": {"ref": "main", "repo": {"full_name": "org/app"}},
    "head": {"ref": "feature/XD-9-tap"},
    "milestone": {"title": "1.1"},
    "labels": [{"name": "feature"}],
    "additions": 90,
    "deletions": 1,
    "commits": [
        {"sha": "a" * 40, "commit": {"message": "XD-6 Start", "author": {"date": "2020-01-01T01:00:00Z"}}},
        {"sha": "b" * 40, "commit": {"message": "More", "author": {"date": "2020-01-02T12:00:00Z"}}},
    ],
    "files": [
        {"filename": "src/tap.py", "status": "modified", "additions": 90, "deletions": 0,
         "patch": "@@ -1 +1,90 @@\n" + "".join(f"+line {n}\n" for n in range(90))},
        {"filename": "b.md", "previous_filename": "a.md", "status": "renamed", "additions": 0,
         "deletions": 1},
    ],
    "reviews": [
        {"user": {"login": "bob"}, "state": "APPROVED", "body": "", "submitted_at": "2020-01-03T00:00:00Z"},
        {"user": {"login": "bob"}, "state": "CHANGES_REQUESTED", "body": "Name it.",
         "submitted_at": "2020-01-01T06:00:00Z"},
        {"user": {"login": "ann"}, "state": "COMMENTED", "body": "", "submitted_at": "2020-01-01T02:00:00Z"},
        {"user": {"login": "cy"}, "state": "PENDING", "body": "unsent", "submitted_at": None},
        {"user": {"login": "cy"}, "state": "CHANGES_REQUESTED", "body": "Test it.",
         "submitted_at": "2020-01-01T07:00:00Z"},
    ],
    "review_comments": [
        {"id": 2, "in_reply_to_id": 1, "path": "src/tap.py", "body": "Done.",
         "created_at": "2020-01-02T00:00:00Z", "diff_hunk": "@@ -1 +1 @@\n+line 0"},
        {"id": 1, "path": "src/tap.py", "body": "Why here?", "created_at": "2020-01-01T06:00:00Z",
         "diff_hunk": "@@ -1 +1 @@\n+line 0"},
    ],
    "comments": [{"id": 9, "body": "Thanks all.", "created_at": "2020-01-03T13:00:00Z"}],
}  # fmt: skip


def test_pull_request_tells_its_changes_reviews_and_discussion(company):
    company.put_json("raw/git_pr/pull.json", REVIEWED)
    document = company.document()
    patch = "\n".join(["@@ -1 +1,90 @@", *(f"+line {n}" for n in range(59))])
    assert document.text == (
        "Adds a tap.\n\nFixes #7, closes org/lib#8.\n\n```\n<!-- kept -->\n```\n\n"
        "## Changes\n\n- `src/tap.py` (+90 -0)\n- `a.md` → `b.md` (renamed, +0 -1)\n\n"
        f"### src/tap.py\n\n```diff\n{patch}\n```\n\n"
        "31 more lines of this change are not shown.\n\n"
        "## Reviews\n\n### Review 1 (2020-01-01): changes requested\n\nName it.\n\n"
        "### Review 2 (2020-01-01): changes requested\n\nTest it.\n\n"
        "### Review 3 (2020-01-03): approved\n\n"
        "## Discussion\n\n### On src/tap.py (2020-01-01)\n\n"
        "```diff\n@@ -1 +1 @@\n+line 0\n```\n\nWhy here?\n\nDone.\n\n"
        "### Comment (2020-01-03)\n\nThanks all."
    )
    assert document.metrics == {
        "additions": 90.0, "deletions": 1.0, "files": 2.0, "commits": 2.0, "comments": 3.0,
        "review_rounds": 2.0, "hours_to_merge": 60.0, "hours_to_first_review": 6.0,
        "description_chars": 63.0,
    }  # fmt: skip
    assert document.extra == {
        "jira_keys": ["XD-5", "XD-6", "XD-9"], "issues": ["#7", "org/lib#8"], "state": "merged",
        "labels": ["feature"], "milestone": "1.1", "base": "main", "head": "feature/XD-9-tap",
    }  # fmt: skip


def test_pull_request_of_which_rest_gives_only_numbers(company):
    company.put_json(
        "raw/git_pr/pull.json",
        {"number": 3, "title": "a", "commits": 4, "comments": 1, "review_comments": 2,
         "state": "open", "draft": True},
    )  # fmt: skip
    document = company.document()
    assert (document.metrics["commits"], document.metrics["comments"]) == (4.0, 3.0)
    assert "review_rounds" not in document.metrics
    assert document.extra == {"state": "open", "draft": True}


def test_commit_lists_its_files_and_parents(company):
    company.put_json(
        "raw/git_pr/c.json",
        {
            "sha": "0123456789abcdef",
            "commit": {"message": "Merge", "author": {"date": "2020-01-02T00:00:00Z"}},
            "parents": [{"sha": "a" * 40}, {"sha": "b" * 40}],
            "files": [{"filename": "x.py", "status": "added", "additions": 2, "deletions": 0,
                       "patch": "@@ -0,0 +1,2 @@\n+a\n+b"}],
        },
    )  # fmt: skip
    document = company.document()
    assert document.text == (
        "## Changes\n\n- `x.py` (added, +2 -0)\n\n### x.py\n\n```diff\n@@ -0,0 +1,2 @@\n+a\n+b\n```"
    )
    assert document.metrics == {
        "additions": 2.0, "deletions": 0.0, "files": 1.0, "description_chars": 0.0,
    }  # fmt: skip
    assert document.extra == {"parents": ["a" * 12, "b" * 12], "merge": True}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"reviews": ["x"]}, "an entry of reviews is a string, not an object"),
        ({"reviews": [{"state": 1}]}, "state is a number, not a string"),
        ({"files": [{"status": "added"}]}, "an entry of files has no filename"),
        ({"comments": [{"body": []}]}, "body is a list, not a string"),
    ],
)
def test_unusable_review_is_quarantined(company, more, reason):
    company.put_lines("raw/git_pr/p.jsonl", {"number": 1, "title": "a", **more})
    assert company.quarantined() == [("line 1", reason)]
