"""Retrieval adapters: pairs of a corpus, training, publishing, and the queries they encode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.tokens import wordpiece
from alchemy.config import ModelSettings, TuningSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.embedded import EmbeddedEmbedder, minilm_directory
from alchemy.models.query_adapter import AdaptedQueries, tunable_base
from alchemy.stores.lake_local import LocalLake
from alchemy.training.adapters import fetch_adapter, publish_retrieval_adapter
from alchemy.training.retrieval import FrozenIndex, Tuned, tune
from alchemy.training.retrieval_pairs import (
    RetrievalPair,
    balanced,
    corpus_pairs,
    split_pairs,
    without_keys,
)
from alchemy.types import Chunk, Document, SftPair

MODEL = ModelSettings(device="cpu", dtype="float32")
SETTINGS = TuningSettings(epochs=6, patience=6, batch_size=8, learning_rate=1e-3, max_tokens=32)

# a team's own words for its parts, which no general model knows
JARGON = {
    "kraken": "payment service",
    "lantern": "user login page",
    "mosaic": "image gallery",
    "orbit": "nightly backup job",
    "pebble": "search index",
    "quartz": "calendar reminder",
    "raven": "email delivery",
    "sable": "invoice printing",
}
FAULTS = (
    "crashes after the upgrade",
    "is slow in the morning",
    "loses its settings",
    "shows the wrong time zone",
    "needs a retry when the network drops",
    "has no log of what happened",
)


def _document(identity: str, title: str, text: str, **more: object) -> Document:
    fields = {"tenant": "default", "acl": ("everyone",), "uri": identity, **more}
    source = identity.partition(":")[0]
    return Document(id=identity, source=source, title=title, text=text, **fields)  # pyright: ignore


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """Issues in plain words, and commits that name them in the team's words."""
    found: list[Document] = []
    for name, part in JARGON.items():
        for fault in FAULTS:
            number = len(found) // 2 + 1
            found.append(
                _document(f"jira:AB-{number}", f"The {part} {fault}", f"Seen in the {part} today.")
            )
            found.append(
                _document(
                    f"git_pr:{number:07x}",
                    f"AB-{number}: {name} {fault}",
                    f"Work on {name}.\n\n## Changes\n\n- `src/{part}.py`",
                    extra={"jira_keys": [f"AB-{number}"]},
                )
            )
    return found


@pytest.fixture(scope="module")
def chunks(documents: list[Document]) -> list[Chunk]:
    starts = wordpiece()
    return [
        chunk
        for document in documents
        if document.source == "jira"
        for chunk in chunk_document(document, starts, 180)
    ]


@pytest.fixture(scope="module")
def pairs(documents: list[Document], chunks: list[Chunk]) -> list[RetrievalPair]:
    return corpus_pairs(documents, chunks, [])


@pytest.fixture(scope="module")
def index(chunks: list[Chunk]) -> FrozenIndex:
    torch.set_num_threads(1)
    vectors = EmbeddedEmbedder(MODEL).encode([chunk.embedding_text() for chunk in chunks])
    return FrozenIndex([chunk.document_id for chunk in chunks], vectors)


@pytest.fixture(scope="module")
def links(pairs: list[RetrievalPair]) -> tuple[list[RetrievalPair], list[RetrievalPair]]:
    return split_pairs([pair for pair in pairs if pair.kind == "link"], 0.25, 100, seed=13)


@pytest.fixture(scope="module")
def trained(
    index: FrozenIndex,
    links: tuple[list[RetrievalPair], list[RetrievalPair]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Tuned]:
    output = tmp_path_factory.mktemp("adapter") / "rt"
    train, stopping = split_pairs(links[0], 0.2, 100, seed=7)
    return output, tune(minilm_directory(), train, stopping, index, SETTINGS, output)


def _mean_reciprocal_rank(
    vectors: np.ndarray, pairs: list[RetrievalPair], index: FrozenIndex
) -> float:
    scores = vectors @ index.vectors.T
    ranks = []
    for row, pair in enumerate(pairs):
        own = max(scores[row, i] for i, d in enumerate(index.documents) if d in pair.documents)
        ranks.append(1 + int((scores[row] > own).sum()))
    return float(np.mean([1 / rank for rank in ranks]))


def test_training_moves_the_links_it_has_not_seen_up(
    index: FrozenIndex,
    links: tuple[list[RetrievalPair], list[RetrievalPair]],
    trained: tuple[Path, Tuned],
) -> None:
    _, held_out = links
    texts = [pair.query for pair in held_out]
    before = _mean_reciprocal_rank(EmbeddedEmbedder(MODEL).encode(texts), held_out, index)
    after = _mean_reciprocal_rank(
        AdaptedQueries(MODEL, trained[0]).encode_queries(texts), held_out, index
    )
    assert len(held_out) >= 10
    assert after > before + 0.1


def test_the_kept_epoch_is_the_best_one(trained: tuple[Path, Tuned]) -> None:
    assert trained[1].best_epoch > 0
    assert trained[1].ndcg > trained[1].base_ndcg


def test_pairs_say_nothing_of_the_key_they_were_linked_by(pairs: list[RetrievalPair]) -> None:
    links = [pair for pair in pairs if pair.kind == "link"]
    assert len(links) == len(JARGON) * len(FAULTS)
    for pair in links:
        assert "AB-" not in pair.query
        assert "src/" not in pair.query  # what the connector lists is not what people search


def test_keys_go_with_their_links_and_others_stay() -> None:
    text = "XD-12: fix taps\nJIRA: https://jira.example.org/browse/XD-12\nsee XD-123 and UTF-8"
    assert without_keys(text, ["XD-12"]) == ": fix taps\nJIRA:\nsee XD-123 and UTF-8"


def test_no_document_is_learned_and_tested(pairs: list[RetrievalPair]) -> None:
    train, held_out = split_pairs(pairs, 0.25, 100, seed=13)
    learned = {document for pair in train for document in pair.documents}
    assert held_out
    assert not any(learned.intersection(pair.documents) for pair in held_out)
    assert {pair.kind for pair in held_out} == {"link"}


def test_a_link_that_nobody_may_see_both_ends_of_is_no_pair() -> None:
    issue = _document("jira:AB-1", "Salaries are wrong", "All of them.", acl=("hr",))
    commit = _document("git_pr:0000001", "AB-1 correct salaries", "", extra={"jira_keys": ["AB-1"]})
    foreign = _document("git_pr:0000002", "AB-1 correct it", "", tenant="other", acl=("hr",))
    assert corpus_pairs([issue, commit, foreign], [], []) == []


def test_questions_that_name_their_document_and_unverified_ones_are_left_out() -> None:
    issue = _document("jira:AB-1", "The sink fails", "It fails.")

    def question(text: str, **more: object) -> SftPair:
        fields = {"verified": True, "kind": "summary", "origin": "synthesis", **more}
        return SftPair(
            f"sft-{text}", text, "It fails.", ("jira:AB-1#0",), ("jira:AB-1",), "default",
            ("everyone",), **fields,  # pyright: ignore
        )  # fmt: skip

    asked = [
        question("What fails?"),
        question("What is AB-1 about?"),
        question("Is it unverified?", verified=False),
        question("What should I restart?", origin="feedback", kind="feedback", verified=False),
    ]
    found = {pair.query: pair.kind for pair in corpus_pairs([issue], [], asked)}
    assert found == {"What fails?": "question", "What should I restart?": "feedback"}


def test_titles_never_outnumber_what_people_wrote(pairs: list[RetrievalPair]) -> None:
    kinds = [pair.kind for pair in balanced(pairs, 0.5, 10_000, seed=13)]
    assert kinds.count("link") == len(JARGON) * len(FAULTS)
    assert kinds.count("title") == kinds.count("link") // 2


def test_a_published_adapter_encodes_like_the_trained_one(
    trained: tuple[Path, Tuned], links: tuple[list[RetrievalPair], ...], tmp_path: Path
) -> None:
    lake = LocalLake(tmp_path / "lake")
    _, base = tunable_base(MODEL)
    manifest = publish_retrieval_adapter(
        lake, trained[0], base_digest=base, pairs=links[0], tuning=SETTINGS, tuned=trained[1]
    )
    directory, fetched = fetch_adapter(lake, manifest.version, tmp_path / "cache", base)
    assert manifest.version.startswith("rt-")
    assert fetched.meta["documents"] == len({d for pair in links[0] for d in pair.documents})
    text = ["raven loses its settings"]
    np.testing.assert_array_equal(
        AdaptedQueries(MODEL, directory).encode_queries(text),
        AdaptedQueries(MODEL, trained[0]).encode_queries(text),
    )
    assert AdaptedQueries(MODEL, directory).digest != EmbeddedEmbedder(MODEL).digest


def test_an_adapter_of_another_base_is_refused(
    trained: tuple[Path, Tuned], links: tuple[list[RetrievalPair], ...], tmp_path: Path
) -> None:
    lake = LocalLake(tmp_path / "lake")
    manifest = publish_retrieval_adapter(
        lake, trained[0], base_digest="0" * 64, pairs=links[0], tuning=SETTINGS, tuned=trained[1]
    )
    _, base = tunable_base(MODEL)
    with pytest.raises(AlchemyError) as refused:
        fetch_adapter(lake, manifest.version, tmp_path / "cache", base)
    assert refused.value.code is ErrorCode.CONFLICT
    directory, _ = fetch_adapter(lake, manifest.version, tmp_path / "cache")
    with pytest.raises(AlchemyError) as again:
        AdaptedQueries(MODEL, directory)
    assert again.value.code is ErrorCode.CONFLICT


def test_training_without_pairs_says_what_is_missing(index: FrozenIndex, tmp_path: Path) -> None:
    stranger = [RetrievalPair("a b", ("jira:ZZ-1",), "link", "default", ("everyone",))]
    with pytest.raises(AlchemyError) as refused:
        tune(minilm_directory(), stranger, stranger, index, SETTINGS, tmp_path / "rt")
    assert refused.value.code is ErrorCode.INPUT_INVALID


def test_a_sampled_pool_still_holds_every_right_chunk(
    index: FrozenIndex,
    links: tuple[list[RetrievalPair], list[RetrievalPair]],
    tmp_path: Path,
) -> None:
    small = SETTINGS.model_copy(update={"negatives": 4, "hard_negatives": 8, "epochs": 4})
    tuned = tune(minilm_directory(), links[0], links[1], index, small, tmp_path / "rt")
    assert tuned.ndcg > tuned.base_ndcg
