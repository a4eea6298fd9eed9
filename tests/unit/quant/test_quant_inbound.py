"""Links from one document to another, as the corpus has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from alchemy.quant.inbound import inbound_links, with_inbound_links
from alchemy.types import Document

WIKI = "https://wiki.example.org"


def page(
    title: str, text: str = "", *, space: str = "XD", uri: str = "", **options: Any
) -> Document:
    number = options.pop("number", title)
    extra = {"space": space, **options.pop("extra", {})}
    acl = options.pop("acl", ("everyone",))
    return Document(
        f"confluence:{space}/{number}", "confluence", title, text, uri or f"raw/p.json#{title}",
        options.pop("tenant", "default"), acl, extra=extra,
    )  # fmt: skip


def file(path: str, text: str = "", **options: Any) -> Document:
    extra = {"path": path, **options.pop("extra", {})}
    acl = options.pop("acl", ("everyone",))
    return Document(
        f"documents:{path}", "documents", path, text, f"raw/documents/{path}", "default", acl,
        extra=extra,
    )  # fmt: skip


@pytest.fixture
def counted(tmp_path: Path):
    def count(*documents: Document, copies: tuple[Document, ...] = ()) -> dict[str, float]:
        for name, those in (("corpus", documents), ("copies", copies)):
            (tmp_path / name).write_text("".join(f"{d.to_json()}\n" for d in those))
        return dict(inbound_links(tmp_path / "corpus", tmp_path / "copies").iter_rows())

    return count


def test_a_page_is_linked_by_title_first_in_its_own_space(counted):
    found = counted(
        page("Home"),
        page("Home", space="OPS"),
        page("Guide", extra={"references": ["Home", "OPS:Home"]}),
        page("Notes", extra={"references": ["home ", "Home", "Nowhere", "Notes"]}),
        page("Alerts", space="OPS", extra={"references": ["Home", "XD:Guide"]}),
    )
    assert found == {"confluence:XD/Home": 2, "confluence:OPS/Home": 2, "confluence:XD/Guide": 1}


def test_a_title_that_two_spaces_have_is_no_one_s_where_neither_is_meant(counted):
    linking = page("Index", space="HR", extra={"references": ["Home"]})
    assert counted(page("Home"), page("Home", space="OPS"), linking) == {}
    assert counted(page("Home"), linking) == {"confluence:XD/Home": 1}


def test_a_page_is_linked_by_its_address_and_by_its_number(counted):
    target = page("Tuning", uri=f"{WIKI}/display/XD/Tuning", number="4711")
    texts = (
        f"See {WIKI}/display/XD/Tuning#memory.",
        f"[here](<{WIKI}/display/XD/Tuning/>)",
        f"(also {WIKI}/pages/viewpage.action?pageId=4711)",
        f"[cloud]({WIKI}/spaces/XD/pages/4711/Old+title)",
        "[from the root](/display/XD/Tuning)",
        "[from here](../display/XD/Tuning)",
    )
    linking = [page(f"P{n}", text, uri=f"{WIKI}/x/{n}") for n, text in enumerate(texts)]
    issue = Document("jira:XD-1", "jira", "t", f"{WIKI}/display/XD/Tuning", "u", "default",
                     ("everyone",))  # fmt: skip
    others = (
        "https://other.example.org/display/XD/Tuning",
        "https://other.example.org/pages/viewpage.action?pageId=4711",
        f"`````\n{WIKI}/display/XD/Tuning\n`````",
        f"{WIKI}/display/XD/TuningGuide",
    )
    silent = [file(f"{n}.md", text) for n, text in enumerate(others)]
    assert counted(target, *linking, issue, *silent) == {"confluence:XD/4711": 7}


@pytest.mark.parametrize(
    "broken",
    ["https://[SECRET_2]/x", "http://[::1", "https://", "[x](http://[EMAIL_1])", "[x](//)"],
)
def test_what_redaction_or_a_typing_error_left_of_an_address_is_no_link(counted, broken):
    linking = page("A", broken, extra={"references": [broken, "Home"]}, uri=f"{WIKI}/a")
    assert counted(page("Home", uri=broken), linking) == {"confluence:XD/Home": 1}


def test_a_file_is_linked_by_its_path_from_the_one_that_links(counted):
    found = counted(
        file("guide/install.adoc"),
        file("guide/README.md"),
        file("notes (old).md"),
        file("guide/a.md", "[i](install.adoc) [again](./install.adoc#linux) [top](../)"),
        file("guide/b.html", extra={"references": ["install.html", "/guide/"]}),
        file("c.adoc", extra={"references": ["guide/Install", "guide/"]}),
        file("d.md", '[n](<notes (old).md>) [n](notes%20(old).md "old") [up](../../etc/passwd)'),
        file("e.md", "[mail](mailto:guide/install.adoc)\n\n[i]: guide/install.adoc\n"),
    )
    assert found == {
        "documents:guide/install.adoc": 4,
        "documents:guide/README.md": 2,
        "documents:notes (old).md": 1,
    }


def test_a_link_does_not_tell_of_a_document_that_a_reader_of_its_target_may_not_read(counted):
    secret = page("Payroll", extra={"references": ["Home", "Plans"]}, acl=("hr",))
    both = page("Plans", extra={"references": ["Home"]}, acl=("hr", "board"))
    assert counted(page("Home"), secret) == {}
    assert counted(page("Home", acl=("hr",)), secret) == {"confluence:XD/Home": 1}
    assert counted(page("Home", acl=("hr",)), both) == {"confluence:XD/Home": 1}
    assert counted(both, secret) == {}
    elsewhere = page("Guide", tenant="other", extra={"references": ["Home"]})
    assert counted(page("Home"), elsewhere) == {}


def test_a_link_to_a_copy_is_a_link_to_what_has_its_text(counted):
    copy = file("old/install.md", extra={"same_as": "documents:install.md"})
    found = counted(
        file("install.md"),
        file("a.md", "[x](old/install.md)"),
        file("b.md", "[x](install.md) [y](old/install.md)"),
        copies=(copy,),
    )
    assert found == {"documents:install.md": 2}


def test_a_copy_makes_no_links(counted):
    references = {"references": ["guide.md"]}
    copy = file("b.md", extra={**references, "same_as": "documents:a.md"})
    linking = file("a.md", extra=references)
    assert counted(file("guide.md"), linking, copies=(copy,)) == {"documents:guide.md": 1}


def test_a_title_may_hold_what_elsewhere_begins_a_place_on_a_page(counted):
    linking = page("Index", extra={"references": ["C# guide", "Jobs#run"]})
    found = counted(page("C"), page("C# guide"), page("Jobs"), linking)
    assert found == {"confluence:XD/C# guide": 1, "confluence:XD/Jobs": 1}


@pytest.mark.parametrize("text", ["(见 {}）。", "{}，以及", "See ({}).", "**{}**", "“{}”"])
def test_an_address_ends_where_the_sentence_goes_on(counted, text):
    address = f"{WIKI}/display/XD/Tuning_(memory)"
    linking = file("a.md", text.format(address))
    assert counted(page("Tuning", uri=address), linking) == {"confluence:XD/Tuning": 1}


def test_the_table_has_zero_for_what_nothing_links_to_and_null_for_other_sources(tmp_path):
    documents = [page("Home"), page("Guide", extra={"references": ["Home"]})]
    issue = Document("jira:XD-1", "jira", "t", "x", "u", "default", ("everyone",))
    corpus, copies, metrics = (tmp_path / name for name in ("corpus", "copies", "m.parquet"))
    corpus.write_text("".join(f"{d.to_json()}\n" for d in [*documents, issue]))
    copies.touch()
    rows = {
        "document_id": [d.id for d in [*documents, issue]],
        "source": ["confluence"] * 2 + ["jira"],
    }
    pl.DataFrame(rows).write_parquet(metrics)
    with_inbound_links(metrics, corpus, copies, tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["inbound_links"].to_list() == [1.0, 0.0, None]
    pl.DataFrame(rows).filter(source="jira").write_parquet(metrics)
    with_inbound_links(metrics, corpus, copies, tmp_path / "out.parquet")
    assert "inbound_links" not in pl.read_parquet_schema(tmp_path / "out.parquet")
