from __future__ import annotations

from pathlib import Path

import pytest
from knowledge_fixtures import make_chunk, reader

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.catalog import Catalog, write_catalog
from alchemy.types import Chunk, Insight, Principal

CHUNKS = [
    make_chunk("documents:a.md", "Alpha sink", title="A", heading_path=("A", "Sinks")),
    make_chunk("documents:a.md", "Beta source", ordinal=1, title="A"),
    make_chunk("jira:XD-7", "Alpha tuple", acl=("staff",)),
    make_chunk("jira:XD-8", "Alpha channel", tenant="other"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


def opened(path: Path, chunks: list[Chunk] = CHUNKS) -> Catalog:
    write_catalog(path, chunks, [Insight("jira:XD-7", "large", {}, 0.9)])
    return Catalog.open(path)


def test_chunks_come_back_as_they_went_in(path: Path) -> None:
    chunk = Chunk.from_dict(
        {**CHUNKS[0].to_dict(), "page": 3, "updated_at": "2015-01-01T00:00:00Z"}
    )
    assert opened(path, [chunk]).chunks([0]) == {0: chunk}


def test_the_same_chunks_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_catalog(tmp_path / name, iter(CHUNKS), [Insight("jira:XD-7", "large", {}, 0.9)])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


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
    found = catalog.lexical("alpha beta", access, 10)
    assert sorted(found) == rows


def test_sources_narrow_what_is_seen_and_an_unknown_one_is_empty(path: Path) -> None:
    catalog = opened(path)
    assert catalog.lexical("alpha", catalog.access(reader("staff"), ["jira"]), 10) == [2]
    assert catalog.lexical("alpha", catalog.access(reader("staff"), ["wiki"]), 10) == []
    assert catalog.sources == ("documents", "jira")


def test_a_match_in_the_title_ranks_above_one_in_the_text(path: Path) -> None:
    catalog = opened(
        path,
        [
            make_chunk("documents:a", "about the gauge and more", title="Counters"),
            make_chunk("documents:b", "about other things here", title="Gauge"),
        ],
    )
    assert catalog.lexical("gauge", catalog.access(reader()), 10) == [1, 0]


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
    path.write_bytes(b"SQLite it is not" * 100)
    with pytest.raises(AlchemyError, match="catalog") as raised:
        Catalog.open(path)
    assert raised.value.code is ErrorCode.CORRUPT


def test_a_catalog_cannot_be_written_through(path: Path) -> None:
    before = (opened(path), path.read_bytes())
    before[0].lexical("alpha", before[0].access(reader()), 3)
    assert path.read_bytes() == before[1]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_closed_catalog_says_so(path: Path) -> None:
    catalog = opened(path)
    catalog.close()
    with pytest.raises(AlchemyError) as raised:
        catalog.chunks([0])
    assert raised.value.code is ErrorCode.NOT_READY
