"""What a tombstone names does not come out of the next wash, whoever washes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cleaning_world import Company, document

from alchemy.cleaning import stage
from alchemy.pipeline import run_identity, washed_otherwise
from alchemy.stores.tombstones import read_forgotten, write_tombstones

SECRET = "The merger with the blue company is planned for the spring of next year"
A, B = ("default", "jira:A-1"), ("default", "jira:B-1")


@pytest.fixture
def company(tmp_path: Path) -> Company:
    made = Company(tmp_path)
    made.put(
        "a", [document("A-1", SECRET), document("A-2", "Another text about taps and streams.")]
    )
    made.put("b", [document("B-1", "A third text about sinks, sources and modules.")])
    return made


def ids(lines: list[dict]) -> list[str]:
    return [line["id"] for line in lines]


@pytest.mark.parametrize("divided", [None, (3, 7)], ids=["ray", "spark"])
def test_a_forgotten_document_is_removed_and_counted(
    company: Company, divided: tuple[int, int] | None
) -> None:
    company.wash(divided)
    write_tombstones(company.lake, [A], "forget", "ada")
    washed = company.wash(divided)
    assert ids(washed.lines(stage.CORPUS)) == ["jira:A-2", "jira:B-1"]
    assert [(r["id"], r["reason"]) for r in washed.lines(stage.REMOVED)] == [
        ("jira:A-1", "forgotten")
    ]
    assert washed.receipt.counts["forgotten.jira"] == 1
    assert washed.receipt.counts["kept.jira"] == 2
    for name, content in washed.bytes_by_name().items():
        assert b"blue company" not in content, name


def test_both_engines_and_an_increment_write_the_same_bytes(tmp_path: Path) -> None:
    texts = [f"Text number {n} about {SECRET.lower()} and topic {n * n}." for n in range(30)]
    companies = [Company(tmp_path / name) for name in ("increment", "whole")]
    for company in companies:
        company.put("x", [document(f"X-{n}", text) for n, text in enumerate(texts)])
    companies[0].wash()
    for company in companies:
        write_tombstones(company.lake, [("default", "jira:X-7")], "forget", "ada")
    increment, whole = companies[0].wash(), companies[1].wash((4, 11))
    assert increment.tasks == [], "nothing is read again for it"
    assert increment.bytes_by_name() == whole.bytes_by_name()


def test_every_version_goes_and_a_copy_takes_its_place(company: Company) -> None:
    company.put("0", [document("A-1", "An older version.")])
    company.put("c", [document("C-1", SECRET, title="Title of A-1")])
    assert "jira:C-1" not in ids(company.wash().lines(stage.CORPUS))
    write_tombstones(company.lake, [A], "forget", "ada")
    washed = company.wash()
    removed = washed.lines(stage.REMOVED)
    assert [r["reason"] for r in removed if r["id"] == "jira:A-1"] == ["forgotten"] * 2
    assert "jira:C-1" in ids(washed.lines(stage.CORPUS)), "it is another document: named apart"


def test_another_tenants_document_of_that_name_stays(company: Company) -> None:
    write_tombstones(company.lake, [("other", "jira:A-1")], "forget", "ada")
    assert "jira:A-1" in ids(company.wash().lines(stage.CORPUS))


def test_lifting_brings_it_back_with_the_bytes_of_before(company: Company) -> None:
    before = company.wash()
    write_tombstones(company.lake, [A, B], "forget", "ada")
    assert ids(company.wash().lines(stage.CORPUS)) == ["jira:A-2"]
    write_tombstones(company.lake, [A, B], "lift", "ada")
    assert company.wash().bytes_by_name() == before.bytes_by_name()


def test_a_run_is_named_by_what_it_leaves_out(company: Company) -> None:
    def name() -> str:
        return run_identity("raw", company.settings, read_forgotten(company.lake).digest)

    before = name()
    washed = company.wash()
    write_tombstones(company.lake, [A], "forget", "ada")
    after = name()
    assert after != before
    digest = read_forgotten(company.lake).digest
    assert washed_otherwise(company.lake, washed.receipt.run_id, digest)
    washed = company.wash()
    assert not washed_otherwise(company.lake, washed.receipt.run_id, digest)
    write_tombstones(company.lake, [A], "lift", "ada")
    assert name() == before
