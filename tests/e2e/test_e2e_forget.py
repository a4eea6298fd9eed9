"""Forgetting and collecting garbage in the running system."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

import alchemy
from alchemy import AlchemyError, ErrorCode

BOUND_S = 5.0


@pytest.fixture(scope="module")
def token(app: Any) -> str:
    with alchemy.connect(app.url, user=app.admin_user, password=app.admin_password) as client:
        return client.token


@pytest.fixture(scope="module")
def question(app: Any) -> str:
    return str(
        json.loads((app.samples / "questions.jsonl").read_text().splitlines()[0])["question"]
    )


def found(client: Any, document: str, *wordings: str) -> bool:
    passages = (p for wording in wordings for p in client.search(wording, top_k=20).passages)
    return any(passage.document_id == document for passage in passages)


def soon(condition: Any, what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {BOUND_S} s"
        time.sleep(0.1)


def test_a_forgotten_document_is_gone_from_search_history_and_ratings(
    app: Any, token: str, question: str
) -> None:
    with alchemy.connect(app.url, token=token) as client:
        answer = client.chat(question, session="to-be-forgotten")
        document, quote = answer.citations[0].document_id, answer.citations[0].quote
        client.feedback(answer.id, "up", correction=f"It says: {quote}")
        wordings = (question, document, document.partition(":")[2], quote)
        assert found(client, document, *wordings)
        stored = [json.loads(p.read_text()) for p in app.data.glob("feedback/*/*/*/*.json")]
        rated = [r for r in stored if document in {c["document_id"] for c in r["citations"]}]
        assert answer.id in {rating["answer_id"] for rating in rated}
        done = json.loads(app.command("alchemy", "forget", document, "--json").stdout)
        try:
            soon(lambda: not found(client, document, *wordings), "hidden from search")
            assert done["turns"] >= 1 and done["answers"] >= 1 and done["ratings"] == len(rated)
            assert "to-be-forgotten" not in {session.id for session in client.sessions()}
            with pytest.raises(AlchemyError) as caught:
                client.feedback(answer.id, "down")
            assert caught.value.code is ErrorCode.NOT_FOUND
            again = client.chat(question)
            assert document not in {citation.document_id for citation in again.citations}
            ratings = "".join(p.read_text() for p in app.data.glob("feedback/*/*/*/*.json"))
            assert quote not in ratings
            pairs = (app.data / "sft" / app.run_id).glob("*.jsonl")
            rows = [json.loads(line) for path in pairs for line in path.read_text().splitlines()]
            seen = {row["id"] for row in rows if document in row["document_ids"]}
            assert {i for ids in done["lineage"]["pairs"].values() for i in ids} == seen
        finally:
            lifted = client.forget(document, undo=True)
        assert lifted.forgotten is False
        soon(lambda: found(client, document, *wordings), "shown again")


def test_gc_leaves_a_system_that_answers_and_a_run_that_is_reused(
    app: Any, token: str, question: str
) -> None:
    before = {path.name for path in (app.data / "index").iterdir()}
    dry = app.command("alchemy", "gc", "--keep", "1", "--min-age", "0s", "--dry-run").stdout
    assert dry.splitlines()[-1].startswith("would remove")
    app.command("alchemy", "gc", "--keep", "1", "--min-age", "0s", "--embeddings")
    assert {path.name for path in (app.data / "index").iterdir()} == before
    with alchemy.connect(app.url, token=token) as client:
        assert client.chat(question).citations
    reused = app.command("data-alchemy", "full-cycle", "--json").stdout.splitlines()
    report = json.loads(reused[-1])
    assert report["status"] == "succeeded"
    assert {"wash", "quant", "index", "train", "evaluate"} <= set(report["reused"])
