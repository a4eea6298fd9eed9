"""The client against the real application."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import openai
import pytest

import alchemy
from alchemy import AlchemyError, ErrorCode
from alchemy.cli.processes import State
from alchemy.config import load_settings


@pytest.fixture(scope="module")
def token(app: Any) -> str:
    with alchemy.connect(app.url, user=app.admin_user, password=app.admin_password) as client:
        return client.token


@pytest.fixture(scope="module")
def question(app: Any) -> str:
    return str(
        json.loads((app.samples / "questions.jsonl").read_text().splitlines()[0])["question"]
    )


def test_an_answer_quotes_its_sources_exactly(app: Any, token: str, question: str) -> None:
    run = app.data / "processed" / app.run_id / "rag_chunks.jsonl"
    chunks = {c["id"]: c for c in map(json.loads, run.read_text(encoding="utf-8").splitlines())}
    with alchemy.connect(app.url, token=token) as client:
        answer = client.chat(question)
    assert answer.citations and not answer.abstained
    for number, citation in enumerate(answer.citations, 1):
        assert citation.quote in chunks[citation.chunk_id]["text"]
        assert citation.document_id == chunks[citation.chunk_id]["document_id"]
        assert f"[{number}]" in answer.text
    release = json.loads((app.data / "releases" / f"{answer.release}.json").read_text())
    assert (answer.adapter, answer.adapter_digest) == (
        release["adapter"],
        release["adapter_digest"],
    )


def test_a_question_that_counts_is_computed_from_the_released_records(app: Any, token: str) -> None:
    corpus = app.data / "processed" / app.run_id / "cleaned_corpus.jsonl"
    documents = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    issues = sum(document["source"] == "jira" for document in documents)
    with alchemy.connect(app.url, token=token) as client:
        answer = client.chat("How many issues are there?")
        events = list(client.stream("How many issues did John assign to Mary?"))
    assert answer.text.startswith(f"There are {issues:,} issues. ")
    assert answer.citations[0].quote == "SELECT count(*) FROM records\nWHERE kind = 'issue'"
    assert answer.adapter == "none" and answer.release
    last = events[-1].answer
    assert last.abstained and "john" in last.text and not last.citations


def test_a_stream_is_status_then_tokens_then_the_same_answer(
    app: Any, token: str, question: str
) -> None:
    with alchemy.connect(app.url, token=token) as client:
        events = list(client.stream(question))
    steps = [e.step for e in events if e.type == "status"]
    assert steps == ["retrieving", "consulting", "fusing"]
    assert events[-1].type == "answer"
    assert "".join(e.text for e in events if e.type == "token") == events[-1].answer.text


def test_server_sent_events_carry_the_same_stream(app: Any, token: str, question: str) -> None:
    reply = httpx.post(
        f"{app.url}/api/chat/stream",
        json={"question": question},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    assert [e["type"] for e in events if e["type"] != "token"] == ["status"] * 3 + ["answer"]


async def test_two_chats_stream_interleaved(app: Any, token: str) -> None:
    """Tokens of each arrive between tokens of the other, for some pair of simultaneous chats."""
    order: list[str] = []

    async def ask(name: str, question: str) -> None:
        async with alchemy.connect_async(app.url, token=token) as client:
            async for event in client.stream(question):
                if event.type == "token":
                    order.append(name)

    for _ in range(5):
        order.clear()
        await asyncio.gather(
            ask("a", "What is a tap in Spring XD and how is it created?"),
            ask("b", "What is a tap in Spring XD and how is it created?"),
        )
        runs = re.findall(r"a+|b+", "".join(order))
        if len(runs) > 2:
            return
    raise AssertionError(f"never interleaved: {''.join(order)}")


async def test_load_makes_batches_larger_than_one_visible(app: Any, token: str) -> None:
    async with alchemy.connect_async(app.url, token=token) as client:
        await asyncio.gather(
            *(client.chat(f"How do I configure module number {n}?") for n in range(16))
        )

        def above_one(text: str) -> float:
            counts: dict[str, float] = {}
            for bound, value in re.findall(
                r'^alchemy_batch_size_bucket\{[^}]*le="([^"]+)"[^}]*\} (\S+)', text, re.MULTILINE
            ):
                counts[bound] = counts.get(bound, 0.0) + float(value)
            one = max((v for k, v in counts.items() if k != "+Inf" and float(k) <= 1), default=0.0)
            return counts.get("+Inf", 0.0) - one

        deadline = time.monotonic() + 40
        text = ""
        async with httpx.AsyncClient() as plain:
            while time.monotonic() < deadline:
                text = (await plain.get(f"{app.url}/metrics", timeout=30)).text
                if above_one(text) > 0:
                    return
                await asyncio.sleep(1)
    raise AssertionError(text[:3000])


def test_search_explains_and_names_the_release(app: Any, token: str) -> None:
    with alchemy.connect(app.url, token=token) as client:
        found = client.search("create a tap on a stream", top_k=5, explain=True)
    assert 0 < len(found.passages) <= 5
    assert found.release.startswith("rl-")
    assert all(p.signals for p in found.passages)


def test_feedback_gets_a_receipt(app: Any, token: str, question: str) -> None:
    with alchemy.connect(app.url, token=token) as client:
        answer = client.chat(question)
        receipt = client.feedback(answer.id, "down", correction="A tap listens to a stream.")
        assert receipt.status == "pending"
        with pytest.raises(AlchemyError) as caught:
            client.feedback("no-such-answer", "up")
    assert caught.value.code is ErrorCode.NOT_FOUND
    (stored,) = [
        json.loads(p.read_text()) for p in (app.data / "feedback").rglob(f"{receipt.id}.json")
    ]
    assert stored["answer_id"] == answer.id and stored["rating"] == "down"


def test_ingested_records_are_in_the_raw_lake(app: Any, token: str) -> None:
    record = {"key": "NEW-1", "summary": "Ingested by the client", "description": "Some text."}
    with alchemy.connect(app.url, token=token) as client:
        receipt = client.ingest("jira", [record], run=False)
    path = app.data / receipt.key
    try:
        assert json.loads(path.read_text()) == record
        assert receipt.records == 1
    finally:
        path.unlink()  # other tests of this session count the sample's records


def test_the_official_openai_client_works(app: Any, token: str, question: str) -> None:
    client = openai.OpenAI(base_url=f"{app.url}/v1", api_key=token)
    models = [m.id for m in client.models.list()]
    assert "data-alchemy" in models
    messages: Any = [{"role": "user", "content": question}]
    whole = client.chat.completions.create(model="data-alchemy", messages=messages)
    assert "[1]" in (whole.choices[0].message.content or "")
    pieces = client.chat.completions.create(model="data-alchemy", messages=messages, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices).strip()
    raw = client.chat.completions.create(model="base", messages=messages, max_tokens=8)
    assert raw.usage is not None and 0 < raw.usage.completion_tokens <= 8
    vectors = client.embeddings.create(model="embedding", input=["a tap", "a stream"])
    assert len(vectors.data) == 2 and len(vectors.data[0].embedding) == 384


def test_our_openai_provider_talks_to_our_own_endpoint(app: Any, token: str, question: str) -> None:
    from alchemy.config import ModelSettings
    from alchemy.models.registry import load_chat_model, load_embedder
    from alchemy.protocols import Message

    common = {
        "provider": "openai",
        "base_url": f"{app.url}/v1",
        "api_key": token,
        "allow_remote": True,
    }
    chat = load_chat_model(ModelSettings.model_validate({**common, "model_id": "data-alchemy"}))
    assert chat is not None
    assert "[1]" in chat.complete([Message("user", question)])
    embedder = load_embedder(ModelSettings.model_validate({**common, "model_id": "embedding"}))
    assert embedder.encode(["a tap"]).shape == (1, 384)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"question": "x"}),
        ("/api/search", {"query": "x"}),
        ("/v1/chat/completions", {"model": "data-alchemy", "messages": []}),
    ],
)
def test_without_a_token_nothing_is_served(app: Any, path: str, body: dict[str, Any]) -> None:
    assert httpx.post(f"{app.url}{path}", json=body, timeout=10).status_code == 401


def test_a_wrong_password_is_401_with_a_code(app: Any) -> None:
    with pytest.raises(AlchemyError) as caught:
        alchemy.connect(app.url, user="admin", password="wrong").close()
    assert caught.value.code is ErrorCode.AUTH_FAILED


def test_an_expired_and_a_forged_token_are_refused_as_what_they_are(app: Any, token: str) -> None:
    state = State(load_settings(app.env["ALCHEMY_CONFIG"], app.env))
    claims = jwt.decode(token, options={"verify_signature": False})
    expired = jwt.encode({**claims, "exp": int(time.time()) - 60}, state.secret("jwt"), "HS256")
    forged = jwt.encode(claims, "x" * 40, "HS256")
    for bad, code in ((expired, ErrorCode.TOKEN_EXPIRED), (forged, ErrorCode.AUTH_FAILED)):
        with pytest.raises(AlchemyError) as caught, alchemy.connect(app.url, token=bad) as client:
            client.chat("anything")
        assert caught.value.code is code


def test_someone_without_the_group_finds_nothing_of_a_restricted_document(
    app: Any, new_place: Callable[..., Any], tmp_path: Path
) -> None:
    created = app.command("alchemy", "users", "add", "outsider", "--tenant", "elsewhere", "--json")
    password = json.loads(created.stdout)["password"]
    with alchemy.connect(app.url, user="outsider", password=password) as client:
        assert client.search("tap").passages == []
        answer = client.chat("What is a tap in Spring XD?")
    assert answer.abstained and not answer.citations


def test_a_second_start_on_a_taken_port_is_one_clear_line(
    app: Any, new_place: Callable[..., Any], tmp_path: Path
) -> None:
    place = new_place(tmp_path)
    taken = {"ALCHEMY_DASHBOARD_PORT": app.env["ALCHEMY_DASHBOARD_PORT"]}
    result = place.command("alchemy", "up", check=False, env=taken)
    place.command("alchemy", "down", check=False)
    assert result.returncode == 1
    assert "[port_taken]" in result.stderr and "ALCHEMY_DASHBOARD_PORT" in result.stderr


def test_status_tells_what_is_live(app: Any) -> None:
    facts = json.loads(app.command("alchemy", "status", "--json").stdout)
    assert facts["chat"] == "ok" and facts["release"].startswith("rl-")


def test_the_terminal_chat_answers_with_its_sources_and_in_json(app: Any) -> None:
    sample = json.loads((app.samples / "questions.jsonl").read_text().splitlines()[0])
    shown = app.command("alchemy", "chat", sample["question"]).stdout
    assert "[1]" in shown and any(f"({i})" in shown for i in sample["document_ids"])
    lines = app.command("alchemy", "chat", "--json", sample["question"]).stdout.splitlines()
    (answer,) = [json.loads(line) for line in lines]
    assert answer["text"] and answer["citations"][0]["document_id"] in sample["document_ids"]
