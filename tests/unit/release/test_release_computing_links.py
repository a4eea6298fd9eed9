"""Issues by what names them, and figures per span of time: questions about several kinds of records."""

from __future__ import annotations

from pathlib import Path

import pytest
from computing_world import Counter, issue, pull

from alchemy.types import Document, Filters, Principal


def commit(sha: str, title: str, acl: tuple[str, ...] = ("everyone",), **more: object) -> Document:
    made = pull(0, title, **more)
    return Document.from_dict({**made.to_dict(), "id": f"git_pr:{sha}", "acl": acl})


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Counter:
    keys = {"jira_keys": ["OPS-1"]}
    documents = [
        issue(1, "Kafka lag", story_points=8),
        issue(2, "Login fails", story_points=3),
        issue(3, "Old menu", story_points=1),
        commit("a1", "Fix lag", **keys, created_at="2025-01-06T10:00:00Z", description_chars=0),
        commit("b2", "More lag", **keys, created_at="2025-01-13T10:00:00Z", description_chars=9),
        commit("c3", "Fix both", jira_keys=["OPS-1", "OPS-2"], created_at="2025-03-04T10:00:00Z"),
        commit("d4", "Tidy", created_at="2025-03-05T10:00:00Z"),
        commit("e5", "Secret", ("board",), jira_keys=["OPS-3"], created_at="2026-01-01T10:00:00Z"),
        commit("f6", "Commit f6", created_at="2025-03-03T10:00:00Z", untitled=True),
    ]
    return Counter(tmp_path_factory.mktemp("links") / "world", documents)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("How many issues have a linked commit?", "There are 2 issues"),
        ("How many tickets never got a commit linked to them?", "There is 1 issue"),
        ("Which issue has the most commits?", "OPS-1 Kafka lag [2] has the highest linked commits: 3"),
        ("Total story points of tickets that are linked to at least one commit?", "have 11 story"),
        ("How many commits name two or more issue keys?", "There is 1 commit"),
        ("How many commits were made on average per month in the first quarter of 2025?", "1.67"),
        ("What is the average number of commits per month in 2025?", "0.42 commits"),
        ("Which weekday had the most commits?", "Monday has the highest number of commits"),
        ("How many commits were there in January 2025 and February 2025?", "There are 2 commits"),
        ("Show commits by month for 2025, please", "- 2025-03: 3"),
        ("What are the lowest and the highest story points of tickets?", "of the 3 issues is 8"),
        ("What are the lowest and the highest story points of tickets?", "of the 3 issues is 1"),
        ("Which commit has the longest title?", "More lag"),
        ("Which month had the most commits?", "commits of 2 by month (UTC): 3"),
        ("How many commits in 2025?", "from 2025-01-01 and before 2026-01-01 (UTC)"),
        ("commits before 2025-02-01?", "There are 2 commits"),
    ],
)  # fmt: skip
def test_links_and_spans(question: str, told: str, company: Counter) -> None:
    assert told in company.text(question)


def test_both_halves_of_a_question_are_told_with_their_plans(company: Counter) -> None:
    made = company.made(
        "How many issues have at least one commit linked to them, and how many have none?"
    )
    assert made is not None
    first, second = made[0].text.split("\n\n")
    assert first.startswith("There are 2 issues") and first.endswith("[1]")
    assert second.startswith("There is 1 issue") and second.endswith("[2]")
    assert [c.quote.startswith("SELECT") for c in made[0].citations] == [True, True]


def test_two_questions_are_two_answers(company: Counter) -> None:
    text = company.text("How many issues are there and how many commits were made in 2025?")
    assert "There are 3 issues. [1]" in text and "There are 5 commits created from" in text
    text = company.text("What are the most points of an issue, and how many commits are there?")
    assert "of the 3 issues is 8" in text and "There are 5 commits. [2]" in text


def test_a_link_from_what_one_may_not_read_does_not_count(company: Counter) -> None:
    board = Principal("eve", "default", ("everyone", "board"))
    question = "How many issues have a linked commit?"
    assert "There are 2 issues" in company.text(question)
    assert "There are 3 issues" in company.text(question, board)
    only_issues = company.made(question, filters=Filters(sources=("jira",)))
    assert only_issues is None or only_issues[0].abstained
    hidden = company.made(question, hidden=frozenset(["git_pr:c3"]))
    assert hidden is not None and "There is 1 issue" in hidden[0].text


@pytest.mark.parametrize(
    "question",
    [
        "How many issues are there for each commit?",
        "How many issues mention lag and how many commits have that?",
        "How many issues mention lag nowhere else?",
        "How many commits mention lag, last year?",
        "How many commits were made in January 2025 and in March 2025?",
    ],
)
def test_what_is_not_understood_is_not_passed_over(question: str, company: Counter) -> None:
    made = company.made(question)
    assert made is None or made[0].abstained or "created from" in made[0].text


def test_a_plain_title_is_no_title_of_a_commit_without_a_message(tmp_path: Path) -> None:
    documents = [
        commit("a1", "Fix", created_at="2025-01-06T10:00:00Z"),
        commit("b2", "Commit b2", created_at="2025-01-07T10:00:00Z", untitled=True),
    ]
    company = Counter(tmp_path / "w", documents)
    assert "There are 2 commits" in company.text("How many commits are there?")
    assert "There is 1 commit" in company.text("How many commits have a title?")


def test_a_field_of_the_tracker_with_our_name_changes_no_count(tmp_path: Path) -> None:
    documents = [
        issue(1, "Kafka lag", linked_commits=["see wiki"]),
        issue(2, "Login fails", linked_commits=7),
        commit("a1", "Fix", jira_keys=["OPS-1"], created_at="2025-01-06T10:00:00Z"),
    ]
    company = Counter(tmp_path / "w", documents)
    assert "There is 1 issue" in company.text("How many issues have a linked commit?")
