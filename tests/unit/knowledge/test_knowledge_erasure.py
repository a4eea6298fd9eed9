"""A hidden document is in no search from then on, and comes back when it is shown again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from knowledge_fixtures import BagOfWords, make_chunk, open_snapshot, reader

from alchemy.config import RetrievalSettings
from alchemy.knowledge.erasure import Hider, tenants
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.stores.tombstones import Forgotten

EMBEDDER = BagOfWords()
QUESTIONS = ["What about XD-1?", "the secret merger plan", "secret", "merger spring jira:XD-1"]
SECRET, OTHER = "jira:XD-1", "jira:XD-2"


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    chunks = [
        make_chunk(SECRET, "The secret merger plan of spring.", ordinal=0),
        make_chunk(SECRET, "Second part of the secret merger plan.", ordinal=1),
        make_chunk(OTHER, "A plan of sinks and sources in spring."),
        make_chunk("jira:YD-3", "A secret of another tenant.", tenant="other"),
    ]
    return open_snapshot(tmp_path / "index", EMBEDDER, chunks)


def found(snapshot: Snapshot, text: str, tenant: str = "default", top_k: int = 10) -> list[str]:
    vector = EMBEDDER.encode([text])[0]
    query = Query(text, vector, reader(tenant=tenant), top_k)
    [passages] = search(snapshot, [query], RetrievalSettings())
    return [passage.chunk.document_id for passage in passages]


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_wording_finds_a_hidden_document(snapshot: Snapshot, question: str) -> None:
    assert SECRET in found(snapshot, question)
    snapshot.hide([SECRET])
    assert SECRET not in found(snapshot, question)
    assert OTHER in found(snapshot, question), "the rest is found as before"
    snapshot.hide([])
    assert SECRET in found(snapshot, question)


def test_hidden_documents_take_no_place_of_others(snapshot: Snapshot) -> None:
    snapshot.hide([SECRET, "jira:NOT-THERE"])
    assert found(snapshot, "secret merger plan", top_k=1) == [OTHER]
    access = snapshot.catalog.access(reader())
    assert access.count == 1


def test_only_the_owner_of_a_document_can_have_it_forgotten(snapshot: Snapshot) -> None:
    hider = Hider()
    hider.apply(snapshot, Forgotten(1, frozenset({("other", SECRET), ("default", "jira:YD-3")})))
    assert SECRET in found(snapshot, "secret")
    assert "jira:YD-3" in found(snapshot, "secret", tenant="other")
    hider.apply(snapshot, Forgotten(2, frozenset({("other", "jira:YD-3")})))
    assert found(snapshot, "secret", tenant="other") == []
    assert tenants(snapshot, [SECRET, "jira:YD-3", "x"]) == {
        SECRET: "default",
        "jira:YD-3": "other",
    }


def test_what_is_applied_is_not_applied_again_and_a_lifted_tombstone_shows(
    snapshot: Snapshot,
) -> None:
    hider = Hider()
    first = Forgotten(1, frozenset({("default", SECRET)}))
    assert not hider.applied(snapshot, first)
    hider.apply(snapshot, first)
    assert hider.applied(snapshot, first)
    hider.apply(snapshot, Forgotten(2, frozenset()))
    assert SECRET in found(snapshot, "secret")


def test_searches_beside_hiding_never_see_it_once_hide_has_returned(snapshot: Snapshot) -> None:
    hidden = threading.Event()
    late: list[str] = []

    def ask() -> None:
        for _ in range(60):
            after = hidden.is_set()
            if SECRET in found(snapshot, "secret merger plan") and after:
                late.append("seen")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    snapshot.hide([SECRET])
    hidden.set()
    for thread in threads:
        thread.join()
    assert late == []
    assert SECRET not in found(snapshot, "secret merger plan")
