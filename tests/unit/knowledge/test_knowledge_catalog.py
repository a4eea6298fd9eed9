from __future__ import annotations

from pathlib import Path

import pytest
from knowledge_fixtures import make_chunk, reader

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.access import Access
from alchemy.knowledge.catalog import CATALOG_FILE, Catalog
from alchemy.knowledge.catalog_writer import write_catalog
from alchemy.knowledge.terms import query_terms
from alchemy.types import Chunk, Filters, Insight, Principal

CHUNKS = [
    make_chunk("documents:a.md", "Alpha sink", title="A", heading_path=("A", "Sinks")),
    make_chunk("documents:a.md", "Beta source", ordinal=1, title="A"),
    make_chunk("jira:XD-7", "Alpha tuple", acl=("staff",)),
    make_chunk("jira:XD-8", "Alpha channel", tenant="other"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path


def opened(path: Path, chunks: list[Chunk] = CHUNKS) -> Catalog:
    write_catalog(path, chunks, [Insight("jira:XD-7", "large", {}, 0.9)])
    return Catalog.open(path)


def lexical(catalog: Catalog, text: str, access: Access) -> list[int]:
    rows, _ = catalog.words.best(catalog.spans(query_terms(text)), 10, access.mask)
    return rows.tolist()


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_chunks_come_back_as_they_went_in(path: Path) -> None:
    chunk = Chunk.from_dict(
        {**CHUNKS[0].to_dict(), "page": 3, "updated_at": "2015-01-01T00:00:00Z"}
    )
    assert opened(path, [chunk]).chunks([0]) == {0: chunk}


def test_the_same_chunks_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_catalog(tmp_path / name, iter(CHUNKS), [Insight("jira:XD-7", "large", {}, 0.9)])
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_an_index_made_from_an_earlier_one_is_as_if_made_anew(tmp_path: Path) -> None:
    for name in ("before", "anew", "grown"):
        (tmp_path / name).mkdir()
    before = opened(tmp_path / "before")
    changed = [
        CHUNKS[0],
        make_chunk("documents:a.md", "Gamma drain", ordinal=1, title="A"),
        make_chunk("documents:b.md", "Alpha omega"),
        CHUNKS[3],
    ]
    write_catalog(tmp_path / "anew", changed, [])
    write_catalog(tmp_path / "grown", changed, [], before)
    assert files(tmp_path / "grown") == files(tmp_path / "anew")


@pytest.mark.parametrize(
    ("principal", "rows"),
    [
        (reader(), [0, 1]),
        (reader("staff"), [0, 1, 2]),
        (reader("staff", tenant="other"), [3]),
        (reader(tenant="nowhere"), []),
    ],
)
def test_a_principal_sees_the_rows_of_its_tenant_and_groups(
    path: Path, principal: Principal, rows: list[int]
) -> None:
    catalog = opened(path)
    access = catalog.access(principal)
    assert access.mask.nonzero()[0].tolist() == rows
    assert sorted(lexical(catalog, "alpha beta", access)) == rows


def test_sources_narrow_what_is_seen_and_an_unknown_one_is_empty(path: Path) -> None:
    catalog = opened(path)
    for source, rows in (("jira", [2]), ("wiki", [])):
        access = catalog.access(reader("staff"), Filters(sources=(source,)))
        assert lexical(catalog, "alpha", access) == rows
    assert catalog.sources == ("documents", "jira")


def test_a_match_in_the_title_ranks_above_one_in_the_text(path: Path) -> None:
    catalog = opened(
        path,
        [
            make_chunk("documents:a", "about the gauge and more", title="Counters"),
            make_chunk("documents:b", "about other things here", title="Gauge"),
        ],
    )
    assert lexical(catalog, "gauge", catalog.access(reader())) == [1, 0]


def test_a_document_is_found_by_key_by_file_name_and_by_commit_prefix(path: Path) -> None:
    sha = "c759eb68d0c1feea97fd42474bfa4352980ebba5"
    catalog = opened(
        path,
        [
            make_chunk("documents:x/README.md", "x"),
            make_chunk("documents:y/README.md", "y"),
            make_chunk(f"git_pr:{sha[:12]}", "fix"),
        ],
    )
    assert catalog.documents_named(["x/readme.md"], 4) == ["documents:x/README.md"]
    for named in (sha, sha[:12], sha[:8]):
        assert catalog.documents_named([named], 4) == [f"git_pr:{sha[:12]}"]
    assert len(catalog.documents_named(["readme.md"], 4)) == 2
    assert catalog.documents_named(["readme.md"], 1) == []
    assert catalog.documents_named(["c759eb7"], 4) == []


def test_rows_of_a_document_are_its_chunks(path: Path) -> None:
    catalog = opened(path)
    assert list(catalog.rows_of("documents:a.md")) == [0, 1]
    assert list(catalog.rows_of("nowhere")) == []


def test_the_insight_of_a_document_is_given(path: Path) -> None:
    assert opened(path).insights(["jira:XD-7", "jira:XD-8"]) == {"jira:XD-7": ("large", 0.9)}


def test_a_repeated_chunk_id_is_refused(path: Path) -> None:
    with pytest.raises(AlchemyError) as raised:
        write_catalog(path, [CHUNKS[0], CHUNKS[0]], [])
    assert raised.value.code is ErrorCode.CORRUPT


def test_a_document_torn_apart_is_refused(path: Path) -> None:
    with pytest.raises(AlchemyError) as raised:
        write_catalog(path, [CHUNKS[0], CHUNKS[2], CHUNKS[1]], [])
    assert raised.value.code is ErrorCode.CORRUPT


def test_a_file_that_is_no_catalog_is_named(path: Path) -> None:
    opened(path).close()
    (path / CATALOG_FILE).write_bytes(b"SQLite it is not" * 100)
    with pytest.raises(AlchemyError, match="catalog") as raised:
        Catalog.open(path)
    assert raised.value.code is ErrorCode.CORRUPT


def test_a_catalog_cannot_be_written_through(path: Path) -> None:
    catalog = opened(path)
    before = files(path)
    lexical(catalog, "alpha", catalog.access(reader()))
    assert files(path) == before


def test_a_closed_catalog_says_so(path: Path) -> None:
    catalog = opened(path)
    catalog.close()
    with pytest.raises(AlchemyError) as raised:
        catalog.chunks([0])
    assert raised.value.code is ErrorCode.NOT_READY


def dated(document_id: str, updated_at: str | None) -> Chunk:
    chunk = make_chunk(document_id, "alpha")
    return Chunk.from_dict({**chunk.to_dict(), "updated_at": updated_at})


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (Filters(projects=("xd",)), [0, 1]),
        (Filters(projects=("OPS", "nowhere")), [2]),
        (Filters(since="2015-06-01"), [1, 2]),
        (Filters(until="2015-06-01"), [0]),
        (Filters(since="2015-06-01", until="2016-01-01T00:00:00Z"), [1]),
        (Filters(projects=("nowhere",)), []),
    ],
)
def test_projects_and_dates_narrow_what_is_seen(
    path: Path, filters: Filters, rows: list[int]
) -> None:
    catalog = opened(
        path,
        [
            dated("jira:XD-1", "2015-01-01T00:00:00Z"),
            dated("jira:XD-2", "2015-07-01T00:00:00Z"),
            dated("confluence:OPS/page", "2016-07-01T00:00:00Z"),
            dated("documents:undated.md", None),
        ],
    )
    assert sorted(lexical(catalog, "alpha", catalog.access(reader(), filters))) == rows


def test_a_date_that_is_none_is_refused(path: Path) -> None:
    with pytest.raises(AlchemyError, match="yesterday") as raised:
        opened(path).access(reader(), Filters(since="yesterday"))
    assert raised.value.code is ErrorCode.INPUT_INVALID


def test_a_hidden_document_is_not_seen_until_it_is_shown_again(path: Path) -> None:
    catalog = opened(path)
    assert sorted(lexical(catalog, "alpha beta", catalog.access(reader()))) == [0, 1]
    catalog.hide(["documents:a.md", "jira:unknown"])
    assert lexical(catalog, "alpha beta", catalog.access(reader())) == []
    catalog.hide([])
    assert sorted(lexical(catalog, "alpha beta", catalog.access(reader()))) == [0, 1]


def test_files_of_different_indexes_are_refused(tmp_path: Path) -> None:
    for name, chunks in (("one", CHUNKS), ("two", CHUNKS[:2])):
        (tmp_path / name).mkdir()
        write_catalog(tmp_path / name, chunks, [])
    (tmp_path / "one" / "words.safetensors").replace(tmp_path / "two" / "words.safetensors")
    with pytest.raises(AlchemyError, match="belong together") as raised:
        Catalog.open(tmp_path / "two")
    assert raised.value.code is ErrorCode.CORRUPT
