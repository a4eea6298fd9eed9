from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client_gateway import PASSWORD, Gateway

import alchemy
from alchemy.errors import AlchemyError, ErrorCode


def test_chat_returns_the_cited_answer(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        answer = client.chat("What is a tap?", session="s1")
    assert (answer.text, answer.session) == ("A tap listens. [1]", "s1")
    assert answer.citations[0].quote in answer.text


def test_search_passes_its_limits_on(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        found = client.search("taps", top_k=3, sources=["jira"])
    assert [p.source for p in found.passages] == ["jira"] * 3


def test_feedback_carries_the_correction(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        receipt = client.feedback("a1", "down", correction="A tap copies.")
    assert receipt.status == "pending"
    assert gateway.rated[0].correction == "A tap copies."


def test_sessions_lists_conversations(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        assert [(s.id, s.turns) for s in client.sessions()] == [("s1", 2)]


def test_user_and_password_sign_in_once(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, user="ann", password=PASSWORD) as client:
        client.chat("one")
        assert client.me().user == "token-1"
    assert gateway.logins == 1


def test_expired_token_is_renewed_with_the_password(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, user="ann", password=PASSWORD) as client:
        gateway.expired_tokens.add("token-1")
        assert client.me().user == "token-2"


def test_expired_token_without_password_is_the_typed_error(gateway: Gateway) -> None:
    gateway.expired_tokens.add("token-x")
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        client.me()
    assert caught.value.code is ErrorCode.TOKEN_EXPIRED
    assert caught.value.remedy == "Sign in again."


def test_wrong_password_fails_at_connect(gateway: Gateway) -> None:
    with pytest.raises(AlchemyError) as caught:
        alchemy.connect(gateway.url, user="ann", password="guess")
    assert caught.value.code is ErrorCode.AUTH_FAILED


def test_busy_server_is_asked_again_after_its_retry_after(gateway: Gateway) -> None:
    gateway.refusals, gateway.retry_after = 2, "0.2"
    started = time.monotonic()
    with alchemy.connect(gateway.url, "token-x") as client:
        assert client.chat("What is a tap?").id == "a1"
    assert time.monotonic() - started >= 0.4


def test_retries_are_bounded(gateway: Gateway) -> None:
    gateway.refusals = 1000
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        client.chat("What is a tap?")
    assert caught.value.code is ErrorCode.OVERLOADED
    assert 1000 - gateway.refusals <= 5


def test_unreasonable_retry_after_is_not_waited_for(gateway: Gateway) -> None:
    gateway.refusals, gateway.retry_after = 1, "3600"
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        client.chat("What is a tap?")
    assert caught.value.code is ErrorCode.OVERLOADED


def test_nothing_listening_names_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        alchemy.connect(f"http://127.0.0.1:{port}", "token-x") as client,
        pytest.raises(AlchemyError) as caught,
    ):
        client.chat("anyone?")
    assert caught.value.code is ErrorCode.NOT_READY
    assert "alchemy up" in caught.value.remedy


def test_silent_server_is_a_deadline(gateway: Gateway) -> None:
    gateway.delay_s = 0.5
    with (
        alchemy.connect(gateway.url, "token-x", timeout_s=0.1) as client,
        pytest.raises(AlchemyError) as caught,
    ):
        client.chat("slow?")
    assert caught.value.code is ErrorCode.DEADLINE


def test_a_foreign_server_is_not_mistaken_for_a_gateway(gateway: Gateway) -> None:
    with (
        alchemy.connect(gateway.url + "/elsewhere", "token-x") as client,
        pytest.raises(AlchemyError) as caught,
    ):
        client.me()
    assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AlchemyError) as caught:
        alchemy.connect(url, "token-x")
    assert caught.value.code is ErrorCode.INPUT_INVALID


def test_a_question_beyond_the_limit_is_refused_without_a_request(gateway: Gateway) -> None:
    gateway.refusals = 1
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        client.chat("x" * 9000)
    assert caught.value.code is ErrorCode.INPUT_INVALID
    assert gateway.refusals == 1


def test_ingest_sends_a_jsonl_file(gateway: Gateway, tmp_path: Path) -> None:
    records = [{"key": f"XD-{n}", "summary": "a\u2028b"} for n in range(3)]
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    path = tmp_path / "issues.jsonl"
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    with alchemy.connect(gateway.url, "token-x") as client:
        stored = client.ingest("jira", path)
    assert (stored.records, stored.job_id) == (3, "job-1")
    assert gateway.ingested[0].records == records


def test_ingest_beyond_the_limit_goes_in_parts_and_starts_one_run(gateway: Gateway) -> None:
    with alchemy.connect(gateway.url, "token-x") as client:
        stored = client.ingest("git_pr", ({"n": n} for n in range(10_001)))
    assert stored.records == 10_001
    assert [(len(part.records), part.run) for part in gateway.ingested] == [
        (10_000, False),
        (1, True),
    ]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", '{"key": 1}\n{"key": \n', "a.jsonl:2"),
        ("a.jsonl", '{"key": 1}\n[1]\n', "a.jsonl:2"),
        ("a.json", '[\n{"key": 1},\n{"key" 2}]', "a.json:3"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    gateway: Gateway, tmp_path: Path, name: str, content: str, place: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with alchemy.connect(gateway.url, "token-x") as client, pytest.raises(AlchemyError) as caught:
        client.ingest("jira", path)
    assert caught.value.code is ErrorCode.INPUT_INVALID
    assert place in caught.value.message
    assert gateway.ingested == []


async def test_async_client_does_the_same(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "pages.json"
    path.write_text('[{"title": "Home"}]', encoding="utf-8")
    gateway.refusals = 1
    async with alchemy.connect_async(gateway.url, user="ann", password=PASSWORD) as client:
        answers = await asyncio.gather(*(client.chat(f"question {n}") for n in range(4)))
        found = await client.search("taps", top_k=2)
        stored = await client.ingest("confluence", path, run=False)
        rated = await client.feedback("a1", "up")
        gateway.expired_tokens.add("token-1")
        who = await client.me()
    assert [a.question for a in answers] == [f"question {n}" for n in range(4)]
    assert (len(found.passages), stored.job_id, rated.status) == (2, None, "pending")
    assert who.user == "token-2"


async def test_async_concurrent_first_calls_share_one_sign_in(gateway: Gateway) -> None:
    client = alchemy.connect_async(gateway.url, user="ann", password=PASSWORD)
    await asyncio.gather(*(client.chat("hello") for _ in range(5)))
    await client.close()
    assert gateway.logins == 1


async def test_async_nothing_listening_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(AlchemyError) as caught:
        async with alchemy.connect_async(f"http://127.0.0.1:{port}", user="a", password="b"):
            pass
    assert caught.value.code is ErrorCode.NOT_READY


def test_importing_the_client_loads_nothing_heavy() -> None:
    script = (
        "import sys, alchemy; light = set(sys.modules); alchemy.connect;"
        "heavy = {'torch', 'transformers', 'faiss', 'polars', 'pyspark', 'ray', 'numpy',"
        " 'fastapi', 'boto3', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)), sorted({'httpx', 'pydantic'} & light))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"
