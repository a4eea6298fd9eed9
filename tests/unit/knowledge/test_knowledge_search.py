from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from knowledge_fixtures import BagOfWords, SnapshotOf, make_chunk, open_snapshot, reader

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.types import Chunk, Filters, Insight, Mode, Passage, Principal

SETTINGS = RetrievalSettings(candidates=20)
CHUNKS = [
    make_chunk("documents:sinks", "The hdfs sink writes files to Hadoop", title="Sinks"),
    make_chunk("documents:sources", "The http source listens on a port", title="Sources"),
    make_chunk("documents:sources", "The file source polls a folder", ordinal=1, title="Sources"),
    make_chunk("git_pr:abc1234", "XD-5 Polish the rollover", title="Polish"),
    make_chunk("jira:XD-5", "File rollover is missing", title="Rollover"),
    make_chunk("jira:XD-6", "Secret port of the http source", title="Salaries", acl=("hr",)),
]


def ask(
    snapshot: Snapshot,
    embedder: BagOfWords,
    text: str,
    principal: Principal | None = None,
    top_k: int = 3,
    sources: tuple[str, ...] = (),
) -> list[Passage]:
    vector = embedder.encode([text])[0]
    query = Query(text, vector, principal or reader(), top_k, Filters(sources))
    return search(snapshot, [query], SETTINGS)[0]


def ids(passages: list[Passage]) -> list[str]:
    return [passage.chunk.id for passage in passages]


def test_the_chunk_that_says_it_comes_first(snapshot_of: SnapshotOf, embedder: BagOfWords) -> None:
    found = ask(snapshot_of(CHUNKS), embedder, "Where does the hdfs sink write files?")
    assert found[0].chunk == CHUNKS[0]
    assert found[0].signals["dense_rank"] == found[0].signals["lexical_rank"] == 1.0
    assert found[0].score == pytest.approx(found[0].signals["fused"])
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


def test_similarity_is_the_cosine_for_every_passage(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    question = "XD-5 hdfs port"
    for passage in ask(snapshot_of(CHUNKS), embedder, question, top_k=10):
        pair = embedder.encode([question, passage.chunk.embedding_text()])
        assert passage.similarity == pytest.approx(float(pair[0] @ pair[1]), abs=1e-5)


def test_a_chunk_found_by_words_alone_has_its_cosine(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    chunks = [make_chunk(f"documents:{i}", f"common words here {i}") for i in range(30)]
    chunks.append(make_chunk("documents:z", "zebra " + " ".join(f"w{i}" for i in range(60))))
    snapshot = snapshot_of(chunks)
    text = "common words here zebra"
    vector = embedder.encode([text])[0]
    few = RetrievalSettings(candidates=3)
    found = search(snapshot, [Query(text, vector, reader(), 10)], few)[0]
    lexical_only = [p for p in found if "dense_rank" not in p.signals]
    assert "documents:z#0" in ids(lexical_only)
    for passage in lexical_only:
        expected = embedder.encode([passage.chunk.embedding_text()])[0] @ vector
        assert passage.similarity == pytest.approx(float(expected), abs=1e-5)


def test_a_named_document_comes_first_though_others_mention_it(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    snapshot = snapshot_of(CHUNKS)
    found = ask(snapshot, embedder, "polish the rollover xd-5")
    assert ids(found)[:2] == ["jira:XD-5#0", "git_pr:abc1234#0"]
    assert found[0].signals["exact"] == 1.0
    assert ids(ask(snapshot, embedder, "what about commit abc1234"))[0] == "git_pr:abc1234#0"


def test_a_named_document_that_may_not_be_read_stays_hidden(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    snapshot = snapshot_of(CHUNKS)
    assert "jira:XD-6#0" not in ids(ask(snapshot, embedder, "XD-6 salaries", top_k=10))
    assert ids(ask(snapshot, embedder, "XD-6 salaries", reader("hr")))[0] == "jira:XD-6#0"


def test_someone_with_few_rights_still_gets_all_passages_asked_for(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    secret = [
        make_chunk(f"jira:S-{i:03}", "quarterly budget plan", acl=("board",)) for i in range(200)
    ]
    public = [make_chunk(f"documents:{i}", f"lunch menu {i}") for i in range(5)]
    found = ask(snapshot_of([*public, *secret]), embedder, "quarterly budget plan", top_k=5)
    assert sorted(ids(found)) == sorted(chunk.id for chunk in public)


def test_queries_in_one_batch_keep_their_own_rights_and_sizes(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    snapshot = snapshot_of(CHUNKS)
    text = "http source port"
    vector = embedder.encode([text])[0]
    queries = [
        Query(text, vector, reader("hr"), 2),
        Query(text, vector, reader(), 6),
        Query(text, vector, reader("hr"), 6, Filters(("jira",))),
        Query(text, vector, reader(tenant="other"), 6),
    ]
    results = search(snapshot, queries, SETTINGS)
    assert [len(found) for found in results] == [2, 5, 2, 0]
    assert {p.chunk.source for p in results[2]} == {"jira"}
    alone = [search(snapshot, [query], SETTINGS)[0] for query in queries]
    assert alone == results


def test_the_insight_of_the_document_is_attached(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    snapshot = snapshot_of(CHUNKS, [Insight("jira:XD-5", "XD-5 is larger than 90 % of issues.")])
    by_id = {p.chunk.document_id: p.insight for p in ask(snapshot, embedder, "rollover", top_k=10)}
    assert by_id["jira:XD-5"] == "XD-5 is larger than 90 % of issues."
    assert by_id["documents:sinks"] is None


def test_a_vector_of_another_model_is_refused(snapshot_of: SnapshotOf) -> None:
    query = Query("x", np.zeros(3, dtype=np.float32), reader(), 3)
    with pytest.raises(AlchemyError) as raised:
        search(snapshot_of(CHUNKS), [query], SETTINGS)
    assert raised.value.code is ErrorCode.INPUT_INVALID


@pytest.mark.parametrize(("mode", "other"), [("dense", "lexical_rank"), ("lexical", "dense_rank")])
def test_one_signal_alone_ranks_as_it_does(
    snapshot_of: SnapshotOf, embedder: BagOfWords, mode: Mode, other: str
) -> None:
    text = "Where does the hdfs sink write files?"
    query = Query(text, embedder.encode([text])[0], reader(), 3, mode=mode)
    found = search(snapshot_of(CHUNKS), [query], SETTINGS)[0]
    assert found[0].chunk == CHUNKS[0]
    assert all(other not in passage.signals for passage in found)


def test_what_stands_beside_a_hit_is_found_with_it(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    chunks = [make_chunk(f"documents:{i}", f"lunch menu number {i}") for i in range(40)]
    story = ("prelude unlike", "the zebra crossing", "epilogue unlike")
    chunks += [make_chunk("documents:z", text, ordinal=n) for n, text in enumerate(story)]
    snapshot = snapshot_of(chunks)
    vector = embedder.encode(["zebra"])[0]
    few = RetrievalSettings(candidates=1)
    found = search(snapshot, [Query("zebra", vector, reader(), 10)], few)[0]
    assert ids(found)[0] == "documents:z#1"
    assert set(ids(found)) >= {"documents:z#0", "documents:z#2"}
    assert found[1].signals["parent"] == pytest.approx(
        found[0].similarity + found[0].signals["lexical"], abs=1e-5
    )


def test_of_two_alike_the_newer_comes_first(snapshot_of: SnapshotOf, embedder: BagOfWords) -> None:
    def page(year: int) -> Chunk:
        chunk = make_chunk(f"confluence:OPS/{year}", "how to restart the gateway", title="Restart")
        return Chunk.from_dict({**chunk.to_dict(), "updated_at": f"{year}-01-01T00:00:00Z"})

    found = ask(snapshot_of([page(2014), page(2016), page(2015)]), embedder, "restart gateway")
    assert [p.chunk.document_id[-4:] for p in found] == ["2016", "2015", "2014"]


class Prefers:
    """A reranker that likes texts with a word."""

    digest = "prefers"

    def __init__(self, word: str) -> None:
        self._word = word

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.array([9.0 if self._word in text else -9.0 for _, text in pairs], np.float32)


def test_a_reranker_reorders_what_was_found_and_nothing_else(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    snapshot = snapshot_of(CHUNKS)
    text = "http source port"
    vector = embedder.encode([text])[0]
    queries = [Query(text, vector, reader(), 2), Query("hdfs sink", vector, reader(), 9)]
    plain = search(snapshot, queries, SETTINGS)
    found = search(snapshot, queries, SETTINGS, Prefers("polls"))
    assert ids(found[0])[0] == "documents:sources#1"
    assert found[0][0].signals["rerank"] == pytest.approx(1.0, abs=1e-3)
    assert len(found[0]) == 2
    assert sorted(ids(found[1])) == sorted(ids(plain[1]))


class OtherModel(BagOfWords):
    digest = "f" * 64


def test_an_index_of_another_embedding_model_is_refused(
    snapshot_of: SnapshotOf, embedder: BagOfWords
) -> None:
    snapshot = snapshot_of(CHUNKS)
    snapshot.require_embedder(embedder)
    with pytest.raises(AlchemyError, match="model_b") as raised:
        snapshot.require_embedder(OtherModel())
    assert raised.value.code is ErrorCode.CONFLICT


def test_an_empty_index_answers_with_nothing(snapshot_of: SnapshotOf, embedder: BagOfWords) -> None:
    assert ask(snapshot_of([]), embedder, "anything XD-1") == []


GROUPS = ("a", "b", "c")
access_rules = st.lists(
    st.tuples(
        st.sampled_from(["t1", "t2"]),
        st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True),
        st.text(alphabet="xyz ", min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=25,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(
    rules=access_rules,
    groups=st.lists(st.sampled_from(GROUPS), unique=True),
    question=st.text(max_size=30),
)
def test_what_comes_back_is_readable_and_as_much_as_there_is(
    tmp_path_factory: pytest.TempPathFactory,
    embedder: BagOfWords,
    rules: list[tuple[str, list[str], str]],
    groups: list[str],
    question: str,
) -> None:
    chunks: list[Chunk] = [
        make_chunk(f"jira:X-{i:03}", text, tenant=tenant, acl=tuple(acl))
        for i, (tenant, acl, text) in enumerate(rules)
    ]
    snapshot = open_snapshot(tmp_path_factory.mktemp("index"), embedder, chunks)
    principal = Principal("u", "t1", tuple(groups))
    found = ask(snapshot, embedder, question, principal, top_k=20)
    readable = {c.id for c in chunks if principal.may_read(c.tenant, c.acl)}
    assert set(ids(found)) <= readable
    assert len(found) == len(set(ids(found))) == min(20, len(readable))
    snapshot.close()
